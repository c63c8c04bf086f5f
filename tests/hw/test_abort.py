"""hw/accelerator.py: a run that the host aborts drains, says so, and leaves nothing behind."""

import random

import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.encoding import encode
from heddle.arch.isa import Append, Halt, Load, Map, Matmul, Part, Store, Stream
from heddle.arch.registers import ErrorKind, Register

NANO = PRESETS["nano"]
LOAD, STORE, MATRIX, VECTOR, KV = (1 << unit for unit in (Unit.LOAD, Unit.STORE, Unit.MATRIX, Unit.VECTOR, Unit.KV))
BUSY, DONE, ERROR, ABORTED = (Register.STATUS.mask(name) for name in ("busy", "done", "error", "aborted"))
START, CLEAR, ABORT = (Register.CONTROL.mask(name) for name in ("start", "clear", "abort"))


def put_program(slave, instructions):
    code = b"".join(encode(each) for each in instructions)
    code += encode(Halt()) * (-len(instructions) % 8)
    slave.dram[: len(code)] = code
    return len(code) // 256


async def abort_in(host, cycle):
    """Writes abort so that it takes effect in that cycle of the run."""
    while host.slave.cycle - host.start < cycle:
        await host.step()
    await host.write(Register.CONTROL, ABORT)


async def until_idle(host):
    for _ in range(20_000):
        status = await host.read(Register.STATUS)
        if not status & BUSY:
            return status
    raise AssertionError("busy for ever")


async def assert_runs(host, slave):
    """A short program, as it runs after a reset."""
    host.records = []
    await host.begin(put_program(slave, [Map(rows=2, wait=MATRIX), Matmul(rows=3, signal=VECTOR), Halt()]))
    await host.until_done()
    assert await host.read(Register.STATUS) & ~BUSY == DONE  # the last beats of the group may still come
    assert host.records == [(Unit.MATRIX, 1, 28, 31), (Unit.VECTOR, 0, 32, 34)]
    assert await host.read(Register.INSTRUCTIONS) == 2


def test_what_runs_runs_out_and_nothing_starts_after(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    # Index i is dispatched in 19 + 8·i.
    program = [Matmul(rows=200, signal=VECTOR), Matmul(rows=5), Map(rows=4), Map(rows=4, wait=MATRIX), Halt()]

    async def body(host):
        await host.write(Register.INTERRUPT, 1)
        await host.begin(put_program(slave, program))
        await abort_in(host, 60)
        assert await host.read(Register.STATUS) == BUSY
        assert not host.ctx.get(host.machine.interrupt)
        await host.until_done()
        # MATRIX runs from 20 to 220 and is quiet in 221, the cycle that is the last of the run.
        assert host.slave.cycle - host.start == 222
        assert host.ctx.get(host.machine.interrupt)
        assert await host.read(Register.STATUS) == ABORTED
        assert await host.read(Register.CYCLES_LOW) == 221
        assert host.records == [(Unit.VECTOR, 2, 36, 40), (Unit.MATRIX, 0, 20, 220)]
        assert await host.read(Register.INSTRUCTIONS) == 2
        assert await host.read(Register.ERROR) == 0
        await assert_runs(host, slave)
        assert host.ctx.get(host.machine.interrupt)
        await host.write(Register.CONTROL, CLEAR)
        assert not host.ctx.get(host.machine.interrupt)

    on_machine(NANO, slave, body)


def test_tokens_queues_and_fetched_groups_are_gone_after_an_abort(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=50)
    program = [Matmul(rows=1, signal=VECTOR), *[Matmul(rows=60)] * 22, Halt()]

    async def body(host):
        for cycle in (1, 30, 51, 61, 100, 150, 300):
            await host.begin(put_program(slave, program))
            await abort_in(host, cycle)
            assert await until_idle(host) == ABORTED
            assert slave.idle()
            host.records = []
            # With a token left over VECTOR would start at once; with a group left over this would be another program.
            await host.begin(put_program(slave, [Map(wait=MATRIX), Matmul(rows=40, signal=VECTOR), Halt()]))
            await host.until_done()
            assert host.records == [(Unit.MATRIX, 1, 69, 109), (Unit.VECTOR, 0, 110, 111)], cycle

    on_machine(NANO, slave, body)


def test_bursts_in_flight_end_as_axi_demands(on_machine, axi_slave):
    """The slave checks the manners of the port; nothing is asked for that the units did not ask for already."""
    slave = axi_slave(bytearray(1 << 14), 4, latency=70)
    program = [
        Load(words=64, memory=Memory.VALUE, dram_address=4096, signal=STORE),
        Store(words=64, memory=Memory.VALUE, dram_address=8192, wait=LOAD), Load(words=9), Halt(),
    ]  # fmt: skip
    slave.dram[4096:4608] = random.Random(3).randbytes(512)

    async def body(host):
        await host.begin(put_program(slave, program))
        while not any(record[0] is Unit.LOAD for record in host.records):
            await host.step()
        for _ in range(8):  # STORE has begun
            await host.step()
        await host.write(Register.CONTROL, ABORT)
        assert await until_idle(host) == ABORTED
        assert slave.idle()
        assert (Unit.STORE, 1) in [record[:2] for record in host.records]
        assert slave.dram[8192:8704] == slave.dram[4096:4608]  # what has started is done as a whole
        await host.begin(put_program(slave, [Halt()]))
        await host.until_done()

    on_machine(NANO, slave, body)


def test_an_abort_where_nothing_runs_does_nothing(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)

    async def body(host):
        await host.write(Register.CONTROL, ABORT)
        assert await host.read(Register.STATUS) == 0
        await host.write(Register.CONTROL, ABORT | START)  # the abort wins
        for _ in range(30):
            await host.step()
        assert await host.read(Register.STATUS) == 0 and not slave.bursts
        await assert_runs(host, slave)
        await host.write(Register.CONTROL, ABORT)
        assert await until_idle(host) == DONE

    on_machine(NANO, slave, body)


def test_a_start_while_an_abort_drains_waits_and_another_abort_takes_it_back(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)

    async def body(host):
        await host.begin(put_program(slave, [Matmul(rows=300), Matmul(rows=300), Halt()]))
        await abort_in(host, 50)
        await host.begin(put_program(slave, [Matmul(rows=3), Halt()]))
        assert await host.read(Register.STATUS) == BUSY
        assert await until_idle(host) == DONE
        assert host.records == [(Unit.MATRIX, 0, 20, 320), (Unit.MATRIX, 0, 20, 23)]

        await host.begin(put_program(slave, [Matmul(rows=300), Halt()]))
        await abort_in(host, 50)
        await host.write(Register.CONTROL, START)
        await host.write(Register.CONTROL, ABORT)
        assert await host.read(Register.STATUS) == BUSY
        assert await until_idle(host) == ABORTED
        assert len(host.records) == 3
        await assert_runs(host, slave)

    on_machine(NANO, slave, body)


def test_a_start_that_waits_for_an_error_to_drain_can_be_aborted(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)

    async def body(host):
        await host.begin(put_program(slave, [Matmul(rows=300), Matmul(rows=0), Halt()]))
        await host.until_done()
        await host.write(Register.CONTROL, START)
        assert await host.read(Register.STATUS) == BUSY
        await host.write(Register.CONTROL, ABORT)
        assert await until_idle(host) == ABORTED
        assert host.records == [(Unit.MATRIX, 0, 20, host.records[0][3])]
        await assert_runs(host, slave)

    on_machine(NANO, slave, body)


def test_an_error_while_an_abort_drains_ends_the_run_instead(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=40)
    slave.respond = lambda burst: 2 if burst.identifier == 1 and slave.cycle > abort_at[0] else 0
    abort_at = [1 << 30]

    async def body(host):
        await host.begin(put_program(slave, [Load(words=90, dram_address=1024), Halt()]))
        await abort_in(host, 150)
        abort_at[0] = slave.cycle
        await host.until_done()
        assert await until_idle(host) == ERROR
        assert await host.read(Register.ERROR) == ErrorKind.AXI_RESPONSE | LOAD << 8
        abort_at[0] = 1 << 30
        slave.latency = 9
        await assert_runs(host, slave)

    on_machine(NANO, slave, body)


def copies(chooser):
    """A program that keeps LOAD, STORE, KV and the others at work, in which every byte has one right value."""
    program = []
    for step in range(6):
        words, address, place = chooser.randrange(1, 20), 512 * (step % 4), 256 * step
        program += [
            Load(memory=Memory.VALUE, words=words, address=address, dram_address=8192 + place, signal=STORE,
                 wait=STORE if step >= 4 else 0),
            Store(memory=Memory.VALUE, words=words, address=address, dram_address=12288 + place, wait=LOAD,
                  signal=LOAD),
            *[Matmul(rows=chooser.randrange(1, 60), signal=VECTOR), Map(rows=chooser.randrange(1, 20), wait=MATRIX)]
            * chooser.randrange(1, 3),
        ]  # fmt: skip
    program += [
        Load(memory=Memory.WEIGHT, words=8, dram_address=10240, signal=KV),
        Append(part=Part.VALUES, tokens=5, wait=LOAD, pages=3), Stream(blocks=2, pages=3, address=64),
    ]  # fmt: skip
    return [*program, Halt()]


async def abort_and_run_again(host, slave, program, before, aborts, chooser):
    """Aborts at random cycles, each followed by a whole run; yields what there was to see of those."""

    async def whole_run():
        slave.dram[:] = before
        host.records = []
        groups = put_program(slave, program)
        await host.begin(groups)
        await host.until_done()
        status = await until_idle(host)
        return [*host.records], await host.read(Register.CYCLES_LOW), bytes(slave.dram), status

    await host.write(Register.KV_BASE_LOW, 16384)
    await host.write(Register.KV_BYTES_LOW, 4096)
    found = [await whole_run()]
    for _ in range(aborts):
        slave.dram[:] = before
        await host.begin(put_program(slave, program))
        await abort_in(host, chooser.randrange(found[0][1]))
        status = await until_idle(host)
        assert status in (ABORTED, DONE) and slave.idle()
        found.append(await whole_run())
    return found


@pytest.mark.parametrize("seed", [pytest.param(None, marks=pytest.mark.long), 1])
@pytest.mark.parametrize("aborts", [3, pytest.param(25, marks=pytest.mark.long)])
def test_aborts_at_random_cycles_are_followed_by_clean_runs(on_machine, axi_slave, seed, aborts):
    """On a polite slave every run takes the same cycles; on one that stalls at random the bytes are the same."""
    chooser = random.Random(f"{seed} {aborts}")
    before = chooser.randbytes(1 << 15)
    program = copies(chooser)
    slave = axi_slave(bytearray(before), 4, latency=chooser.randrange(5, 40), seed=seed)
    found = []

    async def body(host):
        found.extend(await abort_and_run_again(host, slave, program, before, aborts, chooser))

    on_machine(NANO, slave, body)
    assert len(found) == aborts + 1
    first = found[0]
    assert first[3] == DONE
    for step in range(6):  # what the program copies, by hand
        store = [each for each in program if isinstance(each, Store)][step]
        size = 8 * store.words
        place = 12288 + 256 * step
        assert first[2][place : place + size] == before[place - 4096 : place - 4096 + size]
    for other in found[1:]:
        assert other[2:] == first[2:]
        if seed is None:
            assert other[:2] == first[:2]

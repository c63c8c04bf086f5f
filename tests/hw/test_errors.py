"""hw/errors.py in the accelerator: every kind of error stops the machine, names the guilty, and can be cleared."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.encoding import encode, listing
from heddle.arch.isa import (
    Append,
    Guard,
    Halt,
    Instruction,
    Load,
    Map,
    Matmul,
    Norm,
    OnlineSoftmax,
    Part,
    Quantise,
    Reduce,
    Softmax,
    Source,
    Store,
    Stream,
    Tables,
)
from heddle.arch.registers import ErrorKind, Register
from heddle.hw.errors import ErrorRegister

NANO = PRESETS["nano"]
LOAD, STORE, KV, MATRIX, VECTOR = (1 << u for u in (Unit.LOAD, Unit.STORE, Unit.KV, Unit.MATRIX, Unit.VECTOR))


@dataclass(frozen=True)
class Strange(Instruction):
    """An opcode that the machine does not know."""

    opcode: ClassVar[int] = 63
    unit: ClassVar[Unit | None] = None


def told(ctx, register):
    """The two instructions that an ErrorRegister tells of."""
    found = []
    for number in range(2):
        ctx.set(register.number, number)
        found.append(ctx.get(register.instruction))
    return found


def put_program(slave, instructions):
    code = b"".join(encode(each) for each in instructions)
    code += encode(Halt()) * (-len(instructions) % 8)
    slave.dram[: len(code)] = code
    return len(code) // 256


async def run_to_error(host, slave, instructions):
    """The decoded ERROR register after the program, and the two instructions."""
    await host.begin(put_program(slave, instructions))
    await host.until_done()
    code = await host.read(Register.ERROR)
    instructions = tuple([await host.read(offset) for offset in Register.ERROR_INSTRUCTIONS.offsets])
    return ErrorKind(code & 15), Memory(code >> 4 & 7), code >> 8, instructions


async def assert_recovers(host, slave):
    """Clears the error, and runs a program that must work."""
    await host.write(Register.INTERRUPT, 1)
    assert host.ctx.get(host.machine.interrupt)
    for _ in range(400):  # whatever was under way runs out
        await host.step()
    assert await host.read(Register.STATUS) == Register.STATUS.mask("error")
    await host.write(Register.CONTROL, Register.CONTROL.mask("clear"))
    assert not host.ctx.get(host.machine.interrupt)
    assert await host.read(Register.ERROR) == await host.read(Register.STATUS) == 0
    slave.respond = lambda burst: 0
    host.records = []
    await host.begin(put_program(slave, [Matmul(rows=3), Load(dram_address=512), Halt()]))
    await host.until_done()
    assert await host.read(Register.STATUS) == Register.STATUS.mask("done")
    assert [(unit, index) for unit, index, _, _ in host.records] == [(Unit.MATRIX, 0), (Unit.LOAD, 1)]


def test_an_unknown_opcode_stops_dispatch(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)

    async def body(host):
        found = await run_to_error(host, slave, [Matmul(rows=20), Strange(), Matmul(rows=1), Halt()])
        assert found == (ErrorKind.UNKNOWN_OPCODE, 0, 0, (1, 1))
        await assert_recovers(host, slave)

    on_machine(NANO, slave, body)


def test_what_waits_when_an_error_comes_never_starts(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)

    async def body(host):
        # 1 would start in 60, 2 never; the error comes in 18 + 24.
        await run_to_error(host, slave, [Matmul(rows=40), Matmul(rows=1), Map(wait=LOAD), Strange(), Halt()])
        for _ in range(100):
            await host.step()
        assert [(unit, index) for unit, index, _, _ in host.records] == [(Unit.MATRIX, 0)]
        await assert_recovers(host, slave)

    on_machine(NANO, slave, body)


def test_a_start_after_an_error_waits_for_what_still_runs(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)

    async def body(host):
        await run_to_error(host, slave, [Matmul(rows=200), Strange(), Halt()])
        await host.begin(put_program(slave, [Matmul(rows=3), Halt()]))
        assert await host.read(Register.STATUS) == Register.STATUS.mask("busy")
        await host.until_done()
        assert [record[:2] for record in host.records] == [(Unit.MATRIX, 0)] * 2
        assert host.records[1] == (Unit.MATRIX, 0, 20, 23)
        assert await host.read(Register.INSTRUCTIONS) == 1

    on_machine(NANO, slave, body)


def test_a_bank_conflict_names_memory_units_and_instructions(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 14), 4, latency=9)
    beside = NANO.bank_words(Memory.VALUE)

    async def body(host):
        # The stand-in VECTOR reads word 0 of VALUE for 300 cycles; STORE may read any bank but the first meanwhile.
        program = [
            Matmul(), Map(source=Source.VALUE, rows=300), Store(address=beside, dram_address=4096, words=3),
            Store(address=beside - 4, dram_address=4096, words=9), Halt(),
        ]  # fmt: skip
        found = await run_to_error(host, slave, program)
        assert found == (ErrorKind.BANK_CONFLICT, Memory.VALUE, STORE | VECTOR, (3, 1))
        assert (Unit.STORE, 2) in [record[:2] for record in host.records]
        await assert_recovers(host, slave)

    on_machine(NANO, slave, body)


@pytest.mark.parametrize(
    ("kind", "units", "at"),
    [((False, 0), 0, 0), ((False, 1), LOAD, 2), ((True, 0), STORE, 1), ((False, 2), KV, 4), ((True, 2), KV, 3)],
    ids=["FETCH", "LOAD", "STORE", "KV reads", "KV writes"],
)
def test_a_bad_response_names_who_got_it(on_machine, axi_slave, kind, units, at):
    slave = axi_slave(bytearray(1 << 14), 4, latency=9)
    seen = []

    def respond(burst):
        # The first burst of FETCH must come through, or there is nothing to run; SLVERR for one beat or burst.
        if (burst.write, burst.identifier) == kind:
            seen.append(burst)
        return 2 if seen and len(seen) == (100 if kind == (False, 0) else 3) else 0

    slave.respond = respond

    async def body(host):
        program = [
            Load(words=2), Store(segments=4, dram_stride=64, dram_address=4096), Load(words=9, dram_address=512),
            Append(part=Part.VALUES, tokens=4), Stream(blocks=3, pages=3), *[Matmul(rows=1)] * 13, Halt(),
        ]  # fmt: skip
        await host.write(Register.KV_BASE_LOW, 8192)
        await host.write(Register.KV_BYTES_LOW, 4096)
        found = await run_to_error(host, slave, program)
        assert found[:3] == (ErrorKind.AXI_RESPONSE, 0, units)
        if units:
            assert found[3] == (at, at)
        await assert_recovers(host, slave)

    on_machine(NANO, slave, body)


@pytest.mark.parametrize(
    "work", [Append(part=Part.VALUES, tokens=5), Stream(part=Part.KEYS, blocks=2, pages=2)], ids=lambda work: work.name
)
def test_what_is_beyond_the_cache_stops_the_machine(on_machine, axi_slave, work):
    """A block of 16 bytes, and a region of 16: the second block is not touched."""
    slave = axi_slave(bytearray(1 << 14), 4, latency=9)

    async def body(host):
        await host.write(Register.KV_BASE_LOW, 8192)
        await host.write(Register.KV_BYTES_LOW, 16)
        table = Load(memory=Memory.PAGE, dram_address=1024, words=2, signal=KV)
        found = await run_to_error(
            host, slave, [Matmul(), table, replace(work, pages=2, page_bytes=64, wait=LOAD), Halt()]
        )
        assert found == (ErrorKind.BEYOND_CACHE, 0, KV, (2, 2))
        assert {burst.address & ~15 for burst in slave.bursts if burst.identifier == 2} == {8192}
        await assert_recovers(host, slave)

    slave.dram[1024:1032] = (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
    on_machine(NANO, slave, body)


ILLEGAL = [
    Matmul(rows=0), Matmul(k_tiles=0), Matmul(n_tiles=0, n_register=3), Map(columns=0), Norm(rows=0), Load(words=0),
    Load(segments=0), Load(memory=Memory.ACC), Store(memory=Memory.PAGE), Store(memory=Memory.ROW), Map(planes=3),
    Quantise().changed(codes=3), Quantise().changed(digit=3), Map().changed(function=5), Append(part=Part.KEYS),
    Tables(entries=0),
    Append(heads=0), Append().changed(part=3),
    Stream(blocks=0), Stream(token_words=0), Softmax(columns=0), OnlineSoftmax(rows=0), Reduce(columns=0),
    Reduce(count=0), Reduce().changed(kind=3), Reduce().changed(results=3),
    Matmul(wait=1 << 7), Map(signal=1 << 7), Halt(wait=1), Halt(signal=1 << 7), Guard(signal=1), Guard(wait=1 << 7),
]  # fmt: skip


@pytest.mark.parametrize("instruction", ILLEGAL, ids=lambda each: listing(each).replace(" ", ""))
def test_an_instruction_that_no_unit_can_execute_stops_the_machine(on_machine, axi_slave, instruction):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)

    async def body(host):
        await host.begin(put_program(slave, [Matmul(rows=20), instruction, Matmul(rows=1), Halt()]))
        await host.until_done()
        assert await host.read(Register.STATUS) & Register.STATUS.mask("done") == 0
        assert await host.read(Register.ERROR) == ErrorKind.ILLEGAL_INSTRUCTION
        assert [await host.read(each) for each in Register.ERROR_INSTRUCTIONS.offsets] == [1, 1]
        # It is the next one in 19 + 8, and the error is up a cycle later: the last of the run.
        assert await host.read(Register.CYCLES_LOW) == 28
        for _ in range(120):
            await host.step()
        assert [record[:2] for record in host.records] == [(Unit.MATRIX, 0)]
        assert await host.read(Register.STATUS) == Register.STATUS.mask("error")

    on_machine(NANO, slave, body)


@pytest.mark.parametrize("groups", [0, 1, 2])
def test_a_program_without_halt_is_an_error(on_machine, axi_slave, groups):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    put_program(slave, [Matmul(rows=30 if i == 0 else 1) for i in range(16)])

    async def body(host):
        await host.begin(groups)
        await host.until_done()
        kind = ErrorKind.NO_HALT if groups else ErrorKind.NO_PROGRAM
        assert await host.read(Register.ERROR) == kind
        assert [await host.read(each) for each in Register.ERROR_INSTRUCTIONS.offsets] == [8 * groups] * 2
        assert len(slave.bursts) == groups
        await assert_recovers(host, slave)

    on_machine(NANO, slave, body)


@pytest.mark.parametrize(
    ("program", "units", "instructions"),
    [
        ([Map(wait=MATRIX), Halt()], VECTOR, (0, 0)),
        ([Map(wait=LOAD, signal=LOAD), Load(wait=VECTOR), Matmul(rows=30), Halt()], VECTOR | LOAD, (1, 0)),
        ([Matmul(rows=60), Map(wait=MATRIX), *[Map()] * 9, Halt()], VECTOR, (1, 1)),  # before a full queue
        ([Matmul(rows=2, signal=VECTOR), Map(wait=MATRIX), Map(wait=MATRIX), Halt()], VECTOR, (2, 2)),
        ([Guard(count=1), Map(wait=MATRIX), Halt()], VECTOR, (1, 1)),
    ],
    ids=["halted", "circle", "full", "one token short", "void"],
)
def test_a_deadlock_names_who_waits(on_machine, axi_slave, program, units, instructions):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)

    async def body(host):
        found = await run_to_error(host, slave, program)
        assert found == (ErrorKind.DEADLOCK, 0, units, instructions)
        runs = sum(isinstance(each, Matmul) for each in program)
        assert [record[0] for record in host.records].count(Unit.MATRIX) == runs
        await assert_recovers(host, slave)

    on_machine(NANO, slave, body)


def test_a_token_that_comes_late_is_no_deadlock(on_machine, axi_slave):
    """Whatever is still under way may send it: a unit, a LOAD on a slow bus, an instruction that is not fetched yet."""
    slave = axi_slave(bytearray(1 << 12), 4, latency=400)

    async def body(host):
        program = [
            Map(wait=LOAD), Map(wait=STORE), *[Matmul(rows=1)] * 14, Load(signal=VECTOR, dram_address=2048),
            Store(dram_address=3072, signal=VECTOR), Halt(),
        ]  # fmt: skip
        await host.begin(put_program(slave, program))
        await host.until_done()
        assert await host.read(Register.STATUS) & 0b110 == Register.STATUS.mask("done")

    on_machine(NANO, slave, body)


def test_a_bad_response_to_what_comes_after_halt_is_no_error(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    slave.respond = lambda burst: 2 if burst.identifier == 0 and burst.address >= 256 else 0

    async def body(host):
        program = [Matmul(rows=300), Halt(), *[Matmul()] * 14]
        await host.begin(put_program(slave, program))
        await host.until_done()
        for _ in range(100):
            await host.step()
        assert len(slave.bursts) == 2 and slave.idle()
        assert await host.read(Register.STATUS) == Register.STATUS.mask("done")
        assert await host.read(Register.ERROR) == 0
        # The same before halt: the instruction that came with it is at fault, when its turn comes.
        found = await run_to_error(host, slave, [Matmul(rows=1)] * 10)
        assert found == (ErrorKind.AXI_RESPONSE, 0, 0, (8, 8))
        assert [record[1] for record in host.records] == [0, *range(8)]
        await assert_recovers(host, slave)

    on_machine(NANO, slave, body)


def test_a_conflict_in_the_last_cycle_of_an_instruction_names_it(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 14), 4, latency=9)

    async def body(host):
        # Map reads in each of the 40 cycles to its retirement; STORE is made to read in the last one only.
        for shift in range(30, 60):
            program = [Map(source=Source.VALUE, rows=40), *[Matmul()] * 2, Store(address=0, dram_address=4096), Halt()]
            program[1] = Matmul(rows=shift, signal=STORE)
            program[3] = Store(address=0, dram_address=4096, wait=MATRIX)
            await host.begin(put_program(slave, program))
            await host.until_done()
            if await host.read(Register.STATUS) & Register.STATUS.mask("error"):
                instructions = [await host.read(each) for each in Register.ERROR_INSTRUCTIONS.offsets]
                assert await host.read(Register.ERROR) & 15 == ErrorKind.BANK_CONFLICT
                assert instructions == [3, 0], shift
            for _ in range(100):
                await host.step()

    on_machine(NANO, slave, body)


BASE, SIZE = 0x2000, 0x1000
GOOD = Load(memory=Memory.VALUE, words=9, dram_address=512)
BEYOND = {  # program, units, instruction
    "LOAD": ([Load(dram_address=SIZE - 64, words=17), Halt()], LOAD, 0),
    "the last of three LOADs in flight": ([Matmul(), GOOD, GOOD, Load(dram_address=SIZE), Halt()], LOAD, 3),
    "gather": ([Load(memory=Memory.INDEX), replace(GOOD, gather=1, dram_stride=1 << 20), Halt()], LOAD, 1),
    "STORE": ([Store(words=2), Store(dram_address=SIZE - 4, words=2), Halt()], STORE, 1),
    "FETCH": ([*[Matmul(rows=1)] * 20, Halt()], 0, 16),
}


@pytest.mark.parametrize("case", BEYOND)
def test_what_is_beyond_dram_stops_the_machine(on_machine, axi_slave, case):
    """Of the region from 0x2000 on, at whose end the program of FETCH has two groups of its three."""
    program, units, at = BEYOND[case]
    slave = axi_slave(bytearray(1 << 14), 4, latency=9)

    async def body(host):
        host.base = BASE
        place = SIZE - 512 if case == "FETCH" else 0
        code = b"".join(encode(each) for each in program) + encode(Halt()) * (-len(program) % 8)
        slave.dram[BASE + place : BASE + place + len(code)] = code
        slave.dram[0:4] = slave.dram[BASE : BASE + 4]  # only the base tells whether it is read
        await host.begin(len(code) // 256, place, SIZE)
        await host.until_done()
        code = await host.read(Register.ERROR)
        named = [await host.read(offset) for offset in Register.ERROR_INSTRUCTIONS.offsets]
        assert (code & 15, code >> 8) == (ErrorKind.BEYOND_DRAM, units)
        assert named == [at, at]
        assert all(b.address >= BASE and b.address + b.beats * b.beat_bytes <= BASE + SIZE for b in slave.bursts)
        host.base = 0
        await assert_recovers(host, slave)

    on_machine(NANO, slave, body)


def test_a_region_that_is_written_during_a_run_is_that_of_the_next(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 14), 4, latency=9)

    async def body(host):
        groups = put_program(slave, [*[Load(words=20, dram_address=512)] * 14, Halt()])
        await host.begin(groups)
        await host.write(Register.DRAM_BYTES_LOW, 0)
        await host.write(Register.DRAM_BASE_HIGH, 7)
        await host.until_done()
        assert await host.read(Register.STATUS) == Register.STATUS.mask("done")
        await host.write(Register.CONTROL, Register.CONTROL.mask("start"))
        await host.until_done()
        assert await host.read(Register.ERROR) == ErrorKind.BEYOND_DRAM

    on_machine(NANO, slave, body)


def test_the_first_error_stays_and_the_first_of_many_wins():
    register = ErrorRegister()

    async def bench(ctx):
        for unit in Unit:
            ctx.set(register.executing[unit], 100 + unit)
            ctx.set(register.heads[unit], 200 + unit)
        ctx.set(register.next_index, 99)
        ctx.set(register.illegal, 1)
        await ctx.tick()
        assert not ctx.get(register.error)  # no run is on
        ctx.set(register.illegal, 0)
        ctx.set(register.watch, 1)
        ctx.set(register.overflow_units, LOAD | VECTOR | STORE)
        ctx.set(register.overflow, 1)
        ctx.set(register.unknown, 1)
        await ctx.tick()
        ctx.set(register.overflow, 0)
        expected = ErrorKind.SEMAPHORE_OVERFLOW | (LOAD | VECTOR | STORE) << 8
        for _ in range(2):
            assert ctx.get(register.error) and ctx.get(register.code) == expected
            assert told(ctx, register) == [100 + Unit.LOAD, 100 + Unit.VECTOR]
            await ctx.tick()
        ctx.set(register.unknown, 0)
        ctx.set(register.clear, 1)
        await ctx.tick()
        ctx.set(register.clear, 0)
        assert not ctx.get(register.error)
        ctx.set(register.unknown, 1)
        await ctx.tick()
        assert ctx.get(register.code) == ErrorKind.UNKNOWN_OPCODE
        assert told(ctx, register) == [99, 99]
        # An error wins over clear in the same cycle, also over one that is there.
        ctx.set(register.unknown, 0)
        ctx.set(register.deadlock, 1)
        ctx.set(register.waiting, LOAD | KV)
        ctx.set(register.clear, 1)
        assert ctx.get(register.raised)
        await ctx.tick()
        ctx.set(register.deadlock, 0)
        assert ctx.get(register.error) and ctx.get(register.code) == ErrorKind.DEADLOCK | (LOAD | KV) << 8
        assert told(ctx, register) == [200 + Unit.LOAD, 200 + Unit.KV]
        await ctx.tick()
        assert not ctx.get(register.error) and ctx.get(register.code) == 0

    simulator = Simulator(register)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

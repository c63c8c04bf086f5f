"""hw/dispatch.py, hw/lane.py and hw/semaphores.py in the accelerator: programs worked out by hand, to the cycle.

Units other than LOAD and STORE are stand-ins that execute for `rows` cycles. On nano a beat of FETCH is 4 bytes, so
instruction i of the first group arrives, at latency L, in cycle 1 + L + 8·i + 7.
"""

from dataclasses import replace

import pytest
from amaranth import Array, Module
from amaranth.sim import Simulator
from heddle.arch.config import DISPATCH_CYCLES, PRESETS, SCALAR_COUNT, Memory, Unit
from heddle.arch.encoding import decode, encode, encoding
from heddle.arch.isa import Append, Guard, Halt, Load, Map, Matmul, OnlineSoftmax, Store, Stream
from heddle.arch.registers import Register
from heddle.hw.decode import Decode
from heddle.hw.dispatch import Dispatch, unit_name
from heddle.hw.lane import used_bits

NANO = PRESETS["nano"]
LOAD, STORE, MATRIX, VECTOR = (1 << unit for unit in (Unit.LOAD, Unit.STORE, Unit.MATRIX, Unit.VECTOR))


def test_the_smallest_program_ends_with_the_arrival_of_halt(run_program, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    host = run_program(NANO, [Halt()], slave)
    assert host.grants() == [(1, False, 0)]
    arrival = 1 + 9 + 7
    assert host.cycles == arrival + DISPATCH_CYCLES  # when all is idle
    assert host.status & 0b110 == 0b010


def test_instructions_start_in_the_cycle_after_their_dispatch(run_program, axi_slave):
    program = [Matmul(rows=5), Map(rows=3), Matmul(rows=4), Halt()]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    # Arrivals 17, 25, 33, 41; dispatched two cycles later, and started in the next one.
    assert host.records == [(Unit.MATRIX, 0, 20, 25), (Unit.VECTOR, 1, 28, 31), (Unit.MATRIX, 2, 36, 40)]
    assert host.cycles == 43


def test_a_unit_starts_the_next_in_the_cycle_after_a_retirement(run_program, axi_slave):
    host = run_program(NANO, [Matmul(rows=30), Matmul(rows=2), Halt()], axi_slave(bytearray(1 << 12), 4, latency=9))
    assert host.records == [(Unit.MATRIX, 0, 20, 50), (Unit.MATRIX, 1, 51, 53)]
    assert host.cycles == 54  # halt came in 33 and waits; MATRIX is idle from 54 on


def test_dispatch_waits_for_a_place_in_the_queue_and_nothing_overtakes(run_program, axi_slave):
    program = [Matmul(rows=200), *[Matmul(rows=1)] * 5, Map(rows=1), Halt()]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    # Instructions 1 to 4 fill the queue. 1 starts in 221, so that 5 is dispatched in 222, and 6 after it.
    starts = {index: start for _, index, start, _ in host.records}
    assert starts == {0: 20, 1: 221, 2: 223, 3: 225, 4: 227, 5: 229, 6: 224}


def test_a_program_that_fits_the_queues_is_dispatched_as_it_arrives(run_program, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 8, latency=4)
    host = run_program(PRESETS["small"], [Matmul(rows=1)] * 12 + [Halt()], slave)
    # On small an instruction takes 4 beats: arrivals 1 + 4 + 4·i + 3.
    assert [start for _, _, start, _ in host.records] == [11 + 4 * i for i in range(12)]


def test_fetch_keeps_at_most_two_groups_in_hand(run_program, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    host = run_program(NANO, [Matmul(rows=1)] * 32 + [Halt()], slave)
    # Beats of the first two groups come without a gap, so d(i) = 19 + 8·i; each next group is asked for in the cycle
    # after the last dispatch of a group, and comes when the bus is free, 64 beats later.
    assert [cycle for cycle, _, _ in host.grants()] == [1, 2, 19 + 56 + 1, 19 + 64 + 56 + 1, 19 + 128 + 56 + 1]
    assert [start for _, _, start, _ in host.records] == [20 + 8 * i for i in range(32)]


def test_a_wait_takes_the_token_from_the_cycle_after_the_retirement(run_program, axi_slave):
    program = [Map(rows=3, wait=MATRIX), Matmul(rows=10, signal=VECTOR), Halt()]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    assert host.records == [(Unit.MATRIX, 1, 28, 38), (Unit.VECTOR, 0, 39, 42)]


def test_tokens_are_counted_and_all_waits_must_be_met(run_program, axi_slave):
    program = [
        Matmul(rows=1, signal=VECTOR),  # 0: starts in 20
        Matmul(rows=1, signal=VECTOR),  # 1: 28
        Map(rows=20, wait=MATRIX, signal=MATRIX),  # 2: 36
        Map(rows=1, wait=MATRIX),  # 3: takes the second token as soon as VECTOR is free
        Matmul(rows=2, wait=VECTOR),  # 4
        Map(rows=1, wait=MATRIX),  # 5: no token comes but the one of 6
        Matmul(rows=5, signal=VECTOR),  # 6
        Halt(),
    ]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    starts = {index: start for _, index, start, _ in host.records}
    assert starts == {0: 20, 1: 28, 2: 36, 3: 57, 4: 57, 5: 74, 6: 68}


def test_fetch_comes_before_store_and_store_before_load(run_program, axi_slave):
    config = replace(NANO, load_outstanding=64)
    segments = Load(memory=Memory.ACT, segments=60, stride=1, dram_address=2048)
    program = [segments, Store(memory=Memory.VALUE, dram_address=3072), *[Matmul(rows=1)] * 14, Halt()]
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    host = run_program(config, program, slave)
    others = [(cycle, write, identifier) for cycle, write, identifier in host.grants() if (write, identifier) != (0, 1)]
    # STORE is dispatched in 27: q = 29, request in 29 + 2 + 2. FETCH asks for its third group in 19 + 56 + 1.
    assert others == [(1, False, 0), (2, False, 0), (33, True, 0), (76, False, 0)]
    loads = [cycle for cycle, write, identifier in host.grants() if (write, identifier) == (0, 1)]
    assert loads == [cycle for cycle in range(22, 84) if cycle not in (33, 76)]


def test_load_runs_ahead_and_its_records_stay_apart(run_program, axi_slave):
    loads = [Load(memory=Memory.ACT, address=i, dram_address=2048 + 64 * i, signal=MATRIX * (i == 2)) for i in range(4)]
    program = [Map(rows=100, signal=LOAD), replace(loads[0], wait=VECTOR), *loads[1:], Matmul(wait=LOAD), Halt()]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=20))
    # Cycle 0 of FETCH's beats is 21, so Map starts in 31 and retires in 131. Then a LOAD every third cycle, while all
    # of the beats are still to come: 134 + 20 is the first.
    assert [record for record in host.records if record[0] is Unit.LOAD] == [
        (Unit.LOAD, 1 + i, 132 + 3 * i, 134 + 3 * i + 20 + 1) for i in range(4)
    ]
    assert (Unit.MATRIX, 5, 162, 163) in host.records  # the token of the third LOAD, which retires in 161


def test_records_and_bits_are_the_same_in_a_second_run(on_machine, axi_slave):
    program = [Matmul(rows=9, signal=VECTOR), Map(rows=4, wait=MATRIX), Matmul(), Halt()] + [Halt()] * 12
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    slave.dram[:512] = b"".join(encode(each) for each in program)
    seen = []

    async def body(host):
        for _ in range(3):
            host.records = []
            await host.begin(2)
            await host.until_done()
            # The next start comes while the beats behind the first halt still flow: it must wait for them.
            seen.append((host.records, await host.read(Register.CYCLES_LOW)))
            assert not slave.idle()

    on_machine(NANO, slave, body)
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0][0]) == 3


# -- scalar registers and guards -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "work",
    [
        Matmul(n_tiles=99, n_register=4, n_offset=2, wait=VECTOR, accumulate=1),
        OnlineSoftmax(columns=99, register=9, wait=VECTOR),
        Append(block=7, block_register=5, slot_register=1, wait=VECTOR),
        Stream(blocks=9, count_register=2, wait=VECTOR),
    ],
    ids=lambda work: work.name,
)
def test_a_unit_gets_what_the_registers_make_of_an_instruction(work):
    dispatch, decoder = Dispatch(NANO), Decode(NANO)
    scalars = [0, *(3 * number for number in range(1, SCALAR_COUNT))]
    m = Module()
    m.submodules += [dispatch, decoder]
    m.d.comb += [
        dispatch.word.eq(decoder.i),
        dispatch.word_units.eq(decoder.o.units),
        dispatch.i_decoded.eq(decoder.o),
        *(scalar.eq(Array(scalars)[number]) for scalar, number in zip(decoder.scalars, decoder.numbers, strict=True)),
    ]

    async def bench(ctx):
        ctx.set(dispatch.run, 1)
        ctx.set(decoder.i, int.from_bytes(encode(work), "little"))
        ctx.set(dispatch.arrives, 1)
        await ctx.tick()
        ctx.set(dispatch.arrives, 0)
        await ctx.tick().repeat(DISPATCH_CYCLES - 1)
        ctx.set(dispatch.i_valid, 1)
        assert ctx.get(dispatch.i_take)
        await ctx.tick()
        shown = ctx.get(getattr(dispatch, unit_name(work.unit)).instruction)
        shown = decode(shown.to_bytes(32, "little"))
        names = {name: 0 for name in encoding(type(work)) if name.endswith("register")}  # no unit looks at those
        assert replace(shown, **names) == work.resolved(scalars, NANO)
        assert int.from_bytes(encode(shown), "little") < 1 << used_bits(work.unit)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("value", [0, 4, 5, (1 << 32) - 1])
def test_a_guard_makes_the_next_void_unless_its_register_is_above(value, run_program, axi_slave):
    program = [
        Guard(register=31, threshold=4, count=2),
        Matmul(rows=5, signal=VECTOR),
        Matmul(rows=7),
        Map(rows=3, wait=MATRIX),
        Halt(),
    ]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9), scalars={31: value})
    retires = (33, 43) if value > 4 else (29, 37)
    assert host.records == [
        (Unit.MATRIX, 1, 28, retires[0]),
        (Unit.MATRIX, 2, 36, retires[1]),
        (Unit.VECTOR, 3, 44, 47),
    ]
    assert host.instructions == 3
    assert host.busy[Unit.MATRIX] == (6 + 8 if value > 4 else 2 + 2)
    assert host.cycles == 51  # with the last halt to come


def test_a_void_instruction_waits_and_signals(run_program, axi_slave):
    program = [
        Guard(count=1),  # register 0 is not above anything
        Map(rows=9, wait=MATRIX, signal=MATRIX),  # 1: 28, but for its token
        Matmul(rows=10, signal=VECTOR),  # 2: 36
        Matmul(rows=2, wait=VECTOR),
        Halt(),
    ]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    assert host.records == [(Unit.MATRIX, 2, 36, 46), (Unit.VECTOR, 1, 47, 48), (Unit.MATRIX, 3, 49, 51)]
    assert host.waiting[Unit.VECTOR] == 47 - 28
    assert host.busy[Unit.VECTOR] == 2


def test_guards_count_themselves_and_a_new_one_replaces_the_old(run_program, axi_slave):
    program = [
        Guard(count=9),
        Matmul(rows=5),  # void
        Guard(register=1, count=2),  # holds: it makes nothing void
        Matmul(rows=5),
        Guard(count=2),
        Matmul(rows=5),  # void
        Map(rows=5),  # void
        Matmul(rows=5),
        Guard(count=9),
        Guard(count=0),
        Matmul(rows=5),
        Guard(count=9),
        Halt(),
    ]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9), scalars={1: 1})
    durations = {index: retire - start for _, index, start, retire in host.records}
    assert durations == {1: 1, 3: 5, 5: 1, 6: 1, 7: 5, 10: 5}
    assert [start for _, _, start, _ in host.records] == [20 + 8 * index for index in durations]
    assert host.cycles == 19 + 8 * 12


def test_an_instruction_held_up_before_a_full_queue_is_counted_once(run_program, axi_slave):
    program = [Matmul(rows=200), *[Matmul(rows=1)] * 4, Guard(count=1), Matmul(rows=9), Matmul(rows=3), Halt()]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    # Instructions 1 to 4 fill the queue; the first of them starts in 221. 6 is void, 7 is not.
    assert host.records[5:] == [(Unit.MATRIX, 6, 229, 230), (Unit.MATRIX, 7, 231, 234)]


def test_a_void_load_does_not_overlap_and_asks_for_nothing(run_program, axi_slave):
    loads = [Load(memory=Memory.ACT, address=i, dram_address=2048 + 64 * i) for i in range(4)]
    program = [
        Map(rows=100, signal=LOAD),
        replace(loads[0], wait=VECTOR),
        loads[1],
        Guard(count=1),
        replace(loads[2], signal=MATRIX),
        loads[3],
        Matmul(wait=LOAD),
        Halt(),
    ]
    slave = axi_slave(bytearray(1 << 12), 4, latency=20)
    host = run_program(NANO, program, slave)
    # Map starts in 31 and retires in 131. A request is granted in s + 2, its beat comes 20 later.
    assert [record[1:] for record in host.records if record[0] is Unit.LOAD] == [
        (1, 132, 155), (2, 135, 158), (4, 159, 160), (5, 161, 184),
    ]  # fmt: skip
    assert (Unit.MATRIX, 6, 161, 162) in host.records
    assert [burst.address for burst in slave.bursts if burst.identifier] == [2048, 2048 + 64, 2048 + 192]


def test_a_void_store_leaves_dram_alone(run_program, axi_slave):
    slave = axi_slave(bytearray(b"?" * (1 << 12)), 4, latency=9)
    store = Store(memory=Memory.VALUE, dram_address=3072)
    host = run_program(NANO, [Guard(count=1), store, replace(store, dram_address=2048), Halt()], slave)
    assert host.records[0] == (Unit.STORE, 1, 28, 29)
    assert slave.dram[3072:3080] == b"?" * 8 and slave.dram[2048:2056] == bytes(8)


def test_a_guard_ends_with_its_run(on_machine, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)

    async def body(host):
        for program in ([Guard(count=9), Halt()], [Matmul(rows=5), Halt()]):
            code = b"".join(encode(each) for each in (*program, *[Halt()] * 6))
            slave.dram[: len(code)] = code
            await host.begin(1)
            await host.until_done()
        assert host.records == [(Unit.MATRIX, 0, 20, 25)]

    on_machine(NANO, slave, body)

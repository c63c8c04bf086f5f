"""hw/dispatch.py, hw/lane.py and hw/semaphores.py in the accelerator: programs worked out by hand, to the cycle.

Units other than LOAD and STORE are stand-ins that execute for `rows` cycles. On nano a beat of FETCH is 4 bytes, so
instruction i of the first group arrives, at latency L, in cycle 1 + L + 8·i + 7.
"""

from dataclasses import replace

from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import Halt, Load, Map, Matmul, Store, encode
from heddle.hw import csr

NANO = PRESETS["nano"]
LOAD, STORE, MATRIX, VECTOR = (1 << unit for unit in (Unit.LOAD, Unit.STORE, Unit.MATRIX, Unit.VECTOR))


def test_the_smallest_program_ends_with_the_arrival_of_halt(run_program, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    host = run_program(NANO, [Halt()], slave)
    assert host.grants() == [(1, False, 0)]
    arrival = 1 + 9 + 7
    assert host.cycles == arrival + 1  # dispatched in the cycle after, when all is idle
    assert host.status & 0b110 == 0b010


def test_instructions_start_in_the_cycle_after_their_dispatch(run_program, axi_slave):
    program = [Matmul(rows=5), Map(rows=3), Matmul(rows=4), Halt()]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    # Arrivals 17, 25, 33, 41; dispatched and started in the two cycles that follow.
    assert host.records == [(Unit.MATRIX, 0, 19, 24), (Unit.VECTOR, 1, 27, 30), (Unit.MATRIX, 2, 35, 39)]
    assert host.cycles == 42


def test_a_unit_starts_the_next_in_the_cycle_after_a_retirement(run_program, axi_slave):
    host = run_program(NANO, [Matmul(rows=30), Matmul(rows=2), Halt()], axi_slave(bytearray(1 << 12), 4, latency=9))
    assert host.records == [(Unit.MATRIX, 0, 19, 49), (Unit.MATRIX, 1, 50, 52)]
    assert host.cycles == 53  # halt came in 33 and waits; MATRIX is idle from 53 on


def test_dispatch_waits_for_a_place_in_the_queue_and_nothing_overtakes(run_program, axi_slave):
    program = [Matmul(rows=200), *[Matmul(rows=1)] * 5, Map(rows=1), Halt()]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    # Instructions 1 to 4 fill the queue. 1 starts in 220, so that 5 is dispatched in 221, and 6 after it.
    starts = {index: start for _, index, start, _ in host.records}
    assert starts == {0: 19, 1: 220, 2: 222, 3: 224, 4: 226, 5: 228, 6: 223}


def test_a_program_that_fits_the_queues_is_dispatched_as_it_arrives(run_program, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 8, latency=4)
    host = run_program(PRESETS["small"], [Matmul(rows=1)] * 12 + [Halt()], slave)
    # On small an instruction takes 4 beats: arrivals 1 + 4 + 4·i + 3.
    assert [start for _, _, start, _ in host.records] == [10 + 4 * i for i in range(12)]


def test_fetch_keeps_at_most_two_groups_in_hand(run_program, axi_slave):
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    host = run_program(NANO, [Matmul(rows=1)] * 32 + [Halt()], slave)
    # Beats of the first two groups come without a gap, so d(i) = 18 + 8·i; each next group is asked for in the cycle
    # after the last dispatch of a group, and comes when the bus is free, 64 beats later.
    assert [cycle for cycle, _, _ in host.grants()] == [1, 2, 18 + 56 + 1, 18 + 64 + 56 + 1, 18 + 128 + 56 + 1]
    assert [start for _, _, start, _ in host.records] == [19 + 8 * i for i in range(32)]


def test_a_wait_takes_the_token_from_the_cycle_after_the_retirement(run_program, axi_slave):
    program = [Map(rows=3, wait=MATRIX), Matmul(rows=10, signal=VECTOR), Halt()]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    assert host.records == [(Unit.MATRIX, 1, 27, 37), (Unit.VECTOR, 0, 38, 41)]


def test_tokens_are_counted_and_all_waits_must_be_met(run_program, axi_slave):
    program = [
        Matmul(rows=1, signal=VECTOR),  # 0: starts in 19
        Matmul(rows=1, signal=VECTOR),  # 1: 27
        Map(rows=20, wait=MATRIX, signal=MATRIX),  # 2: 35
        Map(rows=1, wait=MATRIX),  # 3: takes the second token as soon as VECTOR is free
        Matmul(rows=2, wait=VECTOR),  # 4
        Map(rows=1, wait=MATRIX),  # 5: no token comes but the one of 6
        Matmul(rows=5, signal=VECTOR),  # 6
        Halt(),
    ]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=9))
    starts = {index: start for _, index, start, _ in host.records}
    assert starts == {0: 19, 1: 27, 2: 35, 3: 56, 4: 56, 5: 73, 6: 67}


def test_fetch_comes_before_store_and_store_before_load(run_program, axi_slave):
    config = replace(NANO, load_outstanding=64)
    segments = Load(memory=Memory.ACT, segments=60, stride=1, dram_address=2048)
    program = [segments, Store(memory=Memory.VALUE, dram_address=3072), *[Matmul(rows=1)] * 14, Halt()]
    slave = axi_slave(bytearray(1 << 12), 4, latency=9)
    host = run_program(config, program, slave)
    others = [(cycle, write, identifier) for cycle, write, identifier in host.grants() if (write, identifier) != (0, 1)]
    # STORE is dispatched in 26: q = 28, request in 28 + 2 + 1. FETCH asks for its third group in 18 + 56 + 1.
    assert others == [(1, False, 0), (2, False, 0), (31, True, 0), (75, False, 0)]
    loads = [cycle for cycle, write, identifier in host.grants() if (write, identifier) == (0, 1)]
    assert loads == [cycle for cycle in range(20, 82) if cycle not in (31, 75)]


def test_load_runs_ahead_and_its_records_stay_apart(run_program, axi_slave):
    loads = [Load(memory=Memory.ACT, address=i, dram_address=2048 + 64 * i, signal=MATRIX * (i == 2)) for i in range(4)]
    program = [Map(rows=100, signal=LOAD), replace(loads[0], wait=VECTOR), *loads[1:], Matmul(wait=LOAD), Halt()]
    host = run_program(NANO, program, axi_slave(bytearray(1 << 12), 4, latency=20))
    # Cycle 0 of FETCH's beats is 21, so Map starts in 30 and retires in 130. Then a LOAD every second cycle, while all
    # of the beats are still to come: 132 + 20 is the first.
    assert [record for record in host.records if record[0] is Unit.LOAD] == [
        (Unit.LOAD, 1 + i, 131 + 2 * i, 132 + 2 * i + 20 + 1) for i in range(4)
    ]
    assert (Unit.MATRIX, 5, 158, 159) in host.records  # the token of the third LOAD, which retires in 157


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
            seen.append((host.records, await host.read(csr.CYCLES_LOW)))
            assert not slave.idle()

    on_machine(NANO, slave, body)
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0][0]) == 3

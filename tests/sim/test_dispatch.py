"""Dispatch: registers, guards and what they make void, by hand."""

from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Append, Guard, Halt, Load, Map, Matmul, Norm, OnlineSoftmax, Softmax, Source, Store, Stream
from heddle.arch.kinds import sort_into_kinds
from heddle.arch.program import Program
from heddle.sim.dispatch import dispatched, dispatched_kinds
from heddle.sim.engine import timing_of
from heddle.sim.machine import Machine, simulate

LOAD, STORE, KV, MATRIX, VECTOR, SOFTMAX, NORM = (1 << unit for unit in Unit)


def scalars(**values):
    """Registers r1, r2 …"""
    found = [0] * 32
    for name, value in values.items():
        found[int(name[1:])] = value
    return found


def voids(instructions, **values):
    found = [each.void for each in dispatched(instructions, scalars(**values), PRESETS["nano"])]
    by_kind = dispatched_kinds(sort_into_kinds(instructions), scalars(**values), PRESETS["nano"])
    assert by_kind.void.tolist() == found
    return found


def test_a_guard_lets_pass_what_is_above_its_threshold():
    program = [Guard(register=3, threshold=4, count=2), Load(), Map(columns=4), Store(), Halt()]
    assert voids(program, r3=5) == [False] * 5
    assert voids(program, r3=4) == [False, True, True, False, False]
    assert voids([Guard(count=1), Load(), Halt()]) == [False, True, False], "register 0 is 0"


def test_guards_and_halts_are_counted_but_never_void():
    assert voids([Guard(count=9), Load(), Halt(), Load()]) == [False, True, False]
    # The second guard, itself within the first one's reach, starts its own count.
    program = [Guard(register=1, count=3), Load(), Guard(register=2, count=1), Load(), Load(), Halt()]
    assert voids(program) == [False, True, False, True, False, False]
    assert voids(program, r2=1) == [False, True, False, False, False, False]
    assert voids([Guard(count=3), Guard(register=1, count=0), Load(), Halt()])[2] is False


def test_registers_are_resolved(nano):
    matmul, stream = Matmul(k_tiles=5, k_register=1, k_offset=2, n_tiles=7), Stream(blocks=3, count_register=2)
    found = dispatched([matmul, stream, Halt()], scalars(r1=6, r2=1 << 31), nano)
    assert [each.instruction for each in found[:2]] == [Matmul(k_tiles=4, k_offset=2, n_tiles=7), Stream(blocks=3)]
    assert dispatched([matmul], scalars(), nano)[0].instruction.k_tiles == 1


def run(config, *instructions, latency=1, **values):
    """By both engines."""
    groups, memory = -(-len(instructions) // 8), replace(config.dram, latency_cycles=latency)
    found = Machine(config, instructions, groups, memory, scalars(**values)).run()
    work = dispatched_kinds(sort_into_kinds(instructions), scalars(**values), config)
    assert timing_of(config, work, groups, memory) == found
    return found


def passages(timing):
    return list(zip(timing.start, timing.retire, strict=True))


def test_a_guard_is_dispatched_to_no_queue_and_void_instructions_take_one_cycle(nano):
    # d(i) = 11 + 8·i.
    found = run(nano, Guard(count=2), Map(columns=4, source=Source.VALUE), Norm(columns=4), Halt())
    assert found.dispatched == [11, 19, 27, 35]
    assert passages(found)[:3] == [(-1, -1), (20, 21), (28, 29)]
    assert found.cycles == 35


def test_void_instructions_wait_and_signal_like_any_other(nano):
    found = run(
        nano, Map(columns=4, source=Source.VALUE, signal=NORM), Guard(count=1),
        Norm(columns=4, wait=VECTOR, signal=STORE), Store(wait=NORM), Halt(),
    )  # fmt: skip
    vector = 12 + 2 + 2 + nano.vector_map_cycles
    assert found.retire[0] == vector
    assert passages(found)[2] == (vector + 1, vector + 2)
    assert found.start[3] == vector + 3


@pytest.mark.parametrize(
    "instruction",
    [Load(words=40), Load(gather=1, dram_stride=64), Store(words=40), Append(tokens=9), Stream(), Matmul(rows=9),
     Map(columns=9), Softmax(columns=9), OnlineSoftmax(columns=9, scales_address=8, state_address=16), Norm(columns=9)],
    ids=lambda each: each.name,
)  # fmt: skip
def test_every_instruction_can_be_void(nano, instruction):
    found = run(nano, Guard(count=1), instruction, instruction, Halt())
    assert passages(found)[1] == (20, 21)
    assert found.retire[2] > found.start[2] + 1, "the next one is carried out"


def test_a_void_load_waits_until_nothing_is_in_flight_and_the_next_load_for_it(nano):
    long, short = Load(words=40), Load(words=1)
    found = run(nano, long, Guard(count=1), short, short, short, Halt(), latency=100)
    first_retire = found.retire[0]
    assert found.dispatched[2] + 1 < first_retire
    assert passages(found)[2] == (first_retire + 1, first_retire + 2)
    assert found.start[3] == first_retire + 3
    assert found.start[4] < found.retire[3], "from there on they overlap again"


def test_void_instructions_move_no_bytes_and_have_no_ports(nano):
    # Both would read bank 0 of VALUE at one time.
    instructions = (
        Guard(register=1, count=1), Map(columns=4, rows=32, source=Source.VALUE, address=512),
        Store(words=8, dram_address=1024), Halt(),
    )  # fmt: skip
    program = Program(nano, instructions, 1 << 12)
    with pytest.raises(HeddleError, match="both read bank 0 of VALUE"):
        simulate(replace(program, registers=((1, 1),)))
    result = simulate(program)
    assert result.bytes == {"fetch": 256, "load": 0, "store": 64, "append": 0, "stream": 0}
    assert result.beats == {"read": 64, "written": 16}
    guarded = simulate(Program(nano, (Guard(count=1), Store(words=8, dram_address=1024), Halt()), 1 << 12))
    assert guarded.bytes["store"] == guarded.beats["written"] == 0
    for causes in guarded.stalls.values():
        assert sum(causes.values()) == guarded.cycles
    assert guarded.stalls["store"]["executing"] == guarded.busy["store"] == 2


def test_void_instructions_change_nothing(nano):
    load = Load(memory=Memory.ACT, dram_address=1024, signal=STORE)
    store = Store(memory=Memory.ACT, dram_address=2048, wait=LOAD)
    program = Program(nano, (Guard(register=2, threshold=7, count=1), load, store, Halt()), 4096, ((1024, b"\5" * 4),))
    assert simulate(program).image_of(0)[2048:2052].tolist() == [0] * 4
    assert simulate(replace(program, registers=((2, 8),))).image_of(0)[2048:2052].tolist() == [5] * 4


def test_a_place_beyond_a_page_table_is_found_without_values_unless_void(nano):
    stream = Stream(blocks=3, page_blocks=1, first_register=1, pages=2)
    program = Program(nano, (Guard(register=2, count=1), stream, Halt()), 1 << 13, cache_address=4096, cache_bytes=4096)
    simulate(replace(program, registers=((1, 1), (2, 1))), values=False)
    simulate(replace(program, registers=((1, 2),)), values=False)
    with pytest.raises(HeddleError, match="instruction 1: stream: beyond the KV cache: block 4 is in place 2"):
        simulate(replace(program, registers=((1, 2), (2, 1))), values=False)

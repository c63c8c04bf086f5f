"""Programs that the machine must not run, and what the error says."""

from dataclasses import replace

import pytest
from heddle.arch.config import Memory, Unit
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Codes, Guard, Halt, Load, Map, Norm, Quantise, Source, Store
from heddle.arch.kinds import sort_into_kinds
from heddle.arch.program import Program
from heddle.sim.check import check_ports, check_semaphores
from heddle.sim.dispatch import dispatched_kinds
from heddle.sim.machine import simulate
from heddle.sim.trace import Timing

VECTOR, STORE = 1 << Unit.VECTOR, 1 << Unit.STORE
ELSEWHERE = 512  # the second bank of VALUE on nano


def program(config, *instructions):
    return Program(config, (*instructions, Halt()), 1 << 16)


def work_of(config, instructions):
    return dispatched_kinds(sort_into_kinds(instructions), (0,) * 32, config)


def passages(*cycles):
    """(start, retire) of each instruction."""
    return Timing(start=[start for start, _ in cycles], retire=[retire for _, retire in cycles])


def refused(config, *instructions):
    with pytest.raises(HeddleError) as error:
        simulate(program(config, *instructions))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_fields_out_of_range_are_refused_before_anything_runs(nano):
    assert "instruction 1: map: VALUE words up to 2051" in refused(nano, Load(), Map(address=2048, columns=16))


def test_dram_addresses_out_of_range_are_refused(nano):
    assert "instruction 0: store reaches DRAM byte 65543" in refused(nano, Store(dram_address=1 << 16))


def test_two_units_at_one_read_port_are_reported_with_both_instructions(nano):
    norm = Norm(columns=8, address=ELSEWHERE)
    message = refused(nano, Map(columns=8, source=Source.VALUE, source_address=100, address=2 * ELSEWHERE), norm)
    assert message.startswith("bank conflict: instruction 0 (map ")
    assert "in cycles 43 to" in message and "instruction 1 (norm " in message and "in cycles 51 to" in message
    assert "both read bank 0 of VALUE" in message


def test_two_units_at_one_write_port_are_reported(nano):
    norm = Norm(columns=8, source_address=ELSEWHERE, address=100)
    assert "both write bank 0 of VALUE" in refused(nano, Map(columns=8), norm)


def test_units_in_different_banks_or_at_different_ports_may_overlap(nano):
    norm = Norm(columns=8, source_address=ELSEWHERE, address=3 * ELSEWHERE)
    simulate(program(nano, Map(columns=8, source=Source.VALUE, address=2 * ELSEWHERE), norm))
    simulate(program(nano, Load(memory=Memory.VALUE, words=8), Store(address=100, words=8, dram_address=1024)))


def test_units_that_take_turns_may_use_one_port(nano):
    map_ = Map(columns=8, source=Source.VALUE, address=2 * ELSEWHERE, signal=STORE)
    simulate(program(nano, map_, Store(address=0, dram_address=1024, wait=VECTOR)))


@pytest.mark.parametrize(("start", "conflict"), [(19, True), (20, True), (21, False)])
def test_the_cycles_of_start_and_retire_count_as_overlap(nano, start, conflict):
    work = work_of(nano, [Map(columns=4, source=Source.VALUE, address=ELSEWHERE), Store()])
    timing = passages((10, 20), (start, 40))
    if conflict:
        with pytest.raises(HeddleError, match="both read bank 0 of VALUE"):
            check_ports(nano, work, timing)
    else:
        check_ports(nano, work, timing)


def test_an_overlap_is_found_behind_shorter_instructions(nano):
    long = Map(columns=4, source=Source.VALUE, address=ELSEWHERE)
    store = Store(address=ELSEWHERE, dram_address=64)
    timing = passages((0, 100), (10, 20), (21, 30), (90, 99))
    check_ports(nano, work_of(nano, [long, store, store, store]), timing)
    with pytest.raises(HeddleError, match="instruction 3"):
        check_ports(nano, work_of(nano, [long, store, store, Store()]), timing)


def test_an_overlap_is_found_behind_a_load_that_retired_sooner(nano):
    loads = [Load(memory=Memory.VALUE, words=9), Load(memory=Memory.VALUE, address=ELSEWHERE, words=2)]
    work = work_of(nano, [*loads, Map(columns=4)])
    check_ports(nano, work, passages((0, 20), (5, 30), (21, 40)))
    with pytest.raises(HeddleError, match="instruction 0 .* and instruction 2 .* both write bank 0 of VALUE"):
        check_ports(nano, work, passages((0, 20), (5, 10), (12, 40)))


def test_the_first_of_several_conflicts_is_reported(nano):
    map_ = Map(columns=4, source=Source.VALUE, address=ELSEWHERE)
    instructions = [map_, Store(dram_address=64), Norm(columns=4, address=ELSEWHERE)]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        timing = passages(*((10 + order[i], 90) for i in range(3)))
        with pytest.raises(HeddleError) as error:
            check_ports(nano, work_of(nano, instructions), timing)
        first, second = (order.index(rank) for rank in range(2))
        assert f"conflict: instruction {first} " in str(error.value) and f"and instruction {second} " in str(
            error.value
        )


def test_blocks_far_apart_use_only_the_banks_they_lie_in(nano):
    spread = Load(memory=Memory.VALUE, segments=2, stride=2 * ELSEWHERE)  # banks 0 and 2
    timing = passages((0, 9), (0, 9))
    check_ports(nano, work_of(nano, [spread, Map(address=ELSEWHERE)]), timing)
    with pytest.raises(HeddleError, match="both write bank 2 of VALUE"):
        check_ports(nano, work_of(nano, [spread, Map(address=2 * ELSEWHERE)]), timing)


def test_what_a_guard_makes_void_uses_no_port(nano):
    store = Store(address=0, dram_address=64)
    timing = passages((-1, -1), (0, 9), (0, 9))
    check_ports(nano, work_of(nano, [Guard(count=1), Map(source=Source.VALUE, address=ELSEWHERE), store]), timing)


def test_a_semaphore_must_not_go_beyond_its_limit(nano):
    send, take = Load(signal=VECTOR), Map(wait=1)
    work = work_of(nano, [send] * 4 + [take] * 4)
    loads = [(10 * i, 10 * i + 5) for i in range(4)]  # the third token in 25, the fourth in 35
    takes = [(start, start + 1) for start in (25, 35, 40, 50)]
    check_semaphores(work, passages(*loads, *takes), limit=2)
    with pytest.raises(
        HeddleError, match=r"instruction 2 \(load .* sends VECTOR one more than 2 tokens of LOAD in cycle 25"
    ):
        check_semaphores(work, passages(*loads, (26, 27), *takes[1:]), limit=2)
    with pytest.raises(HeddleError, match="semaphore overflow: instruction 2"):
        check_semaphores(work_of(nano, [send] * 4), passages(*loads), limit=2)  # nobody takes any


def test_transposed_codes_may_share_words_between_instructions(nano):
    first = Quantise(rows=2, columns=4, codes=Codes.WEIGHT_TRANSPOSED)
    simulate(program(replace(nano, name="x"), first, replace(first, source_address=8)))

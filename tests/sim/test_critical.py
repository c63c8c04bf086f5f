"""The critical path: every cycle once, and each link behind what it waited for."""

import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import Halt, Load, Map, Norm, Source, Store, units_in
from heddle.arch.program import Program
from heddle.cosim.random_programs import random_program
from heddle.sim.critical import critical_path
from heddle.sim.machine import simulate

TO = {unit: 1 << unit for unit in Unit}


def run(*instructions, config=PRESETS["nano"]):
    result = simulate(Program(config, (*instructions, Halt()), 1 << 16), values=False)
    return result, critical_path(result)


def chain(path):
    return [(each.index, each.kind) for each in path]


def test_a_chain_of_tokens_is_followed_back_to_the_first_fetch():
    load = Load(memory=Memory.VALUE, words=2, signal=TO[Unit.NORM])
    norm = Norm(columns=8, address=1024, wait=TO[Unit.LOAD], signal=TO[Unit.STORE])
    store = Store(address=1024, words=2, dram_address=4096, wait=TO[Unit.NORM])
    result, path = run(load, norm, store)
    assert chain(path) == [(0, "fetch"), (0, "load"), (1, "norm"), (2, "store")]
    assert [each.first for each in path] == [0, *result.timing.start[:3]]
    assert path[-1].last == result.cycles - 1


def test_what_is_ready_early_is_not_on_the_path():
    load = Load(memory=Memory.VALUE, words=64, signal=TO[Unit.NORM])
    vector = Map(columns=8, source=Source.VALUE, source_address=512, address=1024, signal=TO[Unit.NORM])
    _, path = run(load, vector, Norm(columns=8, address=1536, wait=TO[Unit.LOAD] | TO[Unit.VECTOR]))
    assert chain(path) == [(0, "fetch"), (0, "load"), (2, "norm")]


def test_a_unit_that_is_busy_holds_up_its_next():
    norms = [Norm(rows=4, columns=8, address=1024), Norm(rows=2, columns=8, address=1024)]
    assert chain(run(*norms)[1]) == [(0, "fetch"), (0, "norm"), (1, "norm")]


def test_a_load_is_cut_short_where_the_next_may_start():
    result, path = run(Load(words=512), Load(address=512, dram_address=4096, words=64))
    assert chain(path) == [(0, "fetch"), (0, "load"), (1, "load")]
    assert path[1].last == result.timing.start[1] - 1 < result.timing.retire[0]


def test_a_program_that_does_nothing_waits_for_its_halt():
    result, path = run()
    assert chain(path) == [(0, "fetch")] and path[0].cycles == result.cycles


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("config", ["nano", "base"])
def test_the_links_of_random_programs_cover_every_cycle_once(config, seed):
    program = random_program(PRESETS[config], seed)
    result = simulate(program, values=False)
    path, timing = critical_path(result), result.timing
    assert [each.first for each in path] == [0, *(each.last + 1 for each in path[:-1])]
    assert path[-1].last == result.cycles - 1
    for before, link in zip(path, path[1:], strict=False):
        if link.kind in ("fetch", "dispatch"):
            continue
        assert timing.start[link.index] == link.first and link.last <= timing.retire[link.index]
        instruction = program.instructions[link.index]
        if before.kind in ("fetch", "dispatch"):
            assert timing.dispatched[link.index] == before.last
        else:  # a token, the unit's previous instruction, or one whose start made room in a queue
            waited_for = [instruction.unit, *units_in(instruction.wait)]
            assert Unit[before.kind.upper()] in waited_for and before.last <= timing.retire[before.index]


def test_a_queue_that_is_full_is_on_the_path():
    """Behind more NORMs than the queue holds, a LOAD cannot be dispatched."""
    norms = [Norm(rows=4, columns=8, address=1024)] * (PRESETS["nano"].queue_depth + 3)
    result, path = run(*norms, Load(words=2048))
    load = len(norms)
    assert path[-1].index == load
    assert {each.kind for each in path[:-1]} == {"fetch", "norm", "dispatch"}
    assert sum(each.cycles for each in path) == result.cycles

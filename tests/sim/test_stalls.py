"""Every cycle has one cause: by hand for a small program, and in sum for random ones."""

import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import Halt, Load, Map, Matmul, Source, Store
from heddle.arch.program import Program
from heddle.cosim.random_programs import random_program
from heddle.sim.machine import simulate
from heddle.sim.stalls import CAUSES

LOAD, STORE, MATRIX, VECTOR = (1 << unit for unit in (Unit.LOAD, Unit.STORE, Unit.MATRIX, Unit.VECTOR))


def run(config, *instructions):
    return summed(Program(config, instructions, 1 << 13, useful_macs=64))


def summed(program):
    """The run of a program whose cycles have one cause each, for each unit."""
    result = simulate(program, values=False)
    for causes in result.stalls.values():
        assert set(causes) == set(CAUSES)
        assert sum(causes.values()) == result.cycles
        assert min(causes.values()) >= 0
    return result


def nonzero(causes):
    return {name: count for name, count in causes.items() if count}


def test_causes_by_hand(nano):
    # As worked out in test_machine.py: d = 42 + 8·i; LOAD 43…101 and 51…109; MATRIX from 110 on; STORE last.
    result = run(
        nano,
        Load(words=4, dram_address=1024),
        Load(memory=Memory.WEIGHT, words=8, dram_address=2048, signal=MATRIX),
        Matmul(rows=4, acc_stride=1, wait=LOAD, signal=VECTOR),
        Map(rows=4, columns=4, source_stride=1, stride=1, wait=MATRIX, signal=STORE),
        Store(words=4, dram_address=4096, wait=VECTOR),
        Halt(),
    )
    matmul, map_, store = (result.trace[i] for i in (2, 3, 4))
    # Up to cycle 41 nothing could be dispatched; 42 is the dispatch. Of 43…109 beats move in 97…108.
    assert nonzero(result.stalls["load"]) == {
        "fetch": 42, "dispatch": 1, "executing": 12, "dram": 67 - 12, "finished": result.cycles - 110,
    }  # fmt: skip
    # Instruction 2 is dispatched in 58; cycles 0…57 but 42 and 50 (dispatches of others) waited for arrivals.
    assert nonzero(result.stalls["matrix"]) == {
        "fetch": 56, "dispatch": 3, "wait_load": 110 - 59, "executing": matmul.retire - 109,
        "finished": result.cycles - matmul.retire - 1,
    }  # fmt: skip
    assert nonzero(result.stalls["vector"]) == {
        "fetch": 63, "dispatch": 4, "wait_matrix": matmul.retire + 1 - 67, "executing": map_.retire - map_.start + 1,
        "finished": result.cycles - map_.retire - 1,
    }  # fmt: skip
    assert nonzero(result.stalls["store"]) == {
        "fetch": 70, "dispatch": 5, "wait_vector": map_.retire + 1 - 75, "executing": 8, "dram": 53 - 8,
    }  # fmt: skip
    assert store.retire - store.start + 1 == 53
    assert nonzero(result.stalls["norm"]) == {"finished": result.cycles}
    assert result.busy == {
        "load": 67, "store": 53, "matrix": matmul.retire - 109, "vector": map_.retire - map_.start + 1,
        "softmax": 0, "norm": 0, "kv": 0,
    }  # fmt: skip


def test_a_queue_full_of_another_unit_is_a_stall_of_dispatch(nano):
    maps = [Map(columns=4, source=Source.VALUE, address=512)] * 7
    result = run(nano, *maps, Matmul(), Halt())
    waits = nonzero(result.stalls["matrix"])
    dispatched = result.timing.dispatched
    # Instructions 5 and 6 could have been dispatched two cycles after they arrived (80 + 2 …), but for the queue.
    assert dispatched[7] > 42 + 8 * 7
    assert waits["fetch"] + waits["dispatch"] == dispatched[7] + 1
    assert waits["dispatch"] > dispatched[7] - 42 - 8 * 7


def test_the_token_that_comes_last_is_the_cause(nano):
    result = run(
        nano,
        Load(words=1, signal=MATRIX),
        Map(rows=16, columns=4, source_stride=1, address=512, stride=1, signal=MATRIX),
        Matmul(wait=LOAD | VECTOR, act_address=512, acc_address=512),
        Halt(),
    )
    assert nonzero(result.stalls["matrix"])["wait_vector"] == result.trace[2].start - result.timing.dispatched[2] - 1
    assert "wait_load" not in nonzero(result.stalls["matrix"])


def test_utilisation_counts_useful_products_only(nano):
    result = run(nano, Matmul(rows=4, acc_stride=1), Halt())
    assert result.mac_utilisation == 64 / (16 * result.cycles)


@pytest.mark.parametrize("dram", ["ideal", "DDR4-2400"])
@pytest.mark.parametrize("name", ["nano", "small"])
def test_every_cycle_of_random_programs_has_one_cause(name, dram):
    for seed in range(20):
        assert summed(random_program(PRESETS[name].with_dram(dram), seed)).cycles > 0

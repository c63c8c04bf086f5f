"""heddle bench: rows, goals, cases that fail, and what must move at least."""

import json
import sys

import heddle as heddle_package
import pytest
from heddle import benchmarks
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Halt, Load, Store
from heddle.arch.program import Program
from heddle.benchmarks import CASES, Case, Goal


@pytest.fixture
def run_here(monkeypatch):
    """Cases in this process: `run_here(case, …)` makes them the only ones."""

    def replace(*cases):
        monkeypatch.setattr(benchmarks, "CASES", list(cases))
        monkeypatch.setattr(benchmarks, "_run", lambda case, options, timeout: case.run())

    return replace


def test_names_are_unique_and_goals_are_measured_once():
    assert len({each.name for each in CASES}) == len(CASES)
    goals = [goal for each in CASES for goal in each.goals]
    assert len({each.name for each in goals}) == len(goals)


def test_rows_have_their_measure_and_goal(heddle, run_here):
    fast = Case("fast", "", (Goal("speed", "cycles_per_second", 1e9), Goal("use", "mac_utilisation", 0.9)),
                lambda: {"cycles_per_second": 2e9, "mac_utilisation": 0.85, "cycles": 1000})  # fmt: skip
    slow = Case("slow", "", (Goal("time", "total_seconds", 60, at_least=False),), lambda: {"total_seconds": 10})
    run_here(fast, slow)
    code, output, _ = heddle("bench", "--json")
    figures = json.loads(output)
    assert code == 0 and figures["cycles_per_second"] == 2e9
    assert [(each["name"], each[each["measure"]], each["goal"], each["reached"]) for each in figures["rows"]] == [
        ("speed", 2e9, 1e9, True), ("use", 0.85, 0.9, False), ("time", 10, 60, True)
    ]  # fmt: skip
    code, output, _ = heddle("bench", "slow")
    assert code == 0 and "time" in output and "≤ 60" in output and "speed" not in output


def test_a_case_that_fails_is_a_row_with_its_error(heddle, run_here):
    run_here(Case("bad", "", (Goal("bad", "mac_utilisation", 0.9),), lambda: {"error": "ACC is too small"}))
    code, output, _ = heddle("bench")
    assert code == 0 and "bad: ACC is too small" in output
    (row,) = json.loads(heddle("bench", "--json")[1])["rows"]
    assert row["mac_utilisation"] is None and not row["reached"] and row["error"] == "ACC is too small"


def test_an_unknown_case_is_a_mistake(heddle):
    code, _, error = heddle("bench", "nothing")
    assert code == 2 and "unknown benchmark 'nothing'; benchmarks are gemm-512" in error


def test_a_case_in_a_process_of_its_own():
    (row,) = benchmarks.rows(["gemm-512"])
    assert row["cycles"] > 512**3 / 256 and row["mac_utilisation"] == pytest.approx(512**3 / 256 / row["cycles"])
    assert row["peak_bytes"] > 1e8 and row["cycles_per_second"] > 0


def test_a_case_that_takes_too_long_is_stopped():
    (row,) = benchmarks.rows(["gemm-512"], timeout=0.01)
    assert row["error"] == "not done after 0.01 seconds"


def test_bytes_that_must_move_count_once():
    """Two loads overlap by half; one gathers; what is stored counts, what is fetched does not."""
    size = PRESETS["nano"].dram_word_bytes(Memory.VALUE)
    loads = [Load(memory=Memory.VALUE, dram_address=4096 + start * size, words=8) for start in (0, 4)]
    gather = Load(memory=Memory.VALUE, address=100, dram_address=8192, dram_stride=64, segments=2, words=3, gather=1)
    store = Store(memory=Memory.VALUE, address=200, dram_address=16384, words=5)
    program = Program(PRESETS["nano"], (*loads, gather, store, Halt()), 1 << 16)
    result = heddle_package.simulate(program, values=False)
    assert benchmarks._least_cycles(result) == (12 + 6 + 5) * size / 4


def test_the_products_of_a_layer():
    gemms = benchmarks.bert_layer_gemms(128, 768, 12, 3072)
    macs = sum(m * n * k for _, m, n, k in gemms)
    assert len(gemms) == 3 + 24 + 3 and macs == 128 * 768 * 768 * 12 + 2 * 128 * 128 * 768


def test_without_scalesim_the_remedy_is_named():
    with pytest.raises(HeddleError, match=r"scalesim did not run .*install heddle\[scalesim\]"):
        benchmarks.scalesim(4, 4, [("one", 4, 4, 4)], python=sys.executable)

"""heddle bench: rows, goals, cases that fail, and what must move at least."""

import json
import os
import select
import signal
import subprocess
import sys

import heddle as heddle_package
import pytest
import torch
from heddle import benchmarks, scalesim_child
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Halt, Load, Store
from heddle.arch.program import Program
from heddle.benchmarks import CASES, Case, Goal, Part

SHARES = "mac_utilisation", "bandwidth_fraction"


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
    slow = Case("slow", "", (Goal("time", "seconds", 60, at_least=False),), lambda: {"seconds": 10})
    run_here(fast, slow)
    code, output, _ = heddle("bench", "--json")
    figures = json.loads(output)
    assert code == 1 and figures["cycles_per_second"] == 2e9
    assert [(each["name"], each[each["measure"]], each["goal"], each["reached"]) for each in figures["benchmarks"]] == [
        ("speed", 2e9, 1e9, True), ("use", 0.85, 0.9, False), ("time", 10, 60, True)
    ]  # fmt: skip
    code, output, _ = heddle("bench", "slow")
    assert code == 0 and "time" in output and "≤ 60" in output and "speed" not in output


def test_a_share_of_the_peak_is_in_a_row_only_where_its_goal_is_for_it(heddle, run_here):
    """So that `row["mac_utilisation"] >= row["goal"]` means something wherever it can be asked."""
    figures = {"mac_utilisation": 0.01, "bandwidth_fraction": 0.96, "cycles_per_second": 2e9, "cycles": 7}
    goals = Goal("decode", "bandwidth_fraction", 0.95), Goal("speed", "cycles_per_second", 1e9)
    run_here(Case("decode", "", goals, lambda: figures | {"note": "one token"}))
    code, output, _ = heddle("bench", "--json")
    decode, speed = json.loads(output)["benchmarks"]
    assert code == 0 and decode["bandwidth_fraction"] == 0.96 and "mac_utilisation" not in decode
    assert speed["cycles_per_second"] == 2e9 and not {"mac_utilisation", "bandwidth_fraction"} & set(speed)
    assert decode["figures"] == speed["figures"] == figures and decode["note"] == "one token"
    assert "decode: one token" in heddle("bench")[1]


def test_the_speed_is_that_of_its_goal_else_of_the_slowest(heddle, run_here):
    def case(name, measure, speed):
        figures = {"mac_utilisation": 1, "error": "none"} if speed is None else {"cycles_per_second": speed}
        return Case(name, "", (Goal(name, measure, 0),), lambda: figures | {"mac_utilisation": 1})

    few, many, none = (case(name, "mac_utilisation", speed) for name, speed in (("a", 1e8), ("b", 3e9), ("c", None)))
    for cases, speed in (
        ((few, many, none), 1e8),
        ((few, case("llama", "cycles_per_second", 2e9), many), 2e9),
        ((few, case("llama", "cycles_per_second", None)), None),
        ((none,), None),
    ):
        run_here(*cases)
        assert json.loads(heddle("bench", "--json")[1])["cycles_per_second"] == speed


def test_a_case_that_fails_is_a_row_with_its_error(heddle, run_here):
    good = Case("good", "", (Goal("good", "mac_utilisation", 0.9),), lambda: {"mac_utilisation": 0.95})
    bad = Case("bad", "", (Goal("use", "mac_utilisation", 0.9), Goal("time", "seconds", 60, at_least=False)),
               lambda: {"error": "ACC is too small"})  # fmt: skip
    run_here(bad, good)
    code, output, _ = heddle("bench")
    assert code == 1 and output.count("bad: ACC is too small") == 1 and "95.0%" in output
    code, output, _ = heddle("bench", "--json")
    rows = json.loads(output)["benchmarks"]
    assert code == 1 and [each["reached"] for each in rows] == [False, False, True]
    assert rows[0]["mac_utilisation"] is None and rows[0]["error"] == "ACC is too small"


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none_is_a_mistake(heddle, seconds):
    code, output, error = heddle("bench", "gemm-512", f"--timeout={seconds}")
    assert code == 2 and not output and "--timeout must be above 0" in error


def test_the_help_says_what_exit_codes_mean(heddle):
    code, output, _ = heddle("bench", "--help")
    assert code == 0 and "with 1 if one is missed or a case fails" in " ".join(output.split())


def test_an_unknown_case_is_a_mistake(heddle):
    code, _, error = heddle("bench", "nothing")
    assert code == 2 and "unknown benchmark 'nothing'; benchmarks are gemm-512" in error


def test_a_case_in_a_process_of_its_own():
    (row,) = benchmarks.rows(["gemm-512"])
    figures = row["figures"]
    assert row["mac_utilisation"] == pytest.approx(512**3 / 256 / figures["cycles"])
    assert figures["peak_bytes"] > 1e8 and figures["cycles_per_second"] > 0


def test_a_case_that_takes_too_long_is_stopped():
    (row,) = benchmarks.rows(["gemm-512"], timeout=0.01)
    assert row["error"] == "not done after 0.01 seconds"


def test_what_a_command_has_started_ends_with_it(tmp_path):
    """A grandchild holds a pipe open for as long as it lives, if it has come to that."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(subprocess.TimeoutExpired):
        benchmarks._output(["sh", "-c", f"(echo here; sleep 100000) > {pipe}; true"], timeout=2)
    os.set_blocking(reader, True)
    with open(reader, "rb") as file:
        assert file.read() in (b"here\n", b"")  # it has an end


def test_a_signal_to_the_bench_ends_the_case(tmp_path):
    """In place of a case runs a command that says that it is there, and sleeps."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    program = f"""
import sys
from heddle import benchmarks
from heddle.cli import main
benchmarks._run = lambda case, *_: benchmarks._output(["sh", "-c", "(echo here; sleep 100000) > {pipe}; true"], None)
sys.argv = ["heddle", "bench", "gemm-512"]
main()
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as process:
        try:
            select.select([reader], [], [])  # until it writes, however long that takes
            os.set_blocking(reader, True)
            assert os.read(reader, 100) == b"here\n"
            process.terminate()
            assert os.read(reader, 100) == b""
        except BaseException:
            process.terminate()  # else it is waited for
            raise
        finally:
            os.close(reader)
    assert process.returncode == 128 + signal.SIGTERM


def test_what_is_subtracted_is_timed_too(monkeypatch):
    """A run's cycles are the sum of its parts' by their signs, its time that of all of them."""
    program = heddle_package.compile(torch.nn.Linear(8, 8).eval(), (torch.zeros(1, 4, 8),), PRESETS["nano"])
    simulated, simulate = [], heddle_package.simulate
    monkeypatch.setattr(benchmarks, "_load_engine", lambda: None)
    monkeypatch.setattr(heddle_package, "simulate", lambda *a, **k: simulated.append(1) or simulate(*a, **k))
    one = benchmarks.timed(lambda: [Part(program)])
    three = benchmarks.timed(lambda: [Part(program), Part(program), Part(program, sign=-1)])
    assert len(simulated) == 1 + 3
    for name in ("cycles", "useful_macs", "mac_utilisation", "bandwidth_fraction"):
        assert three[name] == one[name], name


def test_a_case_counts_its_own_memory_only():
    """getrusage would say at least as much as this process had, which has loaded PyTorch."""
    code = "import importlib.util as u, sys; s = u.spec_from_file_location('c', sys.argv[1]); " \
           "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.peak_bytes())"  # fmt: skip
    command = [sys.executable, "-c", code, scalesim_child.__file__]
    assert int(benchmarks._output(command, 60)[1]) < 5e7 < benchmarks._peak_bytes()


# -- the deterministic figures of the table, against what they must be -------------------------------------------------


def test_a_gemm_reaches_its_share_of_the_peak():
    assert benchmarks.gemm()["mac_utilisation"] >= 0.985


@pytest.mark.long
def test_bert_base_reaches_its_share_of_the_peak():
    assert benchmarks.bert_base()["mac_utilisation"] >= 0.985


@pytest.mark.long
def test_vit_b16_reaches_its_share_of_the_peak():
    assert benchmarks.vit_b16()["mac_utilisation"] >= 0.985


@pytest.mark.long
def test_bert_large_reaches_its_share_of_the_peak():
    assert benchmarks.bert_large()["mac_utilisation"] >= 0.95


@pytest.mark.long
def test_a_prompt_of_gpt2_reaches_its_share_of_the_peak():
    assert benchmarks.gpt2_prefill()["mac_utilisation"] >= 0.945


@pytest.mark.long
def test_a_prompt_of_llama_reaches_its_share_of_the_peak():
    assert benchmarks.llama_prefill()["mac_utilisation"] >= 0.92


@pytest.mark.long
def test_a_token_of_gpt2_reaches_its_share_of_the_bandwidth():
    assert benchmarks.gpt2_decode()["bandwidth_fraction"] >= 0.975


def test_the_goals_are_those_promised():
    shares = {goal.name: goal.value for each in CASES for goal in each.goals if goal.measure in SHARES}
    assert list(shares.values()) == [0.985, 0.985, 0.95, 0.985, 0.945, 0.975, 0.92]


# -- what must move, and scalesim --------------------------------------------------------------------------------------


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


@pytest.fixture
def recorded_scalesim(monkeypatch):
    """What scalesim is asked for; it answers with 1,000 cycles and 2 seconds a product."""
    asked = []

    def answer(rows, columns, gemms):
        asked.append((rows, columns, [tuple(each) for each in gemms]))
        figures = [{"cycles": 1000, "cpu_seconds": 2.0} for _ in gemms]
        return {"cpu_seconds": 2.5 * len(gemms), "peak_bytes": 3e9, "gemms": figures}

    monkeypatch.setattr(benchmarks, "scalesim", answer)
    return asked


GEMMS = [("query", 16, 32, 32), ("scores0", 16, 16, 16), ("scores1", 16, 16, 16), ("key", 16, 32, 32)]


def test_the_same_products_go_through_both(recorded_scalesim):
    figures = benchmarks.side_by_side(GEMMS)["side_by_side"]
    assert recorded_scalesim == [(16, 16, GEMMS)]
    wide, square = figures["gemms"]
    assert (wide["names"], wide["m"], wide["n"], wide["k"]) == (["query", "key"], 16, 32, 32)
    assert square["names"] == ["scores0", "scores1"] and square["scalesim"]["cycles"] == 2000
    assert wide["scalesim"]["mac_utilisation"] == 16 * 32 * 32 * 2 / (256 * 2000)
    one = benchmarks._product(*GEMMS[0])
    assert wide["heddle"]["cycles"] == 2 * one["cycles"] and one["useful_macs"] == 16 * 32 * 32
    assert wide["heddle"]["mac_utilisation"] == pytest.approx(one["mac_utilisation"])
    ours, other = figures["total"]["heddle"], figures["total"]["scalesim"]
    assert ours["cycles"] == wide["heddle"]["cycles"] + square["heddle"]["cycles"] and ours["peak_bytes"] > 1e8
    assert other["cycles"] == 4000 and other["cpu_seconds"] == 10 and other["peak_bytes"] == 3e9


def test_both_sides_are_in_a_table(heddle, run_here, recorded_scalesim):
    goal = Goal("faster", "times_faster", 1)
    run_here(Case("layer", "", (goal,), lambda: {"times_faster": 2} | benchmarks.side_by_side(GEMMS)))
    code, output, _ = heddle("bench")
    assert code == 0 and "layer: the same products side by side" in output
    lines = {line.split()[0].strip(","): line.split() for line in output.splitlines() if line.strip()}
    assert lines["query"][1:8] == ["key", "16", "×", "32", "×", "32", "2"] and "2,000" in lines["query"]
    assert lines["scores"][1:7] == ["16", "×", "16", "×", "16", "2"] and "1.6%" in lines["scores"]
    assert lines["total"][1] == "4" and lines["total"][5:7] == ["4,000", "4.0%"] and lines["total"][7] == "10.00"
    assert "scalesim 3.00 GB" in output


def test_without_scalesim_the_remedy_is_named(heddle, monkeypatch):
    monkeypatch.setattr(benchmarks, "find_spec", lambda name: None)
    code, _, error = heddle("bench", "gemm-512", "--scalesim")
    assert code == 2 and "scalesim is not installed: install heddle[scalesim]" in error


def test_scalesim_that_fails_is_an_error():
    with pytest.raises(HeddleError, match=r"scalesim did not run .*install heddle\[scalesim\]"):
        benchmarks.scalesim(4, 4, [], python=sys.executable)


def test_scalesim_simulates_a_list():
    """Where it is installed: on 4 × 4 a product of 16³ takes 16 folds of 26 cycles, numbered from 0."""
    pytest.importorskip("scalesim")
    figures = benchmarks.scalesim(4, 4, [("one", 16, 16, 16), ("two", 32, 16, 8)])
    assert [each["cycles"] for each in figures["gemms"]] == [415, 335]
    assert figures["cpu_seconds"] >= sum(each["cpu_seconds"] for each in figures["gemms"]) > 0
    assert 1e7 < figures["peak_bytes"] < 2e8

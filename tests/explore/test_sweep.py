"""explore/sweep.py: every point ends as a row, whatever becomes of it, and nothing is computed twice."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from heddle.arch.errors import HeddleError
from heddle.explore import sweep as loop
from heddle.explore import workload
from heddle.explore.space import Space
from heddle.explore.sweep import Sweep, run

SPACE = {
    "config": "nano",
    "parameters": {"rows": [4, 8, 7], "columns": [4, 8], "act_words": [1024, 2048]},
    "objectives": ["seconds", "sram_bits"],
    "workloads": [{"model": "encoder-layer", "name": "a"}, {"model": "bert-tiny", "name": "b", "weight": 2}],
}


def found(job):
    """What a point gives, in place of a compilation."""
    rows, columns = job.config["rows"], job.config["columns"]
    if (rows, columns) == (4, 8):
        return {"status": "infeasible", "reason": "no room", "cpu_seconds": 0.0}
    cycles = 64_000 // (rows * columns) + job.config["act_words"]
    return {"status": "ok", "reason": "", "cycles": cycles, "instructions": 9, "useful_macs": 1000,
            "busy_cycles": {"matrix": 500}, "events": {"port.read_bytes": 64}, "cpu_seconds": 0.0}  # fmt: skip


@pytest.fixture
def computed(monkeypatch):
    """The jobs that were evaluated."""
    jobs = []

    def evaluate(job):
        jobs.append(job)
        return found(job)

    monkeypatch.setattr(loop, "evaluate", evaluate)
    monkeypatch.setattr(workload, "lacks_room", lambda *_: "")
    return jobs


def table(sweep):
    return sorted((sorted(each.point.items()), each.status, each.reason, sorted(each.figures.items()))
                  for each in sweep.outcomes)  # fmt: skip


def test_every_point_ends_as_a_row(computed, tmp_path):
    sweep = run(Space.from_dict(SPACE), tmp_path / "s")
    states = [(each.point["rows"], each.point["columns"], each.status) for each in sweep.outcomes]
    assert len(states) == 12 and {state for *_, state in states} == {"ok", "invalid", "infeasible"}
    assert {state for rows, _, state in states if rows == 7} == {"invalid"}
    assert {state for rows, columns, state in states if (rows, columns) == (4, 8)} == {"infeasible"}
    assert len(computed) == 2 * 8
    best = next(each for each in sweep.outcomes if each.point == {"rows": 8, "columns": 8, "act_words": 1024})
    cycles = 1000 + 1024
    assert best.figures["cycles"] == 3 * cycles and best.figures["seconds"] == pytest.approx(3 * cycles / 1e9)
    assert best.figures["mac_utilisation"] == pytest.approx(1000 / (64 * cycles))


def test_a_sweep_goes_on_where_it_was(computed, tmp_path):
    space = Space.from_dict(SPACE)
    whole = run(space, tmp_path / "whole")
    lines = (tmp_path / "whole" / "rows.jsonl").read_bytes().splitlines(keepends=True)
    for kept in (0, 1, 7, len(lines) - 1):
        del computed[:]
        (folder := tmp_path / f"torn{kept}").mkdir()
        (folder / "rows.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][:17])  # killed within a line
        again = run(space, folder)
        rows = [json.loads(line) for line in lines[:kept]]
        assert len(computed) == 16 - sum(row["workload"] != "*" for row in rows)
        assert table(again) == table(whole) == table(Sweep.open(folder))
        assert [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_a_changed_space_keeps_what_holds(computed, tmp_path):
    run(Space.from_dict(SPACE), tmp_path / "s")
    del computed[:]
    larger = SPACE | {"parameters": SPACE["parameters"] | {"act_words": [1024, 4096], "queue_depth": [4]}}
    sweep = run(Space.from_dict(larger), tmp_path / "s")
    assert {job.config["act_words"] for job in computed} == {4096} and len(sweep.outcomes) == 12
    del computed[:]
    clocked = SPACE | {"parameters": SPACE["parameters"] | {"clock_mhz": [500]}}  # seconds change, cycles do not
    slow = run(Space.from_dict(clocked), tmp_path / "s")
    assert not computed
    fast = run(Space.from_dict(SPACE), tmp_path / "s")
    seconds = [sorted(each.figures["seconds"] for each in one.outcomes if each.figures) for one in (slow, fast)]
    assert seconds[0] == pytest.approx([2 * each for each in seconds[1]])


def test_what_is_required_of_machines_is_never_run(computed, tmp_path):
    limited = SPACE | {"require": ["sram_bits <= 720000", "cycles < 12000"]}
    sweep = run(Space.from_dict(limited), tmp_path / "s")
    assert {(job.config["rows"], job.config["act_words"]) for job in computed} == {(4, 1024)}
    reasons = {each.reason for each in sweep.outcomes if each.status == "infeasible"}
    assert any(reason.startswith("requires sram_bits <= 720000: sram_bits is ") for reason in reasons)
    assert any(reason.startswith("requires cycles < 12000: cycles is ") for reason in reasons)


def test_threads_that_end_in_any_order_give_the_same_rows(computed, tmp_path, monkeypatch):
    plain = run(Space.from_dict(SPACE), tmp_path / "plain", strategy="gp", evaluations=9, seed=3)

    @contextmanager
    def threads(*_):
        with ThreadPoolExecutor(3) as pool:
            yield pool, 3

    def evaluate(job):
        time.sleep(0.001 * (job.config["act_words"] % 7))
        return found(job)

    monkeypatch.setattr(loop, "executor", threads)
    monkeypatch.setattr(loop, "evaluate", evaluate)
    assert table(run(Space.from_dict(SPACE), tmp_path / "t", strategy="gp", evaluations=9, seed=3)) == table(plain)


def test_two_sweeps_do_not_write_in_one_folder(computed, tmp_path):
    with Sweep(Space.from_dict(SPACE), loop.Journal(tmp_path / "s")).journal, pytest.raises(
        HeddleError, match="must be of one sweep at a time"
    ):
        run(Space.from_dict(SPACE), tmp_path / "s")


def test_a_model_that_there_is_not_is_named_before_any_work(computed):
    with pytest.raises(HeddleError, match=r"unknown model 'bert-bas' \(did you mean bert-base\?\)"):
        run(Space.from_dict(SPACE | {"workloads": ["bert-bas"]}))
    assert not computed


def test_progress_says_what_is_best(computed):
    said = []
    run(Space.from_dict(SPACE), progress=lambda now: said.append((now.done, now.total, (now.best or {}).get("cycles"))))
    assert said[-1] == (12, 12, 3 * 2024) and len(said) == 12

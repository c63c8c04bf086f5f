"""heddle sweep: a space of machines, run to its end."""

import os
import sys
import time
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from heddle.sweeps import read_space
from rich.console import Console

from .shared import (
    command,
    console,
    json_option,
    print_json,
    print_table,
    progress,
    refuse,
    require_engine,
)  # fmt: skip

SHOWN = 12  # points of a front
SECONDS = 5.0  # between two lines of progress, off a terminal


@command(
    short_help="Run a space of machines: which is best for what.",
    epilog="Example: heddle sweep space.toml -o sizes --workers 2",
)
@click.argument("space", metavar="SPACE.toml")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Where rows are kept, and where a sweep that was stopped goes on. "
                   "[default: the name of the space]")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 1024), default=os.cpu_count() or 1, metavar="N",
              help="Processes; 1: this one. With --scheduler: jobs at a time. "
                   "[default: one for each core]")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="Run on this Dask cluster (pip install heddle[cluster]).")
@click.option("--search", default="auto", show_default=True, metavar="exhaustive|gp|nsga2|random|auto",
              help="Which points, and in which order.")  # fmt: skip
@click.option("--evaluations", type=int, metavar="N", help="Points at most. [default: all]")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of a search.")
@click.option("--audit", type=click.IntRange(0, 100), default=0, show_default=True, metavar="N",
              help="Run N points of the front on their own RTL, with tiny models of the same operators: "
                   "minutes each.")  # fmt: skip
@click.option("--engine", default="verilator", show_default=True, metavar="NAME", help="That runs the RTL of an audit.")
@click.option("--check", is_flag=True, help="Run nothing: how many points there are, and which cannot be.")
@json_option
def sweep(
    space: str, output: Path | None, workers: int, scheduler: str | None, search: str, evaluations: int | None,
    seed: int, audit: int, engine: str, check: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run each machine of a space on its workloads: SPACE.toml says which (docs/sweeps.md).

    Every point ends as a row: ok; invalid, where there is no such machine; infeasible, where a memory is too small or
    a result breaks what is required; error. Rows are in FOLDER/rows.jsonl as they come, and in rows.parquet at the end
    and when the sweep is stopped. Run again, it goes on where it was, and a changed space keeps what still holds.

    A search proposes points: gp (a Gaussian process, up to some hundred), nsga2 above, random; auto runs all points of
    a small space. The same seed proposes the same points.
    """
    read = read_space(space)
    if check:
        refuse("means nothing with --check, which runs nothing", "output", "workers", "scheduler", "search",
               "evaluations", "seed", "audit", "engine")  # fmt: skip
        _check(read, as_json)
        return
    if search == "exhaustive":
        refuse("is for a search; all points are run", "seed")
    if audit:
        require_engine(engine)
    else:
        refuse("is of an audit: it needs --audit N", "engine")
    folder = output or Path(read.name)
    frames = import_module("heddle.explore.frame")
    frames.require_pandas()
    loop = import_module("heddle.explore.sweep")
    begin = time.monotonic()
    last: list[Any] = []
    try:
        with _shown(read) as show:
            loop.run(read, folder, workers=workers, scheduler=scheduler, strategy=search, evaluations=evaluations,
                     seed=seed, progress=lambda now: (last.append(now) if not last else None, show(now)))  # fmt: skip
    finally:
        if (folder / "space.json").exists():
            frames.write_parquet(loop.Sweep.open(folder), folder / "rows.parquet")
    done = loop.Sweep.open(folder)
    audits = _audited(done, folder, audit, engine) if audit else []
    seconds = time.monotonic() - begin
    computed = last[0].computed if last else 0
    if as_json:
        print_json(_figures(done, folder, frames) | {
            "computed": computed, "seconds": round(seconds, 2), "audit": [each.to_dict() for each in audits],
        })  # fmt: skip
    else:
        _print(done, folder, frames, computed, seconds)
        _print_audits(audits)
    sys.exit(0 if all(each.agrees for each in audits) else 1)


def _audited(done: Any, folder: Path, count: int, engine: str) -> list[Any]:
    """Points of the front on their own RTL; what came of it stays in the folder."""
    audits = import_module("heddle.explore.audit")
    total = min(count, sum(import_module("heddle.explore.frame").on_fronts(done, done.outcomes)))
    with progress(f"{done.space.name}: on the RTL", total * len(done.space.workloads), "program") as advance:
        found = audits.audit(done, count, engine, lambda _: advance())
    audits.write(folder, found)
    return found


def _print_audits(audits: list[Any]) -> None:
    if audits:
        rows = [(", ".join(f"{name} {value}" for name, value in each.point.items()), each.workload, f"{each.cycles:,}",
                 each.different_bytes, each.different_cycles, each.error) for each in audits]  # fmt: skip
        columns = ["point", "workload", "cycles", "different bytes", "different cycles", "error"]
        print_table("On their own RTL", columns, rows, text=(0, 1, 5))


def _figures(done: Any, folder: Path, frames: Any) -> dict[str, Any]:
    outcomes = done.outcomes
    chosen = [each for each, good in zip(outcomes, frames.on_fronts(done, outcomes), strict=True) if good]
    return {
        "space": done.space.name, "folder": str(folder), "points": len(outcomes),
        "workloads": [each.name for each in done.space.workloads], "states": _states(outcomes),
        "objectives": [str(each) for each in done.space.objectives],
        "front": [{"point": each.point, "results": each.figures} for each in _by_first(done, chosen)],
    }  # fmt: skip


def _states(outcomes: Any) -> dict[str, int]:
    names = import_module("heddle.explore.evaluate").STATES
    return {name: sum(each.status == name for each in outcomes) for name in names}


def _by_first(done: Any, outcomes: list[Any]) -> list[Any]:
    values = import_module("heddle.explore.figures").values_of
    return sorted(outcomes, key=lambda each: values(done.space.objectives, each.figures))


def _print(done: Any, folder: Path, frames: Any, computed: int, seconds: float) -> None:
    outcomes = done.outcomes
    states = ", ".join(f"{count:,} {name}" for name, count in _states(outcomes).items() if count)
    chosen = [each for each, good in zip(outcomes, frames.on_fronts(done, outcomes), strict=True) if good]
    parameters, objectives = [*done.space.parameters], done.space.objectives
    rows = [
        (*(each.point[name] for name in parameters), *(f"{each.figures[goal.figure]:.5g}" for goal in objectives))
        for each in _by_first(done, chosen)
    ]
    names = ", ".join(map(str, objectives))
    if rows:
        print_table(f"{done.space.name}: the front of {names}", [*parameters, *(each.figure for each in objectives)],
                    rows[:SHOWN])  # fmt: skip
    if len(rows) > SHOWN:
        console.print(f"{len(rows) - SHOWN} more points of the front are in {folder}")
    console.print(f"{len(outcomes):,} points: {states}. {computed:,} runs in {seconds:.1f} s, the others were there. "
                  f"Rows are in {folder}", soft_wrap=True)  # fmt: skip
    refused = _reasons(outcomes)
    if refused:
        print_table("What was refused", ["points", "status", "for example"], refused, text=(1, 2))


def _reasons(outcomes: Any) -> list[tuple[int, str, str]]:
    """(points, status, a reason), reasons that differ in numbers alone as one; the most first."""
    import re

    found: dict[tuple[str, str], list[str]] = {}
    for each in outcomes:
        if each.status != "ok":
            found.setdefault((each.status, re.sub(r"[\d.e+-]+", "…", each.reason)), []).append(each.reason)
    rows = [(len(reasons), status, reasons[0]) for (status, _), reasons in found.items()]
    return sorted(rows, key=lambda row: -row[0])[:SHOWN]


def _check(space: Any, as_json: bool) -> None:
    """What is known without a run."""
    loop = import_module("heddle.explore.sweep")
    journal = import_module("heddle.explore.journal").Journal()
    workloads = import_module("heddle.explore.workload")
    for each in space.workloads:
        workloads.check(each)
    asked = loop.Sweep(space, journal)
    count, refused, begin = 0, [], time.monotonic()
    for point in space.points():
        count += 1
        if found := asked.refusal(point):
            refused.append(found)
    seconds = time.monotonic() - begin
    states = _states(refused)
    if as_json:
        print_json({"space": space.name, "points": count, "states": states, "seconds": round(seconds, 3),
                    "reasons": [{"points": number, "status": status, "reason": reason}
                                for number, status, reason in _reasons(refused)]})  # fmt: skip
        return
    console.print(f"{space.name}: {space.size:,} points, {count:,} of them inside; {states['invalid']:,} are no "
                  f"machines, {states['infeasible']:,} have no room or break what is required; "
                  f"{count - len(refused):,} are left to run, on {len(space.workloads)} workload(s)",
                  soft_wrap=True)  # fmt: skip
    if refused:
        print_table("What cannot be", ["points", "status", "for example"], _reasons(refused), text=(1, 2))


@contextmanager
def _shown(space: Any) -> Any:
    """Calls with what there is to say: a line that is written over on a terminal, else a line every few seconds."""
    terminal = sys.stderr.isatty()
    err = Console(stderr=True, highlight=False)
    told = 0.0

    def show(now: Any) -> None:
        nonlocal told
        over = now.total is not None and now.done >= now.total
        if time.monotonic() - told < (0.2 if terminal else SECONDS) and not over:
            return
        told = time.monotonic()
        status.update(_line(now, space)) if terminal else click.echo(_line(now, space), err=True)

    with err.status(f"{space.name}: reading") as status:
        yield show


def _line(now: Any, space: Any) -> str:
    of = f" of {now.total:,}" if now.total else ""
    left = f", {_time(now.seconds_left)} left" if now.seconds_left is not None else ""
    states = ", ".join(f"{count:,} {name}" for name, count in now.states.items())
    best = ""
    if now.best is not None:
        goal = space.objectives[0].figure
        where = ", ".join(f"{name} {value}" for name, value in now.best_point.items())
        best = f"; best {goal} {now.best[goal]:.4g} at {where}"
    return f"{now.done:,}{of} points ({states}), {now.points_per_second:.2f} a second{left}{best}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"

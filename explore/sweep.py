"""The loop of a sweep: points are asked for, checked, run and told; each row is on disk before the next is asked
for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..arch.config import HardwareConfig
from ..arch.errors import HeddleError, ToolError
from . import area_model
from . import workload as workloads
from .energy import read_table
from .evaluate import Job, evaluate, key_of
from .executors import executor
from .figures import Figures, broken, excess, machine_figures, run_figures, summed, values_of
from .journal import Journal, Row, read_space
from .search import Strategy, make_strategy
from .space import Point, Space
from .workload import Workload

AHEAD = 2  # jobs under way for each worker
CHECK = "*"  # in place of a workload, in the row of a point that was not run


@dataclass
class Progress:
    """What there is to say while a sweep runs."""

    total: int | None  # points; None: not known
    done: int = 0  # points that have ended
    computed: int = 0  # rows computed now
    reused: int = 0  # rows found in the journal
    states: dict[str, int] = field(default_factory=dict)
    best: Figures | None = None
    best_point: Point | None = None
    begin: float = field(default_factory=time.monotonic)

    @property
    def points_per_second(self) -> float:
        """Since the beginning."""
        return self.done / max(time.monotonic() - self.begin, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """If points go on as they did."""
        return (self.total - self.done) / self.points_per_second if self.total and self.done else None


@dataclass(frozen=True)
class Outcome:
    """A point that has ended: its rows (none if it was not run), its figures over all workloads, and for each
    `require` how far it is from true: above 0 where it is broken."""

    point: Point
    status: str
    reason: str
    rows: tuple[Row, ...]
    figures: Figures
    excess: tuple[float, ...] = ()


class Sweep:
    """The rows of a space."""

    def __init__(self, space: Space, journal: Journal) -> None:
        self.space, self.journal = space, journal
        self.table = read_table(space.energy)

    @property
    def _needed(self) -> set[str]:
        """Figures that objectives and conditions are about."""
        conditions = (name for each in self.space.require for name in each.names)
        return {*(each.figure for each in self.space.objectives), *conditions}

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Sweep:
        """What a sweep has left in a folder."""
        path = Path(folder)
        return cls(Space.from_dict(read_space(path)), Journal(path))

    @property
    def outcomes(self) -> list[Outcome]:
        """Each point of the space of which all rows are there, in the order in which they came."""
        by_point: dict[str, dict[str, Row]] = {}
        points: dict[str, Point] = {}
        for row in self.journal.rows:
            if self._is_of_space(row["point"]):
                name = repr(sorted(row["point"].items()))
                points.setdefault(name, row["point"])
                by_point.setdefault(name, {})[row["workload"]] = row
        found = (self._outcome_of(points[name], rows) for name, rows in by_point.items())
        return [each for each in found if each is not None]

    def _outcome_of(self, point: Point, rows: dict[str, Row]) -> Outcome | None:
        refused = self.refusal(point)
        if refused is not None:
            return refused
        mine = [rows.get(each.name) for each in self.space.workloads]
        config = self.machine(point)
        if all(row is not None and row["key"] == key_of(config, self.workload(point, each))
               for row, each in zip(mine, self.space.workloads, strict=True)):  # fmt: skip
            return self.outcome(point, tuple(row for row in mine if row is not None))
        return None

    def refusal(self, point: Point) -> Outcome | None:
        """Why a point need not be run, as far as that is known in milliseconds: there is no such machine, it breaks
        what is required of machines, or has no room."""
        try:
            config = self.machine(point)
            asked = [self.workload(point, each) for each in self.space.workloads]
        except HeddleError as error:
            return Outcome(point, "invalid", str(error).partition("\n")[0], (), {})
        figures = machine_figures(config)
        if "area_ge" in self._needed and (lacking := area_model.unmeasured(config)):
            return Outcome(point, "error", lacking, (), {})
        names = point.keys() | figures.keys()
        known = [each for each in self.space.require if each.names <= names]
        reason = broken(known, figures, point)
        if not reason:
            reason = next((found for each in asked if (found := workloads.lacks_room(each, config))), "")
        return Outcome(point, "infeasible", reason, (), figures) if reason else None

    def outcome(self, point: Point, rows: tuple[Row, ...]) -> Outcome:
        """Of rows, one for each workload."""
        bad = next((row for row in rows if row["status"] != "ok"), None)
        if bad is not None:
            return Outcome(point, bad["status"], bad["reason"], rows, {})
        config = self.space.machine(point)
        of_machine = machine_figures(config)
        of_workloads = {row["workload"]: run_figures(row, config, self.table) for row in rows}
        figures = summed(self.space, of_workloads, of_machine)
        reason = broken(self.space.require, figures, point)
        return Outcome(point, "infeasible" if reason else "ok", reason, rows, figures,
                       tuple(excess(self.space.require, figures, point)))  # fmt: skip

    def machine(self, point: Point) -> HardwareConfig:
        """The configuration of a point."""
        return self.space.machine(point)

    def workload(self, point: Point, workload: Workload) -> Workload:
        """A workload as the point has it."""
        return workload.changed(self.space.of_workload(point))

    def _is_of_space(self, point: Point) -> bool:
        parameters = self.space.parameters
        return point.keys() == parameters.keys() and all(point[name] in parameters[name] for name in point) and (
            self.space.contains(point)
        )  # fmt: skip


def run(
    space: Space, folder: Path | None = None, *, workers: int = 1, scheduler: str | None = None,
    strategy: Strategy | str = "auto", evaluations: int | None = None, seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Sweep:  # fmt: skip
    """Run a sweep to its end, or from where it was. What is in the folder stays there however this ends."""
    for each in space.workloads:
        workloads.check(each)
    journal = Journal(folder)
    sweep = Sweep(space, journal)
    chosen = make_strategy(strategy, space, evaluations, seed)
    try:
        with executor(workers, scheduler) as (pool, at_once), journal:
            journal.save_space(space.to_dict())
            _Loop(sweep, pool, at_once, chosen, progress or (lambda _: None)).run()
    except BrokenExecutor:
        raise ToolError("a worker has died, perhaps for want of memory; what was found is kept: run the sweep again, "
                        "with fewer workers") from None  # fmt: skip
    return sweep


class _Loop:
    def __init__(self, sweep: Sweep, pool: Any, at_once: int, strategy: Strategy, show: Callable[[Progress], None]):
        self.sweep, self.pool, self.strategy, self.show = sweep, pool, strategy, show
        self.most = at_once * AHEAD if at_once > 1 else 1
        self.progress = Progress(strategy.total)
        self.rows: dict[int, list[Row | None]] = {}  # of points under way, by their numbers
        self.refused: dict[int, Outcome] = {}
        self.points: dict[int, Point] = {}
        self.order: list[int] = []  # of points that were asked for and not told
        self.waiting: dict[Future, tuple[list[tuple[int, int]], str]] = {}  # → (point, workload), …; key
        self.by_key: dict[str, Future] = {}
        self.asked = 0

    def run(self) -> None:
        """Until the strategy has nothing more to ask for."""
        todo: Iterator[tuple[int, int]] = iter(())
        while True:
            while len(self.waiting) < self.most:
                next_one = next(todo, None)
                if next_one is None:
                    batch = self.strategy.ask(self.most)
                    if not batch:
                        break
                    todo = iter(self._begin(batch))
                    continue
                self._submit(*next_one)
            if not self.waiting:
                self._tell()
                if not self.order and not self.strategy.more():
                    return
                continue
            for future in wait(self.waiting, return_when=FIRST_COMPLETED).done:
                self._end(future)
            self._tell()

    def _begin(self, batch: list[Point]) -> list[tuple[int, int]]:
        jobs = []
        for point in batch:
            number, self.asked = self.asked, self.asked + 1
            self.points[number], self.rows[number] = point, [None] * len(self.sweep.space.workloads)
            self.order.append(number)
            refused = self.sweep.refusal(point)
            if refused is None:
                jobs += [(number, place) for place in range(len(self.sweep.space.workloads))]
            else:
                self.refused[number], self.rows[number] = refused, []
        return jobs

    def _submit(self, number: int, place: int) -> None:
        """Find a row in the journal, or have it computed."""
        point, sweep = self.points[number], self.sweep
        config, workload = sweep.machine(point), sweep.workload(point, sweep.space.workloads[place])
        key = key_of(config, workload)
        known = sweep.journal.find(key)
        if known is not None:
            self.progress.reused += 1
            found = {name: each for name, each in known.items() if name not in ("key", "point", "workload")}
            self._enter(number, place, key, found, known)
        elif key in self.by_key:  # another point is the same machine
            self.waiting[self.by_key[key]][0].append((number, place))
        else:
            future = self.pool.submit(evaluate, Job.of(config, workload))
            self.waiting[future] = [(number, place)], key
            self.by_key[key] = future

    def _end(self, future: Future) -> None:
        places, key = self.waiting.pop(future)
        del self.by_key[key]
        found = future.result()
        self.progress.computed += 1
        for number, place in places:
            self._enter(number, place, key, found)

    def _enter(self, number: int, place: int, key: str, found: dict[str, Any], known: Row | None = None) -> None:
        name, point = self.sweep.space.workloads[place].name, self.points[number]
        row = {"key": key, "point": point, "workload": name, **found}
        if known is None or (known["point"], known["workload"]) != (point, name):
            self.sweep.journal.append(row)
        self.rows[number][place] = row

    def _tell(self) -> None:
        """In the order in which they were asked for, so that a search does not hang on who was first."""
        while self.order and None not in self.rows[self.order[0]]:
            number = self.order.pop(0)
            rows = tuple(row for row in self.rows.pop(number) if row is not None)
            point = self.points.pop(number)
            outcome = self.refused.pop(number, None) or self.sweep.outcome(point, rows)
            if not rows:
                self._write_down(outcome)
            self.strategy.tell(outcome)
            self._count(outcome)

    def _write_down(self, outcome: Outcome) -> None:
        """A point that was not run has a row too, once; what it says holds as long as the check says so."""
        row = {"key": f"check {sorted(outcome.point.items())}", "point": outcome.point, "workload": CHECK,
               "status": outcome.status, "reason": outcome.reason}  # fmt: skip
        if self.sweep.journal.find(row["key"]) != row:
            self.sweep.journal.append(row)

    def _count(self, outcome: Outcome) -> None:
        now, objectives = self.progress, self.sweep.space.objectives
        now.done += 1
        now.states[outcome.status] = now.states.get(outcome.status, 0) + 1
        if outcome.status == "ok":
            values = values_of(objectives, outcome.figures)
            if now.best is None or values[0] < values_of(objectives, now.best)[0]:
                now.best, now.best_point = outcome.figures, outcome.point
        self.show(now)

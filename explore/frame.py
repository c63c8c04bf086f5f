"""Outcomes as a table of pandas: a row for each point and workload, or for each point over all workloads."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from ..arch.errors import HeddleError
from ..arch.files import write_whole
from .figures import machine_figures, run_figures, values_of
from .fronts import front
from .sweep import Outcome, Sweep

ALL = "all"  # in place of a workload: figures over all of them


def require_pandas() -> Any:
    """pandas. Raises HeddleError without the extra `explore`."""
    try:
        import_module("pyarrow")
        return import_module("pandas")
    except ImportError:
        raise HeddleError("tables of sweeps need pandas and pyarrow: pip install 'heddle[explore]'") from None


def records(sweep: Sweep) -> list[dict[str, Any]]:
    """Plain rows: the point, workload, status, reason, then figures; `front` says which no other beats. For each point
    one over all workloads comes first, then one for each of its runs, if there are several."""
    found = []
    for outcome, on_front in zip(outcomes := sweep.outcomes, on_fronts(sweep, outcomes), strict=True):
        head = {**outcome.point, "workload": ALL, "status": outcome.status, "reason": outcome.reason, "front": on_front}
        found.append(head | outcome.figures)
        if len(sweep.space.workloads) == 1:
            found[-1]["workload"] = sweep.space.workloads[0].name
            continue
        for row in outcome.rows:
            figures = run_figures(row, config := sweep.machine(outcome.point), sweep.table) | machine_figures(config)
            found.append({**outcome.point, "workload": row["workload"], "status": row["status"],
                          "reason": row["reason"], "front": on_front} | figures)  # fmt: skip
    return found


def on_fronts(sweep: Sweep, outcomes: list[Outcome]) -> list[bool]:
    """For each outcome whether it is on the front of the objectives."""
    good = [number for number, each in enumerate(outcomes) if each.status == "ok"]
    kept = front([values_of(sweep.space.objectives, outcomes[number].figures) for number in good])
    chosen = {number for number, each in zip(good, kept.tolist(), strict=True) if each}
    return [number in chosen for number in range(len(outcomes))]


def frame(sweep: Sweep) -> Any:
    """A pandas.DataFrame of `records`. Raises HeddleError without pandas."""
    table = require_pandas().DataFrame.from_records(records(sweep))
    table.attrs = {"space": sweep.space.name, "objectives": [str(each) for each in sweep.space.objectives]}
    return table


def write_parquet(sweep: Sweep, path: Path) -> None:
    """The frame as a Parquet file, whole or not at all."""
    table = frame(sweep)
    for name in table.columns:  # a parameter may have numbers and texts
        if table[name].map(type).nunique() > 1 and table[name].dtype == object:
            table[name] = table[name].map(lambda value: None if value is None else str(value))
    table.attrs = {}
    write_whole(path, lambda partial: table.to_parquet(partial, index=False))

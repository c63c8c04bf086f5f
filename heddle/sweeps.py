"""heddle.sweep: a space of machines, run to its end, as a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import heddle
from heddle.layers import require_type


def read_space(space: Any) -> Any:
    """A space as it may be given: the path of a .toml file, a dict of its tables, or a Space."""
    found = import_module("heddle.explore.space").Space
    if isinstance(space, str | os.PathLike):
        return found.read(space)
    require_type("space", space, (Mapping, found), "the path of a .toml file, a dict of its tables, or a Space")
    return found.from_dict(space)


def sweep(
    space: Any, folder: str | os.PathLike[str] | None = None, *, workers: int = 1, scheduler: str | None = None,
    search: str = "auto", evaluations: int | None = None, seed: int = 0,
    progress: Callable[[Any], None] | None = None,
) -> Any:  # fmt: skip
    """A pandas.DataFrame of all points of a space of machines, each run on its workloads.

    space        the path of a .toml file, or a dict of the same tables (docs/sweeps.md)
    folder       where rows are kept as they come; a sweep that was stopped goes on where it was. None: nowhere
    workers      processes; 1 is this one. A script that asks for more must be importable (`if __name__ == "__main__"`)
    scheduler    the address of a Dask cluster to run on instead
    search       "exhaustive", "gp" (Gaussian process), "nsga2", "random", or "auto"
    evaluations  points at most; default: all
    seed         of a search, which is the same again with the same seed
    progress     called after each point with what there is to say (done, total, states, best, …)
    A row for each point and workload, and with several workloads one for each point over "all": the point, `status`
    (ok, invalid, infeasible, error), `reason`, `front`, then figures. Raises HeddleError for a space that means nothing
    and for what is not installed (the extras `explore` and `cluster`).
    """
    frames = import_module("heddle.explore.frame")
    frames.require_pandas()
    if progress is not None and not callable(progress):
        raise heddle.HeddleError(f"progress must be a function of what there is to say, not {progress!r}")
    path = None if folder is None else Path(folder)
    if path is not None and not path.parent.is_dir():
        raise heddle.HeddleError(f"cannot make {path}: its directory does not exist")
    done = import_module("heddle.explore.sweep").run(
        read_space(space), path, workers=workers, scheduler=scheduler, strategy=search, evaluations=evaluations,
        seed=seed, progress=progress,
    )  # fmt: skip
    return frames.frame(done)

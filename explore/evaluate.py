"""A job becomes what was found: compiled for timing, simulated, its events counted; or why not. Runs anywhere."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from ..arch.config import HardwareConfig
from ..arch.errors import HeddleError, NoRoomError, PrecisionError
from .workload import Workload, compiled

STATES = ("ok", "invalid", "infeasible", "error")
_HERE = Path(__file__).parent
_DECIDES = ("arch", "compiler", "models", "sim")  # folders beside this one whose sources decide what is found
_LOCK = Lock()  # PyTorch's export is for one thread at a time


@dataclass(frozen=True)
class Job:
    """A machine and what it is to run, as plain values."""

    config: dict[str, Any]
    workload: dict[str, Any]

    @classmethod
    def of(cls, config: HardwareConfig, workload: Workload) -> Job:
        """That of a machine and a workload."""
        return cls(config.to_dict(), {name: each for name, each in vars(workload).items() if each is not None})


def key_of(config: HardwareConfig, workload: Workload) -> str:
    """What identifies a result: the machine without its name and its clock, the workload, the sources."""
    machine = {name: each for name, each in config.to_dict().items() if name not in ("name", "clock_mhz")}
    content = json.dumps([machine, workload.identity(), sources()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


@cache
def sources() -> str:
    """A hash of all sources that decide what is found."""
    content = hashlib.sha256()
    paths = [path for name in _DECIDES for path in sorted((_HERE.parent / name).rglob("*.py"))]
    for path in [*paths, _HERE / "evaluate.py", _HERE / "workload.py"]:
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()


def evaluate(job: Job) -> dict[str, Any]:
    """status, reason and, where there are some, the figures that were found. Raises nothing that a point can cause."""
    begin = time.process_time()
    with _LOCK:
        try:
            found = _run(HardwareConfig.from_dict(job.config), Workload.from_dict(job.workload))
        except NoRoomError as error:
            found = {"status": "infeasible", "reason": _first_line(error)}
        except PrecisionError as error:
            found = {"status": "invalid", "reason": _first_line(error)}
        except HeddleError as error:
            found = {"status": "error", "reason": _first_line(error)}
        except Exception as error:  # of one point: the others go on
            found = {"status": "error", "reason": f"{type(error).__name__}: {_first_line(error)}"}
        _keep(job.workload["model"])
    return found | {"cpu_seconds": round(time.process_time() - begin, 3)}


def _run(config: HardwareConfig, workload: Workload) -> dict[str, Any]:
    from ..sim.events import events
    from ..sim.machine import simulate

    program = compiled(workload, config)
    result = simulate(program, values=False)
    return {
        "status": "ok", "reason": "", "cycles": result.cycles, "instructions": len(program.instructions),
        "useful_macs": program.total_macs, "busy_cycles": result.busy, "events": events(result).to_dict(),
    }  # fmt: skip


_KEPT: set[str] = set()


def _keep(model: str) -> None:
    """Let Python's collector pass over what stays, once for each model: PyTorch and what was captured are hundreds of
    thousands of objects. Only in a process that is there for nothing else."""
    if multiprocessing.parent_process() is not None and model not in _KEPT:
        _KEPT.add(model)
        gc.collect()
        gc.freeze()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

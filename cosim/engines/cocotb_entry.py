"""What cocotb imports inside the simulator process: runs the body of each job of the job file, over VPI.

Nothing here runs once per clock cycle: the clock is made in Verilog (see hdl.py), waiting is one trigger on the
interrupt, and memories pass through files that Verilog reads and writes.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, First, RisingEdge, Timer
from numpy.typing import NDArray

from . import hdl
from .body import UNITS, run_job
from .hostile_body import run_hostile_job
from .job import HostileJob, records_of_words


class _Handle:
    """body.Handle over the top module that hdl.py writes. The body runs at falling edges of the clock."""

    def __init__(self, top, axi_bytes: int):
        self._top = top
        self._axi_bytes = axi_bytes

    def set(self, port: str, value: int) -> None:
        getattr(self._top, port).value = value

    def get(self, port: str) -> int:
        return int(getattr(self._top, port).value)

    async def settle(self) -> None:
        await Timer(1, "ns")

    async def step(self) -> None:
        await FallingEdge(self._top.clk)

    async def until(self, port: str, cycles: int) -> bool:
        signal = getattr(self._top, port)
        if not int(signal.value):
            await First(RisingEdge(signal), Timer(cycles * hdl.PERIOD_NS, "ns"))
            await self.step()
        return bool(int(signal.value))

    async def wait(self, cycles: int) -> None:
        await Timer(cycles * hdl.PERIOD_NS, "ns")

    async def restart(self, image: NDArray[np.uint8]) -> None:
        hdl.write_words(Path("image.hex"), image, self._axi_bytes)
        self._top.rst.value = 1
        self._top.image_words.value = len(image) // self._axi_bytes
        await self.step()
        await self._pulse("restart")
        self._top.rst.value = 0
        await self.step()

    async def fill(self, image: NDArray[np.uint8]) -> None:
        hdl.write_words(Path("image.hex"), image, self._axi_bytes)
        await self._pulse("fill")

    async def read_dram(self) -> NDArray[np.uint8]:
        await self._pulse("dump")
        return hdl.read_words(Path("image_after.hex"), self._axi_bytes)

    async def read_trace(self, unit: str, count: int) -> NDArray:
        if not count:
            return records_of_words([])
        if unit == next(u for u in UNITS if self.get(f"records_{u}")):  # one dump for all units
            await self._pulse("dump_traces")
        lines = Path(f"trace_{unit}.hex").read_text().split("\n")
        return records_of_words([int(line, 16) for line in lines if line and line[0] not in "/@"])

    async def _pulse(self, signal: str) -> None:
        """Raise and lower a signal that hdl.py's top module acts on."""
        getattr(self._top, signal).value = 1
        await self.step()
        getattr(self._top, signal).value = 0
        await self.step()


@cocotb.test()
async def run_jobs(top) -> None:
    """Run all jobs of the file named by the environment and leave the outcomes beside it."""
    axi_bytes, jobs = pickle.loads(Path(os.environ["HEDDLE_JOBS"]).read_bytes())
    handle = _Handle(top, axi_bytes)
    await handle.step()
    outcomes = [
        await (run_hostile_job(handle, job) if isinstance(job, HostileJob) else run_job(handle, job)) for job in jobs
    ]
    Path("outcomes.pickle").write_bytes(pickle.dumps(outcomes))

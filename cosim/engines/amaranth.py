"""The bench on Amaranth's own simulator: slow (a hundred cycles a second), but in this process, without tools."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
from amaranth.sim import Simulator
from numpy.typing import NDArray

from ...arch.config import HardwareConfig, Unit
from ..bench import Bench
from .body import run_job
from .job import Job, Outcome, Window, records_of_words


class _Handle:
    """body.Handle over a simulation context."""

    def __init__(self, ctx, bench: Bench, axi_bytes: int):
        self._ctx = ctx
        self._bench = bench
        self._axi_bytes = axi_bytes

    def set(self, port: str, value: int) -> None:
        self._ctx.set(self._port(port), value)

    def get(self, port: str) -> int:
        return self._ctx.get(self._port(port))

    async def settle(self) -> None:
        pass  # `ctx.set` has settled everything

    async def step(self) -> None:
        await self._ctx.tick()

    async def until(self, port: str, cycles: int) -> bool:
        for _ in range(cycles):
            if self.get(port):
                return True
            await self._ctx.tick()
        return bool(self.get(port))

    async def restart(self, image: NDArray[np.uint8]) -> None:
        # The simulator has just been reset, and with it every register and memory.
        await self._write_words(image, only_set=True)

    async def fill(self, image: NDArray[np.uint8]) -> None:
        await self._write_words(image, only_set=False)

    async def _write_words(self, image: NDArray[np.uint8], only_set: bool) -> None:
        words = image.reshape(-1, self._axi_bytes)
        for index in np.flatnonzero(words.any(axis=1)) if only_set else range(len(words)):
            value = int.from_bytes(words[index].tobytes(), "little")
            self._ctx.set(self._bench.dram.storage.words[int(index)], value)
        await self._ctx.tick()

    async def read_dram(self) -> NDArray[np.uint8]:
        words = self._bench.dram.storage.words
        content = [self._ctx.get(words[i]).to_bytes(self._axi_bytes, "little") for i in range(words.depth)]
        return np.frombuffer(b"".join(content), np.uint8)

    async def read_trace(self, unit: str, count: int) -> NDArray:
        words = self._bench.traces[Unit[unit.upper()]].words
        return records_of_words([self._ctx.get(words[i]) for i in range(count)])

    def _port(self, name: str):
        port = self._bench
        for part in name.split("__"):
            port = getattr(port, part)
        return port


def require() -> None:
    """Nothing beyond Amaranth itself is needed."""


def run(config: HardwareConfig, jobs: list[Job], trace_depth: int) -> list[Outcome]:
    """Run every job from reset. All images must have the same size."""
    return _run(config, jobs, trace_depth, None)


def require_waves(suffix: str) -> None:
    """Nothing more is needed."""


def record(config: HardwareConfig, job: Job, trace_depth: int, window: Window, folder: Path, suffix: str) -> Path:
    """Run the job and write a waveform of the whole run into `folder`; returns the file."""
    _run(config, [job], trace_depth, folder / "waves.vcd")
    return folder / "waves.vcd"


def _run(config: HardwareConfig, jobs: list[Job], trace_depth: int, waves: Path | None) -> list[Outcome]:
    bench = Bench(config, len(jobs[0].image), trace_depth)
    outcomes: list[Outcome] = []

    async def testbench(ctx):
        outcomes.append(await run_job(_Handle(ctx, bench, config.axi_bytes), jobs[len(outcomes)]))

    simulator = Simulator(bench)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    with simulator.write_vcd(str(waves)) if waves else nullcontext():
        for job in range(len(jobs)):
            if job:
                simulator.reset()
            simulator.run()
    return outcomes

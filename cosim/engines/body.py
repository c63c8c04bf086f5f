"""The one test body of the RTL bench, for every engine: load, start through the CSRs, wait, read everything back.

An engine provides a `Handle`: the ports of the bench by name, the passage of time, and its memories in bulk. Time
stands in the middle of a clock cycle whenever the body runs: what it sets counts at the next rising edge, what it gets
is of the cycle it is in.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...arch.config import Unit
from ...arch.registers import Register
from .job import Job, Outcome, Work

UNITS = [unit.name.lower() for unit in Unit]

READ_BACK = [
    Register.STATUS, Register.ERROR, Register.CYCLES_LOW, Register.CYCLES_HIGH, Register.INSTRUCTIONS,
    Register.READ_BEATS, Register.WRITE_BEATS, *Register.ERROR_INSTRUCTIONS.offsets, *Register.BUSY.offsets,
    *Register.WAITING.offsets,
]  # fmt: skip
RESPONSE_LIMIT = 100  # cycles that an AXI4-Lite access may take


class Handle(Protocol):
    """What an engine provides. Ports are named as in Verilog: "control__awvalid"."""

    def set(self, port: str, value: int) -> None:
        """Drive an input of the bench."""

    def get(self, port: str) -> int:
        """The value of an output of the bench. Inputs set in this cycle may not have reached it before `settle`."""
        ...

    async def settle(self) -> None:
        """Let what was set in this cycle reach the outputs."""

    async def step(self) -> None:
        """Go on to the next cycle."""

    async def until(self, port: str, cycles: int) -> bool:
        """Go on until `port` is high, but for `cycles` at most. True if it is high."""
        ...

    async def restart(self, image: NDArray[np.uint8]) -> None:
        """Reset the design, clear the on-chip memories and fill DRAM with `image`."""

    async def fill(self, image: NDArray[np.uint8]) -> None:
        """Put `image` into DRAM; registers and on-chip memories stay as they are."""

    async def read_dram(self) -> NDArray[np.uint8]:
        """All of DRAM."""
        ...

    async def read_trace(self, unit: str, count: int) -> NDArray:
        """The first `count` retire records of a unit, as a RECORD array."""
        ...


async def run_job(bench: Handle, job: Job) -> Outcome:
    """Run the accelerator once, from reset; before that, the runs that are to be aborted."""
    for port, value in job.inputs:
        bench.set(port, value)
    await bench.restart(job.image)
    bench.set("latency", job.latency)
    bench.set("cycles_per_beat", job.cycles_per_beat)
    bench.set("dram_base", job.dram_base)
    bench.set("used_bytes", len(job.image))
    await prepare(bench, job)
    for cycle in job.aborts:
        await _abort_run(bench, job, cycle)
    before = {unit: bench.get(f"records_{unit}") for unit in UNITS}
    await write_register(bench, Register.CONTROL, Register.CONTROL.mask("start"))
    finished = await bench.until("interrupt", job.limit)
    registers = {offset: await read_register(bench, offset) for offset in READ_BACK}
    trace = {unit: (await bench.read_trace(unit, bench.get(f"records_{unit}")))[before[unit] :] for unit in UNITS}
    return Outcome(finished, registers, trace, await bench.read_dram(), bool(bench.get("violation")))


async def _abort_run(bench: Handle, job: Job, cycle: int) -> None:
    """Start, abort in about that cycle, wait until nothing is under way, and put DRAM in order."""
    await write_register(bench, Register.CONTROL, Register.CONTROL.mask("start"))
    await bench.until("interrupt", cycle)
    await write_register(bench, Register.CONTROL, Register.CONTROL.mask("abort"))
    finished = await bench.until("interrupt", job.limit)
    while finished and await read_register(bench, Register.STATUS) & Register.STATUS.mask("busy"):
        await bench.step()
    assert finished, f"a run that was aborted in cycle {cycle} did not end"
    await bench.fill(job.image)


async def prepare(bench: Handle, job: Work) -> None:
    """Write all registers that a run of `job` needs but CONTROL."""
    await write_register(bench, Register.GROUPS, job.groups)
    for number, value in job.scalars:
        await write_register(bench, Register.SCALAR + 4 * number, value)
    for low, high, value in ((Register.PROGRAM_LOW, Register.PROGRAM_HIGH, 0),
                             (Register.DRAM_BASE_LOW, Register.DRAM_BASE_HIGH, job.dram_base),
                             (Register.DRAM_BYTES_LOW, Register.DRAM_BYTES_HIGH, len(job.image)),
                             (Register.KV_BASE_LOW, Register.KV_BASE_HIGH, job.dram_base + job.cache_address),
                             (Register.KV_BYTES_LOW, Register.KV_BYTES_HIGH, job.cache_bytes)):  # fmt: skip
        await write_register(bench, low, value & 0xFFFFFFFF)
        await write_register(bench, high, value >> 32)
    await write_register(bench, Register.INTERRUPT, 1)


async def write_register(bench: Handle, offset: int, value: int) -> None:
    """Write 32 bits by AXI4-Lite, address and data offered together and each taken in its own time."""
    bench.set("control__awaddr", offset)
    bench.set("control__wdata", value)
    bench.set("control__wstrb", 15)
    bench.set("control__bready", 1)
    waiting = {"control__aw", "control__w", "control__b"}
    for channel in ("control__aw", "control__w"):
        bench.set(channel + "valid", 1)
    for _ in range(RESPONSE_LIMIT):
        await bench.settle()
        done = {c for c in waiting if bench.get(c + ("valid" if c == "control__b" else "ready"))}
        await bench.step()
        waiting -= done
        for channel in done - {"control__b"}:
            bench.set(channel + "valid", 0)
        if not waiting:
            bench.set("control__bready", 0)
            return
    raise RuntimeError(f"no answer to a write to CSR {offset:#x} in {RESPONSE_LIMIT} cycles")


async def read_register(bench: Handle, offset: int) -> int:
    """Read 32 bits by AXI4-Lite."""
    bench.set("control__araddr", offset)
    bench.set("control__arvalid", 1)
    bench.set("control__rready", 1)
    for _ in range(RESPONSE_LIMIT):
        await bench.settle()
        taken, answered = bench.get("control__arready"), bench.get("control__rvalid")
        value = bench.get("control__rdata")
        await bench.step()
        if taken:
            bench.set("control__arvalid", 0)
        if answered:
            bench.set("control__rready", 0)
            return value
    raise RuntimeError(f"no answer to a read of CSR {offset:#x} in {RESPONSE_LIMIT} cycles")

"""The test body of the hostile bench: attempt after attempt, disturbed in many ways, without a reset in between."""

from __future__ import annotations

from typing import Protocol

from ...arch.registers import Register
from .body import Handle, prepare, read_register, write_register
from .job import Attempt, AttemptOutcome, HostileJob, Mood

IDLE_POLLS, POLL_CYCLES = 400, 50  # how long a machine may drain: the slave may stall for long
NEEDLESS_STARTS = 3
LEAD_CYCLES = 16  # what is to come within a run is written so long before its end: a write takes some cycles


class HostileHandle(Handle, Protocol):
    """What the hostile bench needs besides."""

    async def wait(self, cycles: int) -> None:
        """Let so many cycles pass."""


async def run_hostile_job(bench: HostileHandle, job: HostileJob) -> list[AttemptOutcome]:
    """Run all attempts after one reset."""
    await bench.restart(job.image)
    bench.set("dram_base", job.dram_base)
    bench.set("used_bytes", len(job.image))
    await prepare(bench, job)
    outcomes: list[AttemptOutcome] = []
    cycles = bursts = 1  # of the last attempt that nothing disturbed
    for attempt in job.attempts:
        await bench.fill(job.image)
        await _set_mood(bench, attempt, bursts)
        outcomes.append(await _attempt(bench, job, attempt, cycles))
        if attempt.disturbance == "none":
            cycles, bursts = outcomes[-1].cycles, outcomes[-1].bursts
    return outcomes


async def _set_mood(bench: HostileHandle, attempt: Attempt, bursts: int) -> None:
    mood: Mood = attempt.mood
    errs = attempt.disturbance == "error"
    values = {
        "seed": mood.seed, "spell": mood.spell, "order": mood.order, "error_code": attempt.error_code,
        "error_burst": 1 + int(attempt.when * bursts) if errs else 0, "error_whole": attempt.error_whole,
        **{f"odds__{number}": odds for number, odds in enumerate(mood.odds)},
    }  # fmt: skip
    for port, value in values.items():
        bench.set(port, value)
    bench.set("reseed", 1)
    await bench.step()
    bench.set("reseed", 0)


async def _attempt(bench: HostileHandle, job: HostileJob, attempt: Attempt, cycles: int) -> AttemptOutcome:
    await _command(bench, "start")
    moment = 1 + int(attempt.when * max(0, cycles - LEAD_CYCLES))
    if attempt.disturbance == "starts":
        for _ in range(NEEDLESS_STARTS):
            await bench.wait(moment // NEEDLESS_STARTS)
            if not bench.get("interrupt"):
                await _command(bench, "start")
    elif attempt.disturbance == "abort":
        await bench.wait(moment)
        await _command(bench, "abort")
    finished = await bench.until("interrupt", job.limit)
    if attempt.hasty:
        await _command(bench, "start")
        await bench.wait(moment)
        await _command(bench, "abort")
    status = await read_register(bench, Register.STATUS)
    for _ in range(IDLE_POLLS):
        if not Register.STATUS.field("busy").of(status):
            break
        await bench.wait(POLL_CYCLES)
        status = await read_register(bench, Register.STATUS)
    else:
        finished = False
    return AttemptOutcome(
        finished, status, await read_register(bench, Register.ERROR), await read_register(bench, Register.CYCLES_LOW),
        bench.get("bursts"), bench.get("broken"), bool(bench.get("quiet")), await bench.read_dram(),
    )  # fmt: skip


async def _command(bench: HostileHandle, name: str) -> None:
    await write_register(bench, Register.CONTROL, Register.CONTROL.mask(name))

"""A campaign on the DRAM port: random programs on a hostile DRAM, disturbed by errors, aborts and needless starts.

Each job is three attempts without a reset in between: one that nothing disturbs, one that something does, and again one
that nothing does. What an undisturbed attempt leaves in DRAM must be what the simulator says, byte for byte, whatever
came before it; and no attempt may break a rule of AXI4 or leave anything in flight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig
from ..arch.program import Program
from ..arch.registers import ErrorKind, Register
from ..sim.machine import simulate
from .axi_rules import CHANNELS, names_of
from .engines.job import Attempt, AttemptOutcome, HostileJob, Mood
from .random_programs import random_program

INSTRUCTIONS = 16  # of a random program, besides what fills the memories and empties them
CYCLES = 2_000_000  # after which an attempt has failed
DISTURBANCES = ("starts", "error", "abort")


@dataclass(frozen=True)
class Campaign:
    """What a campaign found."""

    runs: int  # attempts
    clean: int  # of them, those whose bytes were compared
    errors: int  # runs that ended with an error, as a burst erred
    aborts: int  # runs that were aborted
    cycles: int  # of the undisturbed ones
    wrong_bytes: int
    problems: tuple[str, ...]  # one line each; empty if all is well


def campaign(config: HardwareConfig, seeds: Iterable[int], disturbances: Sequence[str] = DISTURBANCES) -> Campaign:
    """Run a job for each seed; the seeds take the disturbances in turn. Needs Verilator."""
    from .engines import verilator  # late: loading the RTL takes a second

    seeds = list(seeds)
    programs = [random_program(config, seed, INSTRUCTIONS) for seed in seeds]
    jobs = [
        hostile_job(program, seed, disturbances[seed % len(disturbances)])
        for program, seed in zip(programs, seeds, strict=True)
    ]
    expected = [simulate(program, timing=False).image_of(0) for program in programs]
    outcomes = verilator.run_hostile(config, jobs)
    return judge(seeds, jobs, expected, outcomes)


def hostile_job(program: Program, seed: int, disturbance: str) -> HostileJob:
    """Three attempts, of which the second is disturbed in the way given. DRAM stands anywhere."""
    random = Random(f"hostile {seed} {disturbance}")
    mood = random_mood(random)
    disturbed = Attempt(
        mood, disturbance, when=random.random(), error_code=random.choice([2, 3]), error_whole=random.random() < 0.5,
        hasty=disturbance != "starts" and random.random() < 0.3,
    )  # fmt: skip
    attempts = Attempt(mood), disturbed, Attempt(random_mood(random))
    return HostileJob(
        image=program.image, groups=program.groups, limit=CYCLES, scalars=program.registers,
        cache_address=program.cache_address, cache_bytes=program.cache_bytes, attempts=attempts,
        dram_base=random.choice([0, 1, random.getrandbits(20), (1 << 28) - (program.dram_bytes >> 12)]) << 12,
    )  # fmt: skip


def random_mood(random: Random) -> Mood:
    """A slave whose channels are each eager, moderate or reluctant, with short or long spells."""
    odds = tuple(random.choice([255, 255, 180, 128, 64, 20]) for _ in CHANNELS)
    return Mood(random.getrandbits(64) | 1, odds, random.choice([0, 0, 1, 7, 63]), random.randrange(3))


def judge(
    seeds: Sequence[int],
    jobs: Sequence[HostileJob],
    expected: Sequence[NDArray[np.uint8]],
    outcomes: Sequence[Sequence[AttemptOutcome]],
) -> Campaign:
    """Compare what happened with what should have."""
    tally, problems = Campaign(0, 0, 0, 0, 0, 0, ()), []
    for seed, job, image, results in zip(seeds, jobs, expected, outcomes, strict=True):
        for number, (attempt, outcome) in enumerate(zip(job.attempts, results, strict=True)):
            clean = attempt.disturbance in ("none", "starts") or _holds("done", outcome)
            wrong = int(np.count_nonzero(outcome.image != image)) if clean else 0
            problems += [f"seed {seed}, attempt {number} ({attempt.disturbance}): {each}"
                         for each in _problems(attempt, outcome, wrong)]  # fmt: skip
            tally = replace(
                tally,
                runs=tally.runs + 1,
                clean=tally.clean + clean,
                errors=tally.errors + _holds("error", outcome),
                aborts=tally.aborts + _holds("aborted", outcome),
                cycles=tally.cycles + outcome.cycles * clean,
                wrong_bytes=tally.wrong_bytes + wrong,
            )
    return replace(tally, problems=tuple(problems))


def _problems(attempt: Attempt, outcome: AttemptOutcome, wrong_bytes: int) -> Iterator[str]:
    if outcome.broken:
        yield f"broken on the port: {', '.join(names_of(outcome.broken))}"
    if not outcome.finished:
        yield f"it does not come to rest: STATUS {outcome.status:#x}"
    elif not outcome.quiet:
        yield "the machine is idle, and something is in flight"
    if wrong_bytes:
        yield f"{wrong_bytes} bytes of DRAM are wrong"
    ends = [name for name in ("done", "error", "aborted") if _holds(name, outcome)]
    wanted = {"error": ["error"], "abort": ["aborted"]}.get(attempt.disturbance, ["done"])
    if attempt.hasty:
        wanted = ["aborted"]
    elif attempt.disturbance == "error" and ends == ["done"]:
        wanted = ends  # a beat behind halt may err: then all bytes are right
    if ends != wanted:
        yield f"it ends with {ends}, not with {wanted}; ERROR is {outcome.error:#x}"
    kind = Register.ERROR.field("kind").of(outcome.error)
    if ends == ["error"] and kind != ErrorKind.AXI_RESPONSE:
        yield f"the error is {ErrorKind(kind).name}"


def _holds(name: str, outcome: AttemptOutcome) -> bool:
    return bool(Register.STATUS.field(name).of(outcome.status))

"""The fuzzer of illegal programs: whatever is wrong with a program, it is told.

One of three things happens to a mutant (mutants.py) of a random program:

refused   decoding, `Program.check` or `require_ordered` says that it is no program, or that its result hangs on timing.
          Where the manual says that the RTL sees it too, it is run all the same, and must stop with that error. Or the
          simulator refuses what could collide at a bank, and the RTL, in which nothing did, came through; or it finds
          no table where a function by table is wanted, and the RTL, which takes any bits for one, is not run
agrees    simulator and RTL run it to the same bytes, in the same cycles
stops     the RTL stops with the error that stands for what the simulator refuses as it runs it

Anything else is a third outcome, and a fault: a difference, a hang, another error, an exception that is no HeddleError.
"""

from __future__ import annotations

import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from ..arch.check import first_missing_token
from ..arch.config import Config, get_config
from ..arch.errors import HeddleError
from ..arch.isa import Halt, Instruction
from ..arch.program import Program
from ..arch.ranges import require_range
from ..arch.registers import ErrorKind, Register
from ..sim.lint import require_ordered
from ..sim.machine import Machine, simulate
from ..sim.result import Result
from .engines.job import Job, Outcome
from .lockstep import SLACK_CYCLES, Tally, engine_named
from .mutants import Mutant, mutants

MOST = 1 << 32
AT_ONCE = 100  # mutants on the RTL in one process
# Cycles in which the RTL must have stopped, where the simulator knows no length of the run. Mutants that run for longer
# (a LOAD may move gigabytes) take minutes on the RTL: they are counted, and others drawn in their place.
LONGEST = 60_000

# What the simulator says → what the RTL may stop with. The simulator looks at whole instructions and the RTL at single
# accesses, so that it may come through where the simulator sees a bank conflict.
ERRORS: dict[str, ErrorKind] = {
    "bank conflict": ErrorKind.BANK_CONFLICT,
    "semaphore overflow": ErrorKind.SEMAPHORE_OVERFLOW,
    "beyond the KV cache": ErrorKind.BEYOND_CACHE,
    "beyond DRAM": ErrorKind.BEYOND_DRAM,
    "deadlock": ErrorKind.DEADLOCK,
}
MAY_COME_THROUGH = ErrorKind.BANK_CONFLICT
NO_TABLE = "no table of a function"  # the simulator says so, and no error of the RTL stands for it


@dataclass(frozen=True)
class Expectation:
    """What is to become of a mutant: `outcome` is refused, agrees, stops, long or third. If it `runs`, the RTL must
    agree with `result` or, without one, stop with an error of `errors`, at the instruction `place` if that is known.
    """

    mutant: Mutant
    outcome: str
    why: str = ""  # of a refusal, or of the simulator
    result: Result | None = None
    errors: tuple[ErrorKind, ...] = ()
    place: int | None = None

    @property
    def runs(self) -> bool:
        """Whether it is handed to the RTL."""
        return self.result is not None or bool(self.errors)


@dataclass(frozen=True)
class ThirdOutcome:
    """A fault: what was changed, and what became of it."""

    number: int
    changes: tuple[str, ...]
    found: str

    def __str__(self) -> str:
        return f"mutant {self.number} ({'; '.join(self.changes)}): {self.found}"


@dataclass
class Campaign:
    """What became of some mutants: of all `programs`, each is refused, agrees, is stopped or is a third outcome."""

    engine: str
    machine: str  # its title
    seed: int
    programs: int = 0
    refused: int = 0
    came_through: int = 0  # of those refused: the simulator sees a bank conflict, and the RTL came to its end
    agree: int = 0
    stopped: int = 0
    stopped_by: Counter[str] = field(default_factory=Counter)  # by the RTL's error; those refused that were run, too
    ran: int = 0  # on the RTL
    too_long: int = 0  # besides: left out, as they would run for more than LONGEST cycles
    third: list[ThirdOutcome] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether there was no third outcome."""
        return not self.third

    def to_dict(self) -> dict:
        """Plain values under the names of docs/json.md."""
        return {
            "engine": self.engine, "seed": self.seed, "programs": self.programs, "refused": self.refused,
            "came_through": self.came_through, "agreed": self.agree, "stopped_alike": self.stopped,
            "stopped_by": dict(self.stopped_by), "ran_on_rtl": self.ran, "left_out": self.too_long,
            "third_outcomes": [str(each) for each in self.third], "agrees": self.agrees,
        }  # fmt: skip


def illegal(
    config: Config, programs: int, seed: int = 0, engine: str = "verilator",
    progress: Callable[[int, int], None] | None = None,
) -> Campaign:  # fmt: skip
    """Judge so many mutants. `progress` is called with (mutants judged, all). Raises HeddleError for an unknown or
    missing engine."""
    config = get_config(config)
    require_range("programs", programs, 1, MOST)
    require_range("seed", seed, 0, MOST)
    run_engine = engine_named(engine)
    campaign = Campaign(engine, config.title, seed)
    waiting: list[Expectation] = []

    def run_waiting() -> None:
        jobs = [_job(each) for each in waiting]
        for each, outcome in zip(waiting, run_engine(config, jobs, 1) if jobs else (), strict=True):
            _judge(campaign, each, outcome)
        waiting.clear()

    for mutant in mutants(config, seed):
        if campaign.programs == programs:
            break
        expected = expectation(mutant)
        if expected.outcome == "long":
            campaign.too_long += 1
            continue
        campaign.programs += 1
        campaign.refused += expected.outcome == "refused" and not expected.runs
        if expected.outcome == "third":
            campaign.third.append(ThirdOutcome(mutant.number, mutant.changes, expected.why))
        if expected.runs:
            waiting.append(expected)
        if len(waiting) == AT_ONCE:
            run_waiting()
        if progress:
            progress(campaign.programs, programs)
    run_waiting()
    return campaign


# -- what is to become of a mutant -------------------------------------------------------------------------------------


def expectation(mutant: Mutant) -> Expectation:
    """By decoder, checks and simulator."""
    try:
        return _expectation(mutant)
    except Exception:  # whatever it is, it is no HeddleError
        return Expectation(mutant, "third", traceback.format_exc(limit=-3))


def _expectation(mutant: Mutant) -> Expectation:
    if mutant.refused:
        return Expectation(mutant, "refused", mutant.refused)
    instructions = mutant.instructions()
    for place, each in enumerate(instructions):
        if isinstance(each, HeddleError) or stops_the_machine(each):
            return _illegal_instruction(mutant, instructions, place)
        if isinstance(each, Halt):
            break
    else:
        return _without_halt(mutant, instructions)
    legal = [each for each in instructions if isinstance(each, Instruction)]
    if len(legal) < len(instructions):  # behind the halt, where it is never reached
        return Expectation(mutant, "refused", next(str(each) for each in instructions if isinstance(each, HeddleError)))
    return _as_simulated(mutant, legal)


def _as_simulated(mutant: Mutant, instructions: Sequence[Instruction]) -> Expectation:
    program = mutant.of(instructions)
    try:
        program.check()
    except HeddleError as error:
        errors = (ErrorKind.DEADLOCK,) if _waits_for_ever(program) else ()
        return Expectation(mutant, "refused", str(error), errors=errors)
    try:
        require_ordered(program)
    except HeddleError as error:
        return Expectation(mutant, "refused", str(error))
    try:
        result = simulate(program)
        return Expectation(mutant, "agrees" if _is_short(result) else "long", result=result)
    except HeddleError as error:
        if NO_TABLE in str(error):
            return Expectation(mutant, "refused", str(error))
        for words, kind in ERRORS.items():
            if words in str(error):
                if not _comes_soon(program, str(error)):
                    return Expectation(mutant, "long", str(error))
                return Expectation(mutant, "stops", str(error), errors=(kind,))
        return Expectation(mutant, "third", f"no error of the RTL stands for what the simulator says: {error}")


def _waits_for_ever(program: Program) -> bool:
    """Whether all that is wrong with a program that `check` refuses is that an instruction waits for a token which
    never comes. (One that a later instruction sends comes; then the order hangs on timing.) Without the wait it must be
    short, for the RTL comes to the deadlock when all before it is done."""
    ordered = program
    while (missing := first_missing_token(ordered.kinds)) is not None:
        index, source = missing
        instructions = list(ordered.instructions)
        instructions[index] = instructions[index].changed(wait=instructions[index].wait & ~(1 << source))
        ordered = replace(program, instructions=tuple(instructions))
    try:
        ordered.check()
        require_ordered(ordered)
        if not _is_short(simulate(ordered)):
            return False
    except HeddleError:
        return False
    try:
        Machine(program.config, program.instructions, program.groups, scalars=program.scalar_values).run()
    except HeddleError as error:
        return "deadlock" in str(error)
    return False


def _is_short(result: Result | None) -> bool:
    """Whether there is a run, which takes so few cycles that the RTL can be waited for."""
    return result is not None and result.cycles <= LONGEST - SLACK_CYCLES


def _comes_soon(program: Program, error: str) -> bool:
    """Whether what comes before the last instruction that an error of the simulator names is short."""
    named = [int(number) for number in re.findall(r"instruction (\d+)", error)]
    before = replace(program, instructions=(*program.instructions[: max(named, default=0)], Halt()))
    try:
        return _is_short(simulate(before, values=False))
    except HeddleError:  # what comes before ends in an error too, so it is not known when
        return True


def stops_the_machine(instruction: Instruction) -> bool:
    """Whether dispatch stops at it with an error."""
    try:
        instruction.check_encoding()
    except HeddleError:
        return True
    return False


def _illegal_instruction(
    mutant: Mutant, instructions: Sequence[Instruction | HeddleError], place: int
) -> Expectation:  # fmt: skip
    """Refused. If nothing is wrong with what comes before, the RTL must come to that place, and stop there."""
    why = f"instruction {place} is illegal: {instructions[place]}"
    before = [each for each in instructions[:place] if isinstance(each, Instruction)]
    if not _is_short(_as_simulated(mutant, [*before, Halt()]).result):
        return Expectation(mutant, "refused", why)
    errors = ErrorKind.UNKNOWN_OPCODE, ErrorKind.ILLEGAL_INSTRUCTION
    return Expectation(mutant, "refused", why, errors=errors, place=place)


def _without_halt(mutant: Mutant, instructions: Sequence[Instruction | HeddleError]) -> Expectation:
    """Refused. If nothing else is wrong, the RTL must say so."""
    whole = [each for each in instructions if isinstance(each, Instruction)]
    if not _is_short(_as_simulated(mutant, [*whole, Halt()]).result):
        return Expectation(mutant, "refused", "the last instruction must be halt")
    kind = ErrorKind.NO_HALT if mutant.groups else ErrorKind.NO_PROGRAM
    return Expectation(mutant, "refused", "the last instruction must be halt", errors=(kind,))


# -- what became of it -------------------------------------------------------------------------------------------------


def _job(expected: Expectation) -> Job:
    mutant, program = expected.mutant, expected.mutant.program
    limit = LONGEST if expected.result is None else expected.result.cycles + SLACK_CYCLES
    dram = program.config.dram
    return Job(
        image=mutant.image(), groups=mutant.groups, limit=limit, scalars=program.registers,
        cache_address=program.cache_address, cache_bytes=program.cache_bytes, latency=dram.latency_cycles,
        cycles_per_beat=dram.cycles_per_beat,
    )  # fmt: skip


def _judge(campaign: Campaign, expected: Expectation, outcome: Outcome) -> None:
    campaign.ran += 1
    found = list(islice(_faults(expected, outcome), 1))
    if found:
        campaign.third.append(ThirdOutcome(expected.mutant.number, expected.mutant.changes, found[0]))
        return
    kind = _error_of(outcome)
    if expected.result is not None:
        campaign.agree += 1
        return
    if kind is None:
        campaign.came_through += 1
    else:
        campaign.stopped_by[kind.name] += 1
    if kind is None or expected.outcome == "refused":
        campaign.refused += 1
    else:
        campaign.stopped += 1


def _faults(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    if expected.result is not None:
        yield from _difference(expected, expected.result, outcome)
        return
    kind, names = _error_of(outcome), " or ".join(each.name for each in expected.errors)
    if outcome.violation:
        yield "the AXI port broke a rule"
    if kind is None and not (outcome.finished and MAY_COME_THROUGH in expected.errors):
        how = "came to its end" if outcome.finished else "hangs"
        yield f"{expected.why}: the RTL {how}, and should stop with {names}"
    if kind is not None and kind not in expected.errors:
        yield f"{expected.why}: the RTL stops with {kind.name}, and should with {names}"
    at = outcome.registers[Register.ERROR_INSTRUCTIONS]
    if kind is not None and expected.place not in (None, at):
        yield f"{expected.why}: the RTL stops at instruction {at}"


def _difference(expected: Expectation, result: Result, outcome: Outcome) -> Iterator[str]:
    """The first. Bits of the code that no field has are in DRAM as they were handed over."""
    code = np.frombuffer(expected.mutant.code, np.uint8)
    image = outcome.image.copy()
    if (image[: len(code)] == code).all():
        image[: len(code)] = result.program.image[: len(code)]
    tally = Tally()
    tally.add(expected.mutant.number, result, replace(outcome, image=image))
    if tally.first is not None:
        yield str(tally.first)


def _error_of(outcome: Outcome) -> ErrorKind | None:
    if not outcome.registers[Register.STATUS] & Register.STATUS.mask("error"):
        return None
    return ErrorKind(Register.ERROR.field("kind").of(outcome.registers[Register.ERROR]))

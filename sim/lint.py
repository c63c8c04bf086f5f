"""What is wrong with a program that a run need not show: races, and slips of tokens and of DRAM places.

race       two units touch the same words or bytes, one writes, and no token orders them: the result could depend
           on timing
port       two units could meet at one port of a bank in some timing: a run would stop there
token      a token that is sent and never taken
semaphore  more tokens than a semaphore counts could be waiting
overwrite  a STORE writes over an input or a constant, so that the program cannot run twice (of a scatter, only a run
           shows where it writes)
output     bytes of an output that no STORE writes
function   a function by table is used, not all of whose table has been set before
check      what Program.check refuses; nothing else is looked at then
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from ..arch.config import SEMAPHORE_LIMIT, Unit
from ..arch.encoding import listing
from ..arch.errors import HeddleError
from ..arch.functions import DESCRIPTOR_COUNT, HEADER_PLACE, PLACE_COUNT
from ..arch.isa import Function, Tables, VectorInstruction, units_in
from ..arch.operands import is_chosen
from ..arch.program import Program, Tensor, require_program
from .footprints import Blocks, dram_blocks
from .races import Race, find_races

KINDS = ("race", "port", "token", "semaphore", "overwrite", "output", "function", "check")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong. `first` and `last` are words of `memory`, bytes of DRAM, or for a port the bank."""

    kind: str
    message: str
    indices: tuple[int, ...] = ()  # of the instructions at fault
    memory: str = ""
    first: int = 0
    last: int = 0
    token: str = ""  # which would put it right: from unit, to unit

    def to_dict(self) -> dict:
        """Plain values."""
        return asdict(self)


def lint(program: Program) -> list[Finding]:
    """All findings, in the order of `KINDS`. An empty list: no timing can change what the program computes."""
    require_program(program)
    try:
        program.check()
    except HeddleError as error:
        return [Finding("check", str(error))]
    found = [_race(program, race) for race in find_races(program)]
    found += [*_tokens(program), *_dram(program), *_functions(program)]
    return sorted(found, key=lambda each: KINDS.index(each.kind))


def require_ordered(program: Program) -> None:
    """Raise HeddleError, naming two instructions and what both touch, if the result could depend on timing."""
    require_program(program)
    program.check()
    race = next((each for each in find_races(program) if each.write is None), None)
    if race is not None:
        raise HeddleError(f"{program.name} has a race: {_race(program, race).message}")


# -- races -------------------------------------------------------------------------------------------------------------


def _race(program: Program, race: Race) -> Finding:
    earlier, later = (program.instructions[each].unit for each in (race.earlier, race.later))
    assert earlier is not None and later is not None
    token = f"let {race.earlier} signal {later.name} and {race.later} wait for {earlier.name}"
    pair = " and ".join(described(program, each) for each in (race.earlier, race.later))
    memory = race.memory.name if race.memory is not None else "DRAM"
    if race.write is not None:
        kind, where = "port", f"may both {'write' if race.write else 'read'} bank {race.first} of {memory} at one time"
    else:
        kind, where = (
            "race",
            f"touch {'bytes' if race.memory is None else 'words'} {race.first} to {race.last} of {memory}",
        )
    message = f"{pair} {where}, and no token orders them: {token}"
    return Finding(kind, message, (race.earlier, race.later), memory.lower(), race.first, race.last,
                   f"{earlier.name.lower()} to {later.name.lower()}")  # fmt: skip


def described(program: Program, index: int) -> str:
    """An instruction for a reader: its place, its listing and its label."""
    label = f"; {program.labels[index]}" if program.labels and program.labels[index] else ""
    return f"instruction {index} ({' '.join(listing(program.instructions[index]).split())}{label})"


# -- tokens ------------------------------------------------------------------------------------------------------------


def _tokens(program: Program) -> Iterator[Finding]:
    """Tokens that nothing takes, and counts beyond the semaphore's. All of a unit's takers up to some place have taken
    theirs by the time the place is dispatched, but for those in its queue: that bounds the count in any timing."""
    waiting: dict[tuple[Unit, Unit], list[int]] = defaultdict(list)  # places of the senders, the latest last
    most: dict[tuple[Unit, Unit], tuple[int, int]] = {}  # (tokens, sender)
    for index, each in enumerate(program.instructions):
        if each.unit is None:
            continue
        for source in units_in(each.wait):
            waiting[source, each.unit].pop()
        for target in units_in(each.signal):
            senders = waiting[each.unit, target]
            senders.append(index)
            if len(senders) > most.get((each.unit, target), (0, 0))[0]:
                most[each.unit, target] = len(senders), index
    for (source, target), senders in waiting.items():
        if senders:
            message = (f"{len(senders)} of the tokens that {source.name} sends {target.name} are never taken; the last "
                       f"is sent by {described(program, senders[-1])}")  # fmt: skip
            yield Finding("token", message, (senders[-1],), token=f"{source.name.lower()} to {target.name.lower()}")
    for (source, target), (count, index) in most.items():
        if count + program.config.queue_depth > SEMAPHORE_LIMIT:
            message = (f"up to {count + program.config.queue_depth} tokens of {source.name} for {target.name} may be "
                       f"waiting at {described(program, index)}, more than {SEMAPHORE_LIMIT}")  # fmt: skip
            yield Finding("semaphore", message, (index,), token=f"{source.name.lower()} to {target.name.lower()}")


# -- functions ---------------------------------------------------------------------------------------------------------


def _functions(program: Program) -> Iterator[Finding]:
    """Each function that is used before its header and its descriptors are set, once. Guards are not looked at."""
    is_set, reported = np.zeros(PLACE_COUNT, bool), set()
    for index, each in enumerate(program.instructions):
        if isinstance(each, Tables):
            is_set[each.place : each.place + each.entries] = True
        elif isinstance(each, VectorInstruction) and each.function not in (Function.NONE, Function.RELU, *reported):
            table = each.function - Function.TABLE_0
            first = table * DESCRIPTOR_COUNT
            if not (is_set[first : first + DESCRIPTOR_COUNT].all() and is_set[HEADER_PLACE + table]):
                reported.add(each.function)
                yield Finding("function", f"{described(program, index)} has a function whose table the program has not "
                              f"set before: no Tables has written all places of table {table}", (index,))  # fmt: skip


# -- DRAM --------------------------------------------------------------------------------------------------------------


def _dram(program: Program) -> Iterator[Finding]:
    """Each kind of slip is reported once for each place that should not be written, with its first writer."""
    written = [(index, each) for index, each in dram_blocks(program) if each.write]
    kept = [Blocks(address, len(content), 0, 1, False) for address, content in program.data if content]
    kept += [_blocks(tensor) for tensor in program.inputs()]
    starts = np.array([each.start for _, each in written], np.int64)
    stops = np.array([each.stop for _, each in written], np.int64)
    for place in kept:
        for number in np.flatnonzero((starts < place.stop) & (stops > place.start)):
            index, each = written[number]
            dram = program.instructions[index].dram
            if dram is None or dram.cache or is_chosen(program.instructions[index]):
                continue  # the cache is there to be filled; of a scatter it is not known
            if met := each.meeting(place):
                message = (f"{described(program, index)} may write the bytes {met[0]} to {met[1]} of DRAM, of an input "
                           f"or a constant")  # fmt: skip
                yield Finding("overwrite", message, (index,), "dram", *met)
                break
    for tensor in program.outputs():
        if missing := _unwritten(_blocks(tensor), [each for _, each in written]):
            message = f"no instruction writes the bytes {missing[0]} to {missing[1]} of the output {tensor.name!r}"
            yield Finding("output", message, (), "dram", *missing)


def _blocks(tensor: Tensor) -> Blocks:
    return Blocks(tensor.address, tensor.row_bytes, tensor.row_bytes, tensor.rows, False)


def _unwritten(place: Blocks, written: list[Blocks]) -> tuple[int, int] | None:
    """The first bytes of `place` that none of `written` covers, (first, last)."""
    pieces = sorted(
        (start, start + each.length)
        for each in written
        if each.start < place.stop and place.start < each.stop
        for start in range(each.start, each.start + each.count * max(each.stride, 1), max(each.stride, 1))
    )
    reached = place.start
    for start, stop in pieces:
        if start > reached:
            return reached, min(start, place.stop) - 1
        reached = max(reached, stop)
    return (reached, place.stop - 1) if reached < place.stop else None

"""Orders a list of instructions with semaphores, so that no result and no bank port depends on timing.

Program order is the meaning. Two instructions of different units conflict if one writes words (or DRAM bytes) that the
other touches, or if both use the same port of the same bank. The later of such a pair waits for a token of the earlier,
unless tokens already ordered them: one vector clock per unit says what is known to have retired. Tokens of one
(from, to) pair are counted, never named; they match because both ends see them in program order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.accesses import AccessTable, access_table, port_masks
from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError
from ..arch.isa import Instruction
from ..arch.program import Period
from ..sim.jit import entry, inlined
from .overlaps import overlaps

Numbers = NDArray[np.int64]

_UNITS, _PORTS = len(Unit), 2 * len(Memory)
_NOT_KNOWN = -1
_CACHE = 1 << 61


def synchronise(config: HardwareConfig, instructions: Sequence[Instruction]) -> list[Instruction]:
    """The same instructions with `wait` and `signal` set; existing masks are replaced."""
    return synchronise_runs(config, instructions, [])[0]


def synchronise_runs(
    config: HardwareConfig, instructions: Sequence[Instruction], runs: Sequence[Period]
) -> tuple[list[Instruction], list[Period]]:
    """The same, and the periods: where copies are equal with their masks.

    runs  stretches of equal copies (but for DRAM addresses that only one of them uses, or that all read), in order.
          Once what a copy leaves known is what the copy before left, the next one has the same masks: so it is worked
          out for the first few copies and the last.
    """
    worker = _Synchroniser(config, instructions, runs)
    periods = []
    at = 0
    for run in runs:
        worker.step(at, run.start)
        at = run.start + run.length * run.count
        if (period := worker.repeat(run)) is not None:
            periods.append(period)
    worker.step(at, len(instructions))
    masks = worker.masks(periods)
    _require_no_extra_waits(masks, instructions)
    ready = [
        each if (each.wait, each.signal) == (wait, signal) else each.changed(wait=wait, signal=signal)
        for each, (wait, signal) in zip(instructions, masks, strict=True)
    ]
    return ready, periods


class _Footprints(NamedTuple):
    """What instructions touch, and what follows. Copies of one body have the accesses of its first."""

    unit: Numbers  # -1: none
    row: Numbers  # of the tables below
    table: AccessTable  # words on chip
    ports: Numbers  # (rows, memories · 2): a mask of the banks that are read (even) or written (odd)
    dram_start: Numbers
    dram_stop: Numbers
    dram_write: Numbers
    before: Numbers  # the instruction of the same unit before it
    latest: Numbers  # for each unit, its latest instruction
    clocks: Numbers  # (units, units): what each knows to have retired of the others
    retired: Numbers  # (instructions, units): what is known once it has retired
    waits: Numbers  # masks of units: what is looked for
    signals: Numbers


class _Synchroniser:
    def __init__(self, config: HardwareConfig, instructions: Sequence[Instruction], runs: Sequence[Period]) -> None:
        self.config, self.instructions = config, instructions
        count, row = len(instructions), np.arange(len(instructions))
        for run in runs:
            copies = np.arange(run.length * run.count)
            row[run.start + copies] = run.start + copies % run.length
        used, row = np.unique(row, return_inverse=True)
        table = access_table([instructions[index] for index in used.tolist()], config)
        self.prints = _Footprints(
            unit=np.array([_NOT_KNOWN if each.unit is None else each.unit for each in instructions], np.int64),
            row=row.reshape(-1), table=table, ports=port_masks(table, config), dram_start=np.zeros(count, np.int64),
            dram_stop=np.zeros(count, np.int64), dram_write=np.zeros(count, np.int64),
            before=np.full(count, _NOT_KNOWN), latest=np.full(_UNITS, _NOT_KNOWN),
            clocks=np.full((_UNITS, _UNITS), _NOT_KNOWN), retired=np.full((count, _UNITS), _NOT_KNOWN),
            waits=np.zeros(count, np.int64), signals=np.zeros(count, np.int64),
        )  # fmt: skip

    def step(self, start: int, stop: int) -> None:
        """The instructions from `start` up to `stop`, in order."""
        for index in range(start, stop):
            if found := _dram_range(self.config, self.instructions[index]):
                self.prints.dram_start[index], self.prints.dram_stop[index], self.prints.dram_write[index] = found
        _step(start, stop, self.prints)

    def repeat(self, run: Period) -> Period | None:
        """A run of equal copies: those that must be worked out. The others will be as the period returned."""
        before: object = None
        for copy in range(run.count):
            start = run.start + copy * run.length
            self.step(start, start + run.length)
            known = self._known_since(start, start + run.length)
            if known == before and copy + 3 <= run.count:
                # The next copy has the masks of all that follow, but for the last, whose successor is another.
                self.step(start + run.length, start + 2 * run.length)
                self.step(run.start + (run.count - 1) * run.length, run.start + run.count * run.length)
                return Period(start + run.length, run.length, run.count - copy - 2)
            before = known
        return None

    def masks(self, periods: Sequence[Period]) -> list[tuple[int, int]]:
        """(wait, signal) of each instruction."""
        masks = list(zip(self.prints.waits.tolist(), self.prints.signals.tolist(), strict=True))
        for period in periods:
            body = masks[period.start : period.start + period.length]
            masks[period.start : period.start + period.length * period.count] = body * period.count
        return masks

    def _known_since(self, start: int, stop: int) -> object:
        """What each unit knows of the instructions from `start` on, counted from `stop`."""
        clocks = self.prints.clocks
        return np.where(clocks >= start, clocks - stop, 1).tolist()


@entry
def _step(start, stop, s):
    """Let each instruction wait for all it conflicts with and is not known to have retired."""
    for index in range(start, stop):
        unit = s.unit[index]
        if unit == _NOT_KNOWN:
            continue
        clock = s.clocks[unit]
        done = 0  # sources that have been looked at, a bit each
        conflicts = s.retired[index]  # until all are known
        for source in range(_UNITS):
            conflicts[source] = _NOT_KNOWN if source == unit else _last_conflict(s, source, index, clock[source])
        while True:
            # The latest first: what is known once it has retired may cover the others.
            latest = _NOT_KNOWN
            for source in range(_UNITS):
                if not done >> source & 1 and conflicts[source] > latest:
                    latest = conflicts[source]
            if latest == _NOT_KNOWN:
                break
            source = s.unit[latest]
            done |= 1 << source
            if latest > clock[source]:
                s.waits[index] |= 1 << source
                s.signals[latest] |= 1 << unit
                for known in range(_UNITS):
                    clock[known] = max(clock[known], s.retired[latest, known])
        for source in range(_UNITS):
            s.retired[index, source] = clock[source]
        s.retired[index, unit] = index
        s.before[index] = s.latest[unit]
        s.latest[unit] = index


@inlined
def _last_conflict(s, source, index, known):
    """The latest instruction of a unit after `known` that conflicts with instruction `index`."""
    other = s.latest[source]
    while other > known:
        if _conflict(s, other, index):
            return other
        other = s.before[other]
    return _NOT_KNOWN


@inlined
def _conflict(s, a, b):
    mine, others = s.row[a], s.row[b]
    for port in range(_PORTS):
        if s.ports[mine, port] & s.ports[others, port]:
            return True
    if (s.dram_write[a] or s.dram_write[b]) and s.dram_start[a] < s.dram_stop[b] and s.dram_start[b] < s.dram_stop[a]:
        return True
    for x in range(s.table.first[mine], s.table.first[mine + 1]):
        for y in range(s.table.first[others], s.table.first[others + 1]):
            if (s.table.write[x] or s.table.write[y]) and overlaps(s.table, x, s.table, y):
                return True
    return False


def _require_no_extra_waits(masks: list[tuple[int, int]], instructions: Sequence[Instruction]) -> None:
    sent = sum(signal.bit_count() for _, signal in masks)
    taken = sum(wait.bit_count() for wait, _ in masks)
    if sent != taken:
        raise HeddleError(f"synchronise: {sent} tokens sent but {taken} taken in {len(instructions)} instructions")


def _dram_range(config: HardwareConfig, instruction: Instruction) -> tuple[int, int, bool] | None:
    """(first byte, one past the last, written?). A gather may read anything from its table on but for the KV cache,
    which KV has for itself, and in order; a scatter might write even that. It counts as a byte behind all others."""
    if not instruction.dram:
        return None
    moved = instruction.transfer(config)
    if moved.cache:
        return _CACHE, _CACHE + 1, moved.write
    return moved.address, _CACHE + moved.write if moved.chosen else moved.stop, moved.write

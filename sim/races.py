"""The race detector: pairs of instructions whose order only timing decides, found without running the program.

What is certain whatever DRAM and queues do: a unit starts and retires its instructions in order; the k-th wait of a
unit for another meets the k-th signal. One vector clock for each instruction says, for each unit, which was the last to
have retired when it starts (Lamport, 1978; FastTrack, Flanagan and Freund, 2009). Two instructions of different units,
neither of them known to the other, race if one writes what the other touches, on chip or in DRAM, and might meet at a
port if both read or both write one bank. Instructions of one unit do not race. LOADs overlap, but their beats come in
order; Matmuls overlap, but their rows come in order, and one that adds to sums waits for those before it. Dispatch and
the depth of queues order much besides; a program must not rely on that.

Instructions are taken as written: Access is conservative for any scalar registers and guards.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.config import Memory, Unit
from ..arch.isa import units_in
from ..arch.program import Program
from .footprints import Blocks, Footprint, Footprints, Meetings, dram_blocks

FOOTPRINTS_AT_ONCE = 8192  # so many are compared with each other; longer programs are taken in parts


@dataclass(frozen=True)
class Race:
    """Two instructions, the earlier one first. `write` is None for words and bytes, else the direction of a port."""

    earlier: int
    later: int
    memory: Memory | None  # None: DRAM
    first: int  # words, bytes of DRAM, or the bank
    last: int
    write: bool | None = None


def find_races(program: Program) -> Iterator[Race]:
    """For each instruction and each unit the latest instruction of that unit that races with it, in program order, and
    the latest that it might meet at a port.

    What follows a race is judged as if a token had prevented it, so each is a token that is missing; ports alike, but
    what a missing token at a port would order does not hide a race.
    The program must have passed `check`.
    """
    certain = told = _Clocks(program)  # `told`: with the tokens that are missing at ports, which are mostly none
    on_chip, dram = _OnChip(program, certain), _Dram(program, certain)
    for index, instruction in enumerate(program.instructions):
        if instruction.unit is None:
            continue
        for clocks in dict.fromkeys((certain, told)):
            clocks.start(index)
        found = [*on_chip.races(index), *dram.races(index)]
        for race in sorted(found, key=lambda each: (each.write is not None, -each.earlier)):
            if race.write is not None and told is certain:
                told = deepcopy(certain)
            judges = certain if race.write is None else told
            if not judges.knows(index, race.earlier):  # else a token that was missing too orders it
                yield race
            for clocks in dict.fromkeys((judges, told)):
                clocks.learn(index, race.earlier)
        for clocks in dict.fromkeys((certain, told)):
            clocks.retire(index)


class _Clocks:
    """`known[i, u]`: the last instruction of unit u that has certainly retired when instruction i starts."""

    def __init__(self, program: Program) -> None:
        self.instructions = program.instructions
        self.units = np.array([-1 if each.unit is None else each.unit for each in program.instructions])
        self.known = np.full((len(program.instructions), len(Unit)), -1, np.int64)
        self.latest = np.full((len(Unit), len(Unit)), -1, np.int64)  # what each unit knew at its latest start
        self.tokens: dict[tuple[Unit, Unit], deque[int]] = defaultdict(deque)  # senders, in order

    def start(self, index: int) -> None:
        """An instruction takes its tokens."""
        instruction = self.instructions[index]
        unit = instruction.unit
        assert unit is not None
        self.known[index] = self.latest[unit]
        for source in units_in(instruction.wait):
            self.learn(index, self.tokens[source, unit].popleft())

    def learn(self, index: int, retired: int) -> None:
        """Before instruction `index` starts, `retired` has, and all that was known to it."""
        known, unit = self.known[index], self.units[retired]
        np.maximum(known, self.known[retired], out=known)
        known[unit] = max(known[unit], retired)

    def knows(self, index: int, earlier: int) -> bool:
        """Whether `earlier` has certainly retired when `index` starts."""
        return bool(self.known[index, self.units[earlier]] >= earlier)

    def retire(self, index: int) -> None:
        """An instruction sends its tokens."""
        instruction = self.instructions[index]
        unit = instruction.unit
        assert unit is not None
        self.latest[unit] = self.known[index]
        for target in units_in(instruction.signal):
            self.tokens[unit, target].append(index)

    def settled(self, index: int) -> NDArray[np.int64]:
        """For each unit, the last instruction that all other units with instructions from `index` on know to have
        retired."""
        to_come = np.isin(np.arange(len(Unit)), self.units[index:])
        ignored = np.eye(len(Unit), dtype=bool) | ~to_come[:, None]
        return np.where(ignored, len(self.units), self.latest).min(axis=0)


class _OnChip:
    """Races in the memories, and meetings at their ports. `last[f]` is the latest instruction with footprint f."""

    def __init__(self, program: Program, clocks: _Clocks) -> None:
        self.clocks = clocks
        self.footprints = Footprints(program.instructions, program.config)
        self.ends = self._parts()
        self.end = 0
        self.last: dict[int, int] = {}

    def races(self, index: int) -> list[Race]:
        """For each unit the latest that races with instruction `index`."""
        if index >= self.end:
            self._begin_part(index)
        number = self.local[self.footprints.number[index]]
        met = self.met[number]
        if met is None:
            met = self.met[number] = self.meetings.of(number)
        found: list[Race] = []
        if len(met):
            unordered = self.latest[met] > self.clocks.known[index][self.meetings.units[met]]
            if unordered.any():
                found = self._judge(index, number, met[unordered])
        self.latest[number] = index
        return found

    def _judge(self, index: int, number: int, candidates: NDArray[np.int64]) -> list[Race]:
        """Those of the candidates that do meet; the others are remembered."""
        found: dict[tuple[Unit, bool], Race] = {}
        apart = []
        for other in candidates[np.argsort(-self.latest[candidates])]:
            unit = self.present[other].unit
            if (unit, False) in found:
                continue
            race = _meeting(self.present[other], self.present[number], int(self.latest[other]), index)
            if race is None:
                apart.append(other)
            else:
                found.setdefault((unit, race.write is not None), race)
        if apart:
            met = self.met[number]
            assert met is not None
            self.met[number] = met[~np.isin(met, apart)]
        return list(found.values())

    def _parts(self) -> list[int]:
        """Where the parts of the program end: each has few enough footprints."""
        ends, seen = [], set()
        for index, number in enumerate(self.footprints.number):
            if len(seen) == FOOTPRINTS_AT_ONCE and number not in seen:
                ends.append(index)
                seen = set()
            seen.add(number)
        return [*ends, len(self.footprints.number)]

    def _begin_part(self, index: int) -> None:
        """The footprints of the next part, and those of instructions that some unit may not know to have retired."""
        if self.end:
            settled = self.clocks.settled(index)
            for number, local in self.local.items():
                last = int(self.latest[local])
                if last > settled[self.present[local].unit]:
                    self.last[number] = last
                else:
                    self.last.pop(number, None)
        self.end = self.ends.pop(0)
        numbers = {*self.footprints.number[index : self.end], *self.last} - {-1}
        self.local = {number: place for place, number in enumerate(sorted(numbers))}
        self.present = [self.footprints.all[number] for number in self.local]
        self.latest = np.array([self.last.get(number, -1) for number in self.local], np.int64)
        self.meetings = Meetings(self.present)
        self.met: list[NDArray[np.int64] | None] = [None] * len(self.present)


def _meeting(earlier: Footprint, later: Footprint, first: int, second: int) -> Race | None:
    if found := later.race(earlier):
        return Race(first, second, *found)
    if port := later.port(earlier):
        memory, write, bank = port
        return Race(first, second, memory, bank, bank, write)
    return None


class _Dram:
    """Races for bytes of DRAM, among what touches bytes that another unit writes, or writes what another touches."""

    def __init__(self, program: Program, clocks: _Clocks) -> None:
        self.clocks = clocks
        every = [(index, Unit(clocks.units[index]), each) for index, each in dram_blocks(program)]
        touched = {unit: _Union([each for _, user, each in every if user is not unit]) for unit in Unit}
        written = {unit: _Union([each for _, user, each in every if user is not unit and each.write]) for unit in Unit}
        self.blocks: dict[int, list[Blocks]] = defaultdict(list)
        before: dict[tuple[Unit, bool], _Boxes] = {}
        for index, unit, each in every:
            if (touched if each.write else written)[unit].touches(each):
                self.blocks[index].append(each)
                before.setdefault((unit, each.write), _Boxes([], [], [])).append(index, each)
        self.before = {key: boxes.frozen() for key, boxes in before.items()}

    def races(self, index: int) -> list[Race]:
        """For each unit the latest that races with instruction `index`."""
        found: dict[Unit, Race] = {}
        for mine in self.blocks.get(index, ()):
            for (unit, write), boxes in self.before.items():
                if unit == self.clocks.units[index] or not (write or mine.write):
                    continue
                race = self._latest(mine, boxes, int(self.clocks.known[index, unit]), index)
                if race and (unit not in found or race.earlier > found[unit].earlier):
                    found[unit] = race
        return list(found.values())

    def _latest(self, mine: Blocks, boxes: _Boxes, after: int, index: int) -> Race | None:
        for other in boxes.overlapping(mine, after, index):
            for each in self.blocks[other]:
                if (mine.write or each.write) and (met := mine.meeting(each)):
                    return Race(other, index, None, *met)
        return None


class _Boxes:
    """The first and last bytes of some instructions, in program order."""

    def __init__(self, index: list[int], start: list[int], stop: list[int]) -> None:
        self.index, self.start, self.stop = index, start, stop

    def append(self, index: int, blocks: Blocks) -> None:
        """One more instruction."""
        self.index.append(index)
        self.start.append(blocks.start)
        self.stop.append(blocks.stop)

    def frozen(self) -> _Boxes:
        """The same as arrays."""
        return _Boxes(*(np.array(each, np.int64) for each in (self.index, self.start, self.stop)))  # type: ignore[arg-type]

    def overlapping(self, blocks: Blocks, after: int, before: int) -> Iterator[int]:
        """Instructions between two whose boxes overlap with that of `blocks`, the latest first."""
        low, high = np.searchsorted(self.index, [after + 1, before])
        window = slice(int(low), int(high))
        found = (np.asarray(self.start[window]) < blocks.stop) & (np.asarray(self.stop[window]) > blocks.start)
        return (int(self.index[window][place]) for place in np.flatnonzero(found)[::-1])


class _Union:
    """Bytes that any of some blocks spans."""

    def __init__(self, blocks: Sequence[Blocks]) -> None:
        merged: list[list[int]] = []
        for start, stop in sorted((each.start, each.stop) for each in blocks):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], stop)
            else:
                merged.append([start, stop])
        self.starts = np.array([start for start, _ in merged], np.int64)
        self.stops = np.array([stop for _, stop in merged], np.int64)

    def touches(self, blocks: Blocks) -> bool:
        """Whether some of its span is in the union."""
        place = int(np.searchsorted(self.stops, blocks.start, "right"))
        return place < len(self.starts) and bool(self.starts[place] < blocks.stop)

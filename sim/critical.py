"""The critical path: the chain of causes, from the last cycle of a run back to the first, that made it so long.

Each cycle of the run belongs to one link: to an instruction that executed while all else on the chain waited for it,
or to fetch or dispatch. An instruction starts when the last of three has come: a token, the end of the unit's previous
instruction, its own dispatch; and it is dispatched when it has arrived, its predecessor is gone, and there is a place
in the queue. The chain follows whatever came last.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

from ..arch.config import DISPATCH_CYCLES, Unit
from ..arch.isa import units_in
from .result import Result


@dataclass(frozen=True)
class Link:
    """Cycles from `first` to `last` that are put down to instruction `index`."""

    index: int
    kind: str  # the unit that executes it (in lower case), or fetch or dispatch
    first: int
    last: int

    @property
    def cycles(self) -> int:
        """How many."""
        return self.last - self.first + 1


def critical_path(result: Result) -> list[Link]:
    """From the first cycle to the last, without gaps: the cycles of the links sum to those of the run."""
    return _Walk(result).links()


class _Walk:
    """Goes back from the end; `upto` is the last cycle that is not accounted for."""

    def __init__(self, result: Result) -> None:
        assert result.timing is not None
        self.timing = result.timing
        self.instructions = result.program.instructions[: len(self.timing.dispatched)]
        self.queue_depth = result.program.config.queue_depth
        self.before, self.place = self._predecessors()
        self.senders = self._senders()
        self.found: list[Link] = []
        self.upto = self.timing.cycles - 1

    def links(self) -> list[Link]:
        """The chain, in order of time."""
        last = max(range(len(self.instructions)), key=lambda index: self.timing.retire[index])
        halt = len(self.instructions) - 1
        if self.timing.retire[last] + 1 >= self.timing.dispatched[halt]:
            at: tuple[str, int] | None = ("retired", last)
        else:
            at = ("dispatched", halt)
        while at is not None and self.upto >= 0:
            at = getattr(self, f"_{at[0]}")(at[1])
        if self.upto >= 0:
            self._take(0, "fetch", 0)
        return self.found[::-1]

    def _take(self, index: int, kind: str, first: int) -> None:
        """The cycles from `first` on are this instruction's."""
        if first <= self.upto:
            self.found.append(Link(index, kind, first, self.upto))
            self.upto = first - 1

    # -- what came last: each says where to go on ----------------------------------------------------------------------

    def _retired(self, index: int) -> tuple[str, int]:
        unit = self.instructions[index].unit
        assert unit is not None
        self._take(index, unit.name.lower(), self.timing.start[index])
        return "started", index

    def _started(self, index: int) -> tuple[str, int]:
        """Why it did not start sooner than it did. Its start is accounted for."""
        timing, start = self.timing, self.timing.start[index]
        source = timing.last_token[index]
        if source is not None:
            return "retired", self.senders[index][source]
        before = self.before[index]
        if before is not None and start > timing.dispatched[index] + 1:
            return "retired", before  # where the two overlap, that one is cut short here
        return "dispatched", index

    def _dispatched(self, index: int) -> tuple[str, int] | None:
        """Why it was not dispatched sooner."""
        timing, cycle = self.timing, self.timing.dispatched[index]
        waited_for = self._place_in_queue(index)
        if waited_for is not None and timing.start[waited_for] + 1 == cycle:
            self._take(index, "dispatch", timing.start[waited_for] + 1)
            unit = self.instructions[waited_for].unit
            assert unit is not None
            self._take(waited_for, unit.name.lower(), timing.start[waited_for])
            return "started", waited_for
        if index == 0:
            self._take(index, "fetch", 0)
            return None
        before = timing.arrived[index] + DISPATCH_CYCLES - 1
        kind = "fetch" if before > timing.dispatched[index - 1] else "dispatch"
        self._take(index, kind, timing.dispatched[index - 1] + 1)
        return "dispatched", index - 1

    def _place_in_queue(self, index: int) -> int | None:
        """The instruction whose start made room for this one in its queue."""
        unit = self.instructions[index].unit
        if unit is None or self.place[index] < self.queue_depth:
            return None
        return self.of_unit[unit][self.place[index] - self.queue_depth]

    # -- who came before -----------------------------------------------------------------------------------------------

    def _predecessors(self) -> tuple[list[int | None], list[int]]:
        """For each instruction the one before it on its unit, and how many there are before it."""
        self.of_unit: dict[Unit, list[int]] = defaultdict(list)
        before: list[int | None] = []
        place: list[int] = []
        for index, each in enumerate(self.instructions):
            mine = self.of_unit[each.unit] if each.unit is not None else []
            before.append(mine[-1] if mine else None)
            place.append(len(mine))
            mine.append(index)
        return before, place

    def _senders(self) -> dict[int, dict[Unit, int]]:
        """For each instruction that waits: by unit, the instruction whose token it takes."""
        tokens: dict[tuple[Unit, Unit], deque[int]] = defaultdict(deque)
        senders = {}
        for index, each in enumerate(self.instructions):
            if each.unit is None:
                continue
            if each.wait:
                senders[index] = {source: tokens[source, each.unit].popleft() for source in units_in(each.wait)}
            for target in units_in(each.signal):
                tokens[each.unit, target].append(index)
        return senders

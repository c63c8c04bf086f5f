"""In which order instructions are dispatched: a list schedule over the units, with the simulator's own durations.

Each unit, when free, takes the ready task of the highest priority for whose buffers there is room. So weights are
loaded ahead as far as WEIGHT reaches, and one panel is normalised while another is multiplied. Units take their
instructions in order, so the order of estimated starts is the program.

The priority of a task is the longest chain of work that hangs on it, plus a part of all work that its unit finds behind
it in the program. Chains alone would quantise the keys of all heads before the first queries; the second term finishes
one head after the other, so that the array and SOFTMAX can begin.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError
from .builder import Tiles
from .tasks import Buffer
from .work import Work


@dataclass(frozen=True)
class Slot:
    """When a task is expected to run: it keeps its unit until `free`, and its effect is there after `finish`."""

    task: int
    start: int
    free: int
    finish: int


@dataclass
class Schedule:
    """Slots in program order, and for each buffer the tasks that touch it."""

    tiles: Tiles
    slots: list[Slot]
    users: dict[Buffer, list[int]] = field(repr=False)

    @property
    def cycles(self) -> int:
        """The estimate for the whole program."""
        return max(slot.finish for slot in self.slots)

    def __str__(self) -> str:
        return "\n".join(
            f"{slot.start:>8} {slot.finish:>8}  {self.tiles.tasks[slot.task].instruction.name:<9} "
            f"{self.tiles.tasks[slot.task].label}"
            for slot in self.slots
        )


def schedule(
    tiles: Tiles, config: HardwareConfig, shares: Mapping[Memory, float] | None = None, in_order: float = 0.35,
    work: Work | None = None,
) -> Schedule:  # fmt: skip
    """The tasks in order. Raises HeddleError naming the memory if even one task after the other does not fit.

    shares    parts of their words to which memories are filled at most (default: 1); the oldest task not yet begun may
              always go on
    in_order  how much of the work behind a task in the program counts for its priority
    work      what is known of the tasks, if that has been worked out before
    """
    return _Scheduler(work or Work(tiles, config), shares or {}, in_order).run()


class _Scheduler:
    def __init__(self, work: Work, shares: Mapping[Memory, float], in_order: float) -> None:
        self.work, self.tiles, self.config, self.shares = work, work.tiles, work.config, shares
        count = len(work.instructions)
        self.missing = list(work.missing)
        self.priority = work.priorities(in_order)
        self.used = dict.fromkeys(Memory, 0)
        self.words = {memory: work.config.words(memory) for memory in Memory}
        self.readers_left = {buffer: len(tasks) for buffer, tasks in work.users.items()}
        self.slots: list[Slot] = []
        # For each unit, by the memories in which a task fills buffers: tasks that are ready, in program order.
        self.ready: dict[Unit, dict[tuple[Memory, ...], list[int]]] = {unit: {} for unit in Unit}
        self.waiting = dict.fromkeys(Unit, 0)  # how many are ready
        self.begun = [False] * count
        self.oldest = 0  # the first task not begun
        self.passed = dict.fromkeys(Memory, 0)  # entries of work.fills_of that have begun, all of them from the start
        self.reach: dict[Memory, int] = {}  # the last task for which there is room, of those that fill a memory

    def run(self) -> Schedule:
        """Event by event."""
        for index, missing in enumerate(self.missing):
            if not missing:
                self._make_ready(index)
        free_at = dict.fromkeys(Unit, 0)
        events: list[tuple[int, int]] = [(0, -1)]  # (cycle, task that finishes then, or −1: a unit is free)
        while events:
            now = events[0][0]
            while events and events[0][0] == now:
                _, index = heapq.heappop(events)
                if index >= 0:
                    self._finish(index)
            for unit in Unit:
                while self.waiting[unit] and free_at[unit] <= now and (index := self._choose(unit)) is not None:
                    slot = self._begin(index, now)
                    free_at[unit] = slot.free
                    heapq.heappush(events, (slot.finish, index))
                    if slot.free != slot.finish:
                        heapq.heappush(events, (slot.free, -1))
        if len(self.slots) < len(self.begun):
            raise self._too_small()
        self.slots.sort(key=lambda slot: (slot.start, slot.task))
        return Schedule(self.tiles, self.slots, self.work.users)

    def _make_ready(self, index: int) -> None:
        groups = self.ready[self.work.units[index]]
        insort(groups.setdefault(self.work.memories[index], []), index)
        self.waiting[self.work.units[index]] += 1

    def _finish(self, index: int) -> None:
        for buffer in self.work.touched[index]:
            self.readers_left[buffer] -= 1
            if not self.readers_left[buffer]:
                self.used[buffer.memory] -= buffer.words
                self.reach.pop(buffer.memory, None)
        for each in self.work.after[index]:
            self.missing[each] -= 1
            if not self.missing[each]:
                self._make_ready(each)

    def _choose(self, unit: Unit) -> int | None:
        """The ready task of the highest priority of those for which there is room."""
        best, found = -1.0, None
        for memories, tasks in self.ready[unit].items():
            if not tasks:
                continue
            reach = min((self._reach(memory) for memory in memories), default=len(self.begun))
            for index in tasks if reach >= tasks[-1] else tasks[: bisect_right(tasks, reach)]:
                if self.priority[index] > best:
                    best, found = self.priority[index], index
            if tasks[0] == self.oldest and self.priority[tasks[0]] > best and self._fits(tasks[0]):
                best, found = self.priority[tasks[0]], tasks[0]
        return found

    def _reach(self, memory: Memory) -> int:
        """The last task whose buffers, with those of all tasks before it, which it must not keep out, find room."""
        if memory not in self.reach:
            room = self.words[memory] * self.shares.get(memory, 1.0) - self.used[memory]
            fills, first = self.work.fills_of[memory], self.passed[memory]
            while first < len(fills) and self.begun[fills[first][0]]:
                first += 1
            self.passed[memory] = first
            last = len(self.begun)
            for at in range(first, len(fills)):
                index, words = fills[at]
                if not self.begun[index]:
                    room -= words
                    if room < 0:
                        last = index - 1
                        break
            self.reach[memory] = last
        return self.reach[memory]

    def _fits(self, index: int) -> bool:
        """Whether there is room for the buffers of one task, however far memories may be filled ahead."""
        needed: dict[Memory, int] = defaultdict(int)
        for buffer in self.work.fills[index]:
            needed[buffer.memory] += buffer.words
        return all(self.used[memory] + words <= self.words[memory] for memory, words in needed.items())

    def _begin(self, index: int, now: int) -> Slot:
        for buffer in self.work.fills[index]:
            self.used[buffer.memory] += buffer.words
            self.reach.pop(buffer.memory, None)
        tasks = self.ready[self.work.units[index]][self.work.memories[index]]
        del tasks[bisect_left(tasks, index)]
        self.waiting[self.work.units[index]] -= 1
        self.begun[index] = True
        while self.oldest < len(self.begun) and self.begun[self.oldest]:
            self.oldest += 1
        busy, latency = self.work.durations[index]
        slot = Slot(index, now, now + busy, now + latency)
        self.slots.append(slot)
        return slot

    def _too_small(self) -> HeddleError:
        """Which memory the oldest task found too small."""
        label = self.tiles.tasks[self.oldest].label
        for memory in self.work.memories[self.oldest]:
            needed = sum(buffer.words for buffer in self.work.fills[self.oldest] if buffer.memory is memory)
            needed, words = self.used[memory] + needed, self.words[memory]
            if needed > words:
                return HeddleError(
                    f"{label}: {needed} words of {memory.name} are needed at once, but {self.config.name} has {words}: "
                    f"choose a larger configuration or a smaller model"
                )
        return HeddleError(f"{label}: cannot be scheduled on {self.config.name}")

"""In which order instructions are dispatched: a list schedule over the units, with the simulator's own durations.

Each unit, when free, takes the ready task of the highest priority for whose buffers there is room. So weights are
loaded ahead as far as WEIGHT reaches, and one panel is normalised while another is multiplied. Units take their
instructions in order, so the order of estimated starts is the program.

The priority of a task is the longest chain of work that hangs on it, plus a part of all work that its unit finds behind
it in the program. Chains alone would quantise the keys of all heads before the first queries; the second term finishes
one head after the other, so that the array and SOFTMAX can begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError, NoRoomError
from ..sim.jit import entry, inlined
from .builder import Tiles
from .tasks import Buffer
from .work import Numbers, Work, priorities, work_of

_MEMORIES, _UNITS = len(Memory), len(Unit)
_TASK_BITS = 24  # of an event: its cycle is above
_UNKNOWN = -2


@dataclass(frozen=True)
class Slot:
    """When a task is expected to run: it keeps its unit until `free`, and its effect is there after `finish`."""

    task: int
    start: int
    free: int
    finish: int


@dataclass(frozen=True)
class Schedule:
    """When each task is expected to start."""

    tiles: Tiles
    work: Work
    start: Numbers  # for each task
    waited: Numbers | int = 0  # for each task, cycles that it waits for the DRAM port

    @property
    def finish(self) -> Numbers:
        """For each task, when its effect is there."""
        return self.start + self.waited + self.work.latency

    @property
    def order(self) -> Numbers:
        """The tasks in program order: by their starts."""
        return np.argsort(self.start, kind="stable")

    @property
    def slots(self) -> list[Slot]:
        """The tasks in program order."""
        rows = np.stack([self.start, self.start + self.waited + self.work.busy, self.finish], 1)
        return [Slot(task, *rows[task].tolist()) for task in self.order.tolist()]

    @property
    def users(self) -> dict[Buffer, list[int]]:
        """For each buffer the tasks that touch it."""
        return {buffer: self.work.users.of(number).tolist() for number, buffer in enumerate(self.tiles.buffers)}

    @property
    def cycles(self) -> int:
        """The estimate for the whole program."""
        return int(self.finish.max())

    def __str__(self) -> str:
        return "\n".join(
            f"{slot.start:>8} {slot.finish:>8}  {self.tiles.tasks[slot.task].instruction.name:<9} "
            f"{self.tiles.tasks[slot.task].label}"
            for slot in self.slots
        )


def schedule(
    tiles: Tiles, config: HardwareConfig, shares: Mapping[Memory, float] | None = None, in_order: float = 0.35,
    work: Work | None = None, priority: NDArray[np.float64] | None = None,
) -> Schedule:  # fmt: skip
    """The tasks in order. Raises HeddleError naming the memory if even one task after the other does not fit.

    shares    parts of their words to which memories are filled at most (default: 1); the oldest task not yet begun may
              always go on
    in_order  how much of the work behind a task in the program counts for its priority
    work      what is known of the tasks, if that has been worked out before
    priority  of each task, likewise
    """
    work = work or work_of(tiles, config)
    count, shares = len(work.units), shares or {}
    assert count < 1 << _TASK_BITS, "an event holds the number of a task"
    words = np.array([config.words(memory) for memory in Memory])
    share = np.array([shares.get(memory, 1.0) for memory in Memory])
    state = _State(
        priority=priorities(work, in_order) if priority is None else priority, words=words, limit=words * share,
        missing=work.missing.copy(), users_left=np.diff(work.users.first), used=np.zeros(_MEMORIES, np.int64),
        fills=work.filled, passed=np.zeros(_MEMORIES, np.int64), reach=np.full(_MEMORIES, _UNKNOWN),
        begun=np.zeros(count, np.bool_), ready=np.empty(count, np.int64), ready_first=work.group_first,
        ready_count=np.zeros(len(work.groups), np.int64), free_at=np.zeros(_UNITS, np.int64),
        events=np.empty(2 * count + 2, np.int64), numbers=np.zeros(3, np.int64), start=np.full(count, -1),
        waited=np.zeros(count, np.int64),
    )  # fmt: skip
    _run(work, state)
    if state.numbers[_OLDEST] < count:
        raise _too_small(tiles, config, work, state)
    return Schedule(tiles, work, state.start, state.waited)


def one_by_one(schedule: Schedule) -> Schedule:
    """The same tasks in the order of the program, each begun when the one before it is over: as little as can be lives
    at once."""
    latency = schedule.work.latency
    return replace(schedule, start=np.cumsum(latency) - latency, waited=0)


class _State(NamedTuple):
    """What changes while tasks are scheduled, and the rules."""

    priority: NDArray[np.float64]
    words: Numbers  # of each memory
    limit: NDArray[np.float64]  # words of each memory that are filled at most
    missing: Numbers  # for each task, how many it still waits for
    users_left: Numbers  # for each buffer, tasks not finished
    used: Numbers  # words of each memory
    fills: tuple[Numbers, ...]  # for each memory, (task, words) of the buffers that tasks fill, in their order
    passed: Numbers  # entries of `fills` that have begun, all of them from the start
    reach: Numbers  # the last task for which there is room, of those that fill a memory
    begun: NDArray[np.bool_]
    ready: Numbers  # for each group, from ready_first on, its ready tasks in order
    ready_first: Numbers
    ready_count: Numbers
    free_at: Numbers  # for each unit
    events: Numbers  # a heap of cycle · 2^24 + (the task that finishes then + 1, or 0: a unit is free)
    numbers: Numbers  # how many events; the first task not begun; when the DRAM port is free
    start: Numbers  # for each task: what is looked for
    waited: Numbers  # likewise


_EVENTS, _OLDEST, _PORT = 0, 1, 2  # of `numbers`


@entry
def _run(work, s):
    """Event by event: tasks finish, then each unit that is free takes a task."""
    for task in range(len(s.missing)):
        if s.missing[task] == 0:
            _make_ready(work, s, task)
    _push(s, 0)
    while s.numbers[_EVENTS]:
        now = s.events[0] >> _TASK_BITS
        while s.numbers[_EVENTS] and s.events[0] >> _TASK_BITS == now:
            task = (_pop(s) & (1 << _TASK_BITS) - 1) - 1
            if task >= 0:
                _finish(work, s, task)
        for unit in range(_UNITS):
            while s.free_at[unit] <= now:
                task = _choose(work, s, unit)
                if task < 0:
                    break
                _begin(work, s, task)
                begin = now
                if work.moving[task]:
                    begin = max(now, s.numbers[_PORT])
                    s.numbers[_PORT] = begin + work.moving[task]
                s.start[task], s.waited[task] = now, begin - now
                s.free_at[unit] = begin + work.busy[task]
                _push(s, begin + work.latency[task] << _TASK_BITS | task + 1)
                if work.busy[task] != work.latency[task]:
                    _push(s, s.free_at[unit] << _TASK_BITS)


@inlined
def _make_ready(work, s, task):
    group = work.group[task]
    first, at = s.ready_first[group], s.ready_first[group] + s.ready_count[group]
    while at > first and s.ready[at - 1] > task:
        s.ready[at] = s.ready[at - 1]
        at -= 1
    s.ready[at] = task
    s.ready_count[group] += 1


@inlined
def _finish(work, s, task):
    for at in range(work.touched.first[task], work.touched.first[task + 1]):
        buffer = work.touched.values[at]
        s.users_left[buffer] -= 1
        if s.users_left[buffer] == 0:
            s.used[work.buffer_memory[buffer]] -= work.buffer_words[buffer]
            s.reach[work.buffer_memory[buffer]] = _UNKNOWN
    for at in range(work.after.first[task], work.after.first[task + 1]):
        later = work.after.values[at]
        s.missing[later] -= 1
        if s.missing[later] == 0:
            _make_ready(work, s, later)


@inlined
def _choose(work, s, unit):
    """The ready task of the highest priority of those for which there is room, or −1."""
    best, found = -1.0, -1
    for group in range(len(work.groups)):
        if work.groups[group, 0] != unit or s.ready_count[group] == 0:
            continue
        reach = len(s.begun)
        for memory in range(_MEMORIES):
            if work.groups[group, 1] >> memory & 1:
                reach = min(reach, _reach(s, memory))
        first = s.ready_first[group]
        for at in range(first, first + s.ready_count[group]):
            task = s.ready[at]
            if task > reach:
                break
            if s.priority[task] > best:
                best, found = s.priority[task], task
        task = s.ready[first]
        if task == s.numbers[_OLDEST] and s.priority[task] > best and _fits(work, s, task):
            best, found = s.priority[task], task
    return found


@inlined
def _reach(s, memory):
    """The last task whose buffers, with those of all tasks before it, which it must not keep out, find room."""
    if s.reach[memory] == _UNKNOWN:
        fills, last = s.fills[memory], len(s.begun)
        at = s.passed[memory]
        while at < len(fills) and s.begun[fills[at, 0]]:
            at += 1
        s.passed[memory] = at
        room = s.limit[memory] - s.used[memory]
        while at < len(fills):
            if not s.begun[fills[at, 0]]:
                room -= fills[at, 1]
                if room < 0:
                    last = fills[at, 0] - 1
                    break
            at += 1
        s.reach[memory] = last
    return s.reach[memory]


@inlined
def _fits(work, s, task):
    """Whether there is room for the buffers of one task, however far memories may be filled ahead."""
    for memory in range(_MEMORIES):
        words = s.used[memory]
        for at in range(work.fills.first[task], work.fills.first[task + 1]):
            buffer = work.fills.values[at]
            if work.buffer_memory[buffer] == memory:
                words += work.buffer_words[buffer]
        if words > s.words[memory]:
            return False
    return True


@inlined
def _begin(work, s, task):
    for at in range(work.fills.first[task], work.fills.first[task + 1]):
        buffer = work.fills.values[at]
        s.used[work.buffer_memory[buffer]] += work.buffer_words[buffer]
        s.reach[work.buffer_memory[buffer]] = _UNKNOWN
    group = work.group[task]
    s.ready_count[group] -= 1
    at, end = s.ready_first[group], s.ready_first[group] + s.ready_count[group]
    while s.ready[at] != task:
        at += 1
    while at < end:
        s.ready[at] = s.ready[at + 1]
        at += 1
    s.begun[task] = True
    for at in range(work.opens.first[task], work.opens.first[task + 1]):
        later = work.opens.values[at]
        s.missing[later] -= 1
        if s.missing[later] == 0:
            _make_ready(work, s, later)
    while s.numbers[_OLDEST] < len(s.begun) and s.begun[s.numbers[_OLDEST]]:
        s.numbers[_OLDEST] += 1


@inlined
def _push(s, event):
    """Add to the heap of events."""
    at = s.numbers[_EVENTS]
    s.numbers[_EVENTS] += 1
    while at and s.events[(at - 1) // 2] > event:
        s.events[at] = s.events[(at - 1) // 2]
        at = (at - 1) // 2
    s.events[at] = event


@inlined
def _pop(s):
    """Take the least event from the heap."""
    least = s.events[0]
    s.numbers[_EVENTS] -= 1
    size = s.numbers[_EVENTS]
    last, at = s.events[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and s.events[child + 1] < s.events[child]:
            child += 1
        if s.events[child] >= last:
            break
        s.events[at] = s.events[child]
        at = child
    s.events[at] = last
    return least


def _too_small(tiles: Tiles, config: HardwareConfig, work: Work, state: _State) -> HeddleError:
    """Which memory the oldest task found too small."""
    oldest = int(state.numbers[_OLDEST])
    label, filled = tiles.tasks[oldest].label, work.fills.of(oldest)
    for memory in Memory:
        needed = int(work.buffer_words[filled[work.buffer_memory[filled] == memory]].sum())
        needed, words = int(state.used[memory]) + needed, config.words(memory)
        if needed > words:
            return NoRoomError(
                f"{label}: {needed} words of {memory.name} are needed at once, but {config.title} has {words}: "
                f"choose a larger configuration or a smaller model"
            )
    return HeddleError(f"{label}: cannot be scheduled on {config.title}")

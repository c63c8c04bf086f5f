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
from bisect import insort
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from ..arch.config import APPEND_ITEMS, HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError
from ..arch.isa import Access, Append, Instruction, KvInstruction, Load, Part, Store, Stream
from ..sim.units import BURSTS, CYCLES
from .builder import Tiles
from .tasks import Buffer

_DMA_OVERHEAD_CYCLES = 8  # requests, buffers and retirement of LOAD and STORE, roughly


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


def schedule(tiles: Tiles, config: HardwareConfig, share: float = 1.0, in_order: float = 0.35) -> Schedule:
    """The tasks in order. Raises HeddleError naming the memory if even one task after the other does not fit.

    share     memories are filled to at most this part of their words; the oldest task not yet begun may always go on
    in_order  how much of the work behind a task in the program counts for its priority
    """
    return _Scheduler(tiles, config, share, in_order).run()


class _Scheduler:
    def __init__(self, tiles: Tiles, config: HardwareConfig, share: float, in_order: float) -> None:
        self.tiles, self.config, self.share = tiles, config, share
        self.instructions = [task.instruction for task in tiles.tasks]
        count = len(self.instructions)
        self.users: dict[Buffer, list[int]] = defaultdict(list)
        self.after: list[list[int]] = [[] for _ in range(count)]
        self.missing = [0] * count  # predecessors that have not finished
        self.fills: list[list[Buffer]] = [[] for _ in range(count)]  # buffers that a task is the first to touch
        self.touched: list[list[Buffer]] = [[] for _ in range(count)]
        self.needs = {memory: np.zeros(count, np.int64) for memory in Memory}  # words of those, for tasks not begun
        self._connect()
        self.memories = [list({buffer.memory: None for buffer in fills}) for fills in self.fills]
        self.durations = [_durations(each, config) for each in self.instructions]
        self.priority = self._priorities(in_order)
        self.used = dict.fromkeys(Memory, 0)
        self.readers_left = {buffer: len(tasks) for buffer, tasks in self.users.items()}
        self.words = {memory: config.words(memory) for memory in Memory}
        self.slots: list[Slot] = []
        self.ready: dict[Unit, list[tuple[float, int]]] = {unit: [] for unit in Unit}  # (−priority, task), sorted
        self.begun = np.zeros(count, bool)
        self.oldest = 0

    def _connect(self) -> None:
        """Who must wait for whom: a task for those before it that touch the same words, if one of the two writes."""
        history: dict[Buffer, list[tuple[int, Access]]] = defaultdict(list)
        appended: dict[int, list[int]] = defaultdict(list)  # layer → tasks that write its part of the cache
        for index, instruction in enumerate(self.instructions):
            before: set[int] = set()
            for access in instruction.accesses(self.config):
                buffer = self.tiles.buffers.find(access.memory, access.start)
                assert access.stop <= buffer.start + buffer.words, f"{instruction} leaves {buffer.name}"
                if buffer not in self.touched[index]:
                    self.touched[index].append(buffer)
                for other, earlier in history[buffer]:
                    if (access.write or earlier.write) and access.overlaps(earlier):
                        before.add(other)
                history[buffer].append((index, access))
            layer = self.tiles.tasks[index].cache
            if isinstance(instruction, Append):
                appended[layer].append(index)
            elif isinstance(instruction, Stream):
                before.update(appended[layer])
            before.discard(index)
            for each in before:
                self.after[each].append(index)
            self.missing[index] = len(before)
            for buffer in self.touched[index]:
                if buffer not in self.users:
                    self.fills[index].append(buffer)
                    self.needs[buffer.memory][index] += buffer.words
                self.users[buffer].append(index)

    def _priorities(self, in_order: float) -> list[float]:
        """For each task, the cycles of the longest chain of tasks that starts with it, and some of its unit's work."""
        chains = [0] * len(self.instructions)
        priorities = [0.0] * len(self.instructions)
        behind = dict.fromkeys(Unit, 0)
        for index in reversed(range(len(chains))):
            unit, (busy, latency) = self.instructions[index].unit, self.durations[index]
            assert unit is not None
            chains[index] = latency + max((chains[each] for each in self.after[index]), default=0)
            behind[unit] += busy
            priorities[index] = chains[index] + in_order * behind[unit]
        return priorities

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
                while free_at[unit] <= now and (index := self._choose(unit)) is not None:
                    slot = self._begin(index, now)
                    free_at[unit] = slot.free
                    heapq.heappush(events, (slot.finish, index))
                    heapq.heappush(events, (slot.free, -1))
        if len(self.slots) < len(self.instructions):
            raise self._too_small()
        self.slots.sort(key=lambda slot: (slot.start, slot.task))
        return Schedule(self.tiles, self.slots, dict(self.users))

    def _make_ready(self, index: int) -> None:
        unit = self.instructions[index].unit
        assert unit is not None
        insort(self.ready[unit], (-self.priority[index], index))

    def _finish(self, index: int) -> None:
        for buffer in self.touched[index]:
            self.readers_left[buffer] -= 1
            if not self.readers_left[buffer]:
                self.used[buffer.memory] -= buffer.words
        for each in self.after[index]:
            self.missing[each] -= 1
            if not self.missing[each]:
                self._make_ready(each)

    def _choose(self, unit: Unit) -> int | None:
        """The first ready task of a unit for which there is room."""
        refused: dict[
            Memory, int
        ] = {}  # a task that found no room there; those behind it in the program need even more
        for _, index in self.ready[unit]:
            memories = self.memories[index]
            if any(index > refused.get(memory, index) for memory in memories):
                continue
            full = self._full(index)
            if full is None:
                return index
            refused[full] = min(index, refused.get(full, index))
        return None

    def _full(self, index: int) -> Memory | None:
        """A memory without room for the buffers of a task and of all tasks before it, which it must not keep out."""
        for memory in self.memories[index]:
            wanted = int(self.needs[memory][self.oldest : index + 1].sum())
            limit = self.words[memory] * (1 if index == self.oldest else self.share)
            if self.used[memory] + wanted > limit:
                return memory
        return None

    def _begin(self, index: int, now: int) -> Slot:
        for buffer in self.fills[index]:
            self.used[buffer.memory] += buffer.words
            self.needs[buffer.memory][index] = 0
        unit = self.instructions[index].unit
        assert unit is not None
        self.ready[unit].remove((-self.priority[index], index))
        self.begun[index] = True
        while self.oldest < len(self.begun) and self.begun[self.oldest]:
            self.oldest += 1
        busy, latency = self.durations[index]
        slot = Slot(index, now, now + busy, now + latency)
        self.slots.append(slot)
        return slot

    def _too_small(self) -> HeddleError:
        """Which memory the oldest task found too small."""
        for memory, needs in self.needs.items():
            needed, words = self.used[memory] + int(needs[self.oldest]), self.config.words(memory)
            if needs[self.oldest] and needed > words:
                return HeddleError(
                    f"{self.tiles.tasks[self.oldest].label}: {needed} words of {memory.name} are needed at once, but "
                    f"{self.config.name} has {words}: choose a larger configuration or a smaller model"
                )
        return HeddleError(f"{self.tiles.tasks[self.oldest].label}: cannot be scheduled on {self.config.name}")


def _durations(instruction: Instruction, config: HardwareConfig) -> tuple[int, int]:
    """(cycles until the unit can start another, cycles until the effect can be used)."""
    unit = instruction.unit
    assert unit is not None
    if isinstance(instruction, (Load, Store)):
        bursts = BURSTS[unit](instruction, config)  # type: ignore[arg-type]
        beats = sum(burst.beats for burst in bursts) * config.dram.cycles_per_beat
        total = beats + config.dram.latency_cycles + _DMA_OVERHEAD_CYCLES
        overlaps = isinstance(instruction, Load) and not instruction.gather
        return (beats + 1 if overlaps else total), total
    if isinstance(instruction, KvInstruction):
        cycles = _kv_cycles(instruction, config)
        return cycles, cycles
    cycles = CYCLES[unit](instruction, config) + 1  # type: ignore[arg-type]
    return cycles, cycles


def _kv_cycles(instruction: KvInstruction, config: HardwareConfig) -> int:
    """From start to retire, with nobody else at the DRAM port."""
    overhead = config.dram.latency_cycles + _DMA_OVERHEAD_CYCLES
    word_bytes = config.dram_word_bytes(Memory.WEIGHT)
    if isinstance(instruction, Append):
        pairs = instruction.part is Part.PAIRS
        items = instruction.heads * instruction.tokens * (1 if pairs else instruction.token_words)
        beats = -(-(8 if pairs else word_bytes) // config.axi_bytes)
        return items * max(3, beats, overhead // APPEND_ITEMS) + overhead
    assert isinstance(instruction, Stream)
    size = instruction.words * config.columns * word_bytes
    if instruction.part is Part.PAIRS:
        size = config.dram_word_bytes(Memory.PARAM)
    return instruction.blocks * (size // config.axi_bytes + 2) * config.dram.cycles_per_beat + overhead

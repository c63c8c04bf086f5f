"""What is to be known of each task before it is scheduled: its cycles, what it waits for, which buffers it fills."""

from __future__ import annotations

import math
from collections import defaultdict

from ..arch.config import APPEND_ITEMS, HardwareConfig, Memory, Unit
from ..arch.isa import Access, Append, Instruction, KvInstruction, Load, Part, Store, Stream
from ..sim.units import CYCLES
from .builder import Tiles
from .tasks import Buffer

_DMA_OVERHEAD_CYCLES = 8  # requests, buffers and retirement of LOAD and STORE, roughly


class Work:
    """The tasks of one tiling, by their number. Nothing here depends on how they are scheduled."""

    def __init__(self, tiles: Tiles, config: HardwareConfig) -> None:
        self.tiles, self.config = tiles, config
        self.instructions = [task.instruction for task in tiles.tasks]
        count = len(self.instructions)
        self.units: list[Unit] = [each.unit for each in self.instructions]  # type: ignore[misc]
        self.durations = [_durations(each, config) for each in self.instructions]
        self.users: dict[Buffer, list[int]] = defaultdict(list)
        self.after: list[list[int]] = [[] for _ in range(count)]
        self.missing = [0] * count  # predecessors
        self.fills: list[list[Buffer]] = [[] for _ in range(count)]  # buffers that a task is the first to touch
        self.touched: list[list[Buffer]] = [[] for _ in range(count)]
        self._connect()
        self.memories = [tuple({buffer.memory: None for buffer in fills}) for fills in self.fills]
        self.fills_of: dict[Memory, list[tuple[int, int]]] = {memory: [] for memory in Memory}  # (task, words)
        for index, fills in enumerate(self.fills):
            for memory in self.memories[index]:
                self.fills_of[memory].append((index, sum(each.words for each in fills if each.memory is memory)))

    def _connect(self) -> None:
        """Who must wait for whom: a task for those before it that touch the same words, if one of the two writes."""
        written: dict[Buffer, list[tuple[int, Access]]] = defaultdict(list)
        read: dict[Buffer, list[tuple[int, Access]]] = defaultdict(list)
        appended: dict[int, list[int]] = defaultdict(list)  # layer → tasks that write its part of the cache
        find = self.tiles.buffers.find
        for index, instruction in enumerate(self.instructions):
            before: set[int] = set()
            touched: dict[Buffer, None] = {}
            for access in self.tiles.tasks[index].accesses(self.config):
                buffer = find(access.memory, access.start)
                assert access.stop <= buffer.start + buffer.words, f"{instruction} leaves {buffer.name}"
                touched[buffer] = None
                before.update(other for other, earlier in written[buffer] if access.overlaps(earlier))
                if access.write:
                    before.update(other for other, earlier in read[buffer] if access.overlaps(earlier))
                (written if access.write else read)[buffer].append((index, access))
            layer = self.tiles.tasks[index].cache
            if isinstance(instruction, Append):
                appended[layer].append(index)
            elif isinstance(instruction, Stream):
                before.update(appended[layer])
            before.discard(index)
            for each in before:
                self.after[each].append(index)
            self.missing[index] = len(before)
            self.touched[index] = list(touched)
            for buffer in touched:
                if buffer not in self.users:
                    self.fills[index].append(buffer)
                self.users[buffer].append(index)

    def priorities(self, in_order: float) -> list[float]:
        """For each task, the cycles of the longest chain of tasks that starts with it, and some of its unit's work."""
        chains = [0] * len(self.instructions)
        priorities = [0.0] * len(self.instructions)
        behind = dict.fromkeys(Unit, 0)
        for index in reversed(range(len(chains))):
            unit, (busy, latency) = self.units[index], self.durations[index]
            chains[index] = latency + max([chains[each] for each in self.after[index]], default=0)
            behind[unit] += busy
            priorities[index] = chains[index] + in_order * behind[unit]
        return priorities


def _durations(instruction: Instruction, config: HardwareConfig) -> tuple[int, int]:
    """(cycles until the unit can start another, cycles until the effect can be used)."""
    unit = instruction.unit
    assert unit is not None
    if isinstance(instruction, (Load, Store)):
        size = instruction.segments * instruction.words * config.dram_word_bytes(instruction.memory)
        moving = _cycles_to_move(size, config)
        total = moving + config.dram.latency_cycles + _DMA_OVERHEAD_CYCLES
        overlaps = isinstance(instruction, Load) and not instruction.gather
        return (moving + 1 if overlaps else total), total
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
    return instruction.blocks * (_cycles_to_move(size, config) + 2) + overhead


def _cycles_to_move(size_bytes: int, config: HardwareConfig) -> int:
    return math.ceil(size_bytes / config.dram.bytes_per_cycle(config.axi_bytes))

"""LOAD: DRAM → on-chip memory, strided or gathered. Here: what it changes, its bursts, and when it asks for them."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ...arch.config import GATE_CYCLES, GATHER_CYCLES, HardwareConfig, Memory
from ...arch.isa import Load
from ..dram import Burst
from ..segments import Segments, require_inside, segments_of
from ..state import State
from .meaning import Meaning

GATHER_SETUP_CYCLES = GATHER_CYCLES + GATE_CYCLES


def execute(instruction: Load, state: State, config: HardwareConfig) -> None:
    """Copy the segments. Bits are preserved, whatever number they stand for."""
    i = instruction
    beats_per_word = config.dram_word_bytes(i.memory) // config.axi_bytes
    start, stride = i.dram_address // config.axi_bytes, i.dram_stride // config.axi_bytes
    length = i.words * beats_per_word
    if i.gather:
        indices = state.index_numbers(i.index_address, i.segments).astype(np.int64)
        first = start + indices * stride
        low, stop, size = (beats * config.axi_bytes for beats in
                           (int(first.min()), int(first.max()) + length, state.dram.count))  # fmt: skip
        require_inside(i.name, "DRAM", low, stop, size)
        beats = state.dram.gather(first[..., None] + np.arange(length))
    else:
        beats = state.dram.read(start, stride, i.segments, length)
    state[i.memory].write(i.address, i.stride, words_of_beats(beats, i.memory, config))


def words_of_beats(beats: NDArray[np.uint8], memory: Memory, config: HardwareConfig) -> NDArray:
    """(batch, segments, beats, bytes) → (batch, segments, words, elements…) as the memory keeps them."""
    raw = beats.reshape(*beats.shape[:2], -1, config.dram_word_bytes(memory))
    raw = np.ascontiguousarray(raw[..., : config.word_bits(memory) // 8])
    match memory:
        case Memory.PARAM:
            return raw.view(np.float32).reshape(*raw.shape[:-1], config.columns, 2)
        case Memory.VALUE if config.value_format == "float32":
            return raw.view(np.float32)
        case Memory.INDEX | Memory.PAGE:
            return raw.view(np.int32)
        case Memory.ACT | Memory.WEIGHT if config.pe == "int8":
            return raw.view(np.int8)
    return (raw.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)  # bf16


def segments(instruction: Load, config: HardwareConfig) -> Segments:
    """What is read. Rows of a gather are cut alike for any index, for the table is aligned to bursts: that of row 0."""
    return segments_of(instruction, config)._replace(setup_cycles=GATHER_SETUP_CYCLES if instruction.gather else 0)


MEANING = {Load: Meaning(execute, kernel=False, segments=segments)}


class LoadRequests:
    """The DRAM client of LOAD: one instruction asks at a time, while beats of earlier ones may still be coming."""

    writes = False

    def __init__(self, config: HardwareConfig) -> None:
        self.config = config
        self.bursts: list[Burst] = []
        self.next = 0
        self.up: int | None = None
        self.gate = 0  # cycle in which the burst requested next has passed the gate
        self.flight: deque[int] = deque(maxlen=config.load_outstanding)  # last beats of the latest bursts
        self.last_grant = self.last_beat = -1
        self.beats_cycles = 0  # cycles in which beats of this instruction move

    def begin(self, start: int, instruction: Load) -> None:
        """An instruction starts."""
        self.ask_for(start, segments(instruction, self.config).bursts(self.config))

    def ask_for(self, start: int, bursts: list[Burst]) -> None:
        """Request these bursts. What is to be found out of the first begins in the cycle after `start`."""
        self.bursts, self.next, self.beats_cycles = bursts, 0, 0
        self.gate = start + 1
        self._ask(start + 1 + GATE_CYCLES)

    @property
    def burst(self) -> Burst:
        """The burst requested next."""
        return self.bursts[self.next]

    def granted(self, grant: int, first: int, last: int) -> None:
        """After the last burst `up` is None: then `retire` is known, and the next LOAD may start."""
        self.beats_cycles += last - first + 1
        self.flight.append(last)
        self.last_grant, self.last_beat = grant, last
        self.next += 1
        if self.next == len(self.bursts):
            self.up = None
        else:
            self._ask(grant + 1)

    def _ask(self, cycle: int) -> None:
        """Request the next burst from `cycle` on, once its address is known, which is worked out while the one before
        waits for its grant, and there is room for it in flight."""
        self.up = self.gate = max(self.gate + self.burst.setup_cycles, cycle)
        if len(self.flight) == self.flight.maxlen:
            self.up = max(self.up, self.flight[0] + 1)

    @property
    def retire(self) -> int:
        """Cycle in which the instruction retires whose last burst was granted."""
        return self.last_beat + 1

"""STORE: on-chip memory → DRAM, strided or scattered. Here: what it changes, its bursts, and when it asks for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...arch.config import GATHER_CYCLES, MEMORY_CYCLES, HardwareConfig, Memory
from ...arch.isa import Store
from ..dram import Burst
from ..segments import Segments, require_inside, require_rows, segments_of
from ..state import State
from .meaning import Meaning


def execute(instruction: Store, state: State, config: HardwareConfig) -> None:
    """Copy the segments, the later over the earlier. Bits are preserved; the padding of a word is zero."""
    i = instruction
    words = state[i.memory].read(i.address, i.stride, i.segments, i.words)
    padded = bytes_of_words(words, i.memory, config)
    beats = padded.reshape(*padded.shape[:2], -1, config.axi_bytes)
    start, stride = i.dram_address // config.axi_bytes, i.dram_stride // config.axi_bytes
    if not i.scatter:
        state.dram.write(start, stride, beats)
        return
    numbers = state.index_numbers(i.index_address, i.segments).astype(np.int64)
    require_rows(i.name, numbers * stride)
    first, length = start + numbers * stride, beats.shape[2]
    low, stop, size = (each * config.axi_bytes for each in
                       (int(first.min()), int(first.max()) + length, state.dram.count))  # fmt: skip
    require_inside(i.name, "DRAM", low, stop, size)
    places = (first[..., None] + np.arange(length)).reshape(len(first), -1)
    state.dram.scatter(places, beats.reshape(len(beats), -1, config.axi_bytes))


def bytes_of_words(words: NDArray, memory: Memory, config: HardwareConfig) -> NDArray[np.uint8]:
    """Words (…, elements) or, of PARAM, (…, elements, 2) → (…, bytes), padded to the size of a word in DRAM."""
    words = np.ascontiguousarray(words)
    if memory is Memory.PARAM:
        words = words.reshape(*words.shape[:-2], -1)
    elif words.dtype == np.float32 and config.element_bits(memory) == 16:  # bf16
        words = (words.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    raw = words.view(np.uint8)
    padded = np.zeros((*raw.shape[:-1], config.dram_word_bytes(memory)), np.uint8)
    padded[..., : raw.shape[-1]] = raw
    return padded


def segments(instruction: Store, config: HardwareConfig) -> Segments:
    """What is written. Rows of a scatter are cut alike for any index: see LOAD."""
    return segments_of(instruction, config)._replace(setup_cycles=GATHER_CYCLES if instruction.scatter else 0)


MEANING = {Store: Meaning(execute, kernel=False, segments=segments)}


class StoreRequests:
    """The DRAM client of STORE: reads bursts from memory into two buffers in turn, and sends each when it is whole."""

    writes = True

    def __init__(self, config: HardwareConfig) -> None:
        self.config = config
        self.bursts: list[Burst] = []
        self.next = 0
        self.up: int | None = None
        self.read = 0  # q: cycle of the first read from memory for the next burst
        self.last_beat = -1  # of the latest burst
        self.beats_cycles = 0  # cycles in which beats of this instruction move

    def begin(self, start: int, instruction: Store) -> None:
        """An instruction starts, and both buffers are free."""
        self.bursts = segments(instruction, self.config).bursts(self.config)
        self.next = self.beats_cycles = 0
        self.read = start + 1 + self.burst.setup_cycles
        self.up = self.read + self.burst.beats + MEMORY_CYCLES

    @property
    def burst(self) -> Burst:
        """The burst requested next."""
        return self.bursts[self.next]

    def granted(self, grant: int, first: int, last: int) -> None:
        """After the last burst `up` is None: then `retire` is known."""
        # The next burst goes into the buffer of the one before this, whose beats must have left.
        read_whole, free = self.read + self.burst.beats, self.last_beat + 1
        self.beats_cycles += last - first + 1
        self.last_beat = last
        self.next += 1
        if self.next == len(self.bursts):
            self.up = None
        else:
            self.read = max(read_whole + self.burst.setup_cycles, free)
            self.up = max(self.read + self.burst.beats + MEMORY_CYCLES, grant + 1)

    @property
    def retire(self) -> int:
        """Cycle in which the instruction retires whose last burst was granted: the response, and one."""
        return self.last_beat + 2

"""Where random programs work: an arena in each memory, areas of DRAM, and blocks placed within them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from ..arch.config import HardwareConfig, Memory

STORABLE = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.INDEX)
LOADABLE = (*STORABLE, Memory.PAGE)
PANELS_AT_MOST = 8  # that ACC and ROW are drained in
NUMBERS = (Memory.INDEX, Memory.PAGE)  # hold places, so only content of their own kind may go there


@dataclass(frozen=True)
class Area:
    """Words of a memory, or bytes of DRAM: [start, stop)."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Words or bytes."""
        return self.stop - self.start


class Places:
    """The arenas (`of`, by memory), the areas of DRAM, and random choices of sizes and addresses that fit them.

    Sixteenths of DRAM: 0–1 code, 2–6 sources (by memory; INDEX and PAGE share the last), 7 shared (written and read
    back), 8 the KV cache, 9–15 the final state.
    """

    def __init__(self, config: HardwareConfig, random: Random) -> None:
        self.config = config
        self.random = random
        self.dram_bytes = dram_bytes(config)
        self.of: dict[Memory, Area] = {}
        for memory in Memory:
            self.of[memory] = self._arena(memory, self.dram_bytes // 32)
        part = self.dram_bytes // 16
        self.code = Area(0, 2 * part)
        self.sources = {memory: Area((2 + memory) * part, (3 + memory) * part) for memory in STORABLE}
        self.sources[Memory.INDEX] = Area(6 * part, 6 * part + part // 2)
        self.sources[Memory.PAGE] = Area(6 * part + part // 2, 7 * part)
        self.shared = Area(7 * part, 8 * part)
        self.cache = Area(8 * part, 9 * part)
        self.final = Area(9 * part, self.dram_bytes)

    def _arena(self, memory: Memory, most_bytes: int) -> Area:
        words, bank = self.config.words(memory), self.config.bank_words(memory)
        size = self.random.choice([24, 64, 160])
        if memory is Memory.WEIGHT:
            size = max(size, 2 * self.config.rows, self.config.columns)  # two tiles, or a block of tokens
        if memory in (Memory.ACC, Memory.ROW):
            size = min(size, PANELS_AT_MOST * self.panel)
        size = min(words, most_bytes // self.config.dram_word_bytes(memory), size)
        across = bank * self.random.randrange(1, self.config.banks(memory) + 1) - size // 2
        start = self.random.choice([0, words - size, across, self.random.randrange(words - size + 1)])
        start = min(max(start, 0), words - size)
        return Area(start, start + size)

    @property
    def panel(self) -> int:
        """Rows of ACC or ROW that can be shown in VALUE at once, beside a word of ones and one of minus ones."""
        return min(self.config.panel_rows, self.of[Memory.VALUE].size - 2)

    def block(self, memory: Memory, length: int, count: int = 1, *, apart: bool = False) -> tuple[int, int]:
        """(address, stride) for `count` blocks of `length` words in the arena, at least `length` apart if `apart`."""
        area = self.of[memory]
        most = (area.size - length) // (count - 1) if count > 1 else area.size
        least = length if apart else 0
        stride = self.random.choice([min(length, most), self.random.randint(least, max(least, most))])
        span = (count - 1) * stride + length
        assert span <= area.size
        return self.random.randint(area.start, area.stop - span), stride

    def rows(self, *widths: tuple[Memory, int]) -> int:
        """Rows of a panel, few or many, so that blocks of each width (in words) fit the arena of its memory."""
        most = min([self.config.panel_rows] + [self.of[memory].size // max(1, width) for memory, width in widths])
        return self.size(most)

    def size(self, most: int) -> int:
        """From 1 to `most`, often either."""
        return self.random.choice([1, most, self.random.randint(1, most), self.random.randint(1, max(1, most // 4))])

    def columns(self) -> int:
        """Whole words, or with any tail; a row of them fits every arena."""
        most = min(self.of[memory].size for memory in (Memory.ACC, Memory.VALUE, Memory.PARAM)) * self.config.columns
        most = min(most, self.of[Memory.ACT].size * self.config.rows, self.of[Memory.WEIGHT].size)
        words, tail = self.random.choice([1, 1, 2, 3, 4, 6, 9, 14]), self.random.randrange(self.config.columns)
        return min(most, words * self.config.columns - self.random.choice([0, tail]))


def dram_bytes(config: HardwareConfig) -> int:
    """Size of the DRAM of random programs: it leaves room for the arenas of any seed, and for two pages of a burst."""
    return max(1 << 16, 2048 * config.dram_word_bytes(Memory.PARAM), 32 * config.burst_bytes)

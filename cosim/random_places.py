"""Where random programs work: an arena in each memory, areas of DRAM, and instructions placed within them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import Any

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.encoding import encoding
from ..arch.errors import HeddleError
from ..arch.functions import PLACE_COUNT
from ..arch.isa import PANEL_UNITS, Instruction, Load
from ..arch.operands import Block, blocks

STORABLE = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.INDEX)
LOADABLE = (*STORABLE, Memory.PAGE)
IN_PLACE = 0.2  # of the instructions that may work in place do so
PANELS_AT_MOST = 8  # that ACC and ROW are drained in
SPREAD = 0.2  # of the programs have arenas in several banks
ARENAS_AT_MOST = 4  # of a memory
AT_HOME = 0.95  # of the instructions of such a program, in the arenas of their unit
LOUD = 0.1  # of the programs have arenas and codes that make large sums
FAR = 0.2  # of the programs have a large DRAM
FAR_BYTES = 1 << 21  # of it, at least: addresses beyond 20 bits
CACHE_ALIGNMENT = 4096
FAR_CODE_BYTES = 1 << 16  # for the longest programs
TABLE_SETS = 2  # of all entries that evaluators hold
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


NOWHERE: Mapping[Memory, Area] = MappingProxyType({})


class DoesNotFitError(HeddleError):
    """The arenas are too small for an instruction."""


class Places:
    """The arenas, the areas of DRAM, and random choices of sizes and addresses that fit them.

    `of` says where the next instruction works in each memory. Most programs have one arena of each, so that all meet
    there; some have several in banks of their own, of which each unit mostly uses one, so that units work side by side.
    Areas of DRAM: code, sources (by memory), shared (written and read back), the KV cache, tables of functions, the
    final state; behind the code they stand in any order, with gaps, at any multiple of a burst.
    """

    def __init__(self, config: HardwareConfig, random: Random) -> None:
        self.config = config
        self.random = random
        part = dram_bytes(config) // 16
        self.spread, far = random.random() < SPREAD, random.random() < FAR
        self.loud = random.random() < LOUD
        tables = TABLE_SETS * table_words(config) * config.dram_word_bytes(Memory.PARAM)
        needed = max(FAR_BYTES, 32 * part + tables) if far else 32 * part + tables
        self.dram_bytes = 1 << (needed - 1).bit_length()
        self.all: dict[Memory, list[Area]] = {}
        for memory in Memory:
            self.all[memory] = [self._arena(memory, part // 2)]
            if self.spread:
                self.all[memory] += self._others(memory)
        self.of = {memory: arenas[0] for memory, arenas in self.all.items()}
        self.wide = False  # whether rows are to have many columns
        homes = {memory: random.sample(list(Unit), len(Unit)) for memory in Memory}
        self._homes = {
            unit: {memory: arenas[homes[memory].index(unit) % len(arenas)] for memory, arenas in self.all.items()}
            for unit in Unit
        }
        self.code = Area(0, max(FAR_CODE_BYTES, 4 * part) if far else 4 * part)
        sizes = {memory: part for memory in STORABLE} | {Memory.INDEX: part // 2, Memory.PAGE: part // 2}
        areas = self._areas([*sizes.values(), part, part + CACHE_ALIGNMENT, tables, 16 * part])
        self.sources = dict(zip(sizes, areas, strict=False))
        self.shared, cache, self.tables, self.final = areas[len(sizes) :]
        start = -(-cache.start // CACHE_ALIGNMENT) * CACHE_ALIGNMENT
        self.cache = Area(start, start + part)

    def _areas(self, sizes: Sequence[int]) -> list[Area]:
        """Areas of DRAM of these sizes behind the code."""
        burst = self.config.burst_bytes
        sizes = [-(-size // burst) for size in sizes]
        free = (self.dram_bytes - self.code.size) // burst - sum(sizes)
        gaps = sorted(self.random.randint(0, free) for _ in sizes)
        order, found, used = self.random.sample(range(len(sizes)), len(sizes)), {}, 0
        for gap, number in zip(gaps, order, strict=True):
            start = self.code.size + (gap + used) * burst
            found[number] = Area(start, start + sizes[number] * burst)
            used += sizes[number]
        return [found[number] for number in range(len(sizes))]

    def choose(self, unit: Unit | None) -> None:
        """Where the next instruction, of this unit, works."""
        if self.spread and unit is not None:
            at_home = self.random.random() < AT_HOME
            self.of = self._homes[unit] if at_home else {
                memory: self.random.choice(arenas) for memory, arenas in self.all.items()
            }  # fmt: skip

    def _others(self, memory: Memory) -> list[Area]:
        """Arenas as large as the first in other banks, as far as there are any."""
        first, bank = self.all[memory][0], self.config.bank_words(memory)
        size = min(first.size, bank)
        within = self.random.randint(0, bank - size)
        used = {first.start // bank, (first.stop - 1) // bank}
        others = [number for number in range(self.config.banks(memory)) if number not in used]
        most = ARENAS_AT_MOST - 1 if memory not in NUMBERS else 0
        chosen = self.random.sample(others, min(len(others), most))
        return [Area(number * bank + within, number * bank + within + size) for number in chosen]

    def _arena(self, memory: Memory, most_bytes: int) -> Area:
        words, bank = self.config.words(memory), self.config.bank_words(memory)
        size = self.random.choice([24, 24, 64] if self.spread else [24, 64, 160])
        if self.loud and memory in (Memory.ACT, Memory.WEIGHT):
            size = 160
        if memory is Memory.WEIGHT:
            size = max(size, 2 * self.config.rows, self.config.columns)  # two tiles, or a block of tokens
        if memory in (Memory.ACC, Memory.ROW):
            size = min(size, PANELS_AT_MOST * self.panel // (2 if self.spread else 1))
        size = min(words, most_bytes // self.config.dram_word_bytes(memory), size)
        across = bank * self.random.randrange(1, self.config.banks(memory) + 1) - size // 2
        start = self.random.choice([0, words - size, across, self.random.randrange(words - size + 1)])
        start = min(max(start, 0), words - size)
        return Area(start, start + size)

    @property
    def panel(self) -> int:
        """Rows of ACC or ROW that can be shown in VALUE at once, beside a word of ones and one of minus ones."""
        return min(self.config.panel_rows, self.all[Memory.VALUE][0].size - 2)

    def fill(self, memory: Memory, area: Area) -> Instruction:
        """Fills an arena with what the source area of its memory begins with."""
        return Load(memory=memory, dram_address=self.sources[memory].start, words=area.size, address=area.start)

    def _block(self, area: Area, length: int, count: int, apart: bool) -> tuple[int, int]:
        """(address, stride) for `count` blocks of `length` places in an area, at least `length` apart if `apart`."""
        most = (area.size - length) // (count - 1) if count > 1 else area.size
        least = length if apart else 0
        stride = self.random.choice([min(length, most), self.random.randint(least, max(least, most))])
        span = (count - 1) * stride + length
        assert span <= area.size
        return self.random.randint(area.start, area.stop - span), stride

    def placed(
        self, kind: type[Instruction], given: Mapping[str, Any], elements: Mapping[Memory, Area] = NOWHERE
    ) -> Instruction:  # fmt: skip
        """An instruction of a class with the fields `given`. Where its operands are, and how many rows there are if it
        has any, is drawn so that each fits the arena of its memory. It may still be illegal: what it writes may be what
        it reads. Raises DoesNotFitError.

        elements  where what counts elements must be, in some memories
        """
        given = dict(given)
        if "rows" in encoding(kind) and "rows" not in given:
            limit = self.config.panel_rows if kind.unit in PANEL_UNITS else (1 << encoding(kind)["rows"][1].bits) - 1
            given["rows"] = self.size(self.most(kind, "rows", limit, given, elements))
        instruction = kind(**given)
        operands = blocks(instruction, self.config)
        if not self._fits(operands, elements):
            raise DoesNotFitError(f"no arena holds {instruction}")
        areas = {each.at: self.of[each.memory] for each in kind.operands if isinstance(each.memory, Memory)}
        unused = {name: self.random.randint(area.start, area.stop - 1) for name, area in areas.items()}
        return replace(instruction, **{**unused, **self._drawn(instruction, operands, elements), **given})

    def most(
        self, kind: type[Instruction], name: str, limit: int, given: Mapping[str, Any],
        elements: Mapping[Memory, Area] = NOWHERE,
    ) -> int:  # fmt: skip
        """The largest number for a field, up to `limit`, with which all operands fit. Raises DoesNotFitError."""
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._fits(blocks(kind(**{**given, name: middle}), self.config), elements)
            low, high = (middle, high) if fits else (low, middle - 1)
        if not low:
            raise DoesNotFitError(f"no arena holds the least {kind.__name__}")
        return low

    def _area(self, block: Block, elements: Mapping[Memory, Area]) -> Area:
        """Where an operand may be, in words, or elements if it counts these."""
        arena, per_word = self.of[block.memory], self.config.word_elements(block.memory)
        if not block.operand.elements:
            return arena
        return elements.get(block.memory, Area(arena.start * per_word, arena.stop * per_word))

    def _fits(self, operands: Sequence[Block], elements: Mapping[Memory, Area]) -> bool:
        together = sum(_in_a_row(operands).values())
        return together <= self.of[Memory.ROW].size and all(
            each.length * each.count <= self._area(each, elements).size for each in operands
        )

    def _drawn(
        self, instruction: Instruction, operands: Sequence[Block], elements: Mapping[Memory, Area]
    ) -> dict[str, int]:  # fmt: skip
        """Address and stride of each operand. What is in ROW is apart, in any order, if some of it is written."""
        written = {each.operand.at for each in operands if each.operand.write}
        found, apart = {}, _in_a_row(operands)
        at = self.of[Memory.ROW].start + self.random.randint(0, self.of[Memory.ROW].size - sum(apart.values()))
        for name in self.random.sample(list(apart), len(apart)):
            found[name], at = at, at + apart[name]
        for each in operands:
            if each.operand.at not in found:
                area, is_written = self._area(each, elements), each.operand.at in written
                found[each.operand.at], stride = self._block(area, each.length, each.count, is_written)
                if each.operand.stride != "0":
                    found[each.operand.stride] = stride
        if instruction.in_place and self.random.random() < IN_PLACE:
            found |= self._in_place(operands, found)
        return found

    def _in_place(self, operands: Sequence[Block], found: Mapping[str, int]) -> dict[str, int]:
        """Where a result replaces an operand of its shape, if one has it."""
        pairs = [
            (read, write) for read in operands for write in operands
            if write.operand.write and not read.operand.write and write[1:] == read[1:]
            and (read.count == 1 or found.get(read.operand.stride, 0) >= read.length)
            and {read.operand.stride, write.operand.stride} <= {*found}
        ]  # fmt: skip
        if not pairs:
            return {}
        read, write = (each.operand for each in self.random.choice(pairs))
        return {write.at: found[read.at], write.stride: found[read.stride]}

    def size(self, most: int) -> int:
        """From 1 to `most`, often either."""
        return self.random.choice([1, most, self.random.randint(1, most), self.random.randint(1, max(1, most // 4))])

    def columns(self) -> int:
        """Whole words, or with any tail; a row of them mostly fits every arena."""
        memories = (Memory.ACC, Memory.VALUE, Memory.PARAM)
        most = min(self.of[memory].size for memory in memories) * self.config.columns
        most = min(most, self.of[Memory.ACT].size * self.config.rows, self.of[Memory.WEIGHT].size)
        if self.random.random() < 0.15:  # what needs less than that may have more
            most = max(self.of[memory].size for memory in memories[:2]) * self.config.columns
        wide = self.random.randint(15, 80)
        if self.wide:
            return min(most, wide * self.config.columns - self.random.randrange(self.config.columns))
        words = self.random.choice([1, 1, 1, 1, 2, 2, 3, 4, 6, 9, 14, wide, wide, wide])
        tail = self.random.randrange(self.config.columns)
        return min(most, words * self.config.columns - self.random.choice([0, tail]))


def _in_a_row(operands: Sequence[Block]) -> dict[str, int]:
    """The operands in ROW, if it is written, and how many words they take."""
    found = {each.operand.at: each.length for each in operands if each.memory is Memory.ROW}
    return found if any(each.operand.write for each in operands if each.memory is Memory.ROW) else {}


def table_words(config: HardwareConfig) -> int:
    """Words of PARAM that all entries of the evaluators take."""
    return -(-PLACE_COUNT // config.word_elements(Memory.PARAM))


def dram_bytes(config: HardwareConfig) -> int:
    """Sixteen parts of the DRAM of random programs: each has room for the arenas of any seed of one memory, and for two
    pages of a burst."""
    return max(1 << 16, 2048 * config.dram_word_bytes(Memory.PARAM), 32 * config.burst_bytes)

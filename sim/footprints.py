"""What instructions touch, as the race detector needs it: sets of words and of DRAM bytes, and where two of them meet.

Instructions that use the same places on chip share one footprint: a program of many equal layers has few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.isa import Instruction
from ..arch.operands import choice_names, size_names
from ..arch.program import Program

GRANULES = 64  # parts of a memory, a bit each: footprints without a granule in common cannot meet


class Blocks(NamedTuple):
    """`count` blocks of `length` places, `stride` apart: words of a memory, or bytes of DRAM."""

    start: int
    length: int
    stride: int
    count: int
    write: bool

    @property
    def stop(self) -> int:
        """One past the last place."""
        return self.start + (self.count - 1) * self.stride + self.length

    @property
    def places(self) -> NDArray[np.int64]:
        """All of them, each once."""
        if self.count == 1:
            return np.arange(self.start, self.stop)
        places = (self._starts()[:, None] + np.arange(self.length)).reshape(-1)
        return places if self.stride >= self.length else np.unique(places)

    def meeting(self, other: Blocks) -> tuple[int, int] | None:
        """The first places that both touch, (first, last), or None. Exact."""
        if self.start >= other.stop or other.start >= self.stop:
            return None
        mine, others = self._starts(), other._starts()
        place = np.searchsorted(others + other.length, mine, "right")  # of the first block that ends behind the start
        inside = place < len(others)
        place = np.minimum(place, len(others) - 1)
        first = np.maximum(mine, others[place])
        last = np.minimum(mine + self.length, others[place] + other.length) - 1
        found = np.flatnonzero(inside & (first <= last))
        return (int(first[found[0]]), int(last[found[0]])) if len(found) else None

    def _starts(self) -> NDArray[np.int64]:
        return self.start + np.arange(self.count) * self.stride


@dataclass(frozen=True)
class Footprint:
    """The on-chip words and bank ports of one instruction."""

    unit: Unit
    blocks: tuple[tuple[Memory, Blocks], ...]
    touched: tuple[tuple[Memory, int, int], ...]  # memory, granules read, granules written
    ports: tuple[tuple[Memory, bool, int], ...]  # memory, write, banks

    def race(self, other: Footprint) -> tuple[Memory, int, int] | None:
        """Words that one writes and the other touches: (memory, first, last), or None."""
        for memory, mine in self.blocks:
            for theirs in (each for where, each in other.blocks if where is memory and (mine.write or each.write)):
                if found := mine.meeting(theirs):
                    return memory, *found
        return None

    def port(self, other: Footprint) -> tuple[Memory, bool, int] | None:
        """A port that both use: (memory, write, bank), or None."""
        for memory, write, banks in self.ports:
            for where, direction, others in other.ports:
                if where is memory and direction == write and banks & others:
                    shared = banks & others
                    return memory, write, (shared & -shared).bit_length() - 1
        return None


def footprint(instruction: Instruction, config: HardwareConfig) -> Footprint:
    """That of an instruction as written, which holds for any scalar registers."""
    assert instruction.unit is not None
    blocks, touched, ports = [], {}, {}
    for each in instruction.accesses(config):
        blocks.append((each.memory, Blocks(each.start, each.length, each.stride, each.count, each.write)))
        grain = -(-config.words(each.memory) // GRANULES)
        bits = (1 << (each.stop - 1) // grain + 1) - (1 << each.start // grain)
        touched.setdefault(each.memory, [0, 0])[each.write] |= bits
        key = each.memory, each.write
        ports[key] = ports.get(key, 0) | each.bank_mask(config)
    return Footprint(
        instruction.unit, tuple(blocks), tuple((memory, *bits) for memory, bits in touched.items()),
        tuple((memory, write, banks) for (memory, write), banks in ports.items()),
    )  # fmt: skip


class Footprints:
    """The footprints of a program: `number[i]` is that of instruction i in `all`, −1 where it has no unit; `examples`
    are the first instructions that have them."""

    def __init__(self, instructions: Sequence[Instruction], config: HardwareConfig) -> None:
        self.all: list[Footprint] = []
        self.examples: list[Instruction] = []
        self.number: list[int] = []
        known: dict[tuple[Any, ...], int] = {}
        for each in instructions:
            if each.unit is None:
                self.number.append(-1)
                continue
            key = _places_of(type(each))(each)
            number = known.get(key)
            if number is None:
                number = known[key] = len(self.all)
                self.all.append(footprint(each, config))
                self.examples.append(each)
            self.number.append(number)


@cache
def _places_of(kind: type[Instruction]) -> Callable[[Instruction], Any]:
    """All fields that the operands of a class hang on."""
    return attrgetter("opcode", *choice_names(kind), *size_names(kind))


class Meetings:
    """Which of some footprints may race with, or use a port of, which others: a superset, by granules and banks."""

    def __init__(self, footprints: Sequence[Footprint]) -> None:
        self.units = np.array([each.unit for each in footprints], np.int8)
        shape = len(Memory), len(footprints)
        self.read, self.written = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
        self.ports = np.zeros((len(Memory), 2, len(footprints)), np.uint64)
        for number, each in enumerate(footprints):
            for memory, read, written in each.touched:
                self.read[memory, number], self.written[memory, number] = read, written
            for memory, write, banks in each.ports:
                self.ports[memory, int(write), number] = banks

    def of(self, number: int) -> NDArray[np.int64]:
        """The numbers of the footprints, of other units, that footprint `number` may meet."""
        found = np.zeros(len(self.units), bool)
        for memory in Memory:
            read, written = self.read[memory, number], self.written[memory, number]
            if not read | written:
                continue
            shared = (self.read[memory] & written) | (self.written[memory] & (read | written))
            for direction in range(2):
                shared |= self.ports[memory, direction] & self.ports[memory, direction, number]
            found |= shared != 0
        return np.flatnonzero(found & (self.units != self.units[number]))


def dram_blocks(program: Program) -> Iterator[tuple[int, Blocks]]:
    """(instruction, DRAM bytes) for all that move any. KV may touch anything in the region of the cache, a scatter
    anything from its table on, and a gather too but for that region, in front of which and behind which it reads."""
    config, cache = program.config, range(program.cache_address, program.cache_address + program.cache_bytes)
    for index, each in enumerate(program.instructions):
        if not each.dram:
            continue
        moved = each.transfer(config)
        if moved.cache:
            yield index, Blocks(cache.start, len(cache), 0, 1, moved.write)
        elif moved.chosen:
            first, stop = moved.address, program.dram_bytes
            whole = moved.write or not cache
            pieces = [(first, stop)] if whole else [(first, cache.start), (max(first, cache.stop), stop)]
            yield from ((index, Blocks(low, high - low, 0, 1, moved.write)) for low, high in pieces if low < high)
        else:
            yield index, Blocks(moved.address, moved.piece_bytes, moved.stride, moved.pieces, moved.write)

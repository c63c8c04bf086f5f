"""Instructions before they have addresses: tasks that name words of buffers.

Each buffer has a range of virtual words of its own in its memory, as if memories had no end. Instructions hold virtual
addresses, so what they touch, and hence what must come before what, follows from `accesses()` of the instruction set.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..arch.accesses import alike, gathered
from ..arch.config import HardwareConfig, Memory
from ..arch.encoding import encoding, listing
from ..arch.errors import HeddleError
from ..arch.isa import Instruction
from ..arch.operands import address_fields, address_names


@dataclass(eq=False)
class Buffer:
    """Words that live together. `start` is virtual; `address` is where `allocate` puts it."""

    name: str
    memory: Memory
    words: int
    start: int
    address: int = -1

    def at(self, word: int) -> int:
        """The virtual address of a word."""
        return self.start + word


@dataclass(frozen=True)
class Condition:
    """An instruction is void unless scalar[register] > threshold."""

    register: int
    threshold: int


@dataclass(frozen=True)
class Task:
    """One instruction with virtual on-chip addresses; DRAM addresses count from the start of the data."""

    instruction: Instruction
    label: str  # the layer and operator it belongs to
    condition: Condition | None = None
    cache: int = -1  # the layer whose part of the KV cache a KV instruction writes or reads

    def __str__(self) -> str:
        return f"{listing(self.instruction)}  ; {self.label}"


class Buffers:
    """All buffers, by memory and virtual address."""

    def __init__(self) -> None:
        self.of: dict[Memory, list[Buffer]] = {memory: [] for memory in Memory}
        self._starts: dict[Memory, list[int]] = {memory: [] for memory in Memory}

    def add(self, name: str, memory: Memory, words: int) -> Buffer:
        """A new buffer behind the others of its memory."""
        before = self.of[memory][-1] if self.of[memory] else None
        buffer = Buffer(name, memory, words, before.start + before.words if before else 0)
        self.of[memory].append(buffer)
        self._starts[memory].append(buffer.start)
        return buffer

    def numbers(self, memory: Memory, addresses: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which buffer of a memory each of these virtual addresses is in."""
        starts = self._starts[memory]
        return np.array([bisect_right(starts, each) - 1 for each in addresses.tolist()], np.int64)

    def place(self, instructions: Sequence[Instruction], config: HardwareConfig) -> list[Instruction]:
        """The instructions with the addresses that `allocate` gave to their buffers."""
        starts = {memory: np.array([each.start for each in buffers]) for memory, buffers in self.of.items()}
        moves = {memory: np.array([each.address - each.start for each in self.of[memory]]) for memory in Memory}
        placed = list(instructions)
        for places in alike(instructions):
            fields = address_fields(instructions[places[0]])
            names = list(fields)
            addresses = gathered([instructions[place] for place in places], names)
            for row, (memory, counts_elements) in zip(addresses, fields.values(), strict=True):
                elements = config.word_elements(memory) if counts_elements else 1
                row += moves[memory][np.searchsorted(starts[memory], row // elements, "right") - 1] * elements
            for place, numbers in zip(places, addresses.T.tolist(), strict=True):
                placed[place] = instructions[place].changed(**dict(zip(names, numbers, strict=True)))
        return placed

    def __str__(self) -> str:
        return "\n".join(f"{b.memory.name:<6} {b.address:>6} to {b.address + b.words - 1:>6}  {b.name}" for b in self)

    def __iter__(self) -> Iterator[Buffer]:
        return (buffer for buffers in self.of.values() for buffer in buffers)


@cache
def _sizes(instruction: type[Instruction]) -> list[tuple[str, int, int]]:
    """(field, least, most) of the whole numbers in an instruction, but for addresses: they are virtual until
    `allocate`."""
    found, addresses = [], address_names(instruction)
    for name, (_, field) in encoding(instruction).items():
        if field.kind is None and name not in addresses:
            sign = field.bits - 1 if field.signed else field.bits
            found.append((name, -(1 << sign) if field.signed else field.least, (1 << sign) - 1))
    return found


def require_sizes(instruction: Instruction) -> None:
    """Raise HeddleError for a size that an instruction cannot have."""
    values = instruction.__dict__
    for name, least, most in _sizes(type(instruction)):
        if not least <= values[name] <= most:
            raise HeddleError(f"{instruction.name} would need {name} = {values[name]}, but an instruction can have "
                              f"from {least} to {most}")  # fmt: skip

"""Instructions before they have addresses: tasks that name words of buffers.

Each buffer has a range of virtual words of its own in its memory, as if memories had no end. Instructions hold virtual
addresses, so what they touch, and hence what must come before what, follows from `accesses()` of the instruction set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..arch.accesses import alike, gathered
from ..arch.config import HardwareConfig, Memory
from ..arch.encoding import encoding, listing
from ..arch.errors import HeddleError
from ..arch.isa import (
    Append,
    Argmax,
    Codes,
    Combine,
    Instruction,
    Load,
    Map,
    Matmul,
    Norm,
    OnlineSoftmax,
    Part,
    Quantise,
    Scales,
    Softmax,
    Source,
    Store,
    Stream,
)


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

    def add(self, name: str, memory: Memory, words: int) -> Buffer:
        """A new buffer behind the others of its memory."""
        before = self.of[memory][-1] if self.of[memory] else None
        buffer = Buffer(name, memory, words, before.start + before.words if before else 0)
        self.of[memory].append(buffer)
        return buffer

    def place(self, instructions: Sequence[Instruction], config: HardwareConfig) -> list[Instruction]:
        """The instructions with the addresses that `allocate` gave to their buffers."""
        starts = {memory: np.array([each.start for each in buffers]) for memory, buffers in self.of.items()}
        moves = {memory: np.array([each.address - each.start for each in self.of[memory]]) for memory in Memory}
        placed = list(instructions)
        for places in alike(instructions):
            fields = address_fields(instructions[places[0]])
            names = [name for name, _ in fields]
            addresses = gathered([instructions[place] for place in places], names)
            for row, (name, memory) in zip(addresses, fields, strict=True):
                elements = _elements(instructions[places[0]], name, config)
                row += moves[memory][np.searchsorted(starts[memory], row // elements, "right") - 1] * elements
            for place, numbers in zip(places, addresses.T.tolist(), strict=True):
                placed[place] = instructions[place].changed(**dict(zip(names, numbers, strict=True)))
        return placed

    def __str__(self) -> str:
        return "\n".join(f"{b.memory.name:<6} {b.address:>6} to {b.address + b.words - 1:>6}  {b.name}" for b in self)

    def __iter__(self) -> Iterator[Buffer]:
        return (buffer for buffers in self.of.values() for buffer in buffers)


def _elements(instruction: Instruction, name: str, config: HardwareConfig) -> int:
    """What an address field counts in a word of its memory: words, or their elements."""
    if name in ("index_address", "table") or (isinstance(instruction, Argmax) and name == "address"):
        return config.word_elements(Memory.INDEX)
    if isinstance(instruction, Append) and instruction.part is Part.PAIRS and name == "address":
        return config.columns
    return 1


@cache
def _sizes(instruction: type[Instruction]) -> list[tuple[str, int, int]]:
    """(field, least, most) of the whole numbers in an instruction, but for addresses: they are virtual until
    `allocate`."""
    found = []
    for name, (_, field) in encoding(instruction).items():
        if field.kind is None and not name.endswith("address") and name != "table":
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


def address_fields(instruction: Instruction) -> list[tuple[str, Memory]]:
    """The fields that hold on-chip addresses in use, and the memory each means."""
    match instruction:
        case OnlineSoftmax():
            return [
                ("source_address", Memory.ACC), ("param_address", Memory.PARAM), ("row_address", Memory.ROW),
                ("state_address", Memory.ROW), ("address", Memory.ACT), ("scales_address", Memory.ROW),
            ]  # fmt: skip
        case Append() | Stream():
            memory = Memory.PARAM if instruction.part is Part.PAIRS else Memory.WEIGHT
            return [("address", memory), ("table", Memory.PAGE)]
        case Argmax():
            return [*_front_fields(instruction), ("address", Memory.INDEX)]
        case Load():
            return [("address", instruction.memory)] + [("index_address", Memory.INDEX)] * instruction.gather
        case Store():
            return [("address", instruction.memory)]
        case Matmul():
            return [("act_address", Memory.ACT), ("weight_address", Memory.WEIGHT), ("acc_address", Memory.ACC)]
        case Softmax():
            return [
                ("source_address", Memory.ACC), ("param_address", Memory.PARAM), ("row_address", Memory.ROW),
                ("address", Memory.ACT), ("scales_address", Memory.ROW),
            ] + [("operand_address", Memory.VALUE)] * instruction.additive  # fmt: skip
        case Norm():
            return [("source_address", Memory.VALUE), ("param_address", Memory.PARAM), ("address", Memory.VALUE)]
        case Map():
            factors = [("operand_row_address", Memory.ROW)] * instruction.operand_scaled
            return [*_front_fields(instruction), ("address", Memory.VALUE), *factors]
        case Quantise():
            codes = Memory.ACT if instruction.codes is Codes.ACT else Memory.WEIGHT
            scales = Memory.ROW if instruction.scales is Scales.ROW else Memory.PARAM
            return [*_front_fields(instruction), ("address", codes), ("scales_address", scales)]
    return []


def _front_fields(instruction: Map | Quantise | Argmax) -> list[tuple[str, Memory]]:
    source = Memory.ACC if instruction.source is Source.ACC else Memory.VALUE
    fields = [("source_address", source)]
    if instruction.scaled:
        fields.append(("param_address", Memory.PARAM))
    if instruction.row_scaled:
        fields.append(("row_address", Memory.ROW))
    if instruction.combine is not Combine.NONE:
        fields.append(("operand_address", Memory.VALUE))
    return fields

"""Instructions before they have addresses: tasks that name words of buffers.

Each buffer has a range of virtual words of its own in its memory, as if memories had no end. Instructions hold virtual
addresses, so what they touch, and hence what must come before what, follows from `accesses()` of the instruction set.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from ..arch.config import HardwareConfig, Memory
from ..arch.encoding import listing
from ..arch.isa import (
    Access,
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

    def accesses(self, config: HardwareConfig) -> list[Access]:
        """What the instruction touches, at virtual addresses."""
        return self.instruction.touched(config)

    def __str__(self) -> str:
        return f"{listing(self.instruction)}  ; {self.label}"


class Buffers:
    """All buffers, found by virtual address."""

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

    def find(self, memory: Memory, address: int) -> Buffer:
        """The buffer that holds the word at a virtual address."""
        return self.of[memory][bisect_right(self._starts[memory], address) - 1]

    def place(self, instruction: Instruction, config: HardwareConfig) -> Instruction:
        """The instruction with the addresses that `allocate` gave to its buffers."""
        changes = {}
        for name, memory in address_fields(instruction):
            scale = _elements(instruction, name, config)
            virtual = getattr(instruction, name)
            buffer = self.find(memory, virtual // scale)
            changes[name] = virtual + (buffer.address - buffer.start) * scale
        return instruction.changed(**changes)

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

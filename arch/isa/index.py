"""Arithmetic on INDEX, for positions and the routing to experts: LOAD does it, beside the gathers that it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar

from ..config import HardwareConfig, Memory, Unit
from ..errors import HeddleError
from ..operands import FLAG, Read, Write
from .instruction import REGISTER, Instruction, bits, clamp, size

ELEMENT = 20  # bits of a place in INDEX
NUMBER = 20  # bits of a number of the instruction, signed


class IndexOperation(IntEnum):
    """What becomes of two numbers."""

    ADD = 0
    LESS = 1  # than the second: 1, else 0
    LESS_EQUAL = 2
    EQUAL = 3


@dataclass(frozen=True)
class IndexMap(Instruction):
    """index[address + i] = x(i) + y(i), or 1 if x(i) < y(i) (≤, =), else 0; for i < count.

    x(i) = index[source_address + i] if source else 0; y(i) = index[operand_address + i] if operand else
    number + i·step. All are int32: sums wrap, comparisons are signed. With a register:
    number = clamp(number + scalar[register], -2^19, 2^19 - 1). Addresses count int32 elements. A vector may be replaced
    by its result. It starts when no earlier LOAD is in flight, and no later one starts before it has retired.
    """

    opcode: ClassVar[int] = 24
    unit: ClassVar[Unit | None] = Unit.LOAD
    in_place: ClassVar[bool] = True
    count: int = size(16)
    operation: IndexOperation = bits(2, IndexOperation, default=IndexOperation.ADD)
    source: int = bits(FLAG)
    operand: int = bits(FLAG)
    source_address: int = bits(ELEMENT)
    operand_address: int = bits(ELEMENT)
    address: int = bits(ELEMENT)
    number: int = bits(NUMBER, signed=True)
    step: int = bits(NUMBER, signed=True)
    register: int = bits(REGISTER)

    operands = (
        Read(Memory.INDEX, at="source_address", elements="count", when="source"),
        Read(Memory.INDEX, at="operand_address", elements="count", when="operand"),
        Write(Memory.INDEX, at="address", elements="count"),
    )

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        if not self.register:
            return self
        limit = 1 << NUMBER - 1
        return replace(self, number=clamp(self.number + scalar[self.register], -limit, limit - 1), register=0)

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        for name in ("source", "operand"):
            behind = self.address - getattr(self, f"{name}_address")
            if getattr(self, name) and behind and abs(behind) < self.count:
                raise HeddleError(f"indexmap: its result must be apart from its {name}, or in the same place, "
                                  f"not {behind} elements from it")  # fmt: skip


INSTRUCTIONS: list[type[Instruction]] = [IndexMap]

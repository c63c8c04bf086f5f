"""What dispatch does itself: the end of a program, and conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..config import Unit
from .instruction import BLOCK, REGISTER, Instruction, bits


@dataclass(frozen=True)
class Halt(Instruction):
    """End of program: when every unit is idle and every queue is empty, set `done`."""

    opcode: ClassVar[int] = 0
    unit: ClassVar[Unit | None] = None


@dataclass(frozen=True)
class Guard(Instruction):
    """The next `count` instructions are void unless scalar[register] > threshold.

    A void instruction goes to its unit, waits and signals like any other, but does nothing and takes one cycle. Carried
    out at dispatch, like `halt`; a guard within the reach of another starts its own count.
    """

    opcode: ClassVar[int] = 8
    unit: ClassVar[Unit | None] = None
    register: int = bits(REGISTER)
    threshold: int = bits(BLOCK)
    count: int = bits(12)


INSTRUCTIONS: list[type[Instruction]] = [Halt, Guard]

"""Dispatch: what of a program is carried out, by the scalar registers: sizes, places, and what a Guard makes void."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..arch.config import HardwareConfig
from ..arch.isa import Guard, Halt, Instruction


class Dispatched(NamedTuple):
    """One instruction as its unit gets it. A void one only takes its place in the queue and its tokens."""

    instruction: Instruction
    void: bool = False


def dispatched(instructions: Sequence[Instruction], scalars: Sequence[int], config: HardwareConfig) -> list[Dispatched]:
    """All instructions up to and including the first halt, with the registers holding `scalars`."""
    found: list[Dispatched] = []
    void_count = 0  # instructions that the last Guard still makes void
    for each in instructions:
        void = void_count > 0 and each.unit is not None
        found.append(Dispatched(each.resolved(scalars, config), void))
        void_count = max(void_count - 1, 0)
        if isinstance(each, Guard):
            void_count = 0 if scalars[each.register] > each.threshold else each.count
        if isinstance(each, Halt):
            break
    return found

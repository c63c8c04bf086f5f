"""Dispatch: what of a program is carried out, by the scalar registers: sizes, places, and what a Guard makes void."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig
from ..arch.isa import Guard, Halt, Instruction
from ..arch.kinds import Kinds


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
        found.append(Dispatched(_resolved(each, scalars, config), void))
        void_count = max(void_count - 1, 0)
        if isinstance(each, Guard):
            void_count = 0 if scalars[each.register] > each.threshold else each.count
        if isinstance(each, Halt):
            break
    return found


@dataclass(frozen=True, eq=False)
class DispatchedKinds:
    """The same, by kinds: instruction i is `examples[of[i]]` but for its address, and `void[i]`."""

    examples: tuple[Instruction, ...]  # as units get them
    of: NDArray[np.int32]  # (instructions,) up to and including the first halt
    addresses: NDArray[np.int64]  # (instructions,)
    void: NDArray[np.bool_]  # (instructions,)

    def spread(self, content: Sequence | NDArray) -> NDArray:
        """What holds for each kind, (kinds,), for each instruction, (instructions,)."""
        return np.asarray(content)[self.of]

    def instruction(self, index: int) -> Instruction:
        """Instruction `index` as its unit gets it."""
        example = self.examples[self.of[index]]
        if hasattr(example, "dram_address"):
            return replace(example, dram_address=int(self.addresses[index]))  # type: ignore[call-arg]
        return example

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """(instructions,), −1 for Halt and Guard."""
        return self.spread([-1 if each.unit is None else int(each.unit) for each in self.examples])

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(kinds,): how many instructions of each kind are not void."""
        return np.bincount(self.of[~self.void], minlength=len(self.examples))


def dispatched_kinds(kinds: Kinds, scalars: Sequence[int], config: HardwareConfig) -> DispatchedKinds:
    """What `dispatched` finds, by kinds."""
    return _dispatched_kinds(kinds, tuple(scalars), config)


@lru_cache(maxsize=4)  # several look at one run
def _dispatched_kinds(kinds: Kinds, scalars: tuple[int, ...], config: HardwareConfig) -> DispatchedKinds:
    halts = np.flatnonzero(kinds.spread([isinstance(each, Halt) for each in kinds.examples]))
    count = int(halts[0]) + 1 if len(halts) else len(kinds.of)
    of = kinds.of[:count]
    guards = np.flatnonzero(np.array([isinstance(each, Guard) for each in kinds.examples])[of])
    void, reach = np.zeros(count, bool), 0
    for place in guards.tolist():
        guard = kinds.examples[of[place]]
        assert isinstance(guard, Guard)
        void[place + 1 : reach] = False  # it replaces the one before
        if scalars[guard.register] <= guard.threshold:
            reach = place + 1 + guard.count
            void[place + 1 : reach] = True
    void &= np.array([each.unit is not None for each in kinds.examples])[of]
    examples = tuple(_resolved(each, scalars, config) for each in kinds.examples)
    return DispatchedKinds(examples, of, kinds.addresses[:count], void)


def _resolved(instruction: Instruction, scalars: Sequence[int], config: HardwareConfig) -> Instruction:
    registers = _registers(type(instruction))
    if registers and any(getattr(instruction, name) for name in registers):
        return instruction.resolved(scalars, config)
    return instruction


@cache
def _registers(kind: type[Instruction]) -> tuple[str, ...]:
    """The fields that name registers: where all are 0, an instruction is dispatched as it is."""
    return tuple(each.name for each in fields(kind) if each.name.endswith("register"))

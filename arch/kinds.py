"""Instructions sorted into kinds: those of a kind are equal but for `dram_address`.

A program of many equal layers has few kinds, so what does not depend on that address (durations, ports, most checks) is
worked out once for each kind, and spread over the instructions by numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import HardwareConfig
from .errors import HeddleError
from .isa import Instruction


@dataclass(frozen=True, eq=False)
class Kinds:
    """`of[i]` is the kind of instruction i, `examples[kind]` the first instruction of that kind, as it is written."""

    examples: tuple[Instruction, ...]
    of: NDArray[np.int32]  # (instructions,)
    addresses: NDArray[np.int64]  # (instructions,), dram_address in bytes; 0 where there is none

    def spread(self, content: Sequence | NDArray) -> NDArray:
        """What holds for each kind, (kinds,), for each instruction, (instructions,)."""
        return np.asarray(content)[self.of]

    def first_of_each(self, modulo: int) -> list[int]:
        """The first instruction of each kind and each remainder of `dram_address` by `modulo`, ascending."""
        both = self.of * np.int64(modulo) + self.addresses % modulo
        return sorted(np.unique(both, return_index=True)[1].tolist())


def sort_into_kinds(instructions: Sequence[Instruction]) -> Kinds:
    """Find the kinds, in the order in which they appear."""
    numbers: dict[tuple, int] = {}
    known: dict[int, int] = {}  # by id: copies of a layer often share the instructions that have no address
    examples, of = [], []
    for each in instructions:
        number = known.get(id(each))
        if number is None:
            key = _key_of(type(each))(each)
            number = numbers.setdefault(key, len(examples))
            if number == len(examples):
                examples.append(each)
            known[id(each)] = number
        of.append(number)
    kinds = np.array(of, np.int32)
    addresses = np.zeros(len(of), np.int64)
    has_address = np.array([hasattr(each, "dram_address") for each in examples], bool)
    places = np.flatnonzero(has_address[kinds]) if examples else np.zeros(0, np.int64)
    try:
        addresses[places] = [instructions[place].dram_address for place in places.tolist()]  # type: ignore[attr-defined]
    except OverflowError:
        raise HeddleError("dram_address of a load, store, append or stream does not fit in 64 bits") from None
    return Kinds(tuple(examples), kinds, addresses)


def of_each_size(
    what: Callable[[Instruction, HardwareConfig], Any], instructions: Iterable[Instruction], config: HardwareConfig
) -> list[Any]:
    """what(instruction, config) of each, where that hangs on no address, stride or token: worked out once for all of a
    size."""
    known: dict[object, Any] = {}
    found = []
    for each in instructions:
        size = _size_of(type(each))(each)
        if size not in known:
            known[size] = what(each, config)
        found.append(known[size])
    return found


@cache
def _size_of(kind: type[Instruction]) -> Callable[[Instruction], object]:
    """All fields but addresses, strides and tokens, and the opcode."""
    left_out = ("address", "stride", "wait", "signal")
    return attrgetter("opcode", *(each.name for each in fields(kind) if not each.name.endswith(left_out)))


@cache
def _key_of(kind: type[Instruction]) -> Callable[[Instruction], tuple]:
    """All fields but the address, and the opcode."""
    return attrgetter("opcode", *(each.name for each in fields(kind) if each.name != "dram_address"))

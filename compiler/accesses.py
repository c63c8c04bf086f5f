"""What instructions touch, as arrays: for the compiled loops that compare each access with many others."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig, Memory
from ..arch.isa import Access
from ..sim.jit import inlined


class AccessTable(NamedTuple):
    """The accesses of a list of instructions, one after the other: those of instruction i from first[i] to
    first[i + 1]. The other fields, for each access, are those of `Access`."""

    first: NDArray[np.int64]
    memory: NDArray[np.int64]
    write: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    stride: NDArray[np.int64]
    count: NDArray[np.int64]
    stop: NDArray[np.int64]


def access_table(accesses: Iterable[list[Access]]) -> AccessTable:
    """The table of the accesses of each instruction."""
    rows: list[Access] = []
    first = [0]
    for each in accesses:
        rows += each
        first.append(len(rows))
    numbers = np.fromiter(chain.from_iterable(rows), np.int64, len(rows) * len(Access._fields))
    memory, write, start, length, stride, count = numbers.reshape(-1, len(Access._fields)).T.copy()
    return AccessTable(np.array(first), memory, write, start, length, stride, count,
                       start + (count - 1) * stride + length)  # fmt: skip


def owners(table: AccessTable) -> NDArray[np.int64]:
    """The instruction of each access."""
    return np.repeat(np.arange(len(table.first) - 1), np.diff(table.first))


def bank_masks(table: AccessTable, config: HardwareConfig) -> NDArray[np.int64]:
    """`Access.bank_mask` of each access."""
    size = np.array([config.bank_words(memory) for memory in Memory])[table.memory]
    masks = (1 << ((table.stop - 1) // size + 1)) - (1 << table.start // size)
    for index in np.flatnonzero(table.stride > size).tolist():
        numbers = (int(each[index]) for each in table[3:7])
        masks[index] = Access(Memory(table.memory[index]), False, *numbers).bank_mask(config)
    return masks


@inlined
def overlaps(t, a, u, b):
    """`Access.overlaps` of access a of table t and access b of table u."""
    if t.memory[a] != u.memory[b] or t.start[a] >= u.stop[b] or u.start[b] >= t.stop[a]:
        return False
    if t.count[a] == 1 or u.count[b] == 1 or t.stride[a] != u.stride[b]:
        return True
    behind = (u.start[b] - t.start[a]) % t.stride[a] if t.stride[a] else 0
    return behind < t.length[a] or t.stride[a] - behind < u.length[b]

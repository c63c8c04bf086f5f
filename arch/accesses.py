"""What instructions touch, as arrays: for loops and checks that look at many instructions.

Instructions of a class that agree in flags and enumerations have the same operands. So of such instructions the other
fields are gathered in arrays, and the expressions of the operands, worked out on these, say what each of them touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .config import HardwareConfig, Memory
from .isa import Instruction
from .operands import Access, accesses, choices_of, size_names


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


def access_table(instructions: Sequence[Instruction], config: HardwareConfig) -> AccessTable:
    """The accesses of each instruction, in the order in which it names them."""
    blocks = [np.empty((1 + len(Access._fields), 0), np.int64)]
    for places in alike(instructions):
        for access in _together([instructions[place] for place in places], config):
            block = np.empty((1 + len(Access._fields), len(places)), np.int64)
            for row, content in zip(block, (places, *access), strict=True):
                row[...] = content
            blocks.append(block)
    rows = np.concatenate(blocks, 1)
    order = np.argsort(rows[0], kind="stable")  # those of one instruction stay as they are named
    owner, memory, write, start, length, stride, count = rows[:, order]
    first = np.searchsorted(owner, np.arange(len(instructions) + 1))
    return AccessTable(first, memory, write, start, length, stride, count, start + (count - 1) * stride + length)


def owners(table: AccessTable) -> NDArray[np.int64]:
    """The instruction of each access."""
    return np.repeat(np.arange(len(table.first) - 1), np.diff(table.first))


def bank_masks(table: AccessTable, config: HardwareConfig) -> NDArray[np.int64]:
    """`Access.bank_mask` of each access."""
    size = np.array([config.bank_words(memory) for memory in Memory])[table.memory]
    masks = (1 << ((table.stop - 1) // size + 1)) - (1 << table.start // size)
    for index in np.flatnonzero(table.stride > size).tolist():
        numbers = (int(each[index]) for each in table[3:7])
        mask = Access(Memory(table.memory[index]), False, *numbers).bank_mask(config)
        masks[index] = np.uint64(mask).astype(np.int64)  # of 64 banks the last is the sign
    return masks


def port_masks(table: AccessTable, config: HardwareConfig) -> NDArray[np.int64]:
    """(instructions, 2 · memories): a bit for each bank, of each memory those that are read, then those written."""
    masks = np.zeros((len(table.first) - 1, 2 * len(Memory)), np.int64)
    np.bitwise_or.at(masks, (owners(table), 2 * table.memory + table.write), bank_masks(table, config))
    return masks


def may_be_wrong(instructions: Sequence[Instruction], config: HardwareConfig) -> NDArray[np.bool_]:
    """(instructions,): whether `check_accesses` is worth its time. It finds nothing in the others."""
    table = access_table(instructions, config)
    owner = owners(table)
    words = np.array([config.words(memory) for memory in Memory])[table.memory]
    wrong = table.stop > words
    in_place = np.array([each.in_place for each in instructions], bool)[owner] & (
        (table.count == 1) | (table.stride >= table.length)
    )
    for ahead in range(1, int(np.diff(table.first).max(initial=0))):  # each pair of accesses of one instruction
        a, b = slice(len(owner) - ahead), slice(ahead, None)
        both = (owner[a] == owner[b]) & (table.memory[a] == table.memory[b]) & (table.write[a] != table.write[b])
        both &= (table.start[a] < table.stop[b]) & (table.start[b] < table.stop[a])
        same = in_place[a] & np.all([each[a] == each[b] for each in table[3:7]], 0)
        wrong[b] |= both & ~same
    found = np.zeros(len(instructions), bool)
    found[owner[wrong]] = True
    return found


def alike(instructions: Sequence[Instruction]) -> list[list[int]]:
    """The places of instructions of a class that agree in all that decides which operands they have, for each such
    class."""
    found: dict[object, list[int]] = {}
    for place, each in enumerate(instructions):
        kind = type(each)
        found.setdefault((kind, choices_of(kind)(each)), []).append(place)
    return list(found.values())


def gathered(instructions: Sequence[Instruction], names: Sequence[str]) -> NDArray[np.int64]:
    """(names, instructions): some fields of instructions that have them all."""
    if len(names) == 1:
        return np.array([getattr(each, names[0]) for each in instructions], np.int64).reshape(1, -1)
    return np.array([attrgetter(*names)(each) for each in instructions], np.int64).T


def _together(instructions: Sequence[Instruction], config: HardwareConfig) -> list[Access]:
    """The accesses of instructions that are alike: each has arrays for what they may differ in."""
    names = size_names(type(instructions[0]))
    columns = dict(zip(names, gathered(instructions, names), strict=True)) if names else None
    return accesses(instructions[0], config, columns)

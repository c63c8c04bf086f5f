"""How operators read values: rows of VALUE in runs that strides reach, whatever view of a value they want.

A view whose rows begin at words and lie in one piece is read where it is. Any other is made first (ops/rearrange.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.config import Memory
from .builder import Rows, Tiles
from .graph import Node
from .layout import Layout

Numbers = NDArray[np.int64]
Stretch = tuple[int, int, tuple[int, ...], tuple[int, ...]]  # (first, count, addresses, strides) of rows

MOST_STRIDE = (1 << 16) - 1  # words: what the field of an instruction holds


class Run(NamedTuple):
    """Rows [first, first + count) of a value, `stride` words apart from `address` (virtual) on."""

    first: int
    count: int
    address: int
    stride: int

    def at(self, row: int) -> int:
        """The address of a row."""
        return self.address + (row - self.first) * self.stride


def runs(tiles: Tiles, node: Node) -> list[Run]:
    """All present rows of a value, of which column n is element n of its row."""
    if node.op == "rearrange" and not tiles.has_values(node):
        found = _in_place(tiles, node)
        if found is not None:
            return found
    return [Run(start, count, buffer.at(word), rows.words) for rows in [tiles.plain_values(node)]
            for start, count, buffer, word in rows.pieces]  # fmt: skip


def row_starts(layout: Layout) -> Numbers:
    """Which element of the source the first of each row is."""
    return Layout((*layout.dims[:-1], ()), layout.offset).numbers().reshape(-1).numpy()


def column_offsets(layout: Layout) -> Numbers:
    """How far each element of a row is from the first."""
    return Layout(layout.dims[-1:]).numbers().reshape(-1).numpy()


def word_addresses(rows: Rows, numbers: Numbers) -> Numbers:
    """The virtual address of the first word of each of these rows."""
    found = np.full(len(numbers), -1)
    for start, count, buffer, word in rows.pieces:
        inside = (numbers >= start) & (numbers < start + count)
        found[inside] = buffer.at(word) + (numbers[inside] - start) * rows.words
    assert (found >= 0).all(), "a row is not on chip"
    return found


def as_runs(tiles: Tiles, *addresses: Numbers, most: int = 1 << 30) -> list[Stretch]:
    """(first, count, addresses, strides) of stretches of rows over which each of these addresses is in one buffer of
    VALUE and has one stride, which an instruction can have. A stretch ends where `most` rows are in it."""
    count, found, first = len(addresses[0]), [], 0
    steps = np.stack([np.diff(each) for each in addresses])
    buffers = np.stack([np.diff(tiles.buffers.numbers(Memory.VALUE, each)) for each in addresses])
    good = ((steps >= 0) & (steps <= MOST_STRIDE) & (buffers == 0)).all(0)  # step i leads on to row i + 1
    ends = np.append(~((steps[:, 1:] == steps[:, :-1]).all(0) & good[1:]), True)  # it is the last of its kind
    while first < count:
        length = 1
        if first + 1 < count and good[first]:
            length = min(int(ends[first:].argmax()) + 2, most)
        strides = tuple(int(each[first + 1] - each[first]) if length > 1 else 0 for each in addresses)
        found.append((first, length, tuple(int(each[first]) for each in addresses), strides))
        first += length
    return found


def _in_place(tiles: Tiles, node: Node) -> list[Run] | None:
    """The runs of a view that can be read where its source is."""
    source, layout = node.inputs[0], node.layout
    if source.op == "rearrange" or tiles.group is not None:
        return None
    offsets, starts = column_offsets(layout), row_starts(layout)
    if len(offsets) > 1 and not (np.diff(offsets) == 1).all():
        return None
    rows = tiles.values(source)
    number, column = np.divmod(starts, source.columns)
    per_word, segment = tiles.config.columns, rows.segment or source.columns
    head, inside = np.divmod(column, segment)
    if (inside % per_word).any() or (column + node.columns > source.columns).any():
        return None
    if segment % per_word and (inside + node.columns > segment).any():
        return None
    words = head * -(-segment // per_word) + inside // per_word
    addresses = word_addresses(rows, number) + words
    return [Run(first, count, address, stride) for first, count, (address,), (stride,) in as_runs(tiles, addresses)]


def panels(
    tiles: Tiles, *operands: Sequence[Run], aligned: int = 1
) -> list[tuple[int, int, tuple[tuple[int, int], ...]]]:
    """(first row, rows, (address, stride) of each operand) of panels that no run of an operand cuts, of the present
    rows. (Constants may be there for all.)"""
    edges = sorted({edge for each in operands for run in each for edge in (run.first, run.first + run.count)})
    if tiles.group is not None:
        low, high = tiles.group[0], sum(tiles.group)
        edges = sorted({min(max(edge, low), high) for edge in edges})
    longest = max(1, tiles.longest_panel // aligned * aligned)
    found = []
    for first, end in zip(edges, edges[1:], strict=False):
        for start in range(first, end, longest):
            count = min(longest, end - start)
            inside = [next(run for run in each if run.first <= start < run.first + run.count) for each in operands]
            found.append((start, count, tuple((run.at(start), run.stride) for run in inside)))
    return found

"""Any view of a value, made element by element where it cannot be read as it is: VALUE → VALUE.

A row of the result is cut into pieces that lie in one row of the source; Map copies a piece of many rows at once, to
any element of a word. Where columns walk over rows of the source, Map turns panels instead; where they stay at one
number, it is multiplied by ones.
"""

from __future__ import annotations

import numpy as np

from ...arch.config import Memory
from ...arch.isa import Combine, Layout, Map, Reduce, Reduction, Results, SecondOperand, Source
from ..builder import Rows, Tiles
from ..graph import Graph, Node
from ..reading import Numbers, as_runs, column_offsets, row_starts, runs, word_addresses


def match(graph: Graph, node: Node) -> bool:
    """Never: views are operators of the closed set already."""
    return False


def tile(node: Node, tiles: Tiles) -> None:
    """Nothing yet: who reads it may read the source as it is."""


def make(node: Node, tiles: Tiles) -> Rows:
    """The view as rows of its own."""
    source, layout = node.inputs[0], node.layout
    x, out = tiles.plain_values(source), tiles.whole_values(node)
    starts, offsets = row_starts(layout), column_offsets(layout)
    if len(offsets) > 1 and not offsets.any():
        spread(tiles, x, source.columns, starts, out, len(offsets))
    elif _walks_rows(offsets, source.columns):
        _turn(tiles, x, source.columns, starts, offsets, out)
    else:
        pieces = _pieces(offsets)
        if len(pieces) > 8 and _carries_not(starts, offsets, source.columns):
            turned = _turned_source(tiles, x, source.rows, source.columns)
            starts, offsets = (_exchanged(each, source.rows, source.columns) for each in (starts, offsets))
            if _walks_rows(offsets, source.rows):
                _turn(tiles, turned, source.rows, starts, offsets, out)
                return out
            x, columns = turned, source.rows
        else:
            columns = source.columns
        copy(tiles, x, columns, starts, offsets, out)
    return out


def without_pads(x: Rows, node: Node, tiles: Tiles) -> Rows:
    """A copy of rows whose heads are padded to words, one feature behind the other."""
    out, padded = tiles.free_whole(node.rows, node.columns, node.name), -(-x.segment // tiles.config.columns)
    for head in range(node.columns // x.segment):
        first = head * padded * tiles.config.columns
        copy(tiles, x, x.columns, np.arange(node.rows) * x.columns + first, np.arange(x.segment), out,
             place=head * x.segment)  # fmt: skip
    return out


def copy(tiles: Tiles, x: Rows, columns: int, starts: Numbers, offsets: Numbers, out: Rows, first: int = 0,
         place: int = 0) -> None:  # fmt: skip
    """Element starts[m] + offsets[n] of x, which has so many columns, to row first + m, column place + n of `out`."""
    per_word = tiles.config.columns
    for phase in np.unique(starts % columns):
        rows = np.flatnonzero(starts % columns == phase)
        target = word_addresses(out, rows + first)
        number = starts[rows] // columns
        for at, count, offset in _pieces(offsets):
            while count:
                down, column = divmod(int(phase) + offset, columns)
                some = min(count, columns - column)
                source = word_addresses(x, number + down) + column // per_word
                word, element = divmod(place + at, per_word)
                _move(tiles, source, column % per_word, target + word, element, some)
                at, count, offset = at + some, count - some, offset + some


def _move(tiles: Tiles, source: Numbers, element: int, target: Numbers, place: int, count: int) -> None:
    """`count` elements of each row, from one element of the first word to another. Rows' words must be one behind the
    other."""
    if element and place:
        words = -(-count // tiles.config.columns)
        temporary = tiles.buffer(Memory.VALUE, len(source) * words, "aligned").at(0) + np.arange(len(source)) * words
        _move(tiles, source, element, temporary, 0, count)
        source, element = temporary, 0
    whole = not element and not place
    for _, rows, (a, b), (stride, step) in as_runs(tiles, source, target, most=tiles.longest_panel):
        tiles.emit(
            Map(
                rows=rows, columns=element + count, source=Source.VALUE, source_address=a, source_stride=stride,
                address=b, stride=step, layout=Layout.ROWS if whole and not count % tiles.config.columns
                else Layout.SHIFTED, shift=place - element,
            ), "copy",
        )  # fmt: skip


def spread(tiles: Tiles, x: Rows, columns: int, starts: Numbers, out: Rows, count: int) -> None:
    """Element starts[m] of x to all of the `count` columns of row m of `out`."""
    narrow = tiles.free_whole(len(starts), 1, "one of each row")
    copy(tiles, x, columns, starts, np.zeros(1, np.int64), narrow)
    ones = tiles.ones(count)
    for first, rows, (address,), (step,) in as_runs(tiles, word_addresses(out, np.arange(len(starts))),
                                                    most=tiles.longest_panel):  # fmt: skip
        numbers = to_row(tiles, narrow.place(first, rows), rows)
        tiles.emit(
            Map(
                rows=rows, columns=count, source=Source.VALUE, source_address=ones, combine=Combine.MULTIPLY,
                operand=SecondOperand.COLUMN, operand_address=numbers, address=address, stride=step,
            ), "spread",
        )  # fmt: skip


def to_row(tiles: Tiles, place: tuple[int, int], rows: int, function: str = "") -> int:
    """The first number of each of so many rows of VALUE, or a function of it, in ROW: its virtual address there. (The
    greatest of one.)"""
    numbers = tiles.buffer(Memory.ROW, rows, "numbers of rows").at(0)
    tiles.emit(
        Reduce(rows=rows, columns=1, source=Source.VALUE, source_address=place[0], source_stride=place[1],
               kind=Reduction.MAXIMUM, count=1, results=Results.ROW, address=numbers,
               function=tiles.function(function)),
        f"{function} to row".lstrip(),
    )  # fmt: skip
    return numbers


def _pieces(offsets: Numbers) -> list[tuple[int, int, int]]:
    """(place, elements, offset) of stretches of neighbours."""
    edges = [0, *(np.flatnonzero(np.diff(offsets) != 1) + 1).tolist(), len(offsets)]
    return [(a, b - a, int(offsets[a])) for a, b in zip(edges, edges[1:], strict=False)]


def _walks_rows(offsets: Numbers, columns: int) -> bool:
    """Whether the columns of the result walk down a column of the source."""
    return len(offsets) > 1 and not (offsets % columns).any() and len(np.unique(np.diff(offsets))) == 1


def _carries_not(starts: Numbers, offsets: Numbers, columns: int) -> bool:
    return int((starts % columns).max() + (offsets % columns).max()) < columns


def _exchanged(numbers: Numbers, rows: int, columns: int) -> Numbers:
    """The same elements of the source turned."""
    return numbers % columns * rows + numbers // columns


def _turned_source(tiles: Tiles, x: Rows, rows: int, columns: int) -> Rows:
    """x with rows for columns."""
    turned = tiles.free_whole(columns, rows, "turned")
    _turn(tiles, x, columns, np.arange(columns), np.arange(rows) * columns, turned)
    return turned


def _turn(tiles: Tiles, x: Rows, columns: int, starts: Numbers, offsets: Numbers, out: Rows) -> None:
    """Element starts[m] + offsets[n], where offsets are whole rows: panels of rows of x become columns of `out`."""
    per_word = tiles.config.columns
    longest = max(per_word, tiles.longest_panel // per_word * per_word)
    edges = [0, *(np.flatnonzero(np.diff(starts) != 1) + 1).tolist(), len(starts)]
    for m, stop in zip(edges, edges[1:], strict=False):
        while m < stop:
            number, column = divmod(int(starts[m]), columns)
            count = min(stop - m, columns - column)
            targets = as_runs(tiles, word_addresses(out, np.arange(m, m + count)))
            for n in range(0, len(offsets), longest):
                rows = number + offsets[n : n + longest] // columns
                for first, some, (target,), (step,) in targets:
                    _turn_panel(tiles, word_addresses(x, rows), column + first, some, target + n // per_word, step)
            m += count


def _turn_panel(tiles: Tiles, source: Numbers, column: int, count: int, target: int, step: int) -> None:
    """`count` columns from `column` on, of rows at these addresses, to rows from `target` on, their first elements
    first."""
    per_word = tiles.config.columns
    source = source + column // per_word
    if column % per_word:
        words = -(-count // per_word)
        temporary = tiles.buffer(Memory.VALUE, len(source) * words, "aligned").at(0) + np.arange(len(source)) * words
        _move(tiles, source, column % per_word, temporary, 0, count)
        source = temporary
    parts = as_runs(tiles, source)
    whole = len(parts) == 1 or all(first % per_word == 0 for first, *_ in parts)
    if not whole:  # a run would begin within a word of the result: one behind the other first
        words = -(-count // per_word)
        temporary = tiles.buffer(Memory.VALUE, len(source) * words, "aligned").at(0) + np.arange(len(source)) * words
        _move(tiles, source, 0, temporary, 0, count)
        parts = as_runs(tiles, temporary)
    for first, rows, (a,), (stride,) in parts:
        tiles.emit(
            Map(
                rows=rows, columns=count, source=Source.VALUE, source_address=a, source_stride=stride,
                address=target + first // per_word, stride=step, layout=Layout.TRANSPOSED,
            ), "turn",
        )  # fmt: skip


__all__ = ["copy", "make", "match", "runs", "spread", "tile", "to_row"]

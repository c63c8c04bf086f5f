"""Functions, sums, products and comparisons, number by number: VALUE → VALUE."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...arch.config import Memory
from ...arch.isa import Combine, Map, SecondOperand, Source
from ..builder import Tiles
from ..graph import Graph, Node
from ..matrix import pairs_of_columns
from ..operands import known
from ..reading import Run, panels, row_starts, runs
from .rearrange import copy, to_row

_EXCHANGED = {
    **{kind: kind for kind in (Combine.ADD, Combine.MULTIPLY, Combine.MAXIMUM, Combine.MINIMUM, Combine.EQUAL)},
    Combine.SUBTRACT: Combine.SUBTRACT_FROM,
}  # y kind x for x kind y


def match(graph: Graph, node: Node) -> bool:
    """A function of each number, or two numbers combined. A known row that is added or multiplied becomes a scale and
    an offset of each column."""
    if node.op == "ir.function":
        graph.replace(node, _elementwise(node, node.inputs, function=node.function))
        return True
    if node.op != "ir.combine":
        return False
    kind, (x, y) = node.kind, node.inputs
    if kind in _EXCHANGED and _simplicity(x) > _simplicity(y):
        kind, x, y = _EXCHANGED[kind], y, x
    row = None if known(x) is not None else _known_row(y)
    if row is not None and (affine := _affine(kind, row)) is not None:
        graph.replace(node, _elementwise(node, [x], scale=affine[0], offset=affine[1]))
    else:
        graph.replace(node, _elementwise(node, [x, y], combine=kind))
    return True


def _elementwise(node: Node, inputs: list[Node], **given: object) -> Node:
    attributes = {"function": "", "combine": Combine.NONE, "scale": None, "offset": None, **given}
    return node.turned_into("elementwise", inputs, **attributes)


def _simplicity(node: Node) -> int:
    """How much rather it should be the second operand: one row of numbers, a number for each row, any constant."""
    if known(node) is not None:
        return 3 if _known_row(node) is not None else 1
    return 2 if is_column(node) else 0


def is_column(node: Node) -> bool:
    """Whether it is one number for each row, for all columns."""
    return node.op == "rearrange" and node.columns > 1 and all(not stride for _, stride in node.layout.dims[-1])


def _known_row(node: Node) -> Tensor | None:
    """The row that all rows of a constant are, if there is one and it is finite."""
    found = known(node)
    if found is None or node.rows > 1 and (node.op != "rearrange" or row_starts(node.layout).any()):
        return None
    row = found.value.reshape(-1, node.columns)[0].double()
    return row if row.is_meta or bool(row.isfinite().all()) else None


def _affine(kind: Combine, row: Tensor) -> tuple[Tensor, Tensor] | None:
    """(scale, offset) of each column."""
    ones, zeros = torch.ones_like(row), torch.zeros_like(row)
    return {
        Combine.ADD: (ones, row), Combine.SUBTRACT: (ones, -row), Combine.SUBTRACT_FROM: (-ones, row),
        Combine.MULTIPLY: (row, zeros),
    }.get(kind)  # fmt: skip


def fuse(graph: Graph, node: Node) -> bool:
    """A function of a scaled value, if nobody else reads that: one instruction does both."""
    if node.op != "elementwise" or not node.function or node.combine is not Combine.NONE or node.scale is not None:
        return False
    source = node.inputs[0]
    if source.op != "elementwise" or source.function or source.scale is None or graph.only_user(source) is not node:
        return False
    graph.replace(node, _elementwise(node, source.inputs, function=node.function, scale=source.scale,
                                     offset=source.offset))  # fmt: skip
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel, or for as many columns as PARAM holds scales of."""
    x = runs(tiles, node.inputs[0])
    out = tiles.new_values(node)
    target = [Run(start, count, buffer.at(word), out.words) for start, count, buffer, word in out.pieces]
    operands: list[list[Run]] = [x, target]
    fields: dict[str, Any] = {}
    column = False
    if node.combine is not Combine.NONE:
        y = node.inputs[1]
        column = is_column(y)
        operands.append(column_runs(tiles, y) if column else runs(tiles, y))
    words = -(-node.columns // tiles.config.columns)
    step = words if node.scale is None else min(words, max(1, tiles.config.words(Memory.PARAM) // 2))
    for first in range(0, words, step):
        columns = min(step * tiles.config.columns, node.columns - first * tiles.config.columns)
        if node.scale is not None:
            some = slice(first * tiles.config.columns, first * tiles.config.columns + columns)
            pairs = pairs_of_columns(node.scale[some], node.offset[some], tiles.config)
            fields = {"scaled": 1, "param_address": tiles.load_pairs(f"{tiles.label}.scale", pairs).at(0)}
        for _, count, ((source, source_stride), (address, stride), *second) in panels(tiles, *operands):
            if second and column:
                numbers = to_row(tiles, second[0], count)
                fields = {**fields, "operand": SecondOperand.COLUMN, "operand_address": numbers}
            elif second:
                fields = {**fields, "operand_address": second[0][0] + first, "operand_stride": second[0][1]}
            tiles.emit(
                Map(
                    rows=count, columns=columns, source=Source.VALUE, source_address=source + first,
                    source_stride=source_stride, function=tiles.function(node.function), combine=node.combine,
                    address=address + first, stride=stride, **fields,
                ), node.function or (node.combine.name.lower() if second else "scale"),
            )  # fmt: skip


def column_runs(tiles: Tiles, node: Node) -> list[Run]:
    """Rows of one number each: those of a view that has the same number in all columns."""
    source, starts = node.inputs[0], row_starts(node.layout)
    if source.columns == 1 and len(starts) == source.rows and (starts == np.arange(len(starts))).all():
        return runs(tiles, source)
    tiles.require_all_rows(node)
    narrow = tiles.free_whole(len(starts), 1, "one of each row")
    copy(tiles, tiles.plain_values(source), source.columns, starts, np.zeros(1, np.int64), narrow)
    return [Run(0, len(starts), narrow.place(0, 1)[0], narrow.words)]



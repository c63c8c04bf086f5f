"""Sums, greatest and least numbers along a dimension: VALUE → VALUE."""

from __future__ import annotations

import math

import numpy as np

from ...arch.isa import Axis, Reduce, Results, Source
from ..builder import Tiles
from ..graph import Graph, Node
from ..reading import Stretch, as_runs, runs, word_addresses
from .elementwise import fronts, is_column, take_in


def match(graph: Graph, node: Node) -> bool:
    """Along the columns, or along rows that are so far apart."""
    if node.op != "ir.reduce":
        return False
    (x,), dim = node.inputs, node.dim
    along_columns = dim == len(x.shape) - 1
    apart = 0 if along_columns else math.prod(x.shape[dim + 1 : -1])
    graph.replace(node, node.turned_into("reduce", [x], kind=node.kind, count=x.shape[dim], apart=apart))
    return True


def fuse(graph: Graph, node: Node) -> bool:
    """What is done to each number before, if nobody else reads that; along rows no column is a second operand."""
    if node.op != "reduce" or node.apart and any(is_column(each) for each in node.inputs[0].inputs):
        return False
    return take_in(graph, node)


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel along columns; one for each row of the result along rows."""
    out = tiles.whole_values(node)
    if not node.apart:
        for front in fronts(node, tiles, runs(tiles, node)):
            ((address, stride),) = front.targets
            tiles.emit(Reduce(kind=node.kind, count=1, results=Results.VALUE, address=address, stride=stride,
                              **front.fields), node.kind.name.lower())  # fmt: skip
        return
    operands = [np.concatenate([run.address + np.arange(run.count) * run.stride for run in runs(tiles, each)])
                for each in node.inputs]  # fmt: skip
    for row in range(node.rows):
        outer, inner = divmod(row, node.apart)
        numbers = outer * node.count * node.apart + inner + np.arange(node.count) * node.apart
        parts = as_runs(tiles, *(each[numbers] for each in operands), most=tiles.longest_panel)
        _down(node, tiles, parts, out.place(row, 1)[0], node.attributes.get("function", ""))


def _down(node: Node, tiles: Tiles, parts: list[Stretch], target: int, function: str = "") -> None:
    """Rows in these places, of one or two operands, to one; where they are in several runs, to one each, and those."""
    targets = np.array([target])
    if len(parts) > 1:
        targets = word_addresses(tiles.free_whole(len(parts), node.columns, "parts"), np.arange(len(parts)))
    for (_, count, places, strides), address in zip(parts, targets.tolist(), strict=True):
        fields = {"rows": count, "source": Source.VALUE, "source_address": places[0], "source_stride": strides[0]}
        if len(places) == 2:
            fields |= {"combine": node.combine, "operand_address": places[1], "operand_stride": strides[1]}
        tiles.emit(Reduce(columns=node.columns, kind=node.kind, axis=Axis.ROWS, count=1, results=Results.VALUE,
                          address=address, function=tiles.function(function), **fields),
                   node.kind.name.lower())  # fmt: skip
    if len(parts) > 1:
        _down(node, tiles, as_runs(tiles, targets, most=tiles.longest_panel), target)

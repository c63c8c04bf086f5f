"""Sums, greatest and least numbers along a dimension: VALUE → VALUE."""

from __future__ import annotations

import math

import numpy as np

from ...arch.isa import Axis, Reduce, Results, Source
from ..builder import Rows, Tiles
from ..graph import Graph, Node
from ..reading import Numbers, as_runs, panels, runs, word_addresses


def match(graph: Graph, node: Node) -> bool:
    """Along the columns, or along rows that are so far apart."""
    if node.op != "ir.reduce":
        return False
    (x,), dim = node.inputs, node.dim
    along_columns = dim == len(x.shape) - 1
    apart = 0 if along_columns else math.prod(x.shape[dim + 1 : -1])
    graph.replace(node, node.turned_into("reduce", [x], kind=node.kind, count=x.shape[dim], apart=apart))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel along columns; one for each row of the result along rows."""
    out = tiles.whole_values(node)
    (x,) = node.inputs
    if not node.apart:
        for _, count, ((source, source_stride), (address, stride)) in panels(tiles, runs(tiles, x), runs(tiles, node)):
            tiles.emit(
                Reduce(
                    rows=count, columns=x.columns, source=Source.VALUE, source_address=source,
                    source_stride=source_stride, kind=node.kind, count=1, results=Results.VALUE, address=address,
                    stride=stride,
                ), node.kind.name.lower(),
            )  # fmt: skip
        return
    where = np.concatenate([run.address + np.arange(run.count) * run.stride for run in runs(tiles, x)])
    for row in range(node.rows):
        outer, inner = divmod(row, node.apart)
        numbers = outer * node.count * node.apart + inner + np.arange(node.count) * node.apart
        _down(node, tiles, where[numbers], out.place(row, 1)[0])


def _down(node: Node, tiles: Tiles, addresses: Numbers, target: int) -> None:
    """Rows at these addresses to one; in several parts where they are in no single run, and then those."""
    parts = as_runs(tiles, addresses, most=tiles.longest_panel)
    targets = np.array([target])
    if len(parts) > 1:
        rows: Rows = tiles.free_whole(len(parts), node.columns, "parts")
        targets = word_addresses(rows, np.arange(len(parts)))
    for (_, count, (source,), (stride,)), address in zip(parts, targets.tolist(), strict=True):
        tiles.emit(
            Reduce(
                rows=count, columns=node.columns, source=Source.VALUE, source_address=source, source_stride=stride,
                kind=node.kind, axis=Axis.ROWS, count=1, results=Results.VALUE, address=address,
            ), node.kind.name.lower(),
        )  # fmt: skip
    if len(parts) > 1:
        _down(node, tiles, targets, target)

"""Values one behind the other along a dimension: VALUE → VALUE."""

from __future__ import annotations

import math

import numpy as np

from ..builder import Rows, Tiles
from ..graph import Graph, Node
from ..reading import Numbers, column_offsets, row_starts
from .rearrange import copy


def match(graph: Graph, node: Node) -> bool:
    """Along the columns, or blocks of rows."""
    if node.op != "ir.cat":
        return False
    dim, rank = node.dim, len(node.shape)
    along_columns = dim == rank - 1
    blocks = 1 if along_columns else math.prod(node.shape[:dim])
    sizes = [each.columns if along_columns else each.rows // blocks for each in node.inputs]
    graph.replace(node, node.turned_into("cat", node.inputs, along_columns=along_columns, blocks=blocks, sizes=sizes))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """Each part is copied to its place."""
    out, place = tiles.whole_values(node), 0
    for part, size in zip(node.inputs, node.sizes, strict=True):
        x, columns, starts, offsets = _table(tiles, part)
        if node.along_columns:
            copy(tiles, x, columns, starts, offsets, out, place=place)
        else:
            for block in range(node.blocks):
                some = starts[block * size : (block + 1) * size]
                copy(tiles, x, columns, some, offsets, out, first=block * sum(node.sizes) + place)
        place += size


def _table(tiles: Tiles, part: Node) -> tuple[Rows, int, Numbers, Numbers]:
    """(rows on chip, their columns, which element the first of each row is, and how far the others are from it)."""
    if part.op == "rearrange" and part.inputs[0].op != "constant":
        offsets = column_offsets(part.layout)
        if len(offsets) == 1 or (np.diff(offsets) == 1).all():
            source = part.inputs[0]
            return tiles.plain_values(source), source.columns, row_starts(part.layout), offsets
    return tiles.plain_values(part), part.columns, np.arange(part.rows) * part.columns, np.arange(part.columns)

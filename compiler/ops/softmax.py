"""Softmax of rows of values: VALUE → VALUE."""

from __future__ import annotations

import math

import torch

from ...arch.isa import Result, Softmax, Source
from ..builder import Tiles
from ..graph import Graph, Node
from ..matrix import pairs_of_columns
from ..reading import panels, runs


def match(graph: Graph, node: Node) -> bool:
    """Of each row."""
    if node.op != "ir.softmax":
        return False
    graph.replace(node, node.turned_into("softmax", node.inputs))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel. Scores are taken in units of log2: the scale of each column is log2(e)."""
    x = runs(tiles, node.inputs[0])
    tiles.whole_values(node)
    row = torch.ones(node.columns, dtype=torch.float64)
    pairs = tiles.load_pairs("log2(e)", pairs_of_columns(row * math.log2(math.e), row, tiles.config))
    for _, count, ((source, source_stride), (address, stride)) in panels(tiles, x, runs(tiles, node)):
        tiles.emit(
            Softmax(
                rows=count, columns=node.columns, source=Source.VALUE, source_address=source,
                source_stride=source_stride, param_address=pairs.at(0), result=Result.VALUES, address=address,
                stride=stride,
            ), "softmax",
        )  # fmt: skip

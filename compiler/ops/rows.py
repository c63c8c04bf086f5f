"""Some rows of a tensor, such as that of [CLS]: no instruction, only another place."""

from __future__ import annotations

import torch

from ..builder import Tiles
from ..graph import Graph, Node
from ..rearrange import element_numbers


def match(graph: Graph, node: Node) -> bool:
    """A rearrange that gives consecutive whole rows; all of them means that only the shape changed."""
    if node.op != "rearrange" or not node.shape or not node.inputs[0].shape:
        return False
    source = node.inputs[0]
    if node.columns != source.columns:
        return False
    table = node.index.reshape(-1, node.columns)
    start = int(table[0, 0]) // source.columns
    if start + node.rows > source.rows:
        return False
    expected = element_numbers((source.rows, source.columns))[start : start + node.rows]
    if not torch.equal(table, expected):
        return False
    graph.replace(node, node.turned_into("rows", [source], start=start))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """Points into the buffer of the source."""
    x = tiles.values(node.inputs[0])
    part = x.part(node.start, node.rows) if node.rows < node.inputs[0].rows else x
    if part is None:
        last = node.start + node.rows - 1
        raise node.refuse(f"rows {node.start} to {last} are computed in separate panels; choose a larger configuration")
    tiles.set_values(node, part)

"""Some rows of a tensor, such as that of [CLS]: no instruction, only another place."""

from __future__ import annotations

from dataclasses import replace

from ..builder import Tiles
from ..graph import Graph, Node
from ..layout import Layout


def match(graph: Graph, node: Node) -> bool:
    """A rearrange that gives consecutive whole rows; all of them means that only the shape changed."""
    if node.op != "rearrange" or not node.shape or not node.inputs[0].shape:
        return False
    source = node.inputs[0]
    if node.columns != source.columns:
        return False
    start, rest = divmod(node.layout.offset, source.columns)
    if rest or not replace(node.layout, offset=0).same_order(Layout.of(node.shape)):
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

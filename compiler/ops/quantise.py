"""Rows of VALUE → codes in ACT with a scale per row, as the moving operand of the array."""

from __future__ import annotations

from ...arch.isa import Quantise, Source
from ..builder import Rows, Tiles
from ..graph import Graph, Node


def match(graph: Graph, node: Node) -> bool:
    """Never: the pass `quantise` inserts it."""
    return False


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel, over whole rows: the scale is that of the row."""
    x = tiles.values(node.inputs[0])
    codes = tiles.new_codes(node, x.columns, x.segment, node.digits)
    for start, count in tiles.panels(node):
        quantise_rows(tiles, x, codes, start, count)


def quantise_rows(tiles: Tiles, x: Rows, codes: Rows, start: int, count: int) -> None:
    """Rows [start, start + count) of x in VALUE → the same rows of `codes`."""
    source, source_stride = x.place(start, count)
    for digit, digits in codes.digits():
        address, stride = digits.place(start, count)
        tiles.emit(
            Quantise(
                rows=count, columns=x.columns, source=Source.VALUE, source_address=source, source_stride=source_stride,
                address=address, stride=stride, scales_address=codes.scale_place(start), digit=digit,
            ), "quantise",
        )  # fmt: skip

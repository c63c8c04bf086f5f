"""One of two values, number by number: VALUE → VALUE."""

from __future__ import annotations

from ...arch.isa import Combine, Map, Source
from ..builder import Tiles
from ..graph import Graph, Node
from ..reading import panels, runs


def match(graph: Graph, node: Node) -> bool:
    """x where c is not 0, else y."""
    if node.op != "ir.choose":
        return False
    graph.replace(node, node.turned_into("choose", node.inputs))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """y is copied, then x is written where c is not 0."""
    condition, x, y = (runs(tiles, each) for each in node.inputs)
    tiles.whole_values(node)
    out = runs(tiles, node)
    for _, count, ((choice, step), (first, first_stride), (other, other_stride), (address, stride)) in panels(
        tiles, condition, x, y, out
    ):
        fields = {"rows": count, "columns": node.columns, "source": Source.VALUE, "address": address, "stride": stride}
        tiles.emit(Map(source_address=other, source_stride=other_stride, **fields), "otherwise")
        tiles.emit(
            Map(source_address=first, source_stride=first_stride, combine=Combine.SELECT, operand_address=choice,
                operand_stride=step, **fields), "where",
        )  # fmt: skip

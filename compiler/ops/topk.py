"""The greatest or least numbers of each row, or their places: VALUE → VALUE or INDEX."""

from __future__ import annotations

from ...arch.isa import Reduce, Reduction, Results, Source
from ..builder import Tiles
from ..graph import Graph, Node
from ..reading import panels, runs

MOST = 64


def match(graph: Graph, node: Node) -> bool:
    """Of so many. Raises HeddleError for more than an instruction finds."""
    if node.op not in ("ir.topk", "ir.topk_places"):
        return False
    if node.count > MOST:
        raise node.refuse(f"it looks for {node.count} numbers of a row; an instruction finds at most {MOST}")
    kind = Reduction.MAXIMUM if node.largest else Reduction.MINIMUM
    placed = node.op == "ir.topk_places"
    graph.replace(node, node.turned_into("topk", node.inputs, kind=kind, count=node.count, placed=placed))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel."""
    x = runs(tiles, node.inputs[0])
    fields = {"source": Source.VALUE, "columns": node.inputs[0].columns, "kind": node.kind, "count": node.count}
    if node.placed:
        index = tiles.new_index(node)
        for start, count, ((source, stride),) in panels(tiles, x):
            tiles.emit(Reduce(rows=count, source_address=source, source_stride=stride, placed=1,
                              index_address=index + start * node.count, **fields), "places")  # fmt: skip
        return
    tiles.whole_values(node)
    for _, count, ((source, source_stride), (address, stride)) in panels(tiles, x, runs(tiles, node)):
        tiles.emit(Reduce(rows=count, source_address=source, source_stride=source_stride, results=Results.VALUE,
                          address=address, stride=stride, **fields), "top")  # fmt: skip

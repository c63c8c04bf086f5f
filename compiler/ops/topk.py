"""The greatest or least numbers of each row, or their places: VALUE → VALUE or INDEX."""

from __future__ import annotations

from ...arch.isa import Reduce, Reduction, Results
from ..builder import Tiles
from ..graph import Graph, Node
from ..reading import runs
from .elementwise import fronts, take_in

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


def fuse(graph: Graph, node: Node) -> bool:
    """What is done to each number before, if nobody else reads that; not where it would be done several times over."""
    return node.op == "topk" and node.count == 1 and take_in(graph, node)


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel."""
    what = Reduce(kind=node.kind, count=node.count)
    if node.placed:
        index = tiles.new_index(node)
        for front in fronts(node, tiles):
            tiles.emit(what.changed(placed=1, index_address=index + front.first * node.count, **front.fields), "places")
        return
    tiles.whole_values(node)
    for front in fronts(node, tiles, runs(tiles, node)):
        ((address, stride),) = front.targets
        tiles.emit(what.changed(results=Results.VALUE, address=address, stride=stride, **front.fields), "top")

"""Rotary position embedding of queries or keys: cat(x₁·cos − x₂·sin, x₂·cos + x₁·sin) for the halves x₁, x₂ of x.

It is taken in by the attention that reads it (`cached_attention`).
"""

from __future__ import annotations

from torch import Tensor

from ..builder import Tiles
from ..graph import Graph, Node
from ..operands import require_finite
from ..rearrange import origin
from ..weightless import same_values

_Product = tuple[Node, Tensor]


def match(graph: Graph, node: Node) -> bool:
    """The concatenation above, with constant cosines and sines (T, D/2)."""
    if node.op != "aten.cat" or len(node.args[0]) != 2 or node.args[-1] not in (-1, len(node.shape) - 1):
        return False
    first, second = node.args[0]
    if first.op != "aten.sub.Tensor" or second.op != "aten.add.Tensor" or first.kwargs or second.kwargs:
        return False
    products = [_product(each) for each in (*first.args, *second.args)]
    if not all(products):
        return False
    (a, cos), (b, sin), (c, cos2), (d, sin2) = products  # type: ignore[misc]
    if not (_same_view(a, d) and _same_view(b, c) and same_values(cos, cos2) and same_values(sin, sin2)):
        return False
    (source, low), (other, high) = origin(a), origin(b)
    if source is not other:
        return False
    layout = low.beside(high)
    if layout is None:
        return False
    whole = node.turned_into("rearrange", [source], layout=layout)
    half = node.shape[-1] // 2
    rotated = node.turned_into("rotary", [whole], cos=cos.reshape(-1, half), sin=sin.reshape(-1, half))
    graph.nodes.insert(graph.nodes.index(node), whole)
    graph.replace(node, rotated)
    return True


def _product(node: Node) -> _Product | None:
    """(x, constant) of a product of the two."""
    if not isinstance(node, Node) or node.op != "aten.mul.Tensor" or len(node.inputs) != 2:
        return None
    x, factor = node.args if node.args[1].op == "constant" else node.args[::-1]
    if factor.op != "constant" or x.op == "constant":
        return None
    require_finite(node, factor)
    return x, factor.value


def _same_view(a: Node, b: Node) -> bool:
    return origin(a) == origin(b)


def tile(node: Node, tiles: Tiles) -> None:
    """Never by itself."""
    raise node.refuse("a rotary embedding can only be applied to the queries and keys of an attention")

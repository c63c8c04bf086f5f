"""Rotary position embedding of queries or keys: cat(x₁·cos − x₂·sin, x₂·cos + x₁·sin) for the halves x₁, x₂ of x.

It is taken in by the attention that reads it (`cached_attention`).
"""

from __future__ import annotations

from torch import Tensor

from ...arch.isa import Combine
from ..builder import Tiles
from ..graph import Graph, Node
from ..operands import known, require_finite
from ..rearrange import origin, view_of
from ..weightless import same_values

_Product = tuple[Node, Tensor]


def match(graph: Graph, node: Node) -> bool:
    """The concatenation above, with known cosines and sines (T, D/2)."""
    if node.op != "ir.cat" or len(node.inputs) != 2 or node.dim != len(node.shape) - 1:
        return False
    first, second = node.inputs
    if not (_is(first, Combine.SUBTRACT) and _is(second, Combine.ADD)):
        return False
    products = [_product(each) for each in (*first.inputs, *second.inputs)]
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
    whole = view_of(node, source, layout, f"{node.name}_whole")
    half = node.shape[-1] // 2
    rotated = node.turned_into("rotary", [whole], cos=cos.reshape(-1, half), sin=sin.reshape(-1, half))
    graph.nodes.insert(graph.nodes.index(node), whole)
    graph.replace(node, rotated)
    return True


def _is(node: Node, kind: Combine) -> bool:
    return node.op == "ir.combine" and node.kind is kind


def _product(node: Node) -> _Product | None:
    """(x, table (T, D/2)) of a product of the two, where the table is the same for all heads."""
    if not _is(node, Combine.MULTIPLY):
        return None
    for x, factor in (node.inputs, node.inputs[::-1]):
        found = known(factor)
        if found is None or known(x) is not None:
            continue
        heads = [size for digits in origin(factor)[1].dims[:-2] for size, stride in digits if stride]
        if heads and max(heads) > 1:
            return None
        require_finite(node, found)
        return x, found.value.reshape(-1, *found.shape[-2:])[0]
    return None


def _same_view(a: Node, b: Node) -> bool:
    return origin(a) == origin(b)


def tile(node: Node, tiles: Tiles) -> None:
    """Never by itself."""
    raise node.refuse("a rotary embedding can only be applied to the queries and keys of an attention")

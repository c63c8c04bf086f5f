"""Rotary position embedding of queries or keys: cat(x₁·cos − x₂·sin, x₂·cos + x₁·sin) for the halves x₁, x₂ of x.

It is taken in by the attention that reads it (`cached_attention`).
"""

from __future__ import annotations

from torch import Tensor

from ...arch.isa import Combine
from ..builder import Tiles
from ..graph import Graph, Node
from ..layout import Layout
from ..operands import known, require_finite, scalar
from ..rearrange import origin, view_of
from ..weightless import same_values

_Product = tuple[Node, Tensor, bool]  # x, the table (T, D), whether tokens come before heads


def match(graph: Graph, node: Node) -> bool:
    """The concatenation above, with known cosines and sines (T, D/2); or, as many models write it, x·cos + x′·sin with
    those of both halves (T, D), where x′ is cat(−x₂, x₁). The two parts of x may be its halves, or its even and its odd
    features."""
    found = _by_halves(node) or _by_whole(node)
    if found is None:
        return False
    whole, cos, sin, turned, interleaved = found
    if turned:
        whole = view_of(node, whole, Layout.of(whole.shape).transposed(-3, -2), whole.name)
    half = node.shape[-1] // 2
    tables = {"cos": cos.reshape(-1, half), "sin": sin.reshape(-1, half)}
    rotated = node.turned_into("rotary", [whole], whole.shape, **tables)
    graph.nodes.insert(graph.nodes.index(node), whole)
    if not turned and not interleaved:
        graph.replace(node, rotated)
        return True
    rotated.name = f"{node.name}_apart"
    graph.nodes.insert(graph.nodes.index(node), rotated)
    order = Layout.of(rotated.shape).transposed(-3, -2) if turned else Layout.of(rotated.shape)
    graph.replace(node, view_of(node, rotated, _interleaved(order) if interleaved else order))
    return True


def _interleaved(order: Layout) -> Layout:
    """With the first of the second half behind the first of the first half in each row, and so on."""
    half = order.shape[-1] // 2
    return Layout.of_digits([*order.dims[:-1], ((half, 1), (2, half))])


# x with one part behind the other; cosines and sines; whether tokens come before heads; whether parts are interleaved
_Found = tuple[Node, Tensor, Tensor, bool, bool]


def _by_halves(node: Node) -> _Found | None:
    if node.op != "ir.cat" or len(node.inputs) != 2 or node.dim != len(node.shape) - 1:
        return None
    first, second = node.inputs
    if not (_is(first, Combine.SUBTRACT) and _is(second, Combine.ADD)):
        return None
    products = [_product(each) for each in (*first.inputs, *second.inputs)]
    if not all(products):
        return None
    (a, cos, turned), (b, sin, _), (c, cos2, _), (d, sin2, _) = products  # type: ignore[misc]
    if len({each[2] for each in products if each}) > 1:
        return None
    if not (_same_view(a, d) and _same_view(b, c) and same_values(cos, cos2) and same_values(sin, sin2)):
        return None
    whole = _beside(node, a, b)
    return None if whole is None else (whole, cos, sin, turned, False)


def _by_whole(node: Node) -> _Found | None:
    if not _is(node, Combine.ADD) or not node.shape or node.shape[-1] % 2:
        return None
    products = [_product(each) for each in node.inputs]
    if not all(products):
        return None
    for (x, cos, turned), (other, sin, turned2) in (products, products[::-1]):  # type: ignore[misc]
        parts, interleaved = _exchanged(other)
        if parts is None or turned != turned2:
            continue
        whole = _beside(node, *parts)
        halves = [table[:, 0::2] if interleaved else table[:, : table.shape[1] // 2] for table in (cos, sin)]
        others = [table[:, 1::2] if interleaved else table[:, table.shape[1] // 2 :] for table in (cos, sin)]
        if whole is None or not all(map(same_values, halves, others)):
            continue
        order = Layout.of(node.shape)
        if origin(view_of(node, whole, _interleaved(order) if interleaved else order)) == origin(x):
            return whole, halves[0], halves[1], turned, interleaved
    return None


def _exchanged(node: Node) -> tuple[tuple[Node, Node] | None, bool]:
    """((x₁, x₂), whether they are interleaved) of cat(−x₂, x₁), as a half behind the other, or element by element."""
    cat, layout = origin(node)
    if cat.op != "ir.cat" or len(cat.inputs) != 2 or cat.dim != len(cat.shape) - 1:
        return None, False
    if not layout.same_order(Layout.of(cat.shape)) or node.shape[-1] not in (cat.shape[-1], 2 * cat.shape[-2]):
        return None, False
    interleaved = cat.shape[-1] == 2 and node.shape[-1] != 2
    second = _negated(cat.inputs[0])
    if second is None:
        return None, False
    parts = (cat.inputs[1], second)
    if interleaved:
        parts = tuple(view_of(node, each, Layout.of((*node.shape[:-1], node.shape[-1] // 2))) for each in parts)
    return parts, interleaved  # type: ignore[return-value]


def _negated(node: Node) -> Node | None:
    """What a node is −1 times of."""
    source, layout = origin(node)
    if not _is(source, Combine.MULTIPLY):
        return None
    for x, other in (source.inputs, source.inputs[::-1]):
        if scalar(other) == -1:
            return x if source is node else view_of(node, x, layout)
    return None


def _beside(node: Node, a: Node, b: Node) -> Node | None:
    """One view of what both are views of, a and then b in each row."""
    (source, low), (other, high) = origin(a), origin(b)
    layout = low.beside(high) if source is other else None
    return None if layout is None else view_of(node, source, layout, f"{node.name}_whole")


def _is(node: Node, kind: Combine) -> bool:
    return node.op == "ir.combine" and node.kind is kind


def _product(node: Node) -> _Product | None:
    """x (…, H, T, D) or (…, T, H, D) and the table that it is multiplied by, which is the same for all heads."""
    if not _is(node, Combine.MULTIPLY):
        return None
    for x, factor in (node.inputs, node.inputs[::-1]):
        found = known(factor)
        if found is None or known(x) is not None:
            continue
        varies = [any(stride for _, stride in digits) for digits in origin(factor)[1].dims[:-1]]
        if sum(varies) > 1 or any(varies[:-2]):
            return None
        require_finite(node, found)
        turned = any(varies[:-1])
        value = found.value.transpose(-3, -2) if turned else found.value
        return x, value.reshape(-1, *value.shape[-2:])[0], turned
    return None


def _same_view(a: Node, b: Node) -> bool:
    return origin(a) == origin(b)


def tile(node: Node, tiles: Tiles) -> None:
    """Never by itself."""
    raise node.refuse("a rotary embedding can only be applied to the queries and keys of an attention")

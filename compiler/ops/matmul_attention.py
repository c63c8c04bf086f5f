"""Attention written out as matmul, scale, mask, softmax, matmul: turned into scaled_dot_product_attention."""

from __future__ import annotations

from ..builder import Tiles
from ..graph import Graph, Node, constant
from ..masks import added_to_scores, rows_that_see_nothing
from ..operands import name_of, require_number
from ..rearrange import origin
from ..weightless import has_bytes

MATMULS, SOFTMAXES = ("aten.matmul", "aten.bmm"), ("aten.softmax.int", "aten._softmax")
MULTIPLY, DIVIDE = ("aten.mul.Tensor", "aten.mul.Scalar"), ("aten.div.Tensor", "aten.div.Scalar")


def match(graph: Graph, node: Node) -> bool:
    """softmax(q·kᵀ·scale + mask)·v, with the scale on the scores or on the queries, and a constant mask or none."""
    if node.op not in MATMULS:
        return False
    if node.args[0].op not in SOFTMAXES:
        if _without_scale(node.args[0])[0].op in SOFTMAXES:
            raise node.args[0].refuse("attention multiplies values by what softmax gives as it is: scale the heads "
                                      "once they are merged")  # fmt: skip
        return False
    softmax, value = node.args[:2]
    scores, dim = softmax.args[:2]
    if dim not in (-1, len(softmax.shape) - 1):
        raise softmax.refuse(f"it normalises dimension {dim}; attention normalises the last")
    scores, mask = _without_mask(scores)
    scores, scale = _without_scale(scores)
    if scores.op not in MATMULS:
        raise softmax.refuse(f"its input comes from {scores.op}; attention has queries times transposed keys there")
    query, transposed = scores.args[:2]
    query, query_scale = _without_scale(query)
    transposed, key_scale = _without_scale(transposed)
    source, layout = origin(transposed)
    key = transposed.turned_into(
        "rearrange", [source], (*transposed.shape[:-2], transposed.shape[-1], transposed.shape[-2]),
        layout=layout.transposed(-2, -1),
    )  # fmt: skip
    arguments = [query, key, value]
    if mask is not None:  # added as a number, even if it is boolean
        arguments.append(constant(mask.name, mask.value * 1.0, mask.made_of))
        _require_sight(softmax, arguments[-1])
    attention = node.turned_into(
        "aten.scaled_dot_product_attention", arguments, args=[*arguments, None][:4],
        kwargs={"scale": scale * query_scale * key_scale},
    )  # fmt: skip
    for each in (key, *arguments[3:]):
        graph.nodes.insert(graph.nodes.index(node), each)
    graph.replace(node, attention)
    return True


def _require_sight(softmax: Node, mask: Node) -> None:
    """Raise HeddleError for a row of a mask that sees nothing: softmax makes NaN of it, and attention zeros."""
    if has_bytes(mask.value):
        added = added_to_scores(softmax, mask, softmax.shape[-1])
        for head, row in rows_that_see_nothing(added):
            where = f"row {row}" if len(added) == 1 else f"row {row} of head {head}"
            raise softmax.refuse(f"{where} of its mask {name_of(mask)} hides everything, which makes NaN: let it see "
                                 f"something, or use scaled_dot_product_attention, which gives 0")  # fmt: skip


def _without_mask(scores: Node) -> tuple[Node, Node | None]:
    """The scores before a constant was added to them."""
    if scores.op == "aten.add.Tensor" and not scores.kwargs:
        for each, other in (scores.args, scores.args[::-1]):
            if isinstance(other, Node) and other.op == "constant" and isinstance(each, Node):
                return each, other
    return scores, None


def _without_scale(node: Node) -> tuple[Node, float]:
    """What a node was before it was multiplied or divided by a number."""
    if node.op in (*MULTIPLY, *DIVIDE) and len(node.args) == 2:
        x, factor = node.args
        if isinstance(factor, Node) and factor.op == "constant" and factor.value.numel() == 1:
            factor = factor.value.item() if has_bytes(factor.value) else 1.0
        if isinstance(x, Node) and isinstance(factor, (int, float)):
            factor = require_number(node, "factor", float(factor))
            if node.op in DIVIDE and factor == 0:
                raise node.refuse("it divides by 0")
            return x, factor if node.op in MULTIPLY else 1 / factor
    return node, 1.0


def tile(node: Node, tiles: Tiles) -> None:
    """Never: `attention` takes over after the match."""
    raise AssertionError("matmul_attention leaves no node behind")

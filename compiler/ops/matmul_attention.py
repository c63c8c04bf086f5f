"""Attention written out as matmul, scale, mask, softmax, matmul: turned into scaled_dot_product_attention."""

from __future__ import annotations

from torch import Tensor

from ..builder import Tiles
from ..graph import Graph, Node, constant
from ..rearrange import origin
from ..weightless import has_bytes

MATMULS = ("aten.matmul", "aten.bmm")
SCALES = {"aten.mul.Tensor": lambda x: x, "aten.mul.Scalar": lambda x: x, "aten.div.Tensor": lambda x: 1 / x,
          "aten.div.Scalar": lambda x: 1 / x}  # fmt: skip


def match(graph: Graph, node: Node) -> bool:
    """softmax(q·kᵀ·scale + mask)·v, with the scale on the scores or on the queries, and a constant mask or none."""
    if node.op not in MATMULS or node.args[0].op not in ("aten.softmax.int", "aten._softmax"):
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
    if mask is not None:
        arguments.append(constant(f"{node.name}_mask", mask))
    attention = node.turned_into(
        "aten.scaled_dot_product_attention", arguments, args=[*arguments, None][:4],
        kwargs={"scale": scale * query_scale * key_scale},
    )  # fmt: skip
    for each in (key, *arguments[3:]):
        graph.nodes.insert(graph.nodes.index(node), each)
    graph.replace(node, attention)
    return True


def _without_mask(scores: Node) -> tuple[Node, Tensor | None]:
    """The scores before a constant was added to them."""
    if scores.op == "aten.add.Tensor" and not scores.kwargs:
        for each, other in (scores.args, scores.args[::-1]):
            if isinstance(other, Node) and other.op == "constant" and isinstance(each, Node):
                return each, other.value
    return scores, None


def _without_scale(node: Node) -> tuple[Node, float]:
    """What a node was before it was multiplied or divided by a number."""
    if node.op in SCALES and len(node.args) == 2:
        x, factor = node.args
        if isinstance(factor, Node) and factor.op == "constant" and factor.value.numel() == 1:
            factor = factor.value.item() if has_bytes(factor.value) else 1.0
        if isinstance(x, Node) and isinstance(factor, (int, float)):
            return x, SCALES[node.op](float(factor))
    return node, 1.0


def tile(node: Node, tiles: Tiles) -> None:
    """Never: `attention` takes over after the match."""
    raise AssertionError("matmul_attention leaves no node behind")

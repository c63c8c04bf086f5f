"""Attention whose scores go through a function before they are masked, such as a soft cap, or that shares its softmax
with a score of its own in each head, a sink, which has no value: recognised as one operator, for a decoder's cache."""

from __future__ import annotations

from torch import Tensor

from ..graph import Graph, Node
from ..layout import Layout
from ..operands import known, require_finite
from ..rearrange import origin
from .matmul_attention import put_attention, same_matrices, without_mask


def match(graph: Graph, node: Node) -> bool:
    """softmax(function(q·kᵀ·scale) + mask)·v, or softmax([q·kᵀ·scale + mask, sink])·v without the sink's column."""
    if node.op != "ir.matmul":
        return False
    softmax, sinks = same_matrices(node.inputs[0]), None
    if softmax.op == "ir.softmax":
        inside = softmax.inputs[0]
    elif (found := _without_sinks(node.inputs[0])) is not None:
        inside, sinks = found
    else:
        return False
    scores, scale, mask = without_mask(inside)
    shape = {} if sinks is None else {"sinks": sinks}
    if scores.op == "ir.function" and scale == 1:
        shape["function"] = scores.function
        scores, scale, inner = without_mask(scores.inputs[0])
        if inner is not None:
            return False
    if not shape or scores.op != "ir.matmul" or scores.shape[-2:] != inside.shape[-2:]:
        return False
    put_attention(graph, node, scores, scale, mask, **shape)
    return True


def _without_sinks(weights: Node) -> tuple[Node, Tensor] | None:
    """The scores (…, H, M, N) and sinks (H) of which some weights are all columns of a softmax but the sink's, the
    last."""
    softmax, layout = origin(weights)
    if softmax.op != "ir.softmax" or softmax.inputs[0].op != "ir.cat" or len(softmax.shape) < 3:
        return None
    both, columns = softmax.inputs[0], softmax.columns - 1
    if both.dim % len(both.shape) != len(both.shape) - 1 or len(both.inputs) != 2:
        return None
    scores, sinks = both.inputs
    heads, rows = softmax.shape[-3:-1]
    whole = Layout.of(softmax.shape)
    dims = [*whole.dims[:-1], ((columns, 1),)]
    if not layout.same_order(Layout.of_digits(dims)) or sinks.columns != 1:
        return None
    number = known(sinks)
    if number is None or scores.columns != columns:
        return None
    require_finite(softmax, number)
    by_head = number.value.reshape(-1, heads, rows)
    if not (by_head == by_head[:1, :, :1]).all():
        return None
    return scores, by_head[0, :, 0]

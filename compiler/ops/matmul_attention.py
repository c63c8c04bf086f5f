"""Attention written out as products, scale, mask and softmax: recognised as the one operator that it is."""

from __future__ import annotations

import math
from typing import Any

import torch

from ...arch.isa import Combine
from ..graph import Graph, Node, constant
from ..layout import Layout
from ..masks import added_to_scores, rows_that_see_nothing
from ..operands import known, name_of, scalar
from ..rearrange import origin, view_of
from ..weightless import has_bytes

_LOWEST = -3e38
_HIDES = -1e4  # in the place of a score


def match(graph: Graph, node: Node) -> bool:
    """softmax(q·kᵀ·scale + mask)·v, with the scale on scores, queries or keys, and a constant mask or none."""
    if node.op != "ir.matmul":
        return False
    softmax = same_matrices(node.inputs[0])
    if softmax.op != "ir.softmax":
        return False
    scores, scale, mask = without_mask(softmax.inputs[0])
    if scores.op != "ir.matmul" or scores.shape[-2:] != softmax.shape[-2:]:
        return False
    if mask is not None:
        _require_sight(softmax, mask)
    put_attention(graph, node, scores, scale, mask)
    return True


def put_attention(
    graph: Graph, node: Node, scores: Node, scale: float, mask: Node | None, **shape: Any
) -> None:  # fmt: skip
    """An attention in the place of the product of weights and values, of the product `scores` of queries and keys;
    `shape` are attributes of its own."""
    operands = []
    for each in scores.inputs:
        each, factor = _without_scale(each)
        operands.append(each)
        scale *= factor
    turned = node.inputs[1]
    whole = Layout.of(turned.shape).transposed(-2, -1)
    operands.append(view_of(turned, turned, whole, f"{node.name}_value"))
    if mask is not None:
        shape_of_mask = mask.value.shape[max(0, len(mask.value.shape) - len(node.shape)) :]
        if math.prod(shape_of_mask) == mask.size:  # without dimensions of 1 in front of those of the product
            mask = constant(mask.name, mask.value.reshape(shape_of_mask), mask.made_of)
        operands.append(mask)
    attention = node.turned_into("ir.attention", operands, scale=scale, causal=False, **shape)
    place = graph.nodes.index(node)
    graph.nodes[place:place] = [each for each in operands if each not in graph.nodes]
    graph.replace(node, attention)


def _require_sight(softmax: Node, mask: Node) -> None:
    """Raise HeddleError for a row of a mask that sees nothing: softmax makes NaN of it, and attention zeros."""
    if has_bytes(mask.value):
        added = added_to_scores(softmax, mask, softmax.shape[-1])
        for head, row in rows_that_see_nothing(added):
            where = f"row {row}" if len(added) == 1 else f"row {row} of head {head}"
            raise softmax.refuse(f"{where} of its mask {name_of(mask)} hides everything, which makes NaN: let it see "
                                 f"something, or use scaled_dot_product_attention, which gives 0")  # fmt: skip


def without_mask(scores: Node) -> tuple[Node, float, Node | None]:
    """The product of queries and keys before constants were added to it, or put in the place of some, and before it was
    multiplied by a number; that number; and the constants as one to add, or none."""
    mask: Node | None = None
    scale = 1.0
    while True:
        scores = same_matrices(scores)
        inner, factor = _without_scale(scores)
        inner, added = _without_constant(inner) if inner is scores else (inner, None)
        if inner is scores and mask is not None:
            inner, mask = _without_zeros(scores, mask)
        if inner is scores:
            return scores, scale, mask
        scores, scale = inner, scale * factor
        if added is not None:
            value = added.value.double() * scale if added.value.dtype != torch.bool else added.value
            if mask is not None:
                value = _as_added(mask.value) + _as_added(value)
            mask = constant(added.name, value, [*added.made_of, *(mask.made_of if mask else ())])


def _without_zeros(scores: Node, mask: Node) -> tuple[Node, Node]:
    """The scores before they were multiplied by truth, where what is added hides those that became 0, and that with
    −∞ for these."""
    if scores.op == "ir.combine" and scores.kind is Combine.MULTIPLY:
        for each, other in (scores.inputs, scores.inputs[::-1]):
            found = _mask(other)
            if found is None or not ((found.value == 0) | (found.value == 1)).all():
                continue
            added, kept = torch.broadcast_tensors(_as_added(mask.value), found.value != 0)
            if (added[~kept] <= _HIDES).all():
                hidden = added.masked_fill(~kept, -math.inf)
                return each, constant(mask.name, hidden, [*mask.made_of, *found.made_of])
    return scores, mask


def _as_added(value: torch.Tensor) -> torch.Tensor:
    if value.dtype != torch.bool:
        return value
    return torch.zeros(value.shape, dtype=torch.float64).masked_fill(~value, -math.inf)


def same_matrices(node: Node) -> Node:
    """What a node is a view of that has the same matrices, and only other dimensions before."""
    source, layout = origin(node)
    same = source.shape[-2:] == node.shape[-2:] and layout.same_order(Layout.of(source.shape))
    return source if same else node


def _without_constant(scores: Node) -> tuple[Node, Node | None]:
    """The scores before a constant was added, or put in the place of some, and that as a constant to add. A bound as
    low as finite numbers go bounds nothing."""
    if scores.op == "ir.combine" and scores.kind in (Combine.ADD, Combine.MAXIMUM):
        for each, other in (scores.inputs, scores.inputs[::-1]):
            number = scalar(other)
            if scores.kind is Combine.MAXIMUM:
                if number is not None and number <= _LOWEST:
                    return each, constant(other.name, torch.zeros(()))
            elif (found := _mask(other)) is not None:
                return each, found
    if scores.op == "ir.choose":
        condition, first, second = scores.inputs
        for hidden, kept, where in ((first, second, True), (second, first, False)):
            number, found = scalar(hidden), _mask(condition)
            if number is not None and found is not None and number <= _HIDES:
                mask = torch.zeros(found.value.shape).masked_fill((found.value != 0) == where, number)
                return kept, constant(found.name, mask, found.made_of)
    return scores, None


def _mask(operand: Node) -> Node | None:
    """A known operand, without the dimensions over which it was broadcast."""
    source, layout = origin(operand)
    if source.op != "constant" or scalar(operand) is not None:
        return None
    found = known(operand)
    assert found is not None
    narrow = found.value
    for dim, digits in enumerate(layout.dims[:-2]):
        if all(stride == 0 for _, stride in digits):
            narrow = narrow.narrow(dim, 0, 1)
    return constant(found.name, narrow, found.made_of)


def _without_scale(node: Node) -> tuple[Node, float]:
    """What a node, or what it is a view of, was before it was multiplied by a number."""
    source, layout = origin(node)
    if source.op == "ir.combine" and source.kind is Combine.MULTIPLY:
        for each, other in (source.inputs, source.inputs[::-1]):
            factor = scalar(other)
            if factor is not None and math.isfinite(factor):
                if node is source:
                    return each, factor
                return view_of(node, each, layout, f"{node.name}_unscaled"), factor
    return node, 1.0

"""Attention written out as products, scale, mask and softmax: recognised as the one operator that it is."""

from __future__ import annotations

import math

import torch

from ...arch.isa import Combine
from ..graph import Graph, Node, constant
from ..layout import Layout
from ..masks import added_to_scores, rows_that_see_nothing
from ..operands import known, name_of, scalar
from ..rearrange import origin, view_of
from ..weightless import has_bytes


def match(graph: Graph, node: Node) -> bool:
    """softmax(q·kᵀ·scale + mask)·v, with the scale on scores, queries or keys, and a constant mask or none."""
    if node.op != "ir.matmul" or node.inputs[0].op != "ir.softmax":
        return False
    softmax, turned = node.inputs
    scores, mask = _without_mask(softmax.inputs[0])
    scores, scale = _without_scale(scores)
    if scores.op != "ir.matmul":
        return False
    operands = []
    for each in scores.inputs:
        each, factor = _without_scale(each)
        operands.append(each)
        scale *= factor
    whole = Layout.of(turned.shape).transposed(-2, -1)
    operands.append(view_of(turned, turned, whole, f"{node.name}_value"))
    if mask is not None:
        _require_sight(softmax, mask)
        operands.append(mask)
    attention = node.turned_into("ir.attention", operands, scale=scale, causal=False)
    place = graph.nodes.index(node)
    graph.nodes[place:place] = [each for each in operands if each not in graph.nodes]
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
    """The scores before a constant was added to them, or put in the place of some; and that as a constant to add."""
    if scores.op == "ir.combine" and scores.kind is Combine.ADD:
        for each, other in (scores.inputs, scores.inputs[::-1]):
            if (found := _mask(other)) is not None:
                return each, found
    if scores.op == "ir.choose":
        condition, first, second = scores.inputs
        for hidden, kept, where in ((first, second, True), (second, first, False)):
            number, found = scalar(hidden), _mask(condition)
            if number is not None and found is not None and number <= -1e4:
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

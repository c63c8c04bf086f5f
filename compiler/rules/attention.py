"""scaled_dot_product_attention."""

from __future__ import annotations

import math

import torch

from ..graph import Node
from ..operands import require_number
from ..weightless import on_one_device
from .builder import Builder, rule


@rule("scaled_dot_product_attention")
def attention(
    b: Builder, q: Node, k: Node, v: Node, attn_mask: Node | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Node:  # fmt: skip
    """softmax(q·kᵀ·scale + mask)·v; false of a boolean mask hides"""
    if dropout_p:
        raise b.refuse("dropout must be 0")
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else require_number(b.call, "scale", scale)
    operands = [b.number(each) for each in (q, k, v)]
    if attn_mask is not None:
        operands.append(_added(b, attn_mask))
    batch = torch.broadcast_shapes(q.shape[:-2], *([] if enable_gqa else (k.shape[:-2], v.shape[:-2])))
    shape = (*batch, q.shape[-2], v.shape[-1])
    return b.make("ir.attention", operands, shape, scale=float(scale), causal=bool(is_causal))


def _added(b: Builder, mask: Node) -> Node:
    """A mask as numbers that are added to scores."""
    if mask.op == "constant" and mask.truth:
        zeros, seen = on_one_device([torch.zeros(mask.shape), mask.value != 0])
        return b.constant(zeros.masked_fill(~seen, -math.inf), mask.made_of)
    if mask.truth:
        return b.choose(mask, 0.0, -math.inf)
    return b.number(mask)

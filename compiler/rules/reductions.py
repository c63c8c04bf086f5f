"""Many numbers into one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...arch.isa import Combine, Reduction
from ..graph import Node
from .builder import Builder, rule
from .functions import by_table

Dims = int | Sequence[int] | None


@rule("sum")
def sum_(b: Builder, x: Node, dim: Dims = None, keepdim: bool = False, dtype: object = None) -> Node:
    """Σ x"""
    return b.reduce(Reduction.SUM, x, dim, keepdim)


@rule("mean")
def mean(b: Builder, x: Node, dim: Dims = None, keepdim: bool = False, dtype: object = None) -> Node:
    """Σ x / n"""
    return b.mean(x, dim, keepdim)


@rule("amax", "max")
def maximum(b: Builder, x: Node, dim: Dims | Node = None, keepdim: bool = False) -> Node | tuple[Node, Node]:
    """The greatest; of max along a dimension also its place; of two tensors the greater of each pair."""
    return _extreme(b, Combine.MAXIMUM, Reduction.MAXIMUM, x, dim, keepdim)


@rule("amin", "min")
def minimum(b: Builder, x: Node, dim: Dims | Node = None, keepdim: bool = False) -> Node | tuple[Node, Node]:
    """The least; likewise."""
    return _extreme(b, Combine.MINIMUM, Reduction.MINIMUM, x, dim, keepdim)


def _extreme(b: Builder, pair: Combine, kind: Reduction, x: Node, dim: Dims | Node, keepdim: bool):
    if isinstance(dim, Node):
        return b.combine(pair, x, dim)
    if not b.call.op.endswith(".dim"):
        return b.reduce(kind, x, dim, keepdim)
    assert isinstance(dim, int)
    places = b.topk(x, 1, dim, kind is Reduction.MAXIMUM)[1]
    return b.reduce(kind, x, dim, keepdim), places if keepdim else b.view(places, lambda t: t.squeeze(dim))


@rule("argmax", "argmin")
def place_of_extreme(b: Builder, x: Node, dim: int | None = None, keepdim: bool = False) -> Node:
    """Where the greatest, or the least, stands first"""
    largest = "argmax" in b.call.op
    if dim is None:
        flat = b.view(x, lambda t: t.reshape(-1))
        return b.view(b.topk(flat, 1, 0, largest)[1], lambda t: t.reshape([1] * len(x.shape) if keepdim else []))
    places = b.topk(x, 1, dim, largest)[1]
    return places if keepdim else b.view(places, lambda t: t.squeeze(dim))


@rule("var", "var_mean", "std", "std_mean")
def variance(
    b: Builder, x: Node, dim: Dims | bool = None, unbiased: bool = True, keepdim: bool = False,
    correction: float | None = None,
) -> Node | tuple[Node, Node]:  # fmt: skip
    """Σ (x − mean)² / (n − correction), or its root; with _mean the mean too"""
    name = b.call.op.split(".")[1]
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = float(unbiased) if correction is None else correction
    count, centre = b.count_of(x, dim), b.mean(x, dim, keepdim=True)
    apart = b.subtract(x, centre)
    found = b.reduce(Reduction.SUM, b.multiply(apart, apart), dim, keepdim)
    found = b.multiply(found, 1 / max(count - correction, 0) if count > correction else float("nan"))
    if name.startswith("std"):
        found = by_table(b, "sqrt", found)
    return (found, b.mean(x, dim, keepdim)) if name.endswith("mean") else found


@rule("linalg_vector_norm", "norm")
def norm(
    b: Builder, x: Node, order: float | None = 2, dim: Dims = None, keepdim: bool = False, dtype: object = None
) -> Node:
    """√Σ x², Σ |x| or the greatest |x|"""
    order = 2 if order is None else order
    size = b.combine(Combine.MAXIMUM, x, b.multiply(x, -1)) if order != 2 else x
    if order == 2:
        return by_table(b, "sqrt", b.reduce(Reduction.SUM, b.multiply(x, x), dim, keepdim))
    kinds = {1: Reduction.SUM, float("inf"): Reduction.MAXIMUM, float("-inf"): Reduction.MINIMUM}
    if order not in kinds:
        raise b.refuse(f"its order must be 2, 1 or infinity, not {order}")
    return b.reduce(kinds[order], size, dim, keepdim)


@rule("logsumexp")
def logsumexp(b: Builder, x: Node, dim: Dims, keepdim: bool = False) -> Node:
    """max + log Σ e^(x − max)"""
    greatest = b.combine(Combine.MAXIMUM, b.reduce(Reduction.MAXIMUM, x, dim, keepdim=True), -1e30)  # of −∞ alone
    total = b.reduce(Reduction.SUM, by_table(b, "exp", b.subtract(x, greatest)), dim, keepdim=True)
    found = b.add(by_table(b, "log", total), greatest)
    dims = [dim] if isinstance(dim, int) else list(dim or range(len(x.shape)))
    return found if keepdim else b.view(found, lambda t: t.squeeze(dims))


@rule("cumsum")
def cumulative(b: Builder, x: Node, dim: int, dtype: object = None) -> Node:
    """Sums of all up to each: a product with a triangle of ones"""
    if x.host:
        return b.make("ir.cumsum", [x], x.shape, x.integer, dim=dim % len(x.shape))
    ones = b.constant(torch.ones(x.shape[dim], x.shape[dim]).tril())
    return b.along_last(b.number(x), dim, lambda t: b.linear(t, ones))


@rule("any")
def any_(b: Builder, x: Node, dim: Dims = None, keepdim: bool = False) -> Node:
    """Whether one is true"""
    return b.reduce(Reduction.MAXIMUM, b.truth(x), dim, keepdim)


@rule("all")
def all_(b: Builder, x: Node, dim: Dims = None, keepdim: bool = False) -> Node:
    """Whether none is false"""
    return b.reduce(Reduction.MINIMUM, b.truth(x), dim, keepdim)

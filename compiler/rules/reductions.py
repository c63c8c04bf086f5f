"""Many numbers into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ...arch.isa import Combine, Reduction
from ..graph import Node
from .builder import Builder, rule
from .functions import by_table, logaddexp, power

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
    """(Σ |x|^p)^(1/p); the greatest or least |x| for a p of ±infinity, how many are not 0 for one of 0"""
    order = 2 if order is None else order
    size = b.combine(Combine.MAXIMUM, x, b.multiply(x, -1)) if order != 2 else x
    if order == 2:
        return by_table(b, "sqrt", b.reduce(Reduction.SUM, b.multiply(x, x), dim, keepdim))
    kinds = {1: Reduction.SUM, float("inf"): Reduction.MAXIMUM, float("-inf"): Reduction.MINIMUM}
    if order in kinds:
        return b.reduce(kinds[order], size, dim, keepdim)
    if order == 0:
        return b.reduce(Reduction.SUM, b.number(b.truth(x)), dim, keepdim)
    total = b.reduce(Reduction.SUM, power(b, size, order), dim, keepdim)
    return power(b, total, 1 / order)


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


def _scan(b: Builder, x: Node, dim: int, pair: Callable[[Node, Node], Node]) -> Node:
    """`pair` of all up to each, in as many steps as doublings make the size (Hillis and Steele, 1986)."""
    x, size, apart = b.number(x), x.shape[dim], 1
    while apart < size:
        first, rest, before = (b.narrow(x, dim, at, n) for at, n in
                               ((0, apart), (apart, size - apart), (0, size - apart)))  # fmt: skip
        x, apart = b.cat([first, pair(before, rest)], dim), 2 * apart
    return x


@rule("cumprod")
def cumulative_product(b: Builder, x: Node, dim: int, dtype: object = None) -> Node:
    """Products of all up to each"""
    return _scan(b, x, dim, b.multiply)


@rule("cummax", "cummin")
def cumulative_extreme(b: Builder, x: Node, dim: int) -> tuple[Node, None]:
    """The greatest (least) of all up to each; not its place"""
    kind = Combine.MAXIMUM if "cummax" in b.call.op else Combine.MINIMUM
    return _scan(b, x, dim, lambda before, here: b.combine(kind, before, here)), None


@rule("logcumsumexp")
def cumulative_logsumexp(b: Builder, x: Node, dim: int) -> Node:
    """log Σ e^x of all up to each"""
    return _scan(b, x, dim, lambda before, here: logaddexp(b, before, here))


@rule("prod")
def product(b: Builder, x: Node, dim: int | None = None, keepdim: bool = False, dtype: object = None) -> Node:
    """Π x: of halves, and of their halves"""
    x = b.number(x)
    if dim is None:
        shape = [1] * len(x.shape) if keepdim else []
        return b.view(product(b, b.view(x, lambda t: t.reshape(-1)), 0), lambda t: t.reshape(shape))
    while (size := x.shape[dim]) > 1:
        first, second = (b.narrow(x, dim, at, size // 2) for at in (0, size // 2))
        rest = [b.narrow(x, dim, size - 1, 1)] if size % 2 else []
        x = b.cat([b.multiply(first, second), *rest], dim)
    return x if keepdim else b.view(x, lambda t: t.squeeze(dim))


@rule("kthvalue")
def kth_value(b: Builder, x: Node, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Node, Node]:
    """(the k-th least, its place)"""
    found = [b.narrow(each, dim, k - 1, 1) for each in b.topk(x, k, dim, False)]
    value, place = (each if keepdim else b.view(each, lambda t: t.squeeze(dim)) for each in found)
    number = b.number_of_places(place)
    return value, place if number.integer else b.places_of_number(number, x.shape[dim])


@rule("median")
def median(b: Builder, x: Node, dim: int | None = None, keepdim: bool = False) -> Node | tuple[Node, Node]:
    """The lower of the two in the middle; along a dimension also its place"""
    if dim is None:
        return kth_value(b, b.view(x, lambda t: t.reshape(-1)), (x.size + 1) // 2, 0)[0]
    return kth_value(b, x, (x.shape[dim] + 1) // 2, dim, keepdim)


@rule("_cdist_forward", "cdist")
def distances(b: Builder, x: Node, y: Node, p: float = 2, *mode: object) -> Node:
    """(…, M, N): how far each of M rows is from each of N"""
    apart = b.subtract(b.view(x, lambda t: t.unsqueeze(-2)), b.view(y, lambda t: t.unsqueeze(-3)))
    return norm(b, apart, p, -1)


@rule("pairwise_distance")
def pairwise_distance(b: Builder, x: Node, y: Node, p: float = 2, eps: float = 1e-6, keepdim: bool = False) -> Node:
    """How far each row is from that of another, ε added to each difference"""
    return norm(b, b.add(b.subtract(x, y), eps), p, -1, keepdim)


@rule("any")
def any_(b: Builder, x: Node, dim: Dims = None, keepdim: bool = False) -> Node:
    """Whether one is true"""
    return b.reduce(Reduction.MAXIMUM, b.truth(x), dim, keepdim)


@rule("all")
def all_(b: Builder, x: Node, dim: Dims = None, keepdim: bool = False) -> Node:
    """Whether none is false"""
    return b.reduce(Reduction.MINIMUM, b.truth(x), dim, keepdim)

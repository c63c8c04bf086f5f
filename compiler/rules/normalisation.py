"""Softmax and norms."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...arch.isa import Combine, NormKind, Reduction
from ..graph import Node
from .builder import Builder, rule
from .functions import by_table


@rule("softmax", "_softmax", "_safe_softmax")
def softmax(b: Builder, x: Node, dim: int, dtype: object = None) -> Node:
    """e^x / Σ e^x"""
    return b.softmax(x, dim)


@rule("log_softmax", "_log_softmax")
def log_softmax(b: Builder, x: Node, dim: int, dtype: object = None) -> Node:
    """x − max − log Σ e^(x − max)"""
    apart = b.subtract(x, b.reduce(Reduction.MAXIMUM, x, dim, keepdim=True))
    total = b.reduce(Reduction.SUM, by_table(b, "exp", apart), dim, keepdim=True)
    return b.subtract(apart, by_table(b, "log", total))


@rule("layer_norm")
def layer_norm(
    b: Builder, x: Node, shape: Sequence[int], gamma: Node | None = None, beta: Node | None = None,
    epsilon: float = 1e-5, *cudnn: bool,
) -> Node:  # fmt: skip
    """(x − mean) / √(variance + ε)·γ + β"""
    return b.norm(NormKind.LAYER, x, shape, gamma, beta, epsilon)


@rule("native_layer_norm")
def native_layer_norm(b: Builder, x: Node, shape, gamma, beta, epsilon: float) -> tuple[Node, Node, Node]:
    """The same, the mean, and 1 / √(variance + ε)"""
    x, dims = b.number(x), list(range(-len(shape), 0))
    centre = b.mean(x, dims, keepdim=True)
    apart = b.subtract(x, centre)
    spread = b.add(b.mean(b.multiply(apart, apart), dims, keepdim=True), epsilon)
    return b.norm(NormKind.LAYER, x, shape, gamma, beta, epsilon), centre, by_table(b, "rsqrt", spread)


@rule("rms_norm")
def rms_norm(
    b: Builder, x: Node, shape: Sequence[int], gamma: Node | None = None, epsilon: float | None = None
) -> Node:
    """x / √(mean of squares + ε)·γ"""
    epsilon = torch.finfo(torch.float32).eps if epsilon is None else epsilon
    return b.norm(NormKind.RMS, x, shape, gamma, None, epsilon)


@rule("group_norm")
def group_norm(
    b: Builder, x: Node, groups: int, gamma: Node | None = None, beta: Node | None = None, epsilon: float = 1e-5,
    *cudnn: bool,
) -> Node:  # fmt: skip
    """A layer norm of each group of channels (dimension 1), then a factor and an offset for each channel"""
    rows = b.view(x, lambda t: t.reshape(x.shape[0], groups, -1))
    found = b.norm(NormKind.LAYER, rows, rows.shape[-1:], None, None, epsilon)
    return _affine(b, b.view(found, lambda t: t.reshape(x.shape)), gamma, beta)


@rule("instance_norm")
def instance_norm(b: Builder, x: Node, gamma, beta, mean, variance, training: bool, momentum: float, epsilon: float,
                  *cudnn: bool) -> Node:  # fmt: skip
    """A group norm whose groups are the channels"""
    if not training:
        return batch_norm(b, x, gamma, beta, mean, variance, False, momentum, epsilon)
    return group_norm(b, x, x.shape[1], gamma, beta, epsilon)


@rule("batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(b: Builder, x: Node, gamma, beta, mean: Node, variance: Node, *rest: object) -> Node | tuple:
    """(x − mean) / √(variance + ε)·γ + β by channel (dimension 1), with the statistics of training"""
    numbers = [each for each in rest if isinstance(each, float)]
    if rest and rest[0] is True or mean is None or variance is None:
        raise b.refuse("it must be in evaluation mode, with statistics of its own")
    epsilon = numbers[-1]
    factor = by_table(b, "rsqrt", b.add(variance, epsilon)) if variance.op != "constant" else b.constant(
        (variance.value.double() + epsilon).rsqrt(), variance.made_of)  # fmt: skip
    factor = factor if gamma is None else b.multiply(factor, gamma)
    offset = b.multiply(b.multiply(mean, factor), -1)
    found = _affine(b, b.number(x), factor, offset if beta is None else b.add(offset, beta))
    return (found, None, None) if "native" in b.call.op else found


def _affine(b: Builder, x: Node, factor: Node | None, offset: Node | None) -> Node:
    """x·factor + offset of each channel."""

    def spread(each: Node) -> Node:
        return b.view(each, lambda t: t.reshape(-1, *[1] * (len(x.shape) - 2)))

    x = x if factor is None else b.multiply(x, spread(factor))
    return x if offset is None else b.add(x, spread(offset))


@rule("cosine_similarity")
def cosine_similarity(b: Builder, x: Node, y: Node, dim: int = 1, epsilon: float = 1e-8) -> Node:
    """x·y / (|x|·|y|)"""
    product = b.reduce(Reduction.SUM, b.multiply(x, y), dim)
    sizes = [b.reduce(Reduction.SUM, b.multiply(each, each), dim) for each in (x, y)]
    inverse = [by_table(b, "rsqrt", b.combine(Combine.MAXIMUM, size, epsilon * epsilon)) for size in sizes]
    return b.multiply(b.multiply(product, inverse[0]), inverse[1])

"""Losses."""

from __future__ import annotations

import torch

from ...arch.isa import Combine, Reduction
from ..graph import Node
from .builder import Builder, rule
from .normalisation import log_softmax

_MEAN, _SUM = 1, 2


def _reduced(b: Builder, losses: Node, reduction: int) -> Node:
    if reduction == _MEAN:
        return b.mean(losses)
    return b.reduce(Reduction.SUM, losses) if reduction == _SUM else losses


@rule("mse_loss")
def mse_loss(b: Builder, x: Node, y: Node, reduction: int = _MEAN) -> Node:
    """(x − y)²"""
    apart = b.subtract(x, y)
    return _reduced(b, b.multiply(apart, apart), reduction)


@rule("l1_loss")
def l1_loss(b: Builder, x: Node, y: Node, reduction: int = _MEAN) -> Node:
    """|x − y|"""
    apart = b.subtract(x, y)
    return _reduced(b, b.combine(Combine.MAXIMUM, apart, b.multiply(apart, -1)), reduction)


@rule("cross_entropy_loss")
def cross_entropy(
    b: Builder, x: Node, target: Node, weight: Node | None = None, reduction: int = _MEAN, ignore: int = -100,
    smoothing: float = 0.0,
) -> Node:  # fmt: skip
    """−log softmax at the target, a class or shares of all, of classes in dimension 1 (or 0 of a vector)"""
    dim = 1 if len(x.shape) > 1 else 0
    logs = b.view(log_softmax(b, x, dim), lambda t: t.movedim(dim, -1))
    if target.integer:
        return _at_classes(b, logs, target, weight, reduction, ignore, smoothing)
    shares = b.view(target, lambda t: t.movedim(dim, -1))
    shares = b.add(b.multiply(shares, 1 - smoothing), smoothing / x.shape[dim]) if smoothing else shares
    shares = shares if weight is None else b.multiply(shares, weight)
    return _reduced(b, b.multiply(b.reduce(Reduction.SUM, b.multiply(logs, shares), -1), -1), reduction)


@rule("nll_loss", "nll_loss_nd", "nll_loss2d", "nll_loss_forward", "nll_loss2d_forward")
def negative_log_likelihood(
    b: Builder, x: Node, target: Node, weight: Node | None = None, reduction: int = _MEAN, ignore: int = -100
) -> Node | tuple[Node, Node]:
    """−x at the target; of its forward form also the weights of all targets together"""
    dim = 1 if len(x.shape) > 1 else 0
    logs = b.view(x, lambda t: t.movedim(dim, -1))
    found = _at_classes(b, logs, target, weight, reduction, ignore, 0.0)
    if "forward" not in b.call.op:
        return found
    ones = b.expanded(1.0, logs.shape) if weight is None else b.expanded(weight, logs.shape)
    return found, b.multiply(_at_classes(b, ones, target, None, _SUM, ignore, 0.0), -1)


def _at_classes(
    b: Builder, logs: Node, target: Node, weight: Node | None, reduction: int, ignore: int, smoothing: float
) -> Node:
    """Of logs (…, classes). What is to be ignored, which need be no class, counts in no sum."""
    counted, target = None, b.made_whole(target)
    if target.op == "constant":
        counts = target.value != ignore
        counted, target = b.constant(counts.float()), b.constant(torch.where(counts, target.value, 0), target.made_of)
    elif target.host:
        counted = b.truth(b.subtract(target, ignore))
        target = b.choose(counted, target, 0)
    elif ignore >= 0:
        raise b.refuse("of a target that is computed none can be ignored")
    ones = b.one_hot(target, logs.shape[-1])
    losses = b.multiply(b.reduce(Reduction.SUM, b.choose(ones, logs, 0), -1), -1)  # −∞ · 0 would be NaN
    parts = None if weight is None else b.reduce(Reduction.SUM, b.choose(ones, weight, 0), -1)
    losses = losses if parts is None else b.multiply(losses, parts)
    if smoothing:
        every = logs if weight is None else b.multiply(logs, weight)
        every = b.multiply(b.reduce(Reduction.SUM, every, -1), -smoothing / logs.shape[-1])
        losses = b.add(b.multiply(losses, 1 - smoothing), every)
    if counted is not None:
        losses = b.choose(counted, losses, 0)
        parts = counted if parts is None else b.multiply(parts, counted)
    if reduction != _MEAN or parts is None:
        return _reduced(b, losses, reduction)
    return b.divide(b.reduce(Reduction.SUM, losses), b.number(b.reduce(Reduction.SUM, parts)))


@rule("xlogy")
def x_log_y(b: Builder, x: Node, y: Node) -> Node:
    """x·log y, 0 where x is 0"""
    x = b.number(x)
    return b.choose(b.combine(Combine.EQUAL, x, 0), 0, b.multiply(x, b.function("log", y)))

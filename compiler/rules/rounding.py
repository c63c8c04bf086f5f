"""Whole numbers out of others. All are made of one function, which rounds sizes; it is exact in every format."""

from __future__ import annotations

from ...arch.isa import Combine
from ..functions import ROUND
from ..graph import Node
from .builder import Builder, Value, rule


@rule("round")
def round_(b: Builder, x: Node, *, decimals: int = 0) -> Node:
    """The nearest whole number, of two the even one; with decimals, of x·10^decimals"""
    if decimals:
        return b.multiply(round_(b, b.multiply(x, 10.0**decimals)), 10.0**-decimals)
    return signed(b, x, _rounded(b, x)[1])


@rule("trunc", "fix")
def trunc(b: Builder, x: Node) -> Node:
    """Rounded towards 0"""
    size, nearest = _rounded(b, x)
    return signed(b, x, b.subtract(nearest, b.combine(Combine.LESS, size, nearest)))


@rule("floor")
def floor(b: Builder, x: Node) -> Node:
    """Rounded down"""
    nearest = round_(b, x)
    return b.subtract(nearest, b.combine(Combine.LESS, x, nearest))


@rule("ceil")
def ceil(b: Builder, x: Node) -> Node:
    """Rounded up"""
    nearest = round_(b, x)
    return b.add(nearest, b.combine(Combine.LESS, nearest, x))


@rule("frac")
def frac(b: Builder, x: Node) -> Node:
    """What trunc takes away"""
    return b.subtract(x, trunc(b, x))


def _rounded(b: Builder, x: Node) -> tuple[Node, Node]:
    """|x|, and the whole number nearest to it."""
    found = size(b, x)
    return found, b.function(ROUND, found)


def size(b: Builder, x: Value) -> Node:
    """|x|"""
    return b.combine(Combine.MAXIMUM, x, b.multiply(x, -1)) if isinstance(x, Node) else b.number(abs(x))


def signed(b: Builder, x: Value, value: Value) -> Node:
    """A value; times −1 where x is below 0."""
    value = b.number(value)
    if not isinstance(x, Node):
        return b.multiply(value, -1) if x < 0 else value
    return b.choose(b.combine(Combine.LESS, x, 0), b.multiply(value, -1), value)

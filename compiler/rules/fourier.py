"""Complex numbers, as pairs of real ones, and Fourier transforms, which are products with known matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..graph import Node
from .builder import Builder, rule
from .functions import by_table
from .products import along

Pair = tuple[Node, Node]


@rule("view_as_complex")
def as_complex(b: Builder, x: Node) -> Pair:
    """(real, imaginary)"""
    return b.view(x, lambda t: t.select(-1, 0)), b.view(x, lambda t: t.select(-1, 1))


@rule("complex")
def complex_(b: Builder, real: Node, imaginary: Node) -> Pair:
    """(real, imaginary)"""
    return b.number(real), b.number(imaginary)


@rule("polar")
def polar(b: Builder, size: Node, angle: Node) -> Pair:
    """(size·cos angle, size·sin angle)"""
    real, imaginary = (b.multiply(size, by_table(b, name, angle)) for name in ("cos", "sin"))
    return real, imaginary  # type: ignore[return-value]


@rule("view_as_real")
def as_real(b: Builder, x: Pair) -> Node:
    """The two in a last dimension"""
    return b.cat([b.view(each, lambda t: t.unsqueeze(-1)) for each in x], -1)


@rule("real", "imag")
def part(b: Builder, x: Pair | Node) -> Node:
    """One of the two"""
    if isinstance(x, Node):
        return x
    return x["imag" in b.call.op]


@rule("_fft_c2c")
def fft(b: Builder, x: Pair, dims: Sequence[int], normalisation: int, forward: bool) -> Pair:
    """Σ x·e^(∓2πi·jk/n) along each dimension"""
    for dim in dims:
        x = _transformed(b, x, dim, normalisation, forward, x[0].shape[dim])
    return x


@rule("_fft_r2c")
def fft_of_real(b: Builder, x: Node, dims: Sequence[int], normalisation: int, onesided: bool) -> Pair:
    """The same of real numbers: the last of the dimensions, if onesided, up to half of the sums"""
    last, size = dims[-1], x.shape[dims[-1]]
    found = _transformed(b, (b.number(x), None), last, normalisation, True, size // 2 + 1 if onesided else size)
    for dim in dims[:-1]:
        found = _transformed(b, found, dim, normalisation, True, x.shape[dim])
    return found


@rule("_fft_c2r")
def real_of_fft(b: Builder, x: Pair, dims: Sequence[int], normalisation: int, size: int) -> Node:
    """Back from half of the sums to so many real numbers"""
    for dim in dims[:-1]:
        x = _transformed(b, x, dim, normalisation, False, x[0].shape[dim])
    count = size // 2 + 1
    angles = 2 * math.pi * _products(size, count) / size
    twice = torch.full((count,), 2.0, dtype=torch.float64)  # the other half is the mirror of this one
    twice[0] = 1
    if size % 2 == 0:
        twice[-1] = 1
    scale = twice * _scale(normalisation, size)
    real, imaginary = (b.view(each, lambda t: t.narrow(dims[-1], 0, count)) for each in x)
    return b.add(along(b, real, dims[-1], angles.cos() * scale), along(b, imaginary, dims[-1], -angles.sin() * scale))


def _transformed(
    b: Builder, x: tuple[Node, Node | None], dim: int, normalisation: int, forward: bool, count: int
) -> Pair:
    """The first `count` sums along a dimension. An imaginary part that is None is 0."""
    size = x[0].shape[dim]
    angles = (-1 if forward else 1) * 2 * math.pi * _products(count, size) / size
    cos, sin = angles.cos() * _scale(normalisation, size), angles.sin() * _scale(normalisation, size)
    real, imaginary = along(b, x[0], dim, cos), along(b, x[0], dim, sin)
    if x[1] is None:
        return real, imaginary
    return b.subtract(real, along(b, x[1], dim, sin)), b.add(imaginary, along(b, x[1], dim, cos))


def _products(rows: int, columns: int) -> torch.Tensor:
    return torch.arange(rows, dtype=torch.float64)[:, None] * torch.arange(columns)


def _scale(normalisation: int, size: int) -> float:
    """torch's numbers: 0 none, 1 by the root, 2 by the size."""
    return (1.0, 1 / math.sqrt(size), 1 / size)[normalisation]

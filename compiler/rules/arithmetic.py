"""Sums, products and comparisons of numbers, and choices between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...arch.isa import Combine
from ..graph import Node
from ..rearrange import origin
from .builder import Builder, Value, rule
from .rounding import floor, signed, size


@rule("add", "add_")
def add(b: Builder, x: Value, y: Value, alpha: float = 1) -> Node:
    """x + alpha·y; of truth, whether one is true"""
    if all(isinstance(each, Node) and each.truth for each in (x, y)) and alpha == 1:
        return b.combine(Combine.MAXIMUM, x, y)
    return b.add(x, b.multiply(y, alpha) if alpha != 1 else y)


@rule("sub", "subtract")
def subtract(b: Builder, x: Value, y: Value, alpha: float = 1) -> Node:
    """x − alpha·y"""
    return b.subtract(x, b.multiply(y, alpha) if alpha != 1 else y)


@rule("rsub")
def subtract_from(b: Builder, x: Value, y: Value, alpha: float = 1) -> Node:
    """y − alpha·x"""
    return b.subtract(y, b.multiply(x, alpha) if alpha != 1 else x)


@rule("mul", "multiply")
def multiply(b: Builder, x: Value, y: Value) -> Node | tuple[Node, Node]:
    """x·y; of pairs, which stand for complex numbers, their complex product."""
    if isinstance(x, tuple) or isinstance(y, tuple):
        (a, b_), (c, d) = (_parts(b, each) for each in (x, y))
        real = b.subtract(b.multiply(a, c), b.multiply(b_, d))
        return real, b.add(b.multiply(a, d), b.multiply(b_, c))
    return b.multiply(x, y)


def _parts(b: Builder, x: Value | tuple[Node, Node]) -> tuple[Value, Value]:
    """(real, imaginary)"""
    if isinstance(x, tuple):
        return x
    if isinstance(x, Node) and x.op == "constant" and x.value.is_complex():
        return b.constant(x.value.real.contiguous(), x.made_of), b.constant(x.value.imag.contiguous(), x.made_of)
    return x, 0.0


@rule("div", "divide", "true_divide")
def divide(b: Builder, x: Value, y: Value, rounding_mode: str | None = None) -> Node:
    """x / y, rounded down or towards 0 if `rounding_mode` says so"""
    if rounding_mode is None:
        return b.divide(x, y)
    if rounding_mode == "floor":
        return floor_divide(b, x, y)
    quotient, _ = _divided(b, size(b, x), size(b, y))
    return signed(b, x, signed(b, y, quotient))


@rule("floor_divide")
def floor_divide(b: Builder, x: Value, y: Value) -> Node:
    """x / y, rounded down"""
    if (found := _of_host(b, "ir.quotient", x, y)) is not None:
        return found
    return _divided(b, signed(b, y, x), size(b, y))[0]


@rule("remainder")
def remainder(b: Builder, x: Value, y: Value) -> Node:
    """What is left of that, with the sign of y"""
    places = origin(x)[0] if isinstance(x, Node) else None
    small = places is not None and places.op == "ir.topk_places" and places.inputs[0].shape[-1]
    if small and isinstance(y, int) and y >= small:  # as take_along_dim takes it of places
        return x  # type: ignore[return-value]
    if (found := _of_host(b, "ir.remainder", x, y)) is not None:
        return found
    return signed(b, y, _divided(b, signed(b, y, x), size(b, y))[1])


@rule("fmod")
def fmod(b: Builder, x: Value, y: Value) -> Node:
    """What is left of x / y, rounded towards 0; with the sign of x"""
    return signed(b, x, _divided(b, size(b, x), size(b, y))[1])


def _divided(b: Builder, x: Value, y: Value) -> tuple[Node, Node]:
    """(x / y rounded down, what is left) for a y above 0. Where y divides x, a product with 1 / y may be off by one:
    what is left then says so."""
    quotient = floor(b, b.divide(x, y))
    left = b.subtract(x, b.multiply(quotient, y))
    wrong = b.subtract(b.combine(Combine.LESS_EQUAL, y, left), b.combine(Combine.LESS, left, 0))
    return b.add(quotient, wrong), b.subtract(left, b.multiply(wrong, y))


def _of_host(b: Builder, operator: str, x: Value, y: Value) -> Node | None:
    """Of two whole numbers that the host knows; None for others."""
    if not any(isinstance(each, Node) and (each.host or each.integer) for each in (x, y)):
        return None
    x, y = b.alike(x, y)
    if not (x.integer and y.integer):
        return None
    shape = torch.broadcast_shapes(x.shape, y.shape)
    return b.make(operator, [b.expanded(x, shape), b.expanded(y, shape)], shape, integer=True)


@rule("neg")
def negative(b: Builder, x: Node) -> Node:
    """−x"""
    return b.multiply(x, -1)


@rule("abs")
def magnitude(b: Builder, x: Node) -> Node:
    """max(x, −x)"""
    return b.combine(Combine.MAXIMUM, x, b.multiply(x, -1))


@rule("square")
def square(b: Builder, x: Node) -> Node:
    """x·x"""
    return b.multiply(x, x)


@rule("maximum")
def maximum(b: Builder, x: Node, y: Node) -> Node:
    """The greater."""
    return b.combine(Combine.MAXIMUM, x, y)


@rule("minimum")
def minimum(b: Builder, x: Node, y: Node) -> Node:
    """The lesser."""
    return b.combine(Combine.MINIMUM, x, y)


@rule("clamp", "clip")
def clamp(b: Builder, x: Node, low: Value | None = None, high: Value | None = None) -> Node:
    """min(max(x, low), high)"""
    low, high = (None if each in (-math.inf, math.inf) else each for each in (low, high))  # all are within
    x = x if low is None else b.combine(Combine.MAXIMUM, x, low)
    return x if high is None else b.combine(Combine.MINIMUM, x, high)


@rule("clamp_min")
def clamp_min(b: Builder, x: Node, low: Value) -> Node:
    """max(x, low)"""
    return b.combine(Combine.MAXIMUM, x, low)


@rule("clamp_max")
def clamp_max(b: Builder, x: Node, high: Value) -> Node:
    """min(x, high)"""
    return b.combine(Combine.MINIMUM, x, high)


@rule("lerp")
def lerp(b: Builder, x: Node, y: Node, weight: Value) -> Node:
    """x + weight·(y − x)"""
    return b.add(x, b.multiply(b.subtract(y, x), weight))


@rule("addcmul")
def add_product(b: Builder, x: Node, y: Node, z: Node, value: float = 1) -> Node:
    """x + value·y·z"""
    return b.add(x, b.multiply(b.multiply(y, z), value))


@rule("addcdiv")
def add_quotient(b: Builder, x: Node, y: Node, z: Node, value: float = 1) -> Node:
    """x + value·y / z"""
    return b.add(x, b.multiply(b.divide(y, z), value))


# -- truth, which is 1 or 0 --------------------------------------------------------------------------------------------


@rule("lt", "less")
def less(b: Builder, x: Value, y: Value) -> Node:
    """x < y"""
    return b.combine(Combine.LESS, x, y)


@rule("le", "less_equal")
def less_equal(b: Builder, x: Value, y: Value) -> Node:
    """x ≤ y"""
    return b.combine(Combine.LESS_EQUAL, x, y)


@rule("gt", "greater")
def greater(b: Builder, x: Value, y: Value) -> Node:
    """y < x"""
    return b.combine(Combine.LESS, y, x)


@rule("ge", "greater_equal")
def greater_equal(b: Builder, x: Value, y: Value) -> Node:
    """y ≤ x"""
    return b.combine(Combine.LESS_EQUAL, y, x)


@rule("eq")
def equal(b: Builder, x: Value, y: Value) -> Node:
    """x = y"""
    return b.combine(Combine.EQUAL, x, y)


@rule("ne", "not_equal")
def not_equal(b: Builder, x: Value, y: Value) -> Node:
    """1 − (x = y)"""
    return b.subtract(1, b.combine(Combine.EQUAL, x, y))


@rule("logical_not", "bitwise_not")
def not_(b: Builder, x: Node) -> Node:
    """1 where x is 0"""
    _require_truth(b, x)
    return b.combine(Combine.EQUAL, x, 0)


@rule("logical_and", "bitwise_and", "__and__")
def and_(b: Builder, x: Value, y: Value) -> Node:
    """Whether neither is 0"""
    _require_truth(b, x, y)
    return b.multiply(b.truth(x), b.truth(y))


@rule("logical_or", "bitwise_or", "__or__")
def or_(b: Builder, x: Value, y: Value) -> Node:
    """Whether one is not 0"""
    _require_truth(b, x, y)
    return b.combine(Combine.MAXIMUM, b.truth(x), b.truth(y))


@rule("logical_xor", "bitwise_xor", "__xor__")
def xor(b: Builder, x: Value, y: Value) -> Node:
    """Whether just one is not 0"""
    _require_truth(b, x, y)
    return not_equal(b, b.truth(x), b.truth(y))


def _require_truth(b: Builder, *values: Value) -> None:
    """Raise HeddleError for bits of whole numbers."""
    if "logical" not in b.call.op and not all(each.truth if isinstance(each, Node) else isinstance(each, bool)
                                          for each in values):  # fmt: skip
        raise b.refuse("bits of whole numbers cannot be combined, only truth")


@rule("where")
def where(b: Builder, condition: Node, x: Value, y: Value) -> Node:
    """x where the condition is true, else y"""
    return b.choose(condition, x, y)


@rule("masked_fill")
def masked_fill(b: Builder, x: Node, mask: Node, value: Value) -> Node:
    """The value where the mask is true, else x"""
    return b.choose(mask, value, x)


@rule("tril", "triu")
def triangle(b: Builder, x: Node, diagonal: int = 0) -> Node:
    """x, but 0 beyond a diagonal"""
    name = b.call.op.split(".")[1]
    kept = getattr(torch.ones(x.shape[-2:]), name)(diagonal)
    return b.choose(b.constant(kept), x, 0)


# -- the same numbers --------------------------------------------------------------------------------------------------


@rule(
    "to",
    "_to_copy",
    "type_as",
    "float",
    "half",
    "bfloat16",
    "double",
    "long",
    "int",
    "bool",
    "lift_fresh",
    "lift_fresh_copy",
)
def converted(b: Builder, x: Node, *others: object, **more: object) -> Node:
    """x in another format of numbers: all are computed in that of the machine. Whole numbers are not made of others."""
    wanted = next((each for each in (*others, *more.values()) if isinstance(each, torch.dtype)), None)
    like = next((each for each in others if isinstance(each, Node)), None)
    if wanted is None and like is not None:
        wanted = torch.bool if like.truth else torch.int64 if like.integer else torch.float32
    if wanted is None:
        return x
    if wanted in (torch.uint8, torch.int8, torch.int16):
        raise b.refuse(f"numbers of {wanted} wrap around; use int64")
    if wanted.is_complex:
        return x if isinstance(x, tuple) else (b.number(x), b.expanded(0.0, x.shape))  # type: ignore[return-value]
    if wanted.is_floating_point:
        return b.number(b.number_of_places(x))
    if wanted == torch.bool:
        return not_equal(b, x, 0) if not x.truth else x
    if x.integer:
        return x
    if x.host:
        return b.make("ir.integer", [x], x.shape, integer=True)
    raise b.refuse(f"numbers cannot be made {wanted}")


@rule("zeros_like", "ones_like", "full_like", "empty_like")
def filled_like(b: Builder, x: Node, value: float | None = None, **more: object) -> Node:
    """Equal numbers, as many as x has"""
    if value is None:
        value = float("ones" in b.call.op)
    wanted = more.get("dtype")
    given = isinstance(wanted, torch.dtype)
    integer = not wanted.is_floating_point and wanted != torch.bool if given else x.integer  # type: ignore[union-attr]
    truth = wanted == torch.bool if given else x.truth
    one = torch.tensor(bool(value)) if truth else torch.tensor(int(value) if integer else float(value))
    return b.expanded(b.constant(one), x.shape)


@rule("copy", "copy_")
def copied(b: Builder, x: Node, source: Node, non_blocking: bool = False) -> Node:
    """The numbers of another, broadcast to the shape of x"""
    if x.integer and not (source.integer or source.truth):
        raise b.refuse("numbers cannot be made whole")
    found = b.whole(source) if x.integer else b.number(source) if not x.truth else b.truth(source)
    return b.expanded(found, x.shape)


@rule("new_zeros", "new_ones", "new_full", "new_empty")
def new_filled(b: Builder, x: Node, shape: Sequence[int], value: float | None = None, **more: object) -> Node:
    """Equal numbers, of the format of x"""
    if "dtype" not in more or more["dtype"] is None:
        more["dtype"] = torch.int64 if x.integer else torch.bool if x.truth else torch.float32
    return b.expanded(filled_like(b, b.view(x, lambda t: t.flatten()[0]), value, **more), shape)


@rule("isnan")
def is_nan(b: Builder, x: Node) -> Node:
    """Whether x is not x"""
    return not_equal(b, x, x)


_END = 3.38e38  # beyond it a number has saturated, which stands for an infinite one


@rule("isinf", "isposinf", "isneginf")
def is_infinite(b: Builder, x: Node) -> Node:
    """Whether x has saturated: at any end, or at one"""
    above, below = b.combine(Combine.LESS, _END, x), b.combine(Combine.LESS, x, -_END)
    name = b.call.op.split(".")[1]
    return above if name == "isposinf" else below if name == "isneginf" else b.combine(Combine.MAXIMUM, above, below)


@rule("isfinite")
def is_finite(b: Builder, x: Node) -> Node:
    """Whether x is a number, and has not saturated"""
    return b.combine(Combine.LESS, b.combine(Combine.MAXIMUM, x, b.multiply(x, -1)), _END)


@rule("nan_to_num")
def nan_to_num(
    b: Builder, x: Node, nan: float | None = None, above: float | None = None, below: float | None = None
) -> Node:
    """x, but another number for NaN; for what has saturated only if one is given"""
    x = b.choose(is_nan(b, x), nan or 0.0, x)
    x = x if above is None else b.choose(b.combine(Combine.LESS, _END, x), above, x)
    return x if below is None else b.choose(b.combine(Combine.LESS, x, -_END), below, x)


@rule("fill", "fill_")
def filled(b: Builder, x: Node, value: Value) -> Node:
    """Equal numbers, as many as x has"""
    return copied(b, x, value) if isinstance(value, Node) else filled_like(b, x, value)


@rule("expand_as")
def expand_as(b: Builder, x: Node, other: Node) -> Node:
    """x, broadcast to the shape of another"""
    return b.expanded(x, other.shape)


@rule("view_as", "reshape_as")
def view_as(b: Builder, x: Node, other: Node) -> Node:
    """x in the shape of another"""
    return b.view(x, lambda t: t.reshape(other.shape))


@rule("broadcast_tensors")
def broadcast_tensors(b: Builder, tensors: list[Node]) -> tuple[Node, ...]:
    """All in the shape that they have together"""
    shape = torch.broadcast_shapes(*(each.shape for each in tensors))
    return tuple(b.expanded(each, shape) for each in tensors)

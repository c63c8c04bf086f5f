"""Functions of one number: what `functions.named` has a table of, and what is made of those."""

from __future__ import annotations

import math

from ...arch.errors import HeddleError
from ...arch.isa import Combine
from ..functions import RELU, named
from ..graph import Node
from ..rearrange import origin
from ..weightless import has_bytes
from .builder import Builder, rule
from .rounding import floor, size

_PLAIN = (
    "relu", "silu", "sigmoid", "tanh", "exp", "exp2", "log", "log2", "sqrt", "rsqrt", "reciprocal", "erf", "mish",
    "hardswish", "sin", "cos", "atan", "erfc",
)  # fmt: skip


def by_table(b: Builder, name: str, x: Node) -> Node:
    """A function by its name. Raises HeddleError for one that no table can hold."""
    if name != RELU:
        try:
            named(name)
        except HeddleError as error:
            raise b.refuse(str(error)) from None
    return b.function(name, x)


@rule(*_PLAIN, *(f"{name}_" for name in _PLAIN))
def plain(b: Builder, x: Node) -> Node:
    """A function that has a table of its own."""
    return by_table(b, b.call.op.split(".")[1].removesuffix("_"), x)


@rule("gelu")
def gelu(b: Builder, x: Node, approximate: str = "none") -> Node:
    """x·Φ(x), or its form with tanh"""
    return by_table(b, "gelu_tanh" if approximate == "tanh" else "gelu", x)


@rule("silu_backward")
def silu_backward(b: Builder, gradient: Node, x: Node) -> Node:
    """gradient·s·(1 + x·(1 − s)), where s is the sigmoid of x (which torch's own decompositions leave as it is)"""
    sigmoid = by_table(b, "sigmoid", x)
    slope = b.multiply(sigmoid, b.add(1, b.multiply(x, b.subtract(1, sigmoid))))
    return b.multiply(gradient, slope)


@rule("pow")
def power(b: Builder, x: Node | float, exponent: Node | float) -> Node:
    """x^exponent; small whole powers are products, a base that is known is a power of e."""
    if not isinstance(x, Node):
        if x <= 0:
            raise b.refuse(f"its base must be above 0, not {x}")
        return by_table(b, "exp2", b.multiply(b.number(exponent), math.log2(x)))
    if isinstance(exponent, Node):
        return _power_of_numbers(b, x, exponent)
    return _power(b, x, float(exponent))


def _power_of_numbers(b: Builder, x: Node, exponent: Node) -> Node:
    """2^(exponent·log2 x); where x is below 0, of |x|, negative if the exponent is odd, and NaN if it is not whole.
    Anything to the power of 0 is 1."""
    x, exponent = b.number(x), b.number(exponent)
    known = origin(exponent)[0]
    if known.op == "constant" and has_bytes(known.value) and not bool((known.value == known.value.round()).any()):
        return by_table(b, "exp2", b.multiply(exponent, by_table(b, "log2", x)))
    found = by_table(b, "exp2", b.multiply(exponent, by_table(b, "log2", size(b, x))))
    found = b.choose(b.combine(Combine.EQUAL, exponent, 0), 1, found)
    half = b.multiply(exponent, 0.5)
    even, whole = (b.combine(Combine.EQUAL, floor(b, each), each) for each in (half, exponent))
    undefined = by_table(b, "log2", x)
    below = b.choose(even, found, b.choose(whole, b.multiply(found, -1), undefined))
    return b.choose(b.combine(Combine.LESS, x, 0), below, found)


def _power(b: Builder, x: Node, exponent: float) -> Node:
    """Whole powers are products, or their reciprocal; beyond ±2 others are squares, as a table holds less than 2³²."""
    whole = exponent.is_integer()
    if whole and exponent > 0:
        half = _power(b, x, exponent // 2) if exponent > 1 else None
        square = b.multiply(half, half) if half else x
        return b.multiply(square, x) if half and exponent % 2 else square
    if whole and exponent < -2:
        return by_table(b, "reciprocal", _power(b, x, -exponent))
    if abs(exponent) > 2:
        half = _power(b, x, exponent / 2)
        return b.multiply(half, half)
    return by_table(b, f"x^{exponent:g}", x)


@rule("softplus")
def softplus(b: Builder, x: Node, beta: float = 1, threshold: float = 20) -> Node:
    """log(1 + e^(beta·x)) / beta; x itself where beta·x is above the threshold. (From 20 on the two are alike.)"""
    if beta == 0:
        raise b.refuse("its beta must not be 0")
    scaled = b.multiply(x, beta)
    found = b.multiply(by_table(b, "softplus", scaled), 1 / beta)
    return found if threshold >= 20 else b.choose(b.combine(Combine.LESS, threshold, scaled), x, found)


@rule("elu")
def elu(b: Builder, x: Node, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Node:
    """scale·(x above 0, else alpha·(e^(input_scale·x) − 1))"""
    if alpha == input_scale == 1:
        return b.multiply(by_table(b, "elu", x), scale)
    below = b.multiply(by_table(b, "elu", b.combine(Combine.MINIMUM, b.multiply(x, input_scale), 0)), alpha)
    return b.multiply(b.add(b.function(RELU, x), below), scale)


@rule("leaky_relu")
def leaky_relu(b: Builder, x: Node, slope: float = 0.01) -> Node:
    """x above 0, else slope·x"""
    kind = Combine.MAXIMUM if slope <= 1 else Combine.MINIMUM
    return b.combine(kind, x, b.multiply(x, slope))


@rule("prelu", "_prelu_kernel")
def prelu(b: Builder, x: Node, slope: Node) -> Node:
    """The same with slopes of channels (dimension 1)"""
    if slope.size > 1 and len(x.shape) > 1:
        slope = b.view(slope, lambda t: t.reshape(-1, *[1] * (len(x.shape) - 2)))
    negative = b.combine(Combine.MINIMUM, x, 0)
    return b.add(b.function(RELU, x), b.multiply(negative, slope))


@rule("hardtanh")
def hardtanh(b: Builder, x: Node, low: float = -1, high: float = 1) -> Node:
    """Between the two"""
    return b.combine(Combine.MINIMUM, b.combine(Combine.MAXIMUM, x, low), high)


@rule("relu6")
def relu6(b: Builder, x: Node) -> Node:
    """Between 0 and 6"""
    return hardtanh(b, x, 0, 6)


@rule("hardsigmoid")
def hardsigmoid(b: Builder, x: Node) -> Node:
    """x / 6 + 1/2, between 0 and 1"""
    return hardtanh(b, b.add(b.multiply(x, 1 / 6), 0.5), 0, 1)


@rule("log_sigmoid", "log_sigmoid_forward")
def log_sigmoid(b: Builder, x: Node) -> Node:
    """−softplus(−x)"""
    found = b.multiply(by_table(b, "softplus", b.multiply(x, -1)), -1)
    return (found, None) if b.call.op.endswith("forward") else found  # type: ignore[return-value]


@rule("expm1")
def expm1(b: Builder, x: Node) -> Node:
    """e^x − 1; near 0 by its series, as the difference would lose x"""
    return _near_zero(b, x, 1 / 8, (1 / 2, 1 / 3), b.subtract(by_table(b, "exp", x), 1))


@rule("log1p")
def log1p(b: Builder, x: Node) -> Node:
    """log(1 + x); near 0 by its series, as the sum would lose x"""
    return _near_zero(b, x, 1 / 32, (-1 / 2, -2 / 3), by_table(b, "log", b.add(x, 1)))


def _near_zero(b: Builder, x: Node, below: float, factors: tuple[float, float], elsewhere: Node) -> Node:
    """x·(1 + a·x·(1 + c·x)) where |x| is below a number, up to which that is good to 2⁻¹¹ of itself."""
    second, third = factors
    series = b.add(1, b.multiply(b.multiply(x, second), b.add(1, b.multiply(x, third))))
    size = b.combine(Combine.MAXIMUM, x, b.multiply(x, -1))
    return b.choose(b.combine(Combine.LESS, size, below), b.multiply(x, series), elsewhere)


@rule("glu")
def glu(b: Builder, x: Node, dim: int = -1) -> Node:
    """The first half times the sigmoid of the second"""
    first, second = (b.view(x, lambda t, half=half: t.chunk(2, dim)[half]) for half in (0, 1))
    return b.multiply(first, by_table(b, "sigmoid", second))


def _size(b: Builder, x: Node) -> Node:
    """|x|"""
    return b.combine(Combine.MAXIMUM, x, b.multiply(x, -1))


@rule("sign", "sgn")
def sign(b: Builder, x: Node) -> Node:
    """1 above 0, −1 below"""
    return b.subtract(b.combine(Combine.LESS, 0, x), b.combine(Combine.LESS, x, 0))


@rule("tan")
def tan(b: Builder, x: Node) -> Node:
    """sin x / cos x"""
    return b.divide(by_table(b, "sin", x), by_table(b, "cos", x))


@rule("asin", "arcsin")
def asin(b: Builder, x: Node) -> Node:
    """atan(x / √((1 − x)·(1 + x)))"""
    return by_table(b, "atan", b.multiply(x, by_table(b, "rsqrt", _one_minus_square(b, x))))


@rule("acos", "arccos")
def acos(b: Builder, x: Node) -> Node:
    """2·atan(√((1 − x) / (1 + x)))"""
    ratio = b.divide(b.subtract(1, x), b.add(x, 1))
    return b.multiply(by_table(b, "atan", by_table(b, "sqrt", ratio)), 2)


def _one_minus_square(b: Builder, x: Node) -> Node:
    return b.multiply(b.subtract(1, x), b.add(x, 1))


@rule("sinh")
def sinh(b: Builder, x: Node) -> Node:
    """±(e + e / (e + 1)) / 2, e = e^|x| − 1"""
    e = expm1(b, _size(b, x))
    return b.multiply(sign(b, x), b.multiply(b.add(e, b.divide(e, b.add(e, 1))), 0.5))


@rule("cosh")
def cosh(b: Builder, x: Node) -> Node:
    """(e^x + e^−x) / 2"""
    return b.multiply(b.add(by_table(b, "exp", x), by_table(b, "exp", b.multiply(x, -1))), 0.5)


@rule("asinh", "arcsinh")
def asinh(b: Builder, x: Node) -> Node:
    """±log(1 + s + s² / (1 + √(s² + 1))), s = |x|"""
    s = _size(b, x)
    square = b.multiply(s, s)
    more = b.divide(square, b.add(by_table(b, "sqrt", b.add(square, 1)), 1))
    return b.multiply(sign(b, x), log1p(b, b.add(s, more)))


@rule("acosh", "arccosh")
def acosh(b: Builder, x: Node) -> Node:
    """log(1 + t + √(t·(t + 2))), t = x − 1"""
    t = b.subtract(x, 1)
    return log1p(b, b.add(t, by_table(b, "sqrt", b.multiply(t, b.add(t, 2)))))


@rule("atanh", "arctanh")
def atanh(b: Builder, x: Node) -> Node:
    """(log(1 + x) − log(1 − x)) / 2"""
    return b.multiply(b.subtract(log1p(b, x), log1p(b, b.multiply(x, -1))), 0.5)


@rule("logit")
def logit(b: Builder, x: Node, epsilon: float | None = None) -> Node:
    """log(x / (1 − x)), of x between ε and 1 − ε"""
    x = hardtanh(b, x, epsilon, 1 - epsilon) if epsilon else x
    return by_table(b, "log", b.divide(x, b.subtract(1, x)))


@rule("atan2", "arctan2")
def atan2(b: Builder, y: Node, x: Node) -> Node:
    """atan(y / x), turned by ±π where x is below 0"""
    turn = b.choose(b.combine(Combine.LESS, y, 0), -math.pi, math.pi)
    found = by_table(b, "atan", b.divide(y, x))
    found = b.choose(b.combine(Combine.LESS, x, 0), b.add(found, turn), found)
    upright = b.multiply(sign(b, y), math.pi / 2)
    return b.choose(b.combine(Combine.EQUAL, x, 0), upright, found)


@rule("hypot")
def hypot(b: Builder, x: Node, y: Node) -> Node:
    """√(x² + y²)"""
    return by_table(b, "sqrt", b.add(b.multiply(x, x), b.multiply(y, y)))


@rule("logaddexp")
def logaddexp(b: Builder, x: Node, y: Node) -> Node:
    """log(e^x + e^y), as the greater and log(1 + e^−|x − y|)"""
    apart = b.multiply(_size(b, b.subtract(x, y)), -1)
    return b.add(b.combine(Combine.MAXIMUM, x, y), by_table(b, "softplus", apart))


@rule("heaviside")
def heaviside(b: Builder, x: Node, at_zero: Node) -> Node:
    """0 below 0, 1 above"""
    return b.choose(b.combine(Combine.EQUAL, x, 0), at_zero, b.combine(Combine.LESS, 0, x))

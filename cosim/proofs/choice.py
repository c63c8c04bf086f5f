"""Comparisons are those of the numbers: the order of integers that stand for them."""

from __future__ import annotations

from amaranth import Cat, Const, Mux, Signal, Value, signed

from ...arch.isa import Combine
from ...hw.choice import CHOICE_CYCLES, Choice
from .engine import Design
from .registry import proof

EXPONENT = 8


@proof("choice of two numbers, tf32", 11)
@proof("choice of two numbers, float32", 24)
def choice(precision: int) -> Design:
    """Clean numbers: no denormal ones, one NaN."""
    assert CHOICE_CYCLES == 1
    d = Design()
    combine = d.constant(Combine, "combine")
    c = d.place(Choice(precision), combine=combine)
    bits = EXPONENT + precision
    nan = Cat(Const(0, precision - 2), Const((1 << EXPONENT + 1) - 1, EXPONENT + 1), Const(0, 1))
    keys, nans = [], []
    for name, number in (("x", c.x), ("y", c.y)):
        exponent, fraction = number[precision - 1 : -1], number[: precision - 1]
        d.assume((exponent != 0) | (fraction == 0))
        d.assume(~exponent.all() | (fraction == 0) | (number == nan))
        key = Signal(signed(bits), name=f"key_{name}")
        magnitude = number[:-1]
        d.m.d.comb += key.eq(Mux(number[-1], -magnitude, magnitude))  # −0 and +0 are the same
        keys.append(key)
        nans.append(number == nan)
    (x, y), either = keys, nans[0] | nans[1]
    one = Cat(Const(0, precision - 1), Const(127, EXPONENT), Const(0, 1))
    truth = Signal(bits)
    holds = Signal()
    with d.m.Switch(combine):
        with d.m.Case(Combine.LESS):
            d.m.d.comb += holds.eq((x < y) & ~either)
        with d.m.Case(Combine.LESS_EQUAL):
            d.m.d.comb += holds.eq((x <= y) & ~either)
        with d.m.Case(Combine.EQUAL):
            d.m.d.comb += holds.eq((x == y) & ~either)
    d.m.d.comb += truth.eq(Mux(holds, one, 0))
    came = d.register(1, "came", 1)
    before = {name: d.register(bits, f"{name}_then", number) for name, number in (("x", c.x), ("y", c.y))}
    key_a = Signal(signed(bits))
    d.m.d.comb += key_a.eq(Mux(c.a[-1], -c.a[:-1], c.a[:-1]))
    key_x, key_y = (d.register(signed(bits), f"key_{name}_then", key) for name, key in (("x", x), ("y", y)))

    def of(*kinds: Combine) -> Value:
        return came & Cat(combine == kind for kind in kinds).any()

    compares = of(Combine.LESS, Combine.LESS_EQUAL, Combine.EQUAL)
    any_nan = d.register(1, "any_nan", either)
    d.properties |= {
        "a comparison gives 1 where it holds of two numbers, else 0": ~compares | (
            c.a == d.register(bits, "truth_then", truth)
        ),
        "the greater one, and NaN if one is": ~of(Combine.MAXIMUM) | Mux(
            any_nan, c.a == nan, (key_a >= key_x) & (key_a >= key_y)),
        "the lesser one, and NaN if one is": ~of(Combine.MINIMUM) | Mux(
            any_nan, c.a == nan, (key_a <= key_x) & (key_a <= key_y)),
        "one of the two": ~of(Combine.MAXIMUM, Combine.MINIMUM) | (c.a == before["x"]) | (c.a == before["y"]),
        "both as they came": ~came | ((c.first == before["x"]) & (c.second == before["y"])),
        "it tells whether it counts": ~came | (
            c.counts == of(Combine.LESS, Combine.LESS_EQUAL, Combine.EQUAL, Combine.MAXIMUM, Combine.MINIMUM)),
    }  # fmt: skip
    d.covers |= {
        "the greatest of two negative numbers": of(Combine.MAXIMUM) & c.a[-1] & (c.first != c.second),
        "0 and −0 are equal": of(Combine.EQUAL) & (c.first != c.second) & (c.a == one),
    }
    return d

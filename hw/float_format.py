"""Floats as the hardware sees them: fields, order, rounding; combinational. And what all operators have in common.

A float of p significand bits has p + 8: from the top a sign, 8 bits of exponent, p − 1 of fraction. So it is the upper
end of a float32, and helpers tell by the width of a number what it is. The rules are those of `arch/numerics.py`: round
to nearest even, subnormals are zeros of their sign, one NaN.
"""

from collections.abc import Sequence

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import WIDE_PRECISION as WIDE
from ..arch.numerics import rounded as rounded_to
from ..arch.numerics import to_bits
from .verilog import VerilogPlatform, shared

FRACTION_BITS = 23  # of a float32
EXPONENT_BITS = 8
EXPONENT_BIAS = 127
EXPONENT_MAX = 255  # the exponent of infinities and NaNs
ZERO = Const(0, 32)
ONE = Const(0x3F80_0000, 32)
MINUS_INFINITY = Const(0xFF80_0000, 32)
NAN = Const(0x7FC0_0000, 32)
LARGEST = Const(0x7F7F_FFFF, 32)
MINUS_ZERO = Const(0x8000_0000, 32)  # what a sum is given to leave the other operand as it is: −0 + −0 is −0


class Operator(wiring.Component):
    """A pipeline that takes operands every cycle: `a` (and `b`) in, `o` out a fixed number of cycles later.

    Floats have `precision` significand bits. Nothing stalls it and nothing tells it what is valid, so its registers are
    not reset. However many instances a design has, `to_verilog` writes one module for each precision; subclasses name
    it and give the logic.
    """

    module: str  # in Verilog

    def __init__(
        self, precision: int = WIDE, operands: str = "a", *, input_shape=None, output_shape=None, **more: wiring.Member
    ):  # fmt: skip
        self._precision = precision
        width = EXPONENT_BITS + precision
        super().__init__({
            **{name: In(input_shape or width) for name in operands}, **more, "o": Out(output_shape or width),
        })  # fmt: skip

    def logic(self) -> Module:
        """The pipeline from `a` and `b` to `o`."""
        raise NotImplementedError

    def elaborate(self, platform):
        name = self.module if self._precision == WIDE else f"{self.module}_{self._precision}"
        if isinstance(platform, VerilogPlatform) and platform.components.get(name) is not self:
            return shared(platform, self, name)
        return self.logic()


class Fields:
    """The parts of the float `bits`, and what kind of number it is."""

    def __init__(self, bits: Value):
        self.fraction = bits[: -1 - EXPONENT_BITS]
        self.exponent = bits[-1 - EXPONENT_BITS : -1]
        self.sign = bits[-1]
        self.zero = self.exponent == 0  # a subnormal is a zero
        self.special = self.exponent == EXPONENT_MAX  # an infinity or NaN
        self.infinite = self.special & (self.fraction == 0)
        self.nan = self.special & (self.fraction != 0)

    @property
    def mantissa(self) -> Value:
        """The fraction with its leading one; zero for zeros."""
        return Mux(self.zero, 0, Cat(self.fraction, Const(1, 1)))


def negate(x: Value) -> Value:
    """−x, also for zeros and infinities. Turns the sign of a NaN: give the result to an operator, not to memory."""
    return Cat(x[:-1], ~x[-1])


def magnitude(x: Value) -> Value:
    """|x| (and the canonical NaN for NaN)."""
    return Cat(x[:-1], Const(0, 1))


def order_key(x: Value) -> Value:
    """Unsigned integer that orders floats as `numerics.maximum` does: −inf < … < −0 < +0 < … < +inf < NaN."""
    return Cat(x[:-1] ^ x[-1].replicate(len(x) - 1), ~x[-1])


def from_order_key(key: Value) -> Value:
    """The float that `order_key` made `key` of."""
    return Cat(key[:-1] ^ (~key[-1]).replicate(len(key) - 1), ~key[-1])


def maximum(m: Module, a: Value, b: Value) -> Signal:
    """The greater of `a` and `b` by `order_key`, combinational."""
    greater = Signal(len(a))
    m.d.comb += greater.eq(Mux(order_key(b) < order_key(a), a, b))
    return greater


def resized(m: Module, x: Value, bits: int, name: str = "resized") -> Value:
    """The float `x` with `bits` bits, combinational. Of fewer bits: rounded to nearest even, but no finite number to
    infinity; subnormals to zero, NaN to the one NaN. Otherwise as it is, zeros below."""
    dropped = len(x) - bits
    if dropped <= 0:
        return Cat(Const(0, -dropped), x)
    result = Signal(bits, name=name)
    fields = Fields(x)
    with m.If(fields.nan):
        m.d.comb += result.eq(upper(NAN, bits))
    with m.Elif(fields.zero):
        m.d.comb += result.eq(Cat(Const(0, bits - 1), fields.sign))
    with m.Else():
        m.d.comb += result.eq(shortened(x, bits))
    return result


def shortened(x: Value, bits: int) -> Value:
    """The same of a float that is clean, as every operator leaves it."""
    dropped = len(x) - bits
    if dropped <= 0:
        return Cat(Const(0, -dropped), x)
    round_up = x[dropped - 1] & (x[dropped] | (x[: dropped - 1] != 0)) & (x[dropped:-1] != upper(LARGEST, bits)[:-1])
    return (x[dropped:] + round_up)[:bits]  # a carry out of the fraction is the next exponent


def cleaned(m: Module, x: Value) -> Signal:
    """`x`, but zero for subnormals and the one NaN for any, combinational."""
    result, fields = Signal(len(x), name="cleaned"), Fields(x)
    m.d.comb += result.eq(Mux(fields.nan, upper(NAN, len(x)), Cat(Mux(fields.zero, 0, x[:-1]), x[-1])))
    return result


def upper(x: Value, bits: int) -> Value:
    """A float32 of which no more than the upper `bits` bits are not zero, in so many."""
    return x[32 - bits :]


def constant(number: float | np.floating, precision: int) -> int:
    """The bits of a number rounded to so many significand bits."""
    return int(to_bits(rounded_to(number, precision))) >> WIDE - precision


def to_bf16(m: Module, x: Value) -> Value:
    """The upper 16 bits of `numerics.to_bf16(x)`."""
    return resized(m, x, 16, "code")


def shifted_right(
    m: Module, value: Value, places: Value, name: str, least: int = 0, lowest: Value | None = None
) -> Value:
    """`value` shifted right by `places` · 2^`least`, by halving: bit 0 of the result is the or of itself and all bits
    that are shifted out (`shifted_out`), which is found out beside the shifts, or elsewhere and given as `lowest`."""
    if lowest is None:
        lowest = shifted_out(value, places, least)
    for level in reversed(range(len(places))):
        step = 1 << level + least
        shifted = Signal(len(value), name=f"{name}_{step}")
        m.d.comb += shifted.eq(Mux(places[level], value[step:], value))
        value = shifted
    return Cat(lowest, value[1:])


def shifted_out(value: Value, places: Value, least: int = 0) -> Value:
    """Whether there is a one in the lowest bit of `value` or in what a shift right by `places` · 2^`least` brings
    there."""
    return chosen([value[: (count << least) + 1].any() for count in range(1 << len(places))], places)


def normalised(
    m: Module, value: Value, steps: Sequence[int], name: str, *, fill: Value | int = 0
) -> tuple[Value, Value]:
    """`value` shifted left by those of `steps`, falling powers of two on end, whose upper bits are all zero, `fill`
    coming in below; and which steps these are, the least in bit 0.

    Whether a step is taken hangs on those before it, but all that it may come to is found out beside them.
    """
    zeros: list[Value] = []
    below = Value.cast(fill)[0].replicate(sum(steps))
    padded = Cat(below, value)
    for step in steps:
        empty, shifted = Signal(name=f"{name}_{step}_empty"), Signal(len(value), name=f"{name}_{step}")
        places = [2 * step * taken for taken in range(1 << len(zeros))]  # shifts before it
        empty_at = [~padded[len(padded) - place - step :][:step].any() for place in places]
        m.d.comb += [
            empty.eq(chosen(empty_at, Cat(zeros))),
            shifted.eq(Mux(empty, Cat(below[:step], value[:-step]), value)),
        ]
        zeros.insert(0, empty)
        value = shifted
    return value, Cat(zeros)


def chosen(values: Sequence[Value], number: Value) -> Value:
    """`values[number]`: a tree of choices, of which the first bit is the last to be looked at."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return Mux(number[len(number) - 1], chosen(values[half:], number[:-1]), chosen(values[:half], number[:-1]))


def with_carry(a: Value, b: Value, carry: Value) -> Value:
    """a + b + carry modulo their width, in one adder."""
    return (Cat(carry, a) + Cat(carry, b))[1 : len(a) + 1]


def increased(m: Module, exponent: Value, kept: Value, round_up: Value) -> Signal:
    """The exponent over the fraction, a unit in the last place more if `round_up`."""
    result = Signal(len(exponent) + len(kept) - 1, name="rounded")
    m.d.comb += result.eq(Cat(kept[:-1], exponent) + round_up)
    return result


def compose(
    m: Module, sign: Value, exponent: Value, fraction: Value, *, zero: Value, infinite: Value, nan: Value,
    overflow: Value | int = 0,
):  # fmt: skip
    """The float of these parts (exponent biased, 8 bits). NaN, infinity and zero go before it, in this order, then the
    largest number in case of `overflow`."""
    width = 1 + EXPONENT_BITS + len(fraction)
    bits = Signal(width, name="composed")
    with m.If(nan):
        m.d.comb += bits.eq(upper(NAN, width))
    with m.Elif(infinite):
        m.d.comb += bits.eq(Cat(Const(0, len(fraction)), Const(EXPONENT_MAX, EXPONENT_BITS), sign))
    with m.Elif(zero):
        m.d.comb += bits.eq(Cat(Const(0, width - 1), sign))
    with m.Elif(overflow):
        m.d.comb += bits.eq(Cat(upper(LARGEST, width)[:-1], sign))
    with m.Else():
        m.d.comb += bits.eq(Cat(fraction, exponent[:EXPONENT_BITS], sign))
    return bits

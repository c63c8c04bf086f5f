"""float32 as the hardware sees it: fields, order, rounding; combinational. And what all operators have in common.

The rules are those of `arch/numerics.py`: round to nearest even, subnormals are zeros of their sign, one NaN.
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .verilog import VerilogPlatform, shared

FRACTION_BITS = 23
EXPONENT_BIAS = 127
EXPONENT_MAX = 255  # the exponent of infinities and NaNs
ZERO = Const(0, 32)
ONE = Const(0x3F80_0000, 32)
MINUS_INFINITY = Const(0xFF80_0000, 32)
NAN = Const(0x7FC0_0000, 32)
LARGEST = Const(0x7F7F_FFFF, 32)


class Operator(wiring.Component):
    """A pipeline that takes operands every cycle: `a` (and `b`) of 32 bits in, `o` out a fixed number of cycles later.

    Nothing stalls it and nothing tells it what is valid, so its registers are not reset. However many instances a
    design has, `to_verilog` writes one module; subclasses name it and give the logic.
    """

    module: str  # in Verilog

    def __init__(self, operands: str = "a", output_shape=32):
        super().__init__({**{name: In(32) for name in operands}, "o": Out(output_shape)})

    def logic(self) -> Module:
        """The pipeline from `a` and `b` to `o`."""
        raise NotImplementedError

    def elaborate(self, platform):
        if isinstance(platform, VerilogPlatform) and platform.components.get(self.module) is not self:
            return shared(platform, self, self.module)
        return self.logic()


class Fields:
    """The parts of a 32-bit float32 `bits`, and what kind of number it is."""

    def __init__(self, bits: Value):
        self.fraction = bits[:23]
        self.exponent = bits[23:31]
        self.sign = bits[31]
        self.zero = self.exponent == 0  # a subnormal is a zero
        self.special = self.exponent == EXPONENT_MAX  # an infinity or NaN
        self.infinite = self.special & (self.fraction == 0)
        self.nan = self.special & (self.fraction != 0)

    @property
    def mantissa(self) -> Value:
        """24 bits, the leading one included; zero for zeros."""
        return Mux(self.zero, 0, Cat(self.fraction, Const(1, 1)))


def negate(x: Value) -> Value:
    """−x, also for zeros and infinities. Turns the sign of a NaN: give the result to an operator, not to memory."""
    return Cat(x[:31], ~x[31])


def magnitude(x: Value) -> Value:
    """|x| (and the canonical NaN for NaN)."""
    return Cat(x[:31], Const(0, 1))


def order_key(x: Value) -> Value:
    """Signed 32-bit integer that orders floats as `numerics.maximum` does: −inf < … < −0 < +0 < … < +inf < NaN."""
    return Cat(x[:31] ^ x[31].replicate(31), x[31]).as_signed()


def from_order_key(key: Value) -> Value:
    """The float32 that `order_key` made `key` of: the same function again."""
    return order_key(key).as_unsigned()


def maximum(m: Module, a: Value, b: Value) -> Signal:
    """The greater of `a` and `b` by `order_key`, 32 bits, combinational."""
    greater = Signal(32)
    m.d.comb += greater.eq(Mux(order_key(a) > order_key(b), a, b))
    return greater


def to_bf16(m: Module, x: Value) -> Signal:
    """The upper 16 bits of `numerics.to_bf16(x)`: rounded to nearest even, but no finite number to infinity; subnormals
    to zero, NaN to 0x7FC0."""
    code = Signal(16)
    fields = Fields(x)
    round_up = x[15] & (x[16] | (x[:15] != 0)) & (x[16:31] != LARGEST[16:31])
    with m.If(fields.nan):
        m.d.comb += code.eq(NAN[16:])
    with m.Elif(fields.zero):
        m.d.comb += code.eq(Cat(Const(0, 15), fields.sign))
    with m.Else():
        m.d.comb += code.eq(x[16:] + round_up)  # a carry out of the fraction is the next exponent
    return code


def leading_zeros(m: Module, value: Value, name: str = "zeros") -> Signal:
    """How many zeros stand above the highest one of `value`, by halving; meaningless if there is no one."""
    levels = max(1, (len(value) - 1).bit_length())
    count = Signal(levels, name=name)
    part = Cat(Const(0, (1 << levels) - len(value)), value)  # zeros below are never counted
    for level in reversed(range(levels)):
        half = 1 << level
        upper_empty = part[half:] == 0
        m.d.comb += count[level].eq(upper_empty)
        chosen = Signal(half, name=f"{name}_{half}")
        m.d.comb += chosen.eq(Mux(upper_empty, part[:half], part[half:]))
        part = chosen
    return count


def rounded(m: Module, exponent: Value, kept: Value, lower: Value, name: str = "rounded") -> Signal:
    """Round to nearest even: exponent (its own width) over 23 fraction bits, a carry going into the exponent.

    `kept` are the 24 mantissa bits with the leading one on top, `lower` the bits below them.
    """
    round_up = lower[-1] & (kept[0] | (lower[:-1] != 0))
    result = Signal(len(exponent) + FRACTION_BITS, name=name)
    m.d.comb += result.eq(Cat(kept[:FRACTION_BITS], exponent) + round_up)
    return result


def compose(
    m: Module, sign: Value, exponent: Value, fraction: Value, *, zero: Value, infinite: Value, nan: Value,
    overflow: Value | int = 0,
):  # fmt: skip
    """The float32 of these parts (exponent biased, 8 bits; fraction 23 bits). NaN, infinity and zero go before it, in
    this order, then the largest number in case of `overflow`."""
    bits = Signal(32, name="composed")
    with m.If(nan):
        m.d.comb += bits.eq(NAN)
    with m.Elif(infinite):
        m.d.comb += bits.eq(Cat(Const(0, 23), Const(EXPONENT_MAX, 8), sign))
    with m.Elif(zero):
        m.d.comb += bits.eq(Cat(Const(0, 31), sign))
    with m.Elif(overflow):
        m.d.comb += bits.eq(Cat(LARGEST[:31], sign))
    with m.Else():
        m.d.comb += bits.eq(Cat(fraction, exponent[:8], sign))
    return bits

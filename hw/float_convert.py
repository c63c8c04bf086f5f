"""Between integers and float32: the accumulator on its way in, codes of 8 and 16 bits on their way out."""

from amaranth import Cat, Const, Module, Mux, Signal, signed

from .float_format import EXPONENT_BIAS, Fields, Operator, leading_zeros, rounded
from .pipeline import register


class ConvertInt32(Operator):
    """o = float32 of the int32 `a` as `numerics.from_int32`, CONVERT_CYCLES (2) later.

    Cycle 1: magnitude and its leading zeros. Cycle 2: normalise and round.
    """

    module = "heddle_convert"

    def logic(self):
        m = Module()
        magnitude = Signal(32)
        m.d.comb += magnitude.eq(Mux(self.a[31], -self.a, self.a))
        zeros = register(m, leading_zeros(m, magnitude), "zeros")
        magnitude_1 = register(m, magnitude, "magnitude")
        sign = register(m, self.a[31], "sign")

        normalised, exponent = Signal(32), Signal(8)
        m.d.comb += [normalised.eq(magnitude_1 << zeros), exponent.eq(EXPONENT_BIAS + 31 - zeros)]
        result = rounded(m, exponent, normalised[8:], normalised[:8])
        m.d.comb += self.o.eq(register(m, Mux(normalised[31], Cat(result, sign), 0), "o"))
        return m


class Round(Operator):
    """o = the nearest integer to the float32 `a`, ties to even, saturated to ±limit; 0 for NaN. ROUND_CYCLES (2) later.

    `limit` takes all `bits` but the sign's. Cycle 1: align to the binary point. Cycle 2: round.
    """

    bits: int
    limit: int

    def __init__(self):
        super().__init__("a", signed(self.bits))

    def logic(self):
        m = Module()
        a, bits = Fields(self.a), self.bits
        least, most = EXPONENT_BIAS - 1, EXPONENT_BIAS + bits - 1  # of 1/2, the least that may round to 1; of too much
        places, aligned = Signal(range(bits)), Signal(24 + bits)  # the binary point is below bit 24
        m.d.comb += [places.eq(a.exponent - least), aligned.eq(a.mantissa << places)]
        whole = register(m, aligned[24:], "whole")
        half = register(m, aligned[23], "half")
        below = register(m, aligned[:23].any(), "below")
        large = register(m, a.exponent >= most, "large")
        nothing = register(m, (a.exponent < least) | a.nan, "nothing")
        sign = register(m, a.sign, "sign")

        code = Signal(bits)
        m.d.comb += code.eq(whole + (half & (whole[0] | below)))
        saturated = Mux(large | (code > self.limit), Const(self.limit, bits), code)
        m.d.comb += self.o.eq(register(m, Mux(nothing, 0, Mux(sign, -saturated, saturated))[:bits], "o"))
        return m


class RoundInt8(Round):
    """A code of 8 bits, as `numerics.round_int8`."""

    module = "heddle_round"
    bits = 8
    limit = 127  # codes are symmetric: −128 is never made


class RoundInt16(Round):
    """A code of two digits, as `numerics.encode_rows` makes before it takes one of them."""

    module = "heddle_round_16"
    bits = 16
    limit = 127 * 256 + 127  # so that no digit goes beyond 127

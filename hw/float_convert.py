"""Between integers and float32: the accumulator on its way in, int8 codes on their way out."""

from amaranth import Cat, Const, Module, Mux, Signal, signed

from .float_format import EXPONENT_BIAS, Fields, Operator, leading_zeros, rounded
from .pipeline import register

CODE_LIMIT = 127  # codes are symmetric: −128 is never made


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


class RoundInt8(Operator):
    """o = signed 8-bit code of the float32 `a` as `numerics.round_int8`, ROUND_CYCLES (2) later.

    Nearest integer, ties to even, saturated to ±127; 0 for NaN. Cycle 1: align to the binary point. Cycle 2: round.
    """

    module = "heddle_round"

    def __init__(self):
        super().__init__("a", signed(8))

    def logic(self):
        m = Module()
        a = Fields(self.a)
        least, most = EXPONENT_BIAS - 1, EXPONENT_BIAS + 7  # of 1/2, the least that may round to 1, and of 128
        places, aligned = Signal(3), Signal(32)  # the binary point is below bit 24
        m.d.comb += [places.eq(a.exponent - least), aligned.eq(a.mantissa << places)]
        whole = register(m, aligned[24:], "whole")
        half = register(m, aligned[23], "half")
        below = register(m, aligned[:23].any(), "below")
        large = register(m, a.exponent >= most, "large")
        nothing = register(m, (a.exponent < least) | a.nan, "nothing")
        sign = register(m, a.sign, "sign")

        code = Signal(8)
        m.d.comb += code.eq(whole + (half & (whole[0] | below)))
        saturated = Mux(large | code[7], Const(CODE_LIMIT, 8), code)
        m.d.comb += self.o.eq(register(m, Mux(nothing, 0, Mux(sign, -saturated, saturated))[:8], "o"))
        return m

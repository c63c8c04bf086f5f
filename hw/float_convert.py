"""Between integers and float32: the accumulator on its way in, int8 codes on their way out."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .float_format import EXPONENT_BIAS, Fields, leading_zeros, rounded

CODE_LIMIT = 127  # codes are symmetric: −128 is never made


class ConvertInt32(wiring.Component):
    """o = float32 of the int32 `a` as `numerics.from_int32`, CONVERT_CYCLES (2) later; takes an operand every cycle.

    Cycle 1: magnitude and its leading zeros. Cycle 2: normalise and round.
    """

    a: In(signed(32))
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        magnitude, magnitude_1 = Signal(32), Signal(32)
        zeros_1, sign_1 = Signal(5), Signal()
        m.d.comb += magnitude.eq(Mux(self.a[31], -self.a, self.a))
        m.d.sync += [magnitude_1.eq(magnitude), zeros_1.eq(leading_zeros(m, magnitude)), sign_1.eq(self.a[31])]

        normalised, exponent = Signal(32), Signal(8)
        m.d.comb += [normalised.eq(magnitude_1 << zeros_1), exponent.eq(EXPONENT_BIAS + 31 - zeros_1)]
        result = rounded(m, exponent, normalised[8:], normalised[:8])
        m.d.sync += self.o.eq(Mux(normalised[31], Cat(result, sign_1), 0))
        return m


class RoundInt8(wiring.Component):
    """o = int8 code of the float32 `a` as `numerics.round_int8`, ROUND_CYCLES (2) later; takes an operand every cycle.

    Nearest integer, ties to even, saturated to ±127; 0 for NaN. Cycle 1: align to the binary point. Cycle 2: round.
    """

    a: In(32)
    o: Out(signed(8))

    def elaborate(self, platform):
        m = Module()
        a = Fields(self.a)
        least, most = EXPONENT_BIAS - 1, EXPONENT_BIAS + 7  # from 1/2, the least that can round to 1, to 128
        places = Signal(4)
        aligned = Signal(32)  # the binary point is below bit 24
        m.d.comb += [places.eq(a.exponent - least), aligned.eq(a.mantissa << places[:3])]

        whole = Signal(8)
        half, below, large, nothing, sign = (
            Signal(name=name) for name in ("half", "below", "large", "nothing", "sign")
        )
        m.d.sync += [
            whole.eq(aligned[24:]),
            half.eq(aligned[23]),
            below.eq(aligned[:23].any()),
            large.eq((a.exponent >= most) & ~a.nan),
            nothing.eq((a.exponent < least) | a.nan),
            sign.eq(a.sign),
        ]

        code = Signal(8)
        m.d.comb += code.eq(whole + (half & (whole[0] | below)))
        saturated = Mux(large | code[7], C(CODE_LIMIT, 8), code)
        m.d.sync += self.o.eq(Mux(nothing, 0, Mux(sign, -saturated, saturated)))
        return m

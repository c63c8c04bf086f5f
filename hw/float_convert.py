"""Between integers, float32 and the format of vector arithmetic: what memory holds on its way in, codes on their way
out."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed

from ..arch.config import HardwareConfig
from .float_format import EXPONENT_BIAS, ONE, WIDE, Fields, Operator, increased, normalised, resized, upper
from .pipeline import register


def narrowed(m: Module, x: Value, config: HardwareConfig, name: str) -> Value:
    """The float32 `x` in the format of vector arithmetic, `narrow_cycles` later; as it is where that is float32."""
    return register(m, resized(m, x, config.vector_bits), name) if config.narrow_cycles else x


class ConvertInt32(Operator):
    """o = the float of the int32 `a` as `numerics.from_int32`, CONVERT_CYCLES (2) later.

    Cycle 1: normalise, coarsely. Cycle 2: finely, and round. A negative number has no carry to wait for: its magnitude
    is that of its inverted bits followed by ones without end, which are what is shifted in.
    """

    module = "heddle_convert"

    def __init__(self, precision: int = WIDE):
        super().__init__(precision, input_shape=32)

    def logic(self):
        m = Module()
        negative = self.a[31]
        high, high_zeros = normalised(m, self.a ^ negative.replicate(32), [16, 8, 4], "high", fill=negative)
        high, high_zeros = register(m, high, "high"), register(m, high_zeros, "high_zeros")
        sign = register(m, negative, "sign")

        full, zeros = normalised(m, high, [2, 1], "full", fill=sign)
        exponent = Signal(8)
        m.d.comb += exponent.eq(EXPONENT_BIAS + 31 - Cat(zeros, high_zeros))
        p = self._precision
        kept, half = full[-p:], full[-p - 1]
        # Whether anything is below that, in `a` itself: the ones of a negative number are the end of its magnitude.
        # What stays below whatever the last steps do does not wait for them.
        low = 31 - p - 3
        flip = sign.replicate(32)
        below = (high ^ flip)[:low].any() | (full ^ flip)[low : low + 3].any()
        # A half and ones without end are a whole; ones without end alone are a unit of the place above them.
        round_up = Mux(sign, half | (kept[0] & ~below), half & (kept[0] | below))
        result = increased(m, exponent, kept, round_up)
        unit = Cat(upper(ONE, len(self.o))[:-1], sign)  # of −1 only ones without end are left
        m.d.comb += self.o.eq(register(m, Mux(full[-1], Cat(result, sign), Mux(sign, unit, 0)), "o"))
        return m


class Round(Operator):
    """o = the nearest integer to the float `a`, ties to even, saturated to ±limit; 0 for NaN. ROUND_CYCLES (2) later.

    `limit` takes all `bits` but the sign's. Cycle 1: align to the binary point. Cycle 2: round.
    """

    bits: int
    limit: int

    def __init__(self, precision: int = WIDE):
        super().__init__(precision, output_shape=signed(self.bits))

    def logic(self):
        m = Module()
        a, bits = Fields(self.a), self.bits
        least, most = EXPONENT_BIAS - 1, EXPONENT_BIAS + bits - 1  # of 1/2, the least that may round to 1; of too much
        places, aligned = Signal(range(bits)), Signal(self._precision + bits)  # its point is below bit p
        m.d.comb += [places.eq(a.exponent - least), aligned.eq(a.mantissa << places)]
        p = self._precision
        whole = register(m, aligned[p:], "whole")
        half = register(m, aligned[p - 1], "half")
        below = register(m, aligned[: p - 1].any(), "below")
        large = register(m, a.exponent >= most, "large")
        nothing = register(m, (a.exponent < least) | a.nan, "nothing")
        sign = register(m, a.sign, "sign")

        # −(whole + 1) is ~whole, and −whole is ~whole + 1.
        round_up = half & (whole[0] | below)
        code, over = Signal(bits), Signal()
        m.d.comb += [
            code.eq((whole ^ sign.replicate(bits)) + (sign ^ round_up)),
            over.eq(large | (whole > self.limit) | ((whole == self.limit) & round_up)),
        ]
        limit = Mux(sign, Const(-self.limit, signed(bits)), Const(self.limit, signed(bits)))
        m.d.comb += self.o.eq(register(m, Mux(nothing, 0, Mux(over, limit, code.as_signed()))[:bits], "o"))
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

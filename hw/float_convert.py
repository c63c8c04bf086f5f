"""Between integers, float32 and the format of vector arithmetic: what memory holds on its way in, codes on their way
out."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed

from ..arch.config import SUM_BITS, HardwareConfig
from .float_format import (
    EXPONENT_BIAS,
    ONE,
    WIDE,
    Fields,
    Operator,
    chosen,
    cleaned,
    increased,
    normalised,
    resized,
    upper,
)
from .pipeline import register


def narrowed(m: Module, x: Value, config: HardwareConfig, name: str) -> Value:
    """The float32 `x` in the format of vector arithmetic, `narrow_cycles` later; as it is where that is float32."""
    return register(m, resized(m, x, config.vector_bits), name) if config.narrow_cycles else x


def entered(m: Module, x: Value, config: HardwareConfig, name: str) -> Value:
    """The bits `x` of a float32 as a number of vector arithmetic, a cycle later: rounded to its format, and clean."""
    return register(m, resized(m, x, config.vector_bits) if config.narrow_cycles else cleaned(m, x), name)


class ConvertInteger(Operator):
    """o = the float nearest to the signed integer `a`, ties to even.

    Each cycle takes some of the `steps` of normalisation, the last one rounds. A negative number has no carry to wait
    for: its magnitude is that of its inverted bits followed by ones without end, which are what is shifted in.
    """

    bits: int  # of `a`, with its sign
    steps: tuple[tuple[int, ...], ...]  # of each cycle: falling powers of two

    def __init__(self, precision: int = WIDE):
        super().__init__(precision, input_shape=self.bits)

    def logic(self):
        m = Module()
        p, sign = self._precision, self.a[-1]
        value: Value = self.a[:-1] ^ sign.replicate(self.bits - 1)
        zeros: list[Value] = []  # which steps were taken, the last first
        below, ahead = Const(0, 1), sum(map(sum, self.steps))
        for cycle, steps in enumerate(self.steps, 1):
            if cycle > 1:
                value, zeros = register(m, value, f"value_{cycle}"), [register(m, Cat(zeros), f"zeros_{cycle}")]
                below, sign = register(m, below, f"below_{cycle}"), register(m, sign, f"sign_{cycle}")
            ahead -= sum(steps)
            # What no later step brings up to the bit to round by counts only by whether it is what is shifted in.
            spare = max(0, len(value) - (p + 1 + ahead))
            spares = [max(0, spare - place) for place in range(0, 2 * steps[0], steps[-1])]  # before they are shifted
            others = [(value[:each] ^ sign.replicate(each)).any() if each else Const(0, 1) for each in spares]
            value, empties = normalised(m, value, steps, f"cycle_{cycle}", fill=sign)
            below |= chosen(others, empties)
            value, zeros = value[spare:], [empties, *zeros]
        exponent = Signal(8)
        m.d.comb += exponent.eq(EXPONENT_BIAS + self.bits - 2 - Cat(zeros))
        kept, half = value[-p:], value[-p - 1]
        # A half and ones without end are a whole; ones without end alone are a unit of the place above them.
        round_up = Mux(sign, half | (kept[0] & ~below), half & (kept[0] | below))
        result = increased(m, exponent, kept, round_up)
        unit = Cat(upper(ONE, len(self.o))[:-1], sign)  # of −1 only ones without end are left
        m.d.comb += self.o.eq(register(m, Mux(value[-1], Cat(result, sign), Mux(sign, unit, 0)), "o"))
        return m


class ConvertInt32(ConvertInteger):
    """Of an int32, as `numerics.from_int32`, CONVERT_CYCLES (2) later."""

    module = "heddle_convert"
    bits = 32
    steps = (16, 8, 4), (2, 1)


class ConvertSum(ConvertInteger):
    """Of a sum of panels of sums, as `Arithmetic.from_integer`, CONVERT_SUM_CYCLES (3) later."""

    module = "heddle_convert_sum"
    bits = SUM_BITS
    steps = (32, 16), (8, 4), (2, 1)


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
            over.eq(large | (whole >= self.limit + 1) | ((whole == self.limit) & round_up)),
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

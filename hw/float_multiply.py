"""Float multiplication: one product of mantissas, rounded once, saturated."""

from amaranth import Cat, Const, Module, Mux, Signal, Value

from .float_format import EXPONENT_BIAS, EXPONENT_BITS, EXPONENT_MAX, WIDE, Fields, Operator, compose, with_carry
from .pipeline import delay, register

MULTIPLIER_BITS = 18  # of the operands of a multiplier block of an FPGA
_HUGE = EXPONENT_MAX + EXPONENT_BIAS  # the sum of exponents of a product that is not finite, whatever its mantissa


class Multiply(Operator):
    """o = a · b as `numerics.multiply`, MULTIPLY_CYCLES (3) later.

    Cycles 1 and 2: product of mantissas, sum of exponents. Cycle 3: normalise and round, range and special values.
    A product below 2⁻¹²⁶ before rounding is zero, also when rounding would reach 2⁻¹²⁶; one beyond the largest number
    is that number.
    """

    module = "heddle_multiply"

    def __init__(self, precision: int = WIDE):
        super().__init__(precision, "ab")

    def logic(self):
        m = Module()
        a, b, p = Fields(self.a), Fields(self.b), self._precision
        mantissas = product(m, Cat(a.fraction, Const(1, 1)), Cat(b.fraction, Const(1, 1)))
        twice_biased = register(m, a.exponent + b.exponent, "twice_biased")
        # One less than the exponent of a product below 2: what is added for its leading one.
        less_bias = Cat(twice_biased[:7], ~twice_biased[7], twice_biased[7] ^ ~twice_biased[8])
        exponent = register(m, less_bias[:EXPONENT_BITS], "exponent")
        sign = delay(m, a.sign ^ b.sign, 2, "sign", reset_less=True)
        invalid = (a.infinite & b.zero) | (a.zero & b.infinite)
        nan = delay(m, a.nan | b.nan | invalid, 2, "nan", reset_less=True)
        infinite = delay(m, a.infinite | b.infinite, 2, "infinite", reset_less=True)
        zero = register(m, a.zero | b.zero, "zero")

        # Near the ends of the range it hangs on the product, and on its rounding, whether the exponent is beyond.
        tiny = register(m, zero | (twice_biased < EXPONENT_BIAS), "tiny")
        least = register(m, twice_biased == EXPONENT_BIAS, "least")
        huge = register(m, twice_biased >= _HUGE, "huge")
        most, next_to_most = (register(m, twice_biased == _HUGE - below, f"huge_{below}") for below in (1, 2))

        top = mantissas[-1]  # it is 2 or more
        lower, kept = Signal(p), Signal(p)
        m.d.comb += Cat(lower, kept).eq(Mux(top, mantissas, mantissas << 1))
        round_up = lower[-1] & (kept[0] | (lower[:-1] != 0))
        result = with_carry(Cat(Const(0, p - 1), exponent), Cat(kept[:-1], ~top, top), round_up)
        carries = kept.all() & lower[-1]  # of rounding, into the exponent
        overflows = huge | (most & (top | carries)) | (next_to_most & top & carries)
        bits = compose(
            m, sign, result[p - 1 :], result[: p - 1],
            zero=tiny | (least & ~top), infinite=infinite, nan=nan, overflow=overflows,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits, "o"))
        return m


def product(m: Module, a: Value, b: Value) -> Value:
    """a · b of two mantissas, two cycles later: the sum of products of halves, if multipliers are too narrow."""
    width = len(a)
    if width <= MULTIPLIER_BITS:
        return delay(m, a * b, 2, "product", reset_less=True)
    half = width // 2
    outer = register(m, Cat(a[:half] * b[:half], a[half:] * b[half:]), "outer")
    one, other = register(m, a[:half] * b[half:], "one"), register(m, a[half:] * b[:half], "other")
    return register(m, Cat(outer[:half], (outer[half:] + one + other)[: 2 * width - half]), "product")

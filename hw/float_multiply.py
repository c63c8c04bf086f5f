"""Float multiplication: one product of mantissas, rounded once, saturated."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed

from .float_format import EXPONENT_BIAS, EXPONENT_MAX, WIDE, Fields, Operator, compose, rounded
from .pipeline import delay, register

_MULTIPLIER_BITS = 18  # of the operands of a multiplier block of an FPGA


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
        exponent = register(m, twice_biased - EXPONENT_BIAS, "exponent").as_signed()
        sign = delay(m, a.sign ^ b.sign, 2, "sign", reset_less=True)
        invalid = (a.infinite & b.zero) | (a.zero & b.infinite)
        nan = delay(m, a.nan | b.nan | invalid, 2, "nan", reset_less=True)
        infinite = delay(m, a.infinite | b.infinite, 2, "infinite", reset_less=True)
        zero = delay(m, a.zero | b.zero, 2, "zero", reset_less=True)

        top = mantissas[-1]  # it is 2 or more
        lower, kept, exact_exponent = Signal(p), Signal(p), Signal(signed(11))  # the exponent is that before rounding
        m.d.comb += [Cat(lower, kept).eq(Mux(top, mantissas, mantissas << 1)), exact_exponent.eq(exponent + top)]
        result = rounded(m, exact_exponent[:8], kept, lower)
        # What rounds up to 2¹²⁸ is seen before the carry of rounding is there.
        rounds_over = (exact_exponent == EXPONENT_MAX - 1) & kept.all() & lower[-1]
        bits = compose(
            m, sign, result[p - 1 :], result[: p - 1],
            zero=zero | (exact_exponent <= 0), infinite=infinite, nan=nan,
            overflow=(exact_exponent >= EXPONENT_MAX) | rounds_over,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits, "o"))
        return m


def product(m: Module, a: Value, b: Value) -> Value:
    """a · b of two mantissas, two cycles later: the sum of products of halves, if multipliers are too narrow."""
    width = len(a)
    if width <= _MULTIPLIER_BITS:
        return delay(m, a * b, 2, "product", reset_less=True)
    half = width // 2
    outer = register(m, Cat(a[:half] * b[:half], a[half:] * b[half:]), "outer")
    one, other = register(m, a[:half] * b[half:], "one"), register(m, a[half:] * b[:half], "other")
    return register(m, Cat(outer[:half], (outer[half:] + one + other)[: 2 * width - half]), "product")

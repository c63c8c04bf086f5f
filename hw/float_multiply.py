"""float32 multiplication: one 24 × 24 product, rounded once, saturated."""

from amaranth import Cat, Const, Module, Mux, Signal

from .float_format import EXPONENT_BIAS, EXPONENT_MAX, Fields, Operator, compose, rounded
from .pipeline import delay, register


class Multiply(Operator):
    """o = a · b as `numerics.multiply`, MULTIPLY_CYCLES (3) later.

    Cycle 1: product of mantissas, sum of exponents. Cycle 2: normalise and round. Cycle 3: range and special values.
    A product below 2⁻¹²⁶ before rounding is zero, also when rounding would reach 2⁻¹²⁶; one beyond the largest number
    is that number.
    """

    module = "heddle_multiply"

    def __init__(self):
        super().__init__("ab")

    def logic(self):
        m = Module()
        a, b = Fields(self.a), Fields(self.b)
        product = register(m, Cat(a.fraction, Const(1, 1)) * Cat(b.fraction, Const(1, 1)), "product")
        exponent = register(m, a.exponent + b.exponent, "exponent")  # biased twice
        sign = delay(m, a.sign ^ b.sign, 2, "sign", reset_less=True)
        invalid = (a.infinite & b.zero) | (a.zero & b.infinite)
        nan = delay(m, a.nan | b.nan | invalid, 2, "nan", reset_less=True)
        infinite = delay(m, a.infinite | b.infinite, 2, "infinite", reset_less=True)
        zero = register(m, a.zero | b.zero, "zero")

        normalised = Signal(48)
        exact_exponent = Signal(10)  # before rounding
        m.d.comb += [normalised.eq(Mux(product[47], product, product << 1)), exact_exponent.eq(exponent + product[47])]
        result = register(m, rounded(m, exact_exponent, normalised[24:], normalised[:24]), "result")
        tiny = register(m, zero | (exact_exponent <= EXPONENT_BIAS), "tiny")

        overflow = result[23:] >= EXPONENT_MAX + EXPONENT_BIAS
        bits = compose(
            m, sign, result[23:] - EXPONENT_BIAS, result[:23],
            zero=tiny, infinite=infinite, nan=nan, overflow=overflow,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits, "o"))
        return m

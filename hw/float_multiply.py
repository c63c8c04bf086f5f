"""float32 multiplication: one 24 × 24 product, rounded once."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .float_format import EXPONENT_BIAS, EXPONENT_MAX, NAN, Fields, rounded


class Multiply(wiring.Component):
    """o = a · b as `numerics.multiply`, MULTIPLY_CYCLES (3) later; takes operands every cycle.

    Cycle 1: product of mantissas, sum of exponents. Cycle 2: normalise and round. Cycle 3: range and special values.
    A product below 2⁻¹²⁶ before rounding is zero, also when rounding would reach 2⁻¹²⁶.
    """

    a: In(32)
    b: In(32)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        a, b = Fields(self.a), Fields(self.b)

        product = Signal(48)
        exponent = Signal(9)  # biased twice
        sign_1, nan_1, infinite_1, zero_1 = (Signal(name=f"{name}_1") for name in ("sign", "nan", "infinite", "zero"))
        m.d.sync += [
            product.eq(Cat(a.fraction, C(1, 1)) * Cat(b.fraction, C(1, 1))),
            exponent.eq(a.exponent + b.exponent),
            sign_1.eq(a.sign ^ b.sign),
            nan_1.eq(a.nan | b.nan | (a.infinite & b.zero) | (a.zero & b.infinite)),
            infinite_1.eq(a.infinite | b.infinite),
            zero_1.eq(a.zero | b.zero),
        ]

        normalised = Signal(48)
        true_exponent = Signal(10)  # biased twice
        sum_2 = Signal(33)
        sign_2, nan_2, infinite_2, zero_2 = (Signal(name=f"{name}_2") for name in ("sign", "nan", "infinite", "zero"))
        m.d.comb += [normalised.eq(Mux(product[47], product, product << 1)), true_exponent.eq(exponent + product[47])]
        m.d.sync += [
            sum_2.eq(rounded(m, true_exponent, normalised[24:], normalised[:24])),
            sign_2.eq(sign_1),
            nan_2.eq(nan_1),
            infinite_2.eq(infinite_1),
            zero_2.eq(zero_1 | (true_exponent <= EXPONENT_BIAS)),
        ]

        biased = Signal(10)
        m.d.comb += biased.eq(sum_2[23:])
        with m.If(nan_2):
            m.d.sync += self.o.eq(NAN)
        with m.Elif(infinite_2):
            m.d.sync += self.o.eq(Cat(C(0, 23), C(EXPONENT_MAX, 8), sign_2))
        with m.Elif(zero_2):
            m.d.sync += self.o.eq(Cat(C(0, 31), sign_2))
        with m.Elif(biased >= EXPONENT_MAX + EXPONENT_BIAS):
            m.d.sync += self.o.eq(Cat(C(0, 23), C(EXPONENT_MAX, 8), sign_2))
        with m.Else():
            m.d.sync += self.o.eq(Cat(sum_2[:23], (biased - EXPONENT_BIAS)[:8], sign_2))
        return m

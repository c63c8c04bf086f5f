"""float32 addition: align the smaller operand, add, normalise, round, saturate."""

from amaranth import Cat, Const, Module, Mux, Signal

from .float_format import EXPONENT_MAX, Fields, Operator, compose, leading_zeros, rounded
from .pipeline import delay, register


class Add(Operator):
    """o = a + b as `numerics.add`, ADD_CYCLES (4) later.

    Cycle 1: order by magnitude. Cycle 2: align. Cycle 3: add or subtract, count leading zeros. Cycle 4: normalise and
    round. Three bits are kept below the 24 of the greater operand: guard, round, and sticky, which is any one further
    down. It is enough: when a one gets into sticky the operand was shifted by three places or more, and then the
    difference loses at most its top bit.
    """

    module = "heddle_add"

    def __init__(self):
        super().__init__("ab")

    def logic(self):
        m = Module()
        swap, greater, smaller = Signal(), Signal(32), Signal(32)
        m.d.comb += [
            swap.eq(self.a[:31] < self.b[:31]),
            greater.eq(Mux(swap, self.b, self.a)),
            smaller.eq(Mux(swap, self.a, self.b)),
        ]
        a, b, big, small = Fields(self.a), Fields(self.b), Fields(greater), Fields(smaller)
        opposite = a.sign ^ b.sign
        big_mantissa = delay(m, big.mantissa, 2, "big", reset_less=True)
        small_mantissa = register(m, small.mantissa, "small")
        distance = register(m, (big.exponent - small.exponent)[:8], "distance")
        subtract = delay(m, opposite, 2, "subtract", reset_less=True)
        exponent = delay(m, big.exponent, 3, "exponent", reset_less=True)
        sign = delay(m, big.sign, 3, "sign", reset_less=True)
        zero_sign = delay(m, a.sign & b.sign, 3, "zero_sign", reset_less=True)  # of an exact zero
        nan = delay(m, a.nan | b.nan | (a.infinite & b.infinite & opposite), 3, "nan", reset_less=True)
        infinite = delay(m, a.infinite | b.infinite, 3, "infinite", reset_less=True)

        # 31 places are as good as more: from 26 on the smaller operand is all sticky.
        places = distance[:5] | distance[5:].any().replicate(5)
        shifted = Signal(24 + 32)
        m.d.comb += shifted.eq(Cat(Const(0, 32), small_mantissa) >> places)
        aligned = register(m, Cat(shifted[:30].any(), shifted[30:]), "aligned")

        total = Signal(28)
        wide = Cat(Const(0, 3), big_mantissa)
        m.d.comb += total.eq(Mux(subtract, wide - aligned, wide + aligned))
        zeros = register(m, leading_zeros(m, total), "zeros")
        total_3 = register(m, total, "total")

        normalised, exact_exponent = Signal(28), Signal(10)
        m.d.comb += [normalised.eq(total_3 << zeros), exact_exponent.eq(exponent + 1 - zeros)]
        result = rounded(m, exact_exponent, normalised[4:], normalised[:4])
        nothing = ~normalised[27]  # the sum is exactly zero
        tiny = nothing | (exact_exponent.as_signed() <= 0)
        # What rounds up to 2¹²⁸ is seen before the carry of rounding is there.
        rounds_over = (exact_exponent.as_signed() == EXPONENT_MAX - 1) & normalised[3:].all()
        overflow = (exact_exponent.as_signed() >= EXPONENT_MAX) | rounds_over
        bits = compose(
            m, Mux(nothing, zero_sign, sign), result[23:], result[:23],
            zero=tiny, infinite=infinite, nan=nan, overflow=overflow,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits, "o"))
        return m

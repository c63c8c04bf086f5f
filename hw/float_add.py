"""Float addition: align the smaller operand, add, normalise, round, saturate."""

from amaranth import Cat, Const, Module, Mux, Signal, signed

from .float_format import EXPONENT_MAX, WIDE, Fields, Operator, compose, normalised, rounded, shifted_right
from .pipeline import delay, register

_FINE_PLACES = 3  # of the number of places to align by, the bits that the second cycle looks at
_FINE_STEPS = 2  # of the steps to normalise by, those of the fourth cycle


class Add(Operator):
    """o = a + b as `numerics.add`, ADD_CYCLES (4) later.

    Cycle 1: order by exponent; align, coarsely. Cycle 2: align, finely; add or subtract. Cycle 3: normalise, coarsely.
    Cycle 4: normalise, finely; round. Three bits are kept below those of the greater operand: guard, round, and
    sticky, which is any one further down. It is enough: when a one gets into sticky the operand was shifted by three
    places or more, and then the difference loses at most its top bit.
    """

    module = "heddle_add"

    def __init__(self, precision: int = WIDE):
        super().__init__(precision, "ab")

    def logic(self):
        m = Module()
        p = self._precision
        a, b = Fields(self.a), Fields(self.b)
        swap, greater, smaller = Signal(), Signal.like(self.a), Signal.like(self.b)
        m.d.comb += [
            swap.eq(a.exponent < b.exponent),
            greater.eq(Mux(swap, self.b, self.a)),
            smaller.eq(Mux(swap, self.a, self.b)),
        ]
        big, small = Fields(greater), Fields(smaller)
        distance = Signal(8)
        m.d.comb += distance.eq(Mux(swap, b.exponent - a.exponent, a.exponent - b.exponent))
        # So many bits of it tell enough places: with all of them one the smaller operand is all sticky.
        bits = (p + 2).bit_length()
        places = distance[:bits] | distance[bits:].any().replicate(bits)
        unaligned = Cat(Const(0, 3), small.mantissa)
        coarse = shifted_right(m, unaligned, Cat(Const(0, _FINE_PLACES), places[_FINE_PLACES:]), "coarse")
        opposite = a.sign ^ b.sign
        big_mantissa, small_mantissa = register(m, big.mantissa, "big"), register(m, small.mantissa, "small")
        coarse, places = register(m, coarse, "coarse"), register(m, places[:_FINE_PLACES], "places")
        subtract = register(m, opposite, "subtract")
        comparable = register(m, opposite & (distance == 0), "comparable")
        exponent = delay(m, big.exponent, 2, "exponent", reset_less=True)
        sign = register(m, big.sign, "sign")
        zero_sign = delay(m, a.sign & b.sign, 3, "zero_sign", reset_less=True)  # of an exact zero
        nan = delay(m, a.nan | b.nan | (a.infinite & b.infinite & opposite), 3, "nan", reset_less=True)
        infinite = delay(m, a.infinite | b.infinite, 3, "infinite", reset_less=True)

        wide, aligned = Cat(Const(0, 3), big_mantissa), shifted_right(m, coarse, places, "aligned")
        # Of equal exponents it may be the other way round. Nothing is shifted then, so that does not wait for it.
        reverse, negative, total = Signal(p + 1), Signal(), Signal(p + 4)
        m.d.comb += [
            reverse.eq(small_mantissa - big_mantissa),
            negative.eq(comparable & ~reverse[-1]),
            total.eq(Mux(subtract, wide - aligned, wide + aligned)),
        ]
        total = register(m, Mux(negative, Cat(Const(0, 3), reverse), total), "total")
        sign = delay(m, sign ^ negative, 2, "result_sign", reset_less=True)

        steps = [1 << level for level in reversed(range((p + 3).bit_length()))]
        high, high_zeros = normalised(m, total, steps[:-_FINE_STEPS], "high")
        high, high_zeros = register(m, high, "high"), register(m, high_zeros, "high_zeros")
        exponent = register(m, exponent + 1, "exponent_of_top")

        full, zeros = normalised(m, high, steps[-_FINE_STEPS:], "full")
        exact_exponent = Signal(signed(10))
        m.d.comb += exact_exponent.eq(exponent - Cat(zeros, high_zeros))
        result = rounded(m, exact_exponent[:8], full[4:], full[:4])
        nothing = ~full[-1]  # the sum is exactly zero
        # What rounds up to 2¹²⁸ is seen before the carry of rounding is there.
        rounds_over = (exact_exponent == EXPONENT_MAX - 1) & full[3:].all()
        bits = compose(
            m, Mux(nothing, zero_sign, sign), result[p - 1 :], result[: p - 1],
            zero=nothing | (exact_exponent <= 0), infinite=infinite, nan=nan,
            overflow=(exact_exponent >= EXPONENT_MAX) | rounds_over,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits, "o"))
        return m

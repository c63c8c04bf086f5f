"""Float addition: align the smaller operand, add, normalise, round, saturate."""

from amaranth import Cat, Const, Module, Mux, Signal, Value

from .float_format import (
    EXPONENT_BITS,
    EXPONENT_MAX,
    WIDE,
    Fields,
    Operator,
    chosen,
    compose,
    normalised,
    shifted_out,
    shifted_right,
    with_carry,
)
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
    late = False  # whether a cycle comes before, to compare exponents

    def __init__(self, precision: int = WIDE):
        super().__init__(precision, "ab")

    def logic(self):
        m = Module()
        p = self._precision
        first, second = Value.cast(self.a), Value.cast(self.b)
        a, b = Fields(first), Fields(second)
        swap, less = a.exponent < b.exponent, first[:-1] < second[:-1]
        up, down = (b.exponent - a.exponent)[:EXPONENT_BITS], (a.exponent - b.exponent)[:EXPONENT_BITS]
        if self.late:
            first, second, swap, less, up, down = (
                register(m, each, name) for each, name in
                ((first, "first"), (second, "second"), (swap, "swap"), (less, "less"), (up, "up"), (down, "down"))
            )  # fmt: skip
            a, b = Fields(first), Fields(second)
        big, small = Fields(Mux(swap, second, first)), Fields(Mux(swap, first, second))
        # So many bits of a distance tell enough places: with all of them one the smaller operand is all sticky, and so
        # it is if the distance has more. The smaller operand is zero if any is, the greater one if both are.
        bits = (p + 2).bit_length()
        far, places = Mux(swap, up[bits:].any(), down[bits:].any()), Mux(swap, up[:bits], down[:bits])
        # What is lost of either operand, if it is the smaller one, is found out beside the choice of that.
        lost = [~each.zero & (distance[bits:].any() | shifted_out(_unaligned(each), distance[_FINE_PLACES:bits],
                                                                  _FINE_PLACES))
                for each, distance in ((a, up), (b, down))]  # fmt: skip
        shifted = shifted_right(m, _unaligned(small), places[_FINE_PLACES:], "coarse", _FINE_PLACES, Const(0, 1))
        lost, coarse = register(m, Mux(swap, *lost), "lost"), register(m, shifted[1:], "coarse")
        gone = register(m, a.zero | b.zero | far, "gone")  # of the smaller operand there is nothing but what is lost
        big_mantissa = register(m, Mux(a.zero & b.zero, 0, Cat(big.fraction, Const(1, 1))), "big")
        places = register(m, places[:_FINE_PLACES], "places")
        opposite = a.sign ^ b.sign
        subtract = register(m, opposite, "subtract")
        # Of equal exponents it may be the other way round.
        reverse = opposite & less & ~swap
        negate_big, negate_small = register(m, reverse, "negate_big"), register(m, opposite & ~reverse, "negate_small")
        before = delay(m, big.exponent, 2, "exponent", reset_less=True)
        exponent, wide = register(m, before, "exponent"), register(m, before[(p + 3).bit_length() :].any(), "wide")
        most, next_to_most = (register(m, before == EXPONENT_MAX - below, f"most_{below}") for below in (1, 2))
        sign = delay(m, Mux(less, b.sign, a.sign), 3, "sign", reset_less=True)
        zero_sign = delay(m, a.sign & b.sign, 3, "zero_sign", reset_less=True)  # of an exact zero
        a_special, b_special = register(m, a.special, "a_special"), register(m, b.special, "b_special")
        a_rest, b_rest = register(m, a.fraction.any(), "a_rest"), register(m, b.fraction.any(), "b_rest")
        nan = delay(m, (a_special & (a_rest | (b_special & subtract))) | (b_special & b_rest), 2, "nan",
                    reset_less=True)  # fmt: skip
        infinite = delay(m, a_special | b_special, 2, "infinite", reset_less=True)  # or NaN

        aligned = shifted_right(m, Cat(Const(0, 1), coarse), places, "aligned")
        aligned = Cat(lost | (aligned[0] & ~gone), aligned[1:] & ~gone.replicate(p + 2))
        unshifted = Cat(Const(0, 3), big_mantissa)
        flipped = [Cat(each, Const(0, 1)) ^ negates.replicate(p + 4)
                   for each, negates in ((unshifted, negate_big), (aligned, negate_small))]  # fmt: skip
        total = register(m, with_carry(*flipped, subtract), "total")

        steps = [1 << level for level in reversed(range((p + 3).bit_length()))]
        high, high_zeros = normalised(m, total, steps[:-_FINE_STEPS], "high")
        high, high_zeros = register(m, high, "high"), register(m, high_zeros, "high_zeros")

        full, zeros = normalised(m, high, steps[-_FINE_STEPS:], "full")
        less_one = Signal(EXPONENT_BITS)  # than the exponent of the sum before rounding: the leading one is added to it
        m.d.comb += less_one.eq(exponent - Cat(zeros, high_zeros))
        # The fine steps are known late, so what else there is of the difference is found out beside them.
        fine, coarse_part = exponent[:_FINE_STEPS], exponent[_FINE_STEPS:][: len(high_zeros)]
        tiny = ~wide & ((coarse_part < high_zeros) | ((coarse_part == high_zeros) & (fine < zeros)))
        kept = full[4:]
        # Of the bits below it, and of whether all are ones, what each of the fine steps would make.
        round_up = chosen([_rounds_up(high[: 5 - place]) for place in range(1 << _FINE_STEPS)], zeros)
        result = Cat(kept[:-1], less_one) + Cat(round_up, Const(0, p - 2), Const(1, 1))
        nothing = ~full[-1]  # the sum is exactly zero
        # What rounds up to 2¹²⁸ is seen before the carry of rounding is there.
        ones = chosen([high[3 - place :][: p + 1].all() for place in range(1 << _FINE_STEPS)], zeros)
        near = Mux(most, zeros == 1, next_to_most & (zeros == 0))  # a step below the greatest exponent
        overflows = (high_zeros == 0) & ((most & (zeros == 0)) | (near & ones))
        bits = compose(
            m, Mux(nothing, zero_sign, sign), result[p - 1 :], result[: p - 1],
            zero=nothing | tiny, infinite=infinite, nan=nan, overflow=overflows,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits, "o"))
        return m


def _unaligned(x: Fields) -> Value:
    """The mantissa of what is not zero, above the three bits."""
    return Cat(Const(0, 3), x.fraction, Const(1, 1))


def _rounds_up(lower: Value) -> Value:
    """Whether bits below a place make it one more; the highest of them is that of the place."""
    return lower[-2] & (lower[-1] | (lower[:-2].any() if len(lower) > 2 else 0))


class LateAdd(Add):
    """The same a cycle later, SUM_CYCLES (5): there is time to choose the operands in their cycle."""

    module = "heddle_late_add"
    late = True

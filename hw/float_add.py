"""float32 addition: align the smaller operand, add, normalise, round."""

from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .float_format import EXPONENT_MAX, NAN, Fields, leading_zeros, rounded


class Add(wiring.Component):
    """o = a + b as `numerics.add`, ADD_CYCLES (4) later; takes operands every cycle.

    Cycle 1: order by magnitude. Cycle 2: align. Cycle 3: add or subtract, count leading zeros. Cycle 4: normalise and
    round. Below the 24 bits of the greater operand three are kept: guard, round, and sticky (any one further down);
    that suffices, since only a shift of at most one place loses bits to sticky and then cancels more than one place
    never.
    """

    a: In(32)
    b: In(32)
    o: Out(32)

    def elaborate(self, platform):
        m = Module()
        greater, smaller = Signal(32), Signal(32)
        a, b, big, small = Fields(self.a), Fields(self.b), Fields(greater), Fields(smaller)
        swap = Signal()
        m.d.comb += [
            swap.eq(self.a[:31] < self.b[:31]),
            greater.eq(Mux(swap, self.b, self.a)),
            smaller.eq(Mux(swap, self.a, self.b)),
        ]

        distance = Signal(8)
        exponents = [Signal(8, name=f"exponent_{cycle}") for cycle in (1, 2, 3)]
        signs = [Signal(name=f"sign_{cycle}") for cycle in (1, 2, 3)]
        zero_signs = [Signal(name=f"zero_sign_{cycle}") for cycle in (1, 2, 3)]
        nans = [Signal(name=f"nan_{cycle}") for cycle in (1, 2, 3)]
        infinites = [Signal(name=f"infinite_{cycle}") for cycle in (1, 2, 3)]
        big_1, small_1 = Signal(24), Signal(24)
        opposite_1, opposite_2 = Signal(), Signal()
        m.d.sync += [
            big_1.eq(big.mantissa),
            small_1.eq(small.mantissa),
            distance.eq(big.exponent - small.exponent),
            opposite_1.eq(a.sign ^ b.sign),
            exponents[0].eq(big.exponent),
            signs[0].eq(big.sign),
            zero_signs[0].eq(a.sign & b.sign),  # of an exact zero: −0 only from two of them
            nans[0].eq(a.nan | b.nan | (a.infinite & b.infinite & (a.sign ^ b.sign))),
            infinites[0].eq(a.infinite | b.infinite),
        ]
        for register in (exponents, signs, zero_signs, nans, infinites):
            m.d.sync += [after.eq(before) for before, after in zip(register, register[1:], strict=False)]

        # 31 places are as good as more: the smaller operand is all sticky from 27 on.
        places = distance[:5] | distance[5:].any().replicate(5)
        shifted = Signal(56)
        big_2, small_2 = Signal(24), Signal(27)
        m.d.comb += shifted.eq(Cat(C(0, 32), small_1) >> places)
        m.d.sync += [big_2.eq(big_1), small_2.eq(Cat(shifted[:30].any(), shifted[30:])), opposite_2.eq(opposite_1)]

        total, total_3 = Signal(28), Signal(28)
        zeros_3 = Signal(5)
        wide = Cat(C(0, 3), big_2)
        m.d.comb += total.eq(Mux(opposite_2, wide - small_2, wide + small_2))
        m.d.sync += [total_3.eq(total), zeros_3.eq(leading_zeros(m, total))]

        normalised = Signal(28)
        exponent = Signal(10)
        m.d.comb += [normalised.eq(total_3 << zeros_3), exponent.eq(exponents[2] + 1 - zeros_3)]
        result = rounded(m, exponent, normalised[4:], normalised[:4])
        tiny = exponent.as_signed() <= 0
        with m.If(nans[2]):
            m.d.sync += self.o.eq(NAN)
        with m.Elif(~normalised[27] & ~infinites[2]):
            m.d.sync += self.o.eq(Cat(C(0, 31), zero_signs[2]))
        with m.Elif(infinites[2] | (~tiny & (result[23:] >= EXPONENT_MAX))):
            m.d.sync += self.o.eq(Cat(C(0, 23), C(EXPONENT_MAX, 8), signs[2]))
        with m.Elif(tiny):
            m.d.sync += self.o.eq(Cat(C(0, 31), signs[2]))
        with m.Else():
            m.d.sync += self.o.eq(Cat(result[:31], signs[2]))
        return m

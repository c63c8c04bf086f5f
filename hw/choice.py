"""Which of two numbers goes on, or whether they compare: all of VECTOR's `combine` that is not a sum.

One comparator, of magnitudes, serves maximum, minimum, less and less or equal: together with the signs it tells the
order of `float.order_key`.
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, MULTIPLY_CYCLES
from ..arch.isa import Combine
from .float import ONE, ZERO, Fields, upper
from .pipeline import register

CHOICE_CYCLES = ADD_CYCLES - MULTIPLY_CYCLES  # what a product has to wait in any case
assert CHOICE_CYCLES == 1


class Choice(wiring.Component):
    """`a`, CHOICE_CYCLES (1) later, is what `combine` makes of x and y, where it `counts`: for MAXIMUM, MINIMUM and
    comparisons. Otherwise it is x; `first` and `second` are always x and y. They are the bits of floats, clean;
    `combine` holds still while they are under way, and from the cycle before on."""

    def __init__(self, precision: int):
        self._bits = 8 + precision
        super().__init__({
            "combine": In(Combine),
            "x": In(self._bits),
            "y": In(self._bits),
            "a": Out(self._bits),
            "first": Out(self._bits),
            "second": Out(self._bits),
            "counts": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        combine, one = Value.cast(self.combine), upper(ONE, self._bits)
        x, y = Fields(self.x), Fields(self.y)
        lower, equal = Signal(), Signal()  # of the magnitudes
        less, same, ordered, zeros = Signal(), Signal(), Signal(), Signal()
        second, holds = Signal(), Signal()
        compares = Cat(combine == kind for kind in (Combine.LESS, Combine.LESS_EQUAL, Combine.EQUAL)).any()
        counts = compares | (combine == Combine.MAXIMUM) | (combine == Combine.MINIMUM)
        m.d.comb += [
            lower.eq(self.x[:-1] < self.y[:-1]),
            equal.eq(self.x[:-1] == self.y[:-1]),
            less.eq(Mux(x.sign, ~y.sign | ~(lower | equal), ~y.sign & lower)),
            same.eq(equal & (x.sign == y.sign)),
            zeros.eq(x.zero & y.zero),  # of either sign
            ordered.eq(~_is_nan(x) & ~_is_nan(y)),
            self.counts.eq(register(m, counts, "counts")),
        ]
        with m.Switch(combine):
            with m.Case(Combine.MAXIMUM):
                m.d.comb += second.eq(less)
            with m.Case(Combine.MINIMUM):
                m.d.comb += second.eq(less ^ ordered)  # NaN is the greatest, so then the greater of the two
            with m.Case(Combine.LESS):
                m.d.comb += holds.eq(less & ~zeros & ordered)
            with m.Case(Combine.LESS_EQUAL):
                m.d.comb += holds.eq((less | same | zeros) & ordered)
            with m.Default():
                m.d.comb += holds.eq((same | zeros) & ordered)
        first_x, first_y = register(m, self.x, "first_x"), register(m, self.y, "first_y")
        chosen = Mux(register(m, second, "second"), first_y, first_x)
        truth = Mux(register(m, holds, "holds"), one, upper(ZERO, self._bits))
        m.d.comb += [
            self.a.eq(Mux(register(m, compares, "compares"), truth, chosen)),
            self.first.eq(first_x),
            self.second.eq(first_y),
        ]
        return m


def _is_nan(x: Fields) -> Value:
    """Of a clean number: the one NaN alone has this bit in the exponent of infinities."""
    return x.special & x.fraction[-1]

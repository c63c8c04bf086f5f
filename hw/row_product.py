"""Where a row is: table + number · stride, by one small multiplier in four steps.

    halves of both ─ register ─ × ─ register ─ + ─ total, moved down by half a number where the next place begins
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import GATHER_CYCLES
from .axi import ADDRESS_BITS

HALF = 16
ROW_PRODUCT_CYCLES = GATHER_CYCLES - 2  # before it the number is read, and after it an address is kept


class RowProduct(wiring.Component):
    """`o` = `table` + `number` · `stride` in the cycle of `done`, ROW_PRODUCT_CYCLES after `start`, with which `number`
    comes. `is_negative`: the product is, for a stride that is not 0.

    `table` and `stride` hold still, and there is one product at a time. `clear` forgets it.
    """

    def __init__(self):
        super().__init__({
            "clear": In(1),
            "start": In(1),
            "table": In(ADDRESS_BITS),
            "number": In(signed(2 * HALF)),
            "stride": In(2 * HALF),
            "done": Out(1),
            "o": Out(signed(4 * HALF + 1)),
            "is_negative": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        upper = Signal(HALF)  # half of the number
        left, right, product = Signal(signed(HALF + 1)), Signal(signed(HALF + 1)), Signal(signed(2 * HALF + 1))
        total = Signal(signed(ADDRESS_BITS + 2))
        digits = [Signal(HALF, name=f"digit_{place}") for place in range(2)]  # what is below the total
        step = Signal(ROW_PRODUCT_CYCLES)  # one bit that is set, or none: how many cycles ago it began
        m.d.comb += [
            self.done.eq(step[-1]),
            self.is_negative.eq(left[-1]),
            self.o.eq(Cat(digits, total).as_signed()),
        ]
        m.d.sync += [step.eq(Mux(self.clear, 0, Cat(self.start, step))), product.eq(left * right)]
        with m.If(self.start):
            m.d.sync += [left.eq(self.number[:HALF]), upper.eq(self.number[HALF:])]
        with m.If(step[1]):
            m.d.sync += left.eq(upper.as_signed())
        # low · low, low · high, high · low, high · high
        m.d.sync += right.eq(Mux(self.start | step[1], self.stride[:HALF], self.stride[HALF:]))
        with m.If(step[0]):
            m.d.sync += total.eq(self.table)
        with m.Elif(step[1:5].any()):
            next_place = step[2] | step[4]
            m.d.sync += total.eq(Mux(next_place, total >> HALF, total) + product)
        for place, ends in enumerate((step[2], step[4])):
            with m.If(ends):
                m.d.sync += digits[place].eq(total[:HALF])
        return m

"""How far from the start of a table a row is: number · stride, by one small multiplier in four steps.

    halves of both ─ register ─ × ─ register ─ + ─ total, moved up by half a number where the next place begins
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import GATHER_CYCLES

HALF = 16
ROW_PRODUCT_CYCLES = GATHER_CYCLES - 2  # before it the number is read, and after it an address is kept


class RowProduct(wiring.Component):
    """`o` = `number` · `stride` in the cycle of `done`, ROW_PRODUCT_CYCLES after `start`, with which `number` comes.

    `stride` holds still, and there is one product at a time. `clear` forgets it.
    """

    def __init__(self):
        super().__init__({
            "clear": In(1),
            "start": In(1),
            "number": In(signed(2 * HALF)),
            "stride": In(2 * HALF),
            "done": Out(1),
            "o": Out(signed(4 * HALF)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        number = Signal(2 * HALF)
        left, right, product = Signal(signed(HALF + 1)), Signal(signed(HALF + 1)), Signal(signed(2 * HALF + 1))
        step = Signal(ROW_PRODUCT_CYCLES)  # one bit that is set, or none: how many cycles ago it began
        m.d.comb += self.done.eq(step[-1])
        m.d.sync += [step.eq(Mux(self.clear, 0, Cat(self.start, step))), product.eq(left * right)]
        with m.If(self.start):
            m.d.sync += [number.eq(self.number), left.eq(self.number[HALF:].as_signed())]
        with m.If(step[1]):
            m.d.sync += left.eq(number[:HALF])
        # high · high, high · low, low · high, low · low
        m.d.sync += right.eq(Mux(self.start | step[1], self.stride[HALF:], self.stride[:HALF]))
        with m.If(step[1]):
            m.d.sync += self.o.eq(product)
        with m.Elif(step[2] | step[4]):
            m.d.sync += self.o.eq((self.o << HALF) + product)
        with m.Elif(step[3]):
            m.d.sync += self.o.eq(self.o + product)
        return m

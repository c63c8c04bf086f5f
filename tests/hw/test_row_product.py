"""hw/row_product.py against the place of a row, for any numbers, and in the cycle that it says."""

import random

from amaranth.sim import Simulator
from heddle.hw.row_product import ROW_PRODUCT_CYCLES, RowProduct

LARGEST = (1 << 31) - 1
NUMBERS = [0, 1, -1, 3, 0xFFFF, 0x1_0000, -0x1_0000, LARGEST, -LARGEST - 1]
STRIDES = [0, 1, 64, 0xFFFF, 0x1_0000, (1 << 32) - 1, (1 << 32) - 64]


def test_products_come_in_the_cycle_that_is_said_and_a_clear_forgets_one():
    product, chooser = RowProduct(), random.Random(3)
    cases = [(number, stride) for number in NUMBERS for stride in STRIDES]
    cases += [(chooser.randint(-LARGEST - 1, LARGEST), chooser.getrandbits(32)) for _ in range(100)]

    async def bench(ctx):
        for number, stride in cases:
            forgotten = chooser.random() < 0.2
            for begun in [True] * forgotten + [False]:
                table = chooser.choice([0, (1 << 40) - 1, chooser.getrandbits(40)])
                ctx.set(product.table, table)
                ctx.set(product.stride, stride)
                ctx.set(product.number, chooser.randint(0, LARGEST) if begun else number)
                ctx.set(product.start, 1)
                await ctx.tick()
                ctx.set(product.start, 0)
                ctx.set(product.number, 5)
                if begun:
                    for _ in range(chooser.randrange(ROW_PRODUCT_CYCLES - 1)):
                        await ctx.tick()
                    ctx.set(product.clear, 1)
                    await ctx.tick()
                    ctx.set(product.clear, 0)
            for _ in range(ROW_PRODUCT_CYCLES - 1):
                assert not ctx.get(product.done)
                await ctx.tick()
            assert ctx.get(product.done) and ctx.get(product.o) == table + number * stride, (number, stride)
            assert ctx.get(product.is_negative) == (number < 0)
            await ctx.tick()

    simulator = Simulator(product)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

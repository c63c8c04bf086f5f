"""hw/choice.py: which of two numbers goes on, as PyTorch says, or both for a product."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.isa import Combine
from heddle.hw.choice import CHOICE_CYCLES, Choice

SPECIAL = np.float32([0.0, -0.0, 1, -1, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 2.0**-126, -(2.0**-126)])
COUNTED = [Combine.MAXIMUM, Combine.MINIMUM, Combine.LESS, Combine.LESS_EQUAL, Combine.EQUAL]


@pytest.mark.parametrize("precision", [24, 11])
def test_all_pairs_of_special_numbers(precision):
    dropped, arithmetic = 24 - precision, numerics.Arithmetic(precision)
    x, y = (each.ravel() for each in np.meshgrid(SPECIAL, SPECIAL))
    choice, found = Choice(precision), {}

    async def bench(ctx):
        for combine in Combine:
            ctx.set(choice.combine, combine)
            await ctx.tick()
            assert ctx.get(choice.counts) == (combine in COUNTED)
            pairs = []
            for cycle in range(len(x) + CHOICE_CYCLES):
                if cycle < len(x):
                    ctx.set(choice.x, int(numerics.to_bits(x)[cycle]) >> dropped)
                    ctx.set(choice.y, int(numerics.to_bits(y)[cycle]) >> dropped)
                if cycle >= CHOICE_CYCLES:
                    pairs.append([ctx.get(each) << dropped for each in (choice.a, choice.first, choice.second)])
                await ctx.tick()
            found[combine] = numerics.from_bits(np.array(pairs, np.uint32).T)

    simulator = Simulator(choice)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    for combine in Combine:
        expected = numerics.combined(combine, x, y, arithmetic) if combine in COUNTED else x
        assert np.array_equal(numerics.to_bits(found[combine][0]), numerics.to_bits(expected))
        assert np.array_equal(numerics.to_bits(found[combine][1]), numerics.to_bits(x))
        assert np.array_equal(numerics.to_bits(found[combine][2]), numerics.to_bits(y))

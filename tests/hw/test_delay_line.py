"""hw/delay_line.py delays by exactly its cycles, from the first cycle on."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.hw.delay_line import DelayLine


@pytest.mark.parametrize("cycles", [2, 3, 4, 7, 64])
def test_delays_every_word(cycles):
    line = DelayLine(12, cycles)
    words = np.random.default_rng(cycles).integers(0, 1 << 12, 3 * cycles).tolist()
    seen = []

    async def bench(ctx):
        for word in words:
            ctx.set(line.i, word)
            seen.append(ctx.get(line.o))
            await ctx.tick()

    simulator = Simulator(line)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [0] * cycles + words[:-cycles]

"""hw/fixed_function.py: the functions that are built in, against the oracle, with both formats."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.functions import EVALUATE_CYCLES
from heddle.hw.fixed_function import Reciprocal, ReciprocalSqrt

from .test_function import operands

formats = pytest.mark.parametrize("precision", [24, 11], ids=["float32", "tf32"])


def simulate(function, x):
    """The result of each x, as float32, exactly EVALUATE_CYCLES after it."""
    bits, results = len(function.o), []

    async def bench(ctx):
        for cycle in range(len(x) + EVALUATE_CYCLES):
            if cycle < len(x):
                ctx.set(function.a, int(x.view(np.uint32)[cycle]) >> 32 - bits)
            if cycle >= EVALUATE_CYCLES:
                results.append(ctx.get(function.o) << 32 - bits)
            await ctx.tick()

    simulator = Simulator(function)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(results, np.uint64).astype(np.uint32)


@formats
@pytest.mark.parametrize("function, name", [(Reciprocal, "rcp"), (ReciprocalSqrt, "rsqrt")])
def test_equals_the_oracle(function, name, precision):
    x = operands(1, 150, precision - 1)
    expected = getattr(numerics.Arithmetic(precision), name)(x)
    assert (simulate(function(precision), x) == expected.view(np.uint32)).all()

"""hw/sums.py: sums of rows and of lanes, bits equal to the oracle's, in the cycles that arch/config.py states."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import PRESETS, SUM_CYCLES
from heddle.hw.sums import Sums

from .test_reduce import groups_of

LANES = [1, 2, 4, 8, 16]


def run(config, groups, apart):
    """Cycle → (o, whether it is valid, sums), from groups (first, last, numbers) of which one comes every fifth cycle;
    noise is what else is there."""
    component, seen, lanes = Sums(config), {}, config.vector_lanes
    dropped = 32 - config.vector_bits
    random = np.random.default_rng(lanes)

    async def bench(ctx):
        ctx.set(component.apart, apart)
        for cycle in range(SUM_CYCLES * len(groups) + config.running_sum_cycles + SUM_CYCLES):
            number, moved = divmod(cycle, SUM_CYCLES)
            here = number < len(groups)
            first, last, bits = groups[number] if here else (0, 0, random.integers(1 << 32, size=lanes))
            bits = np.concatenate([bits[moved:], random.integers(1 << 32, size=min(moved, lanes))])
            ctx.set(component.valid, int(here and not moved))
            ctx.set(component.first, int(random.integers(2) if moved else first))
            ctx.set(component.last, int(random.integers(2) if moved else last))
            for lane in range(lanes):
                ctx.set(component.data[lane], int(bits[lane]) >> dropped)
            sums = [ctx.get(each) for each in component.sums]
            seen[cycle] = ctx.get(component.o), ctx.get(component.o_valid), np.array(sums, np.uint32)
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def numbers(config, random, shape):
    """Of magnitudes apart, so that sums round; zeros of both signs among them."""
    x = random.standard_normal(shape) * 2.0 ** random.integers(-12, 13, shape)
    x = np.where(random.random(shape) < 0.1, np.copysign(0.0, x), x)
    return numerics.arithmetic_of(config).round(x.astype(np.float32))


@pytest.mark.parametrize("format", ["float32", "tf32"])
@pytest.mark.parametrize("lanes", LANES)
def test_sums_of_rows(lanes, format):
    config = replace(PRESETS["server"], vector_lanes=lanes, vector_format=format)
    random, groups, expected = np.random.default_rng(lanes), [], {}
    for length in [1, lanes, lanes + 1, 5 * lanes, 3 * lanes - 1, 1]:
        row = numbers(config, random, length)
        some = groups_of(row, lanes, np.float32(0))
        groups += [(k == 0, k == len(some) - 1, bits) for k, bits in enumerate(some)]
        last = SUM_CYCLES * (len(groups) - 1)
        expected[last + config.running_sum_cycles] = int(numerics.to_bits(numerics.running_row_sum(row, lanes)))
    found = {cycle: o for cycle, (o, valid, _) in run(config, groups, apart=0).items() if valid}
    assert found == expected


@pytest.mark.parametrize("lanes", LANES)
def test_sums_of_lanes(lanes):
    config = replace(PRESETS["server"], vector_lanes=lanes)
    x = numbers(config, np.random.default_rng(lanes), (9, lanes))
    groups = [(row in (0, 5), 0, numerics.to_bits(x[row])) for row in range(len(x))]
    seen = run(config, groups, apart=1)
    for row in range(len(x)):
        some = x[5 if row >= 5 else 0 : row + 1]
        found = seen[SUM_CYCLES * row + config.lane_sum_cycles][2]
        np.testing.assert_array_equal(found, numerics.to_bits(numerics.column_sum(some)))
    assert not any(valid for _, valid, _ in seen.values())

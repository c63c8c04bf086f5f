"""hw/quantise.py: factors of rows against the oracle, for every significand of the narrow format."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.numerics import CodeFormat
from heddle.hw.quantise import RowScale

from ..machines import TF32


def factors(config, greatest, wide):
    """(scales, multipliers) as bits of magnitudes, one a cycle."""
    component, found, latency = RowScale(config), [], config.row_scale_cycles - 1
    dropped = 32 - config.vector_bits
    bits = numerics.to_bits(greatest) >> dropped

    async def bench(ctx):
        ctx.set(component.wide, wide)
        for cycle in range(len(bits) + latency):
            ctx.set(component.valid, int(cycle < len(bits)))
            ctx.set(component.greatest, int(bits[cycle % len(bits)]))
            assert ctx.get(component.o_valid) == (cycle >= latency)
            if cycle >= latency:
                found.append([ctx.get(component.scale) << dropped, ctx.get(component.multiplier) << dropped])
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(found, np.uint32).T


@pytest.mark.parametrize("to", [CodeFormat.INT8, CodeFormat.HIGH])
def test_factors_of_every_significand_and_every_exponent(to):
    fractions = np.arange(1 << 10, dtype=np.uint32) << 13
    exponents = np.arange(256, dtype=np.uint32) << 23
    random = np.random.default_rng(1).integers(1 << 10, size=256, dtype=np.uint32) << 13
    ends = [0x21FFE000, 0x22000000, 0x22002000, 0x7F7FE000, 0x7F800000, 0x7FC00000, 0]
    bits = np.concatenate([fractions | 0x3F800000, exponents | random, exponents, np.array(ends, np.uint32)])
    bits = np.where(bits > 0x7F800000, np.uint32(0x7FC00000), bits)  # the one NaN
    greatest = numerics.from_bits(bits)
    expected = numerics.row_scale(greatest, to, numerics.arithmetic_of(TF32))
    scale, multiplier = factors(TF32, greatest, to is CodeFormat.HIGH)
    np.testing.assert_array_equal(scale, numerics.to_bits(expected[0]))
    np.testing.assert_array_equal(multiplier, numerics.to_bits(expected[1]))


@pytest.mark.parametrize("format", ["float32", "tf32"])
def test_codes_that_are_numbers_have_factors_of_1(format):
    config = replace(TF32, vector_format=format, pe="bf16", axi_bytes=8)
    assert (factors(config, np.float32([0, 3, np.inf]), 0) == numerics.to_bits(1)).all()

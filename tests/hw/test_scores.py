"""A score, a power and the sum of a row's powers, each by itself, against arch/scores.py bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from heddle.arch import numerics, scores
from heddle.arch.config import FACTOR_BITS, POWER_CYCLES, REFERENCE_CYCLES
from heddle.hw.pipeline import delay
from heddle.hw.power import Power, Reference, RowPowers
from heddle.hw.scores import UNMASKED_CYCLES, Score

from ..machines import NANO

CONFIGS = {
    "float32": NANO, "tf32": replace(NANO, vector_format="tf32"), "bf16 PEs": replace(NANO, pe="bf16"),
    "float32 values": replace(NANO, vector_format="tf32", value_format="float32"),
}  # fmt: skip
configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
ENDS = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-42, 3e38, -3e38, 2.0**-16, 512, 2.0**31], np.float32)


def stream(component, inputs, outputs, latency):
    """Outputs of inputs that come every cycle, as they are `latency` cycles later."""
    count, found = len(next(iter(inputs.values()))), []

    async def bench(ctx):
        for cycle in range(count + latency):
            for name, values in inputs.items():
                if cycle < count:
                    ctx.set(getattr(component, name), int(values[cycle]))
            if cycle >= latency:
                found.append([ctx.get(getattr(component, name)) for name in outputs])
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(found)


def mixed(rng, count, spread):
    x = (rng.normal(0, 1, count) * 2.0 ** rng.integers(-spread, spread, count)).astype(np.float32)
    return np.where(rng.random(count) < 0.2, rng.choice(ENDS, count), x).astype(np.float32)


@configs
@pytest.mark.parametrize("from_value", [0, 1])
def test_scores_of_all_kinds(config, from_value):
    rng, count, bits = np.random.default_rng(from_value), 600, FACTOR_BITS[config.precision]
    spread = np.repeat([20, 60], count // 2)
    key, row, value = (mixed(rng, count, spread) for _ in range(3))
    if config.pe == "int8":
        acc = np.where(rng.random(count) < 0.5, rng.integers(-(2**31), 2**31, count), rng.integers(-9, 9, count))
        acc = acc.astype(np.int32)
    else:
        acc = mixed(rng, count, 20)
    expected = scores.score(value if from_value else acc, key, row, bits)
    inputs = {"acc": acc.view(np.uint32), "key_scale": key.view(np.uint32), "row_scale": row.view(np.uint32),
              "value": value.view(np.uint32), "from_value": np.full(count, from_value)}  # fmt: skip
    found = stream(Score(config), inputs, ["o"], UNMASKED_CYCLES)[:, 0]
    assert (found == numerics.to_bits(expected)).all()
    found = stream(Score(config), inputs | {"finite": np.ones(count, int)}, ["o"], UNMASKED_CYCLES)[:, 0]
    assert np.isfinite(numerics.from_bits(found.astype(np.uint32))).all()


@configs
def test_powers_of_all_kinds(config):
    rng, count, bits = np.random.default_rng(2), 1200, config.function_bits
    ends = numerics.LOWEST, numerics.LARGEST, np.inf, np.nan
    greatest = rng.choice([-1, -0.0, 0, 5.3, -(2.0**14), 2e5, 3e6, 2.0**31, 1e30, *ends], count).astype(np.float32)
    greatest = np.where(rng.random(count) < 0.3, mixed(rng, count, 40), greatest)
    greatest = numerics.maximum(greatest, numerics.LOWEST)
    with np.errstate(all="ignore"):
        below = greatest - (rng.uniform(0, 1, count) * 2.0 ** rng.integers(-20, 10, count)).astype(np.float32)
        steps = numerics.from_bits(numerics.to_bits(greatest) + np.where(greatest < 0, 1, -1).astype(np.uint32))
    t = np.choose(rng.integers(0, 4, count), [below, steps, greatest, mixed(rng, count, 40)])
    t = np.where(np.isnan(t), np.float32(0), t).astype(np.float32)
    t = np.where(numerics.maximum(t, greatest) == greatest, t, greatest)
    t, greatest = numerics.clean(t), numerics.clean(greatest)
    expected = scores.power(t, greatest, bits)
    found = stream(Compared(config), {"greatest": numerics.to_bits(greatest), "t": numerics.to_bits(t)}, ["o"],
                   REFERENCE_CYCLES + POWER_CYCLES)[:, 0]  # fmt: skip
    assert (found << 32 - config.vector_bits == numerics.to_bits(expected)).all()
    assert 0.2 < (expected > 0).mean() < 0.8


class Compared(wiring.Component):
    """2^(t − greatest), of both in one cycle."""

    def __init__(self, config):
        self._config = config
        super().__init__({"t": In(32), "greatest": In(32), "o": Out(config.vector_bits)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.reference, m.submodules.power = reference, power = Reference(), Power(self._config)
        m.d.comb += [
            reference.greatest.eq(self.greatest),
            power.t.eq(delay(m, self.t, REFERENCE_CYCLES, "t")),
            *(getattr(power, name).eq(getattr(reference, name)) for name in ("minus", "top", "shift", "unknown")),
            self.o.eq(power.o),
        ]
        return m


@configs
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_sums_of_powers(config, lanes):
    config = replace(config, rows=8, columns=8, vector_lanes=lanes)
    rng, bits = np.random.default_rng(lanes), FACTOR_BITS[config.precision]
    arithmetic, component = numerics.arithmetic_of(config), RowPowers(config)
    powers = np.array([1, 0.5, 0, 2.0**-28, 2.0**-29, 2.0**-31, 2.0**-32, 1e-30, np.nan, 0.3], np.float32)
    chances = np.array([3, 3, 1, 1, 1, 1, 1, 1, 0.02, 3])
    kept_ends = np.array([0, 1, -2, 1e-9, 2.0**19, 2.0**20, 1e30, np.inf, np.nan, 700.5], np.float32)
    inputs = {name: [] for name in ("valid", "first", "last", "data", "kept")}
    expected, ends = [], []
    for _ in range(60):
        groups = int(rng.integers(1, 6))
        p = rng.choice(powers, (groups, lanes), p=chances / chances.sum())
        p = numerics.rounded(p, config.function_bits)
        kept = arithmetic.cut(rng.choice(kept_ends) if rng.random() < 0.7 else np.float32(0))
        total = scores.total(scores.fixed(p).sum() + scores.fixed(kept), bits)
        known = np.isfinite(p).all() and np.isfinite(kept)
        expected.append(int(numerics.to_bits(total if known else numerics.NAN)) >> 24 - bits)
        for group in range(groups):
            for idle in range(int(rng.random() < 0.2) + 1):
                packed = [int(x) >> 32 - config.vector_bits for x in numerics.to_bits(p[group])]
                inputs["valid"].append(idle == 0)
                inputs["first"].append(group == 0)
                inputs["last"].append(group == groups - 1)
                inputs["data"].append(packed)
                inputs["kept"].append(int(numerics.to_bits(kept)) >> 24 - bits)
                if idle == 0 and group == groups - 1:
                    ends.append(len(inputs["valid"]) - 1)
    found = {}

    async def bench(ctx):
        for cycle in range(len(inputs["valid"]) + config.total_cycles):
            if cycle < len(inputs["valid"]):
                for name, values in inputs.items():
                    ctx.set(getattr(component, name), values[cycle])
            else:
                ctx.set(component.valid, 0)
            if ctx.get(component.o_valid):
                found[cycle - config.total_cycles] = ctx.get(component.o)
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert list(found) == ends and list(found.values()) == expected

"""The int8 processing element: every product, sums that wrap around, and weights loaded behind the one in use."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.hw.pe import Pe

INT8 = range(-128, 128)
EXTREME_SUMS = [-(2**31), -(2**31) + 1, -(2**31) + 128 * 127, -1, 0, 1, 2**31 - 128 * 128, 2**31 - 1]


def run(stimulus: list[dict[str, int]], watch: str = "sum_out") -> list[int]:
    """`watch` in each cycle, for inputs that are 0 where `stimulus` does not name them."""
    pe, seen = Pe(), []

    async def bench(ctx):
        held = {}
        for inputs in stimulus:
            wanted = {**dict.fromkeys(held, 0), **inputs}
            for name, value in wanted.items():
                if held.get(name, 0) != value:
                    ctx.set(getattr(pe, name), value)
            held = inputs
            seen.append(ctx.get(getattr(pe, watch)))
            await ctx.tick()

    simulator = Simulator(pe)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def test_one_product_by_hand():
    stimulus = [
        {"weight_in": -7, "capture_in": 1}, {"swap_in": 1}, {"activation_in": 11}, {}, {"sum_in": 1000}, {}, {},
    ]  # fmt: skip
    assert run(stimulus) == [0, 0, 0, 0, 0, 1000 - 77, 0]


def test_every_product_with_weights_loaded_behind_the_products():
    stimulus = [{"weight_in": -128, "capture_in": 1}, {"swap_in": 1, "weight_in": -127, "capture_in": 1}]
    for weight in INT8:
        stimulus += [{"activation_in": activation} for activation in INT8]
        # With the last activation: the swap to the next weight, and the capture of the one after that.
        stimulus[-1] |= {"swap_in": 1, "capture_in": 1, "weight_in": min(weight + 2, 127)}
    sums = run(stimulus + [{}, {}, {}])[5:]
    codes = np.arange(-128, 128)
    np.testing.assert_array_equal(np.array(sums).reshape(256, 256), np.outer(codes, codes))


@pytest.mark.parametrize("activation,weight", [(-128, -128), (-128, 127), (127, 127), (1, -1)])
def test_sums_wrap_around(activation, weight):
    stimulus = [{"weight_in": weight, "capture_in": 1}, {"swap_in": 1}]
    stimulus += [{"activation_in": activation, "sum_in": total} for total in [0, 0, *EXTREME_SUMS]]
    sums = run(stimulus + [{}])[5:]
    wrapped = np.array(EXTREME_SUMS, np.int64) + activation * weight
    assert sums == wrapped.astype(np.int32).tolist()


@pytest.mark.parametrize("name", ["activation", "weight", "swap", "capture"])
def test_neighbours_get_operands_and_tokens_a_cycle_later(name):
    values = [1, 0, 0, 1, 1] if name in ("swap", "capture") else [5, -128, 0, 127, -1]
    assert run([{f"{name}_in": value} for value in values] + [{}, {}], f"{name}_out") == [0, *values, 0]


def test_weight_passing_without_a_token_stays_out():
    stimulus = [{"weight_in": 3, "capture_in": 1}, {"weight_in": 9, "swap_in": 1}]
    stimulus += [{"weight_in": 9, "activation_in": 10}] * 2 + [{}] * 3
    assert run(stimulus) == [0, 0, 0, 0, 0, 30, 30]


def test_shadow_waits_for_the_swap():
    stimulus = [{"weight_in": 3, "capture_in": 1}, {"weight_in": 4, "swap_in": 1, "capture_in": 1}]
    stimulus += [{"activation_in": 10}] * 5 + [{"activation_in": 10, "swap_in": 1}] + [{"activation_in": 10}] * 2
    assert run(stimulus + [{}] * 3)[5:] == [30] * 6 + [40] * 2

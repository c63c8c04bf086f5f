"""The processing element: every int8 product, sums that wrap around, and weights loaded behind the one in use; and the
same with bf16 numbers."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import ADD_CYCLES, MULTIPLY_CYCLES
from heddle.hw.pe import Pe

INT8 = range(-128, 128)
EXTREME_SUMS = [-(2**31), -(2**31) + 1, -(2**31) + 128 * 127, -1, 0, 1, 2**31 - 128 * 128, 2**31 - 1]


def run(stimulus: list[dict[str, int]], watch: str = "sum_out", kind: str = "int8") -> list[int]:
    """`watch` in each cycle, for inputs that are 0 where `stimulus` does not name them."""
    pe, seen = Pe(kind), []

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


def bf16(x: float) -> int:
    """The bits of a bf16 number."""
    return int(numerics.to_bits(numerics.to_bf16(np.float32(x)))) >> 16


def test_one_bf16_product_by_hand():
    stimulus = [{"weight_in": bf16(-1.5), "capture_in": 1}, {"swap_in": 1}, {"activation_in": bf16(3)}, {}, {}, {}]
    stimulus += [{"sum_in": int(numerics.to_bits(np.float32(1000)))}, *[{}] * 4]
    # The activation's register, 3 to the product, 4 to the sum.
    sums = numerics.from_bits(run(stimulus, kind="bf16")[2 + 1 + MULTIPLY_CYCLES + ADD_CYCLES :])
    assert sums.tolist() == [1000 - 4.5]


def test_bf16_products_and_sums_of_all_kinds():
    numbers = [0, -0.0, 1, -1.0078125, 3e38, -3e38, 1e-20, 1.5e-38, -1.2e-38, np.inf, -np.inf, np.nan]
    numbers = np.array(numbers, np.float32)
    codes = [bf16(x) for x in numbers] + [0x0001, 0x8055, 0xFFC1, 0x0080]  # subnormals, another NaN, 2⁻¹²⁶
    totals = [0, 0x8000_0000, 0x3F80_0000, 0xBF80_0001, 0x7F80_0000, 0xFF80_0000, 0x0080_0000, 0x8000_0001, 0x7F7F_FFFF]
    cases = [(a, w, t) for w in codes for a in codes for t in totals]
    stimulus: list[dict[str, int]] = [{} for _ in range(len(cases) + 20)]
    stimulus[0] |= {"weight_in": codes[0], "capture_in": 1}
    stimulus[1] |= {"swap_in": 1}
    for i, (activation, weight, total) in enumerate(cases):
        stimulus[2 + i] |= {"activation_in": activation}
        stimulus[2 + i + 1 + MULTIPLY_CYCLES] |= {"sum_in": total}
        if i and weight != cases[i - 1][1]:  # the weight arrives one cycle ahead of its swap
            stimulus[i] |= {"weight_in": weight, "capture_in": 1}
            stimulus[i + 1] |= {"swap_in": 1}
    first = 2 + 1 + MULTIPLY_CYCLES + ADD_CYCLES
    found = run(stimulus, kind="bf16")[first : first + len(cases)]
    a, w, t = (np.array(part, np.uint32) for part in zip(*cases, strict=True))
    products = numerics.multiply(numerics.from_bits(a << 16), numerics.from_bits(w << 16))
    assert found == numerics.to_bits(numerics.add(numerics.from_bits(t), products)).tolist()

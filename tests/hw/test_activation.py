"""hw/activation.py against the oracle, bit for bit in ACTIVATION_CYCLES, and against PyTorch within a tolerance."""

import numpy as np
import pytest
import torch
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import ACTIVATION_CYCLES, ADD_CYCLES, MULTIPLY_CYCLES, TABLE_CYCLES
from heddle.arch.isa import Activation
from heddle.hw.activation import ActivationLane, setting_of

FUNCTIONS = {
    Activation.NONE: lambda x: x,
    Activation.RELU: torch.relu,
    Activation.GELU: torch.nn.functional.gelu,
    Activation.GELU_TANH: lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    Activation.SILU: torch.nn.functional.silu,
    Activation.SIGMOID: torch.sigmoid,
    Activation.TANH: torch.tanh,
}
# A chord of width h lies above a function f by at most h²·max|f''|/8. Relative to f, in 64 segments: rcp (1/64)²/4,
# exp2 (ln 2/64)²/8, and both are rounded to 16 bits. That bounds the relative error of the sigmoid in each function.
SIGMOID_TOLERANCE = (1 / 64) ** 2 / 4 + (np.log(2) / 64) ** 2 / 8 + 2 * 2.0**-17
POLYNOMIAL_TOLERANCE = 3.1e-6  # of erf's approximation in gelu, absolute


def activate(kind: Activation, x: np.ndarray, precision: int = 24) -> np.ndarray:
    """What the lane gives for x, an operand every cycle: bits of float32, each exactly ACTIVATION_CYCLES after its
    operand."""
    m = Module()
    m.submodules.lane = lane = ActivationLane(precision)
    code = Signal(3)
    m.d.comb += lane.setting.eq(setting_of(m, code, precision))
    bits, results = numerics.to_bits(x), []

    async def bench(ctx):
        ctx.set(code, kind)
        for cycle in range(len(bits) + ACTIVATION_CYCLES):
            if cycle < len(bits):
                ctx.set(lane.a, int(bits[cycle]) >> 24 - precision)
            if cycle >= ACTIVATION_CYCLES:
                results.append(ctx.get(lane.o) << 24 - precision)
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(results, np.uint32)


def test_latency_is_the_sum_of_its_parts():
    horner = 4 * (MULTIPLY_CYCLES + ADD_CYCLES)
    rest = TABLE_CYCLES + ADD_CYCLES + TABLE_CYCLES + MULTIPLY_CYCLES + ADD_CYCLES
    assert MULTIPLY_CYCLES + 1 + horner + MULTIPLY_CYCLES + rest == ACTIVATION_CYCLES


@pytest.mark.parametrize("precision", [24, 11])
@pytest.mark.parametrize("kind", Activation, ids=lambda kind: kind.name)
def test_equals_the_oracle_bit_for_bit(kind, precision):
    random, arithmetic = np.random.default_rng(kind), numerics.Arithmetic(precision)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 6, -6, 6.0000005, 88, -88, 1e19, -1e19, 3e38, -3e38])
    x = arithmetic.round(np.concatenate([
        special.astype(np.float32),
        (random.normal(size=250) * 3).astype(np.float32),
        numerics.from_bits(random.integers(0, 1 << 32, 250, dtype=np.uint32)),
    ]))  # fmt: skip
    expected = numerics.to_bits(numerics.activation(kind, x, arithmetic))
    np.testing.assert_array_equal(activate(kind, x, precision), expected)


@pytest.mark.parametrize("kind", Activation, ids=lambda kind: kind.name)
def test_is_the_function_of_pytorch(kind):
    x = np.linspace(-12, 12, 1201, dtype=np.float32)
    expected = FUNCTIONS[kind](torch.from_numpy(x)).numpy()
    error = np.abs(activate(kind, x).view(np.float32) - expected)
    if kind in (Activation.NONE, Activation.RELU):
        assert not error.any()
    else:
        gate = {Activation.SIGMOID: 1, Activation.TANH: 2}.get(kind, np.abs(x))
        assert (error <= gate * SIGMOID_TOLERANCE + POLYNOMIAL_TOLERANCE).all()


def test_relu_by_hand():
    x = np.array([-2.5, -0.0, 0.0, 3.0, np.nan, -np.inf], np.float32)
    assert list(activate(Activation.RELU, x)) == [0, 0, 0, 0x4040_0000, 0x7FC0_0000, 0]


def test_functions_of_zero_by_hand():
    zero = np.zeros(1, np.float32)
    assert activate(Activation.GELU, zero) == [0]
    assert activate(Activation.SILU, zero) == [0]
    assert activate(Activation.SIGMOID, zero) == [0x3F00_0000]  # 1/2
    assert activate(Activation.TANH, zero) == [0]

"""hw/float*.py in Amaranth's simulator: by hand, at the edges, in every table segment, and against PyTorch.

The oracle gives the bits, `arch/config.py` the latency. test_float_bulk.py goes on with millions of operands.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import (
    ADD_CYCLES,
    CONVERT_CYCLES,
    CONVERT_SUM_CYCLES,
    MULTIPLY_CYCLES,
    ROUND_CYCLES,
    SUM_BITS,
    SUM_CYCLES,
)
from heddle.hw import float as floats
from heddle.hw.verilog import to_verilog

ZERO, ONE, TWO, HALF, INFINITY, NAN = 0x00000000, 0x3F800000, 0x40000000, 0x3F000000, 0x7F800000, 0x7FC00000
LEAST, GREATEST, SUBNORMAL = 0x00800000, 0x7F7FFFFF, 0x007FFFFF
MINUS = 0x80000000
# Zeros, subnormals, the ends of the normal range, one and its neighbours, ties of rounding, the limits of int8 and of
# exp2, infinities, quiet and signalling NaNs with and without a sign.
EDGES = np.array(
    [ZERO, 1, SUBNORMAL, LEAST, 0x00800001, 0x00FFFFFF, 0x01000000, 0x33800000, 0x34000000, 0x3EFFFFFF, HALF,
     0x3F7FFFFF, ONE, 0x3F800001, 0x3FC00000, TWO, 0x42FE0000, 0x42FF0000, 0x42FFFFFF, 0x43000000, 0x42FC0000,
     0x4B7FFFFF, 0x4B800000, 0x4B800001, 0x5F800000, 0x7E7FFFFF, 0x7E800000, 0x7E800001, 0x7F000000, GREATEST,
     INFINITY, NAN, 0x7F800001, 0x7FFFFFFF], np.uint32,
)  # fmt: skip
EDGES = np.concatenate([EDGES, EDGES | np.uint32(MINUS)])


def run(component, cycles, a, b=None):
    """What `component` gives, each exactly `cycles` after its operands, which come every cycle; as bits."""
    results = []

    async def bench(ctx):
        for cycle in range(len(a) + cycles):
            if cycle < len(a):
                ctx.set(component.a, int(a[cycle]))
            if b is not None and cycle < len(a):
                ctx.set(component.b, int(b[cycle]))
            if cycle >= cycles:
                results.append(ctx.get(component.o))
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(results, np.int64).astype(np.uint32)


def assert_same(results, expected, *operands):
    """Bits against the oracle's floats."""
    expected = numerics.to_bits(expected)
    wrong = np.flatnonzero(results != expected)
    lines = [f"{[f'{x[i]:08x}' for x in operands]} → {results[i]:08x}, not {expected[i]:08x}" for i in wrong[:5]]
    assert not lines, "\n".join(lines)


def pairs(numbers):
    """Every number with every other, as two long arrays."""
    a, b = np.meshgrid(numbers, numbers)
    return a.ravel(), b.ravel()


# -- by hand -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "a, b, product",
    [
        (TWO, 0xBFC00000, 0xC0400000),  # 2 · −1.5 = −3
        (0x3F800001, 0x3F800001, 0x3F800002),  # the square of 1 + 2⁻²³ rounds down
        (0x3FFFFFFF, 0x3FFFFFFF, 0x407FFFFE),  # and that of 2 − 2⁻²³ up
        (0x3F800001, 0x3FC00000, 0x3FC00002),  # a tie, to even
        (0x3FF95B93, 0x3F88FA9B, 0x40056CC1),  # above a tie by the last bit of the product: up, to odd
        (GREATEST, TWO, GREATEST),  # saturated
        (GREATEST | MINUS, GREATEST, GREATEST | MINUS),
        (0x3F800001, 0x7F7FFFFE, GREATEST),  # rounds over the end
        (0x3F800001, GREATEST, GREATEST),
        (GREATEST, INFINITY | MINUS, INFINITY | MINUS),
        (LEAST, HALF, ZERO),  # flushed
        (LEAST | MINUS, HALF, MINUS),
        (0x00800001, 0x3F7FFFFF, LEAST),  # just above 2⁻¹²⁶ before rounding
        (LEAST, 0x3F7FFFFF, ZERO),  # below 2⁻¹²⁶ before rounding, at it after: flushed
        (SUBNORMAL, GREATEST, ZERO),
        (SUBNORMAL, INFINITY, NAN),  # a subnormal is a zero
        (MINUS, INFINITY, NAN),
        (INFINITY, 0xBF800000, INFINITY | MINUS),
        (0xFF800001, ZERO, NAN),  # one NaN for all
    ],
)
def test_products_by_hand(a, b, product):
    assert run(floats.Multiply(), MULTIPLY_CYCLES, [a], [b])[0] == product


@pytest.mark.parametrize(
    "a, b, total",
    [
        (ONE, TWO, 0x40400000),
        (ONE, 0x33800000, ONE),  # 1 + 2⁻²⁴: a tie, to even
        (0x3F800001, 0x33800000, 0x3F800002),  # a tie, to even
        (ONE, 0x33800001, 0x3F800001),  # just above the tie: sticky
        (ONE, 0xB3000000, ONE),  # 1 − 2⁻²⁵: a tie, to even
        (ONE, 0xB3000001, 0x3F7FFFFF),  # just below that tie
        (ONE, 0xBF7FFFFF, 0x33800000),  # cancels to the last bit
        (ONE, 0xBF800000, ZERO),
        (MINUS, MINUS, MINUS),
        (MINUS, ZERO, ZERO),
        (0x00800001, LEAST | MINUS, ZERO),  # 2⁻¹⁴⁹: flushed
        (LEAST, 0x80800001, MINUS),  # −2⁻¹⁴⁹: flushed to a zero of its sign
        (SUBNORMAL | MINUS, SUBNORMAL, ZERO),
        (GREATEST, 0x73000000, GREATEST),  # half a unit in the last place more: rounds over the end
        (GREATEST | MINUS, 0xF3000000, GREATEST | MINUS),
        (GREATEST, GREATEST, GREATEST),
        (0x7F000000, 0x7F000000, GREATEST),  # 2¹²⁸
        (GREATEST, 0xFF7FFFFF, ZERO),
        (GREATEST, 0x72FFFFFF, GREATEST),
        (INFINITY, 0xFF800000, NAN),
        (INFINITY, 0xFF7FFFFF, INFINITY),
    ],
)
def test_sums_by_hand(a, b, total):
    assert run(floats.Add(), ADD_CYCLES, [a], [b])[0] == total


@pytest.mark.parametrize(
    "integer, bits",
    [
        (0, ZERO), (1, ONE), (-1, 0xBF800000), (16777216, 0x4B800000), (16777217, 0x4B800000), (16777219, 0x4B800002),
        (2**31 - 1, 0x4F000000), (-(2**31), 0xCF000000),
    ],
)  # fmt: skip
def test_integers_by_hand(integer, bits):
    assert run(floats.ConvertInt32(), CONVERT_CYCLES, [integer & 0xFFFFFFFF])[0] == bits


@pytest.mark.parametrize(
    "x, code",
    [
        (0.5, 0), (0.50001, 1), (-0.5, 0), (1.5, 2), (2.5, 2), (-2.5, -2), (126.5, 126), (126.50001, 127), (127.5, 127),
        (-127.6, -127), (1e30, 127), (-np.inf, -127), (np.nan, 0), (1e-40, 0),
    ],
)  # fmt: skip
def test_codes_by_hand(x, code):
    bits = numerics.to_bits(np.float32(x))
    assert run(floats.RoundInt8(), ROUND_CYCLES, [bits]).astype(np.int32)[0] == code


# -- the edges with each other, and random operands --------------------------------------------------------------------


@pytest.mark.parametrize(
    "operator, cycles, oracle",
    [
        (floats.Multiply, MULTIPLY_CYCLES, numerics.multiply),
        (floats.Add, ADD_CYCLES, numerics.add),
        (floats.LateAdd, SUM_CYCLES, numerics.add),
    ],
)
def test_edges_with_edges(operator, cycles, oracle):
    a, b = pairs(EDGES)
    assert_same(run(operator(), cycles, a, b), oracle(a.view(np.float32), b.view(np.float32)), a, b)


def test_integers_around_each_power_of_two():
    powers = 1 << np.arange(32, dtype=np.int64)
    halves = powers + (powers >> 24)  # ties from 2²⁴ on
    i = np.concatenate([(each + k) * sign for each in (powers, halves) for k in range(-2, 3) for sign in (1, -1)])
    i = i.astype(np.uint32)
    assert_same(run(floats.ConvertInt32(), CONVERT_CYCLES, i), numerics.from_int32(i.view(np.int32)), i)


@pytest.mark.parametrize("precision", [24, 11])
def test_sums_of_panels_around_each_power_of_two_and_each_tie(precision):
    powers = [1 << k for k in range(SUM_BITS - 1)]
    ties = [each + (each >> precision) for each in powers]  # from 2ᵖ on
    random = np.random.default_rng(precision)
    others = [int(random.integers(1 << k)) for k in range(1, SUM_BITS) for _ in range(8)]
    i = [each + k for each in (*powers, *ties) for k in range(-2, 3)] + others
    i = [sign * each for each in i for sign in (1, -1) if -(1 << SUM_BITS - 1) <= sign * each < 1 << SUM_BITS - 1]
    found = run(floats.ConvertSum(precision), CONVERT_SUM_CYCLES, [each % (1 << SUM_BITS) for each in i])
    found = numerics.from_bits((found << np.uint32(24 - precision)).astype(np.uint32))
    assert found.tolist() == [_nearest(each, precision) for each in i]
    assert numerics.Arithmetic(precision).from_integer(i).tolist() == found.tolist()


def _nearest(i, precision):
    """The integer with so many significant bits that is nearest to i, ties to even."""
    places = max(abs(i).bit_length() - precision, 0)
    return round(Fraction(i, 1 << places)) << places


def test_codes_around_each_tie():
    x = np.arange(-260, 261, dtype=np.float32) / 2
    x = np.concatenate([x, np.nextafter(x, np.float32(1e9)), np.nextafter(x, np.float32(-1e9)), EDGES.view(np.float32)])
    with np.errstate(invalid="ignore"):  # numpy complains of signalling NaNs
        expected = numerics.round_int8(x)
    assert (run(floats.RoundInt8(), ROUND_CYCLES, x.view(np.uint32)).astype(np.int32) == expected).all()


# -- combinational -----------------------------------------------------------------------------------------------------


class Combinational(wiring.Component):
    """A helper of hw/float.py as a component."""

    def __init__(self, function):
        super().__init__({"a": wiring.In(32), "b": wiring.In(32), "o": Out(32)})
        self._function = function

    def elaborate(self, platform):
        m = Module()
        m.d.sync += Signal().eq(1)  # the bench wants a clock
        m.d.comb += self.o.eq(self._function(m, self.a, self.b))
        return m


def test_maximum_orders_all_floats():
    a, b = pairs(EDGES)
    expected = numerics.maximum(a.view(np.float32), b.view(np.float32))
    assert_same(run(Combinational(floats.maximum), 0, a, b), expected, a, b)


def test_bf16_rounds_to_even():
    random = np.random.default_rng(4)
    ties = random.integers(1 << 16, size=500, dtype=np.uint32) << 16 | random.choice([0x7FFF, 0x8000, 0x8001], 500)
    a = np.concatenate([EDGES, ties, random.integers(1 << 32, size=500, dtype=np.uint32)]).astype(np.uint32)
    results = run(Combinational(lambda m, a, b: floats.to_bf16(m, a) << 16), 0, a)
    assert_same(results, numerics.to_bf16(a.view(np.float32)), a)


def test_negate_and_magnitude_change_the_sign_only():
    assert (run(Combinational(lambda m, a, b: floats.negate(a)), 0, EDGES) == EDGES ^ MINUS).all()
    assert (run(Combinational(lambda m, a, b: floats.magnitude(a)), 0, EDGES) == EDGES & 0x7FFFFFFF).all()


# -- PyTorch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator, cycles, golden", [(floats.Multiply, MULTIPLY_CYCLES, torch.mul),
                                                      (floats.Add, ADD_CYCLES, torch.add)])  # fmt: skip
def test_arithmetic_is_that_of_pytorch(operator, cycles, golden):
    random = np.random.default_rng(5)
    a, b = (random.standard_normal((2, 1500)) * 2.0 ** random.integers(-20, 20, (2, 1500))).astype(np.float32)
    expected = golden(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert_same(run(operator(), cycles, a.view(np.uint32), b.view(np.uint32)), expected, a.view(np.uint32))


# -- Verilog -----------------------------------------------------------------------------------------------------------


class TwoOfEach(wiring.Component):
    """Two adders in a row."""

    def __init__(self):
        super().__init__({"a": wiring.In(32), "o": Out(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = floats.Add()
        m.submodules.second = second = floats.Add()
        m.d.comb += [first.a.eq(self.a), second.a.eq(first.o), self.o.eq(second.o)]
        return m


def test_an_operator_is_written_once():
    text = to_verilog(TwoOfEach())
    assert text.count("module heddle_add(") == 1
    assert text.count("heddle_add ") == 2

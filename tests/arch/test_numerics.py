"""The oracle against independent definitions: exact rational rounding, IEEE bits, PyTorch."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from heddle.arch import numerics
from heddle.arch.isa import Combine
from heddle.compiler.functions import named

F32 = np.float32
EDGES = numerics.from_bits(
    [0, 1 << 31, 1, 0x7FFFFF, 0x800000, 0x80800000, 0x800001, 0x3F800000, 0xBF800000, 0x3F800001, 0x7F7FFFFF,
     0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0x00FFFFFF, 0x34000000, 0x4B800000, 0x20000000,
     0x1FFFFFFF]
)  # fmt: skip


def reference(a: float, b: float, operation) -> np.ndarray:
    """One operation by exact rationals: flush operands, flush the exact result, else round to nearest even, at most to
    the largest finite number."""
    a, b = (F32(0.0 * v) if abs(v) < 2.0**-126 else F32(v) for v in (a, b))
    with np.errstate(all="ignore"):
        ieee = operation(F32(a), F32(b))
    if np.isnan(ieee):
        return numerics.NAN
    if not (np.isfinite(a) and np.isfinite(b)):
        return ieee
    if np.isinf(ieee):
        return np.copysign(F32(np.finfo(F32).max), ieee)
    exact = operation(Fraction(float(a)), Fraction(float(b)))
    if exact != 0 and abs(exact) < Fraction(2) ** -126:
        return np.copysign(F32(0), F32(1 if exact > 0 else -1))
    return ieee


@pytest.mark.parametrize("name", ["add", "multiply"])
def test_operations_equal_exact_arithmetic_with_flush(name):
    rng = np.random.default_rng(1)
    random = numerics.from_bits(rng.integers(0, 1 << 32, 300, dtype=np.uint32))
    near = numerics.from_bits(rng.integers(0x1F000000, 0x21000000, 300, dtype=np.uint32))  # products around 2⁻¹²⁶
    operation = {"add": lambda a, b: a + b, "multiply": lambda a, b: a * b}[name]
    for values in (EDGES, random[:60], near[:60]):
        a, b = (v.ravel() for v in np.meshgrid(values, values))
        ours = getattr(numerics, name)(a, b)
        theirs = np.array([reference(x, y, operation) for x, y in zip(a, b, strict=True)], F32)
        assert np.array_equal(numerics.to_bits(ours), numerics.to_bits(theirs))


def test_a_product_that_rounds_up_to_the_least_normal_is_flushed():
    a, b = numerics.from_bits([0x3F7FFFFF]), numerics.from_bits([0x00800000])
    assert numerics.to_bits(numerics.multiply(a, b))[0] == 0
    assert numerics.to_bits(numerics.multiply(-a, b))[0] == 1 << 31


def test_maximum_orders_zeros_and_nan():
    assert numerics.to_bits(numerics.maximum(F32(-0.0), F32(0.0))) == 0
    assert np.isnan(numerics.maximum(F32(np.inf), numerics.NAN))
    x = np.random.default_rng(2).normal(size=(50, 7)).astype(F32)
    assert np.array_equal(numerics.row_maximum(x), x.max(-1))


def test_bf16_rounds_as_pytorch_does():
    bits = np.random.default_rng(3).integers(0x00800000, 0x7F800000, 20000, dtype=np.uint32)
    x = np.concatenate([numerics.from_bits(bits), -numerics.from_bits(bits), numerics.from_bits(bits & 0xFFFF8000)])
    assert np.array_equal(numerics.to_bf16(x), torch.tensor(x).bfloat16().float().numpy())


FUNCTIONS = pytest.mark.parametrize(
    "function, golden", [("exp2", torch.exp2), ("rcp", torch.reciprocal), ("rsqrt", torch.rsqrt)]
)


def table_error(function):
    """A bound of the relative error of a function by table: h²·max|f''/f|/8 of a chord of width h = 1/32, half a unit
    of nodes with 13 fraction bits, and what is cut off the product."""
    curvature = {"exp2": np.log(2) ** 2, "rcp": 2, "rsqrt": 0.75}[function]
    return curvature / 32**2 / 8 + 2.0**-14 + 2.0**-16


@FUNCTIONS
def test_table_functions_are_close_to_pytorch_and_monotone(function, golden):
    low, high = (-125.9, 127.9) if function == "exp2" else (2.0**-20, 2.0**20)
    x = np.linspace(low, high, 300_001).astype(F32)
    if function != "exp2":
        x = np.concatenate([np.linspace(1, 4, 300_001), x]).astype(F32)
    y = getattr(numerics, function)(x)
    relative = np.abs(y / golden(torch.tensor(x)).numpy() - 1)
    cut = np.abs(x) * 2.0**-16 * np.log(2) if function == "exp2" else 0  # of the argument, beyond 16 fraction bits
    assert (relative < table_error(function) + 2.0**-17 + cut).all()
    steps = np.diff(getattr(numerics, function)(np.sort(x)))
    assert (steps >= 0).all() if function == "exp2" else (steps <= 0).all()


def test_table_functions_are_exact_at_powers_of_two():
    n = np.arange(-126, 128)
    powers = F32(2.0) ** n.astype(F32)
    assert np.array_equal(TF32.exp2(n.astype(F32)), powers)
    assert np.array_equal(numerics.exp2(n[n >= 0].astype(F32)), powers[n >= 0])
    assert np.array_equal(numerics.rcp(powers[:-1]), 1 / powers[:-1])
    assert np.array_equal(numerics.rsqrt(powers[::2]), F32(2.0) ** (-n[::2] / 2).astype(F32))


def test_special_operands_of_table_functions():
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40], F32)
    expected = {
        "exp2": [1, 1, np.inf, 0, np.nan, 1],
        "rcp": [np.inf, -np.inf, 0, -0.0, np.nan, np.inf],
        "rsqrt": [np.inf, -np.inf, 0, np.nan, np.nan, np.inf],
    }
    for name, values in expected.items():
        result = getattr(numerics, name)(x)
        assert np.array_equal(numerics.to_bits(result), numerics.to_bits(np.array(values, F32))), name
    assert np.isnan(numerics.rsqrt(F32(-1.0)))


def test_row_sum_adds_in_the_documented_order():
    x = np.random.default_rng(4).normal(size=37).astype(F32)
    partial = [F32(0)] * 4
    for k, start in enumerate(range(0, 37, 4)):  # four lanes: in a group 0 meets 2, and 1 meets 3
        a, b, c, d = [*x[start : start + 4], F32(0), F32(0), F32(0)][:4]
        partial[k % 4] = F32(partial[k % 4] + F32(F32(a + c) + F32(b + d)))
    expected = F32(F32(partial[0] + partial[2]) + F32(partial[1] + partial[3]))
    assert numerics.row_sum(x, 4) == expected
    assert numerics.row_sum(np.stack([x, -x]), 4).tolist() == [expected, -expected]


def test_extremes_are_those_of_a_stable_sort_with_zeros_equal_and_nan_first():
    x = np.array([0.0, -0.0, 1, np.nan, -np.inf, 1, 1e-40, -3], F32)
    numbers, places = numerics.extremes(x, 8)
    assert places.tolist() == [3, 2, 5, 0, 1, 6, 7, 4]
    assert not np.signbit(numbers[3:6]).any() and not numbers[3:6].any()
    numbers, places = numerics.extremes(x, 8, least=True)
    assert places.tolist() == [3, 4, 7, 0, 1, 6, 2, 5] and numbers[1:3].tolist() == [-np.inf, -3]
    assert numerics.extremes(x)[1].tolist() == [3] and numerics.extremes(x[4:], least=True)[1].tolist() == [0]


def test_a_column_sum_is_one_addition_after_the_other():
    x = np.array([[1e8, -0.0], [1, -0.0], [-1e8, -0.0]], F32)
    assert numerics.column_sum(x).tolist() == [0, 0] and not np.signbit(numerics.column_sum(x)).any()


@pytest.mark.parametrize("k", [1, 7, 1024, 1025, 4096])
def test_matmul_is_exact_in_int32(k):
    rng = np.random.default_rng(k)
    a, b = (rng.integers(-128, 128, size, dtype=np.int8) for size in ((3, k), (k, 5)))
    a[0], b[:, 0] = -128, -128
    assert np.array_equal(numerics.matmul_int8(a, b), a.astype(np.int64) @ b.astype(np.int64))


def test_quantise_bounds_the_error_by_half_a_step():
    x = np.random.default_rng(5).normal(size=(6, 40)).astype(F32)
    x[2] = 0
    codes, scale = numerics.quantise(x)
    assert np.abs(codes).max() == 127 and not codes[2].any()
    assert (np.abs(codes * scale[:, None] - x) <= 0.51 * scale[:, None]).all()


def test_round_int8_ties_to_even_and_saturates():
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e9, -1e9, np.inf, -np.inf, np.nan], F32)
    assert numerics.round_int8(x).tolist() == [0, 2, 2, 0, -2, 126, 127, 127, -127, 127, -127, 0]


def test_norms_are_close_to_pytorch():
    rng = np.random.default_rng(6)
    x = (rng.normal(size=(5, 64)) * 3 + 1).astype(F32)
    gamma, beta = rng.normal(size=64).astype(F32), rng.normal(size=64).astype(F32)
    layer = numerics.norm(x, gamma, beta, 1 / 64, 1e-5, 4, centred=True)
    golden = torch.nn.functional.layer_norm(torch.tensor(x), (64,), torch.tensor(gamma), torch.tensor(beta), 1e-5)
    assert np.abs(layer - golden.numpy()).max() < 1e-5
    rms = numerics.norm(x, gamma, np.zeros(64), 1 / 64, 1e-5, 4, centred=False)
    golden = torch.nn.functional.rms_norm(torch.tensor(x), (64,), torch.tensor(gamma), 1e-5)
    assert np.abs(rms - golden.numpy()).max() < 1e-5


def test_softmax_times_its_scale_is_close_to_pytorch():
    rng = np.random.default_rng(7)
    acc = rng.integers(-9000, 9000, (4, 9), dtype=np.int32)
    row, ones = np.full(4, 1e-3, F32), np.ones(9, F32)
    visible = np.tril(np.ones((4, 9), bool), 2)
    codes, scale = numerics.softmax(acc, ones, ones, row, visible)
    scores = torch.tensor(acc * 1e-3 * np.log(2)).masked_fill(torch.tensor(~visible), -torch.inf)
    assert np.abs(codes * scale[:, None] - torch.softmax(scores, -1).numpy()).max() < 0.6 / 127
    assert not codes[~visible].any()


def test_a_row_that_sees_nothing_gives_zeros_and_a_finite_scale():
    nothing = np.zeros((1, 4), bool)
    codes, scale = numerics.softmax(np.ones((1, 4), np.int32), np.ones(4), np.ones(4), np.ones(1), nothing)
    assert not codes.any() and np.isfinite(scale).all()


def test_map_applies_its_steps_in_order():
    acc = np.array([[10, -20]], np.int32)
    x = numerics.map_values(
        acc, scale=np.array([0.5, 0.25], F32), row_scale=np.array([2], F32), offset=np.array([1, 2], F32),
        function=numerics.relu, combine=Combine.MULTIPLY, operand=np.array([[3, 3]], F32),
    )  # fmt: skip
    assert x.tolist() == [[33.0, 0.0]]


SPECIAL = F32([0.0, -0.0, 1, -1, 1.5, np.inf, -np.inf, np.nan, 2.0**-126, -(2.0**-126)])
BY_TORCH = {
    Combine.ADD: torch.add, Combine.SUBTRACT: torch.sub, Combine.SUBTRACT_FROM: lambda x, y: y - x,
    Combine.MULTIPLY: torch.mul, Combine.MAXIMUM: torch.maximum, Combine.MINIMUM: torch.minimum,
    Combine.LESS: torch.lt, Combine.LESS_EQUAL: torch.le, Combine.EQUAL: torch.eq,
}  # fmt: skip


@pytest.mark.parametrize("combine", BY_TORCH, ids=lambda each: each.name)
@pytest.mark.parametrize("precision", [24, 11])
def test_two_operands_are_combined_as_torch_does(combine, precision):
    """Special values, which 11 bits hold too, and others in a row and in a column."""
    x, y = np.meshgrid(SPECIAL, SPECIAL)
    golden = BY_TORCH[combine](torch.from_numpy(x), torch.from_numpy(y)).float().numpy()
    arithmetic = numerics.Arithmetic(precision)
    for other in (y, y[:, :1]):
        found = numerics.map_values(x, combine=combine, operand=other, arithmetic=arithmetic)
        assert np.array_equal(found, arithmetic.round(numerics.clean(golden)), equal_nan=True)
        assert found.dtype == F32 and found.shape == x.shape
    assert (numerics.to_bits(found)[np.isnan(found)] == 0x7FC00000).all(), "the one NaN"


def test_maximum_and_minimum_know_the_sign_of_zero():
    x, y = F32([[0.0, -0.0]]), F32([[-0.0, 0.0]])
    for combine, sign in ((Combine.MAXIMUM, 0), (Combine.MINIMUM, 1)):
        assert np.signbit(numerics.map_values(x, combine=combine, operand=y)).tolist() == [[sign, sign]]


def test_select_gives_the_first_operand():
    x = numerics.map_values(F32([[1, 2]]), combine=Combine.SELECT, operand=F32([[0], [1]]))
    assert x.tolist() == [[1, 2], [1, 2]]


# -- 11 bits -----------------------------------------------------------------------------------------------------------

TF32 = numerics.Arithmetic(11)


def functions(arithmetic):
    """None, relu and some by table."""
    tables = [named(name) for name in ("gelu", "silu", "tanh", "exp")]
    return [None, numerics.relu, *(partial(arithmetic.by_table, table) for table in tables)]


LARGEST_TF32 = (2 - 2.0**-10) * 2.0**127


def nearest(x):
    """float64 numbers to 11 significand bits, ties to even; below 2⁻¹²⁶ zero, beyond the largest number that number."""
    mantissa, exponent = np.frexp(x)
    y = np.ldexp(np.rint(mantissa * 2**11), exponent - 11)
    y = np.where(np.abs(x) < 2.0**-126, np.copysign(0.0, x), y)
    return np.clip(y, -LARGEST_TF32, LARGEST_TF32).astype(F32)


def of_11_bits(rng, count, low=1, high=255):
    """Numbers of 11 significand bits with biased exponents from `low` to below `high`."""
    signs, exponents = rng.integers(0, 2, count) << 31, rng.integers(low, high, count) << 23
    fractions = rng.integers(0, 1 << 10, count)
    fractions = np.where(rng.random(count) < 0.2, rng.choice([0, 1, 1022, 1023], count), fractions)
    return numerics.from_bits((signs | exponents | fractions << 13).astype(np.uint32))


def with_exponents(x, exponents):
    """x with other biased exponents, as far as there are such."""
    exponents = np.clip(exponents, 1, 254).astype(np.uint32)
    return numerics.from_bits(numerics.to_bits(x) & np.uint32(0x807F_FFFF) | exponents << np.uint32(23))


def test_11_bits_are_the_nearest():
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32)
    ties = rng.choice(np.array([0x0FFF, 0x1000, 0x1001], np.uint32), bits[::4].shape)
    bits[::4] = bits[::4] & np.uint32(0xFFFF_E000) | ties
    x = numerics.from_bits(np.concatenate([bits, numerics.to_bits(EDGES)]))
    x = x[np.isfinite(x)]
    assert np.array_equal(numerics.to_bits(numerics.rounded(x, 11)), numerics.to_bits(nearest(x.astype(np.float64))))
    others = numerics.to_bits(numerics.rounded([np.inf, -np.inf, np.nan], 11))
    assert others.tolist() == [0x7F800000, 0xFF800000, 0x7FC00000]


@pytest.mark.parametrize("seed", range(4))
def test_products_of_11_bits_are_exact_products_rounded_once(seed):
    """float64 holds the 22 bits of a product of any size."""
    rng = np.random.default_rng(seed)
    a = of_11_bits(rng, 200_000)
    exponents = numerics.to_bits(a).astype(np.int64) >> 23 & 255
    ends = np.where(rng.random(len(a)) < 0.5, 127 - exponents, 380 - exponents) + rng.integers(-2, 3, len(a))
    near = with_exponents(of_11_bits(rng, len(a)), ends)
    for b in (of_11_bits(rng, len(a)), near):  # anything; products at both ends of the range
        expected = nearest(a.astype(np.float64) * b.astype(np.float64))
        assert np.array_equal(numerics.to_bits(TF32.multiply(a, b)), numerics.to_bits(expected))


@pytest.mark.parametrize("distance", range(0, 45, 4))
def test_sums_of_11_bits_are_exact_sums_rounded_once(distance):
    """float64 holds a sum of exponents up to 42 apart; beyond, what the lesser adds is too little to be seen."""
    rng = np.random.default_rng(distance)
    for low, high in ((1, 60), (100, 150), (200, 255)):
        a = of_11_bits(rng, 50_000, low, high)
        exponents = (numerics.to_bits(a).astype(np.int64) >> 23 & 255) - distance - rng.integers(0, 4, len(a))
        b = with_exponents(of_11_bits(rng, len(a)), exponents)
        expected = nearest(a.astype(np.float64) + b.astype(np.float64))
        assert np.array_equal(numerics.to_bits(TF32.add(a, b)), numerics.to_bits(expected))


def test_edges_of_11_bits_by_exact_rationals():
    values = TF32.round(np.concatenate([EDGES, of_11_bits(np.random.default_rng(5), 20)]))
    a, b = (v.ravel() for v in np.meshgrid(values, values))
    for name, operation in (("add", lambda a, b: a + b), ("multiply", lambda a, b: a * b)):
        ours, wide = getattr(TF32, name)(a, b), getattr(numerics, name)(a, b)
        for x, y, found, float32 in zip(a, b, ours, wide, strict=True):
            if not (np.isfinite(x) and np.isfinite(y)):  # what IEEE says of infinities and NaNs, in any format
                assert numerics.to_bits(found) == numerics.to_bits(float32)
                continue
            exact = operation(Fraction(float(x)), Fraction(float(y)))
            if abs(exact) < Fraction(2) ** -126:
                assert found == 0
            elif abs(exact) > LARGEST_TF32:
                assert abs(found) == LARGEST_TF32 and (found > 0) == (exact > 0)
            else:  # no other is nearer, and of two that are as near it is the even one
                bits = int(numerics.to_bits(found))
                others = [numerics.from_bits(bits + step) for step in (-8192, 8192)]
                error, *errors = (abs(Fraction(float(each)) - exact) for each in (found, *filter(np.isfinite, others)))
                assert all(error < each or (error == each and not bits >> 13 & 1) for each in errors)


@FUNCTIONS
def test_functions_of_11_bits_are_close_to_pytorch(function, golden):
    x = numerics.from_bits(np.arange(100 << 10, 133 << 10, dtype=np.uint32) << 13)
    y = getattr(TF32, function)(x)
    assert (np.abs(y / golden(torch.tensor(x)).numpy() - 1)).max() < 2.0**-11 + table_error(function)
    assert np.array_equal(y, TF32.round(y)) and (np.diff(y) * (1 if function == "exp2" else -1) >= 0).all()


def test_composites_of_11_bits_are_close_to_those_of_float32():
    """To a thousandth of their size, less than bf16 loses: with means and scores far from 0 too, which cancel."""
    rng = np.random.default_rng(9)
    x, other = rng.normal(size=(2, 4, 64)).astype(F32)
    gamma, row = rng.normal(size=64).astype(F32), np.full(4, 1e-3, F32)
    acc, seen = rng.integers(29_000, 31_000, (4, 64), dtype=np.int32), np.ones((4, 64), bool)

    def results(arithmetic):
        for function in functions(arithmetic):
            yield numerics.map_values(x, scale=gamma, offset=gamma, function=function, arithmetic=arithmetic)
        yield numerics.map_values(x, combine=Combine.MULTIPLY, operand=other, arithmetic=arithmetic)
        yield numerics.rotate(x, np.cos(other), np.sin(other), arithmetic)
        for mean in (0, 30):
            yield numerics.norm(x + F32(mean), gamma, gamma, 1 / 64, 1e-5, 4, True, arithmetic)
        (high, scale), (low, _) = (
            numerics.softmax(acc, np.ones(64), np.ones(64), row, seen, None, to, arithmetic)
            for to in (numerics.CodeFormat.HIGH, numerics.CodeFormat.LOW)
        )
        yield (256.0 * high + low) * scale[:, None]

    for narrow, wide in zip(results(TF32), results(numerics.FLOAT32), strict=True):
        assert 0 < np.square(narrow - wide).mean() <= 2.0**-20 * np.square(wide).mean()


# -- finite numbers give finite numbers --------------------------------------------------------------------------------


def finite(rng, *shape):
    """Numbers of all magnitudes, or of the largest, or of those whose squares overflow or are flushed; some zeros."""
    low, high = [(-149, 128), (120, 128), (60, 70), (-70, -55), (-8, 8)][rng.integers(5)]
    exponents = rng.integers(low, high, shape).astype(np.float64)
    x = rng.choice([-1, 1], shape) * rng.uniform(1, 2, shape) * 2.0**exponents
    ends = rng.choice([0.0, -0.0, numerics.LARGEST, numerics.LOWEST], shape)
    return np.where(rng.random(shape) < 0.1, ends, x).astype(F32)


def composites(rng, arithmetic=numerics.FLOAT32):
    """What each instruction makes of finite numbers."""
    form = {"arithmetic": arithmetic}
    rows, columns, lanes = 3, int(rng.integers(1, 20)), int(rng.choice([1, 2, 4]))

    def panel(*shape):
        return finite(rng, *shape)

    source = panel(rows, columns)
    if rng.random() < 0.3:
        source = rng.integers(-(2**31), 2**31, (rows, columns)).astype(np.int32)
    step = {"operand": panel(rows, columns), "operand_scale": panel(rows), "scale": panel(columns)}
    for function in functions(arithmetic):
        combine = Combine(rng.choice([each for each in Combine if each is not Combine.ROTATE]))
        yield numerics.map_values(
            source, offset=panel(columns), row_scale=panel(rows), function=function, combine=combine, **step, **form
        )
    yield numerics.rotate(*(panel(rows, 2 * columns) for _ in range(3)), **form)
    planes = rng.integers(-(2**31), 2**31, (2, rows, columns)).astype(np.int32)
    yield numerics.map_values(planes[0], planes=list(planes), scale=panel(columns), **form)
    x = panel(rows, columns)
    for to in numerics.CodeFormat:
        yield from numerics.quantise(arithmetic.round(x), to, arithmetic)
    for centred in (True, False):
        for epsilon in (0.0, 1e-5):
            yield numerics.norm(x, panel(columns), panel(columns), 1 / columns, epsilon, lanes, centred, **form)
    seen, to = rng.random((rows, columns)) < 0.8, list(numerics.CodeFormat)[rng.integers(2) * 3]
    scores = source, panel(columns), np.abs(panel(columns)), panel(rows), seen
    yield from numerics.softmax(*scores, additive=panel(rows, columns), to=to, **form)
    first = numerics.online_softmax(*scores, to=to, **form)
    yield from first
    yield from numerics.online_softmax(*scores, before=(first.greatest, first.total), to=to, **form)
    yield numerics.matmul_bf16(
        numerics.to_bf16(panel(rows, 2 * columns)), numerics.to_bf16(panel(2 * columns, 3)), columns
    )


@pytest.mark.parametrize("seed", range(200))
def test_nothing_finite_gives_nan_or_infinity(seed):
    for result in composites(np.random.default_rng(seed), [numerics.FLOAT32, TF32][seed % 2]):
        assert np.isfinite(result).all() and np.isfinite(numerics.to_bf16(result.astype(F32))).all()


@pytest.mark.parametrize("exponent", [-150, -126, -60, 0, 63, 100, 120, 126, 127])
def test_codes_of_rows_of_any_magnitude(exponent):
    """Those of the row itself times any power of two, from the least magnitude that is scaled by."""
    x = np.array([[1.0, -0.5, 0.26, 1.99, -1.2]], F32)
    factor = 2.0**exponent
    codes, scale = numerics.quantise((x * factor).astype(F32))
    high, low = (numerics.quantise((x * factor).astype(F32), to)[0].astype(int)
                 for to in (numerics.CodeFormat.HIGH, numerics.CodeFormat.LOW))  # fmt: skip
    if factor < 2.0**-60:
        assert not codes.any() or exponent == -60
        return
    assert np.array_equal(codes, np.rint(x / 1.99 * 127)) and scale == pytest.approx(1.99 * factor / 127, rel=1e-6)
    assert np.abs(high * 256 + low - x / 1.99 * 32639).max() < 3


@pytest.mark.parametrize("exponent", [-50, -30, 0, 30, 60])
@pytest.mark.parametrize("centred", [True, False])
def test_norms_without_epsilon_are_exact_while_their_squares_are_numbers(exponent, centred):
    x = np.random.default_rng(1).normal(size=(4, 32))
    x -= x.mean(-1, keepdims=True) * centred
    expected = x / np.sqrt((x * x).mean(-1, keepdims=True))
    found = numerics.norm((x * 2.0**exponent).astype(F32), np.ones(32), np.zeros(32), 1 / 32, 0.0, 4, centred)
    assert np.abs(found - expected).max() < 3e-6


def test_norms_saturate_as_documented():
    """Squares beyond 2¹²⁸ count as that in the sum, the sum itself too; a row without variance gives beta."""
    gamma, beta = np.array([1, 2, 3, 4], F32), np.array([5, 6, 7, 8], F32)
    row = np.array([[2.0**70, -(2.0**66), 2.0**90, 0]], F32)
    found = numerics.norm(row, gamma, np.zeros(4), 0.25, 0.0, 1, centred=False)
    assert np.array_equal(found, row * gamma / F32(2.0**63))
    alone = numerics.norm(np.array([[2.0**100]], F32), F32(1), F32(0), 1.0, 0.0, 1, centred=False)
    assert alone == 2.0**100 / 2.0**63
    for centred in (True, False):
        nothing = np.full((1, 4), 7.0 * centred, F32)
        assert np.array_equal(numerics.norm(nothing, gamma, beta, 0.25, 0.0, 1, centred), beta[None])


def test_what_is_not_finite_stays_so():
    x = np.array([[1, np.inf, 2, 3], [1, np.nan, 2, 3]], F32)
    for centred in (True, False):
        found = numerics.norm(x, np.ones(4), np.zeros(4), 0.25, 1e-5, 1, centred)
        assert np.isnan(found[0]).all() and np.isnan(found[1, 1])
    assert np.array_equal(numerics.multiply([np.inf, -np.inf], 2), [np.inf, -np.inf])
    assert np.isinf(numerics.to_bf16(np.inf)) and np.isnan(numerics.add(np.inf, -np.inf))


def test_overflow_saturates_by_hand():
    most = numerics.LARGEST
    assert numerics.multiply(most, 2) == numerics.add(most, most) == most
    assert numerics.multiply(-most, 2) == numerics.add(-most, -most) == -most
    assert numerics.to_bf16(most) == -numerics.to_bf16(-most) == numerics.from_bits(0x7F7F0000)
    silu = numerics.FLOAT32.by_table(named("silu"), [-most, most])
    assert silu.tolist() == [0, (2 - 2.0**-15) * 2.0**127]

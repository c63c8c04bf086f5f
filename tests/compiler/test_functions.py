"""Tables that compiler/functions.py makes, at every number of 11 significant bits (bf16 among them), against PyTorch in
float64: errors, monotonicity, exact points, special values; and which functions it refuses."""

from functools import cache

import numpy as np
import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.arch.functions import WORD_COUNT, evaluate
from heddle.compiler.functions import GOLDEN, exponential, logarithm, named, power, table_of

EVERY = (np.arange(1 << 19, dtype=np.uint32) << 13).view(np.float32)  # of 11 significant bits, with both signs
ULP = 2.0**-10  # of a number of 11 bits, at most, relative to it
BEFORE_ROUNDING = 2.0**-11
FLOOR = 2.0**-20  # below it errors count absolutely
RANGES = {"sin": 128, "cos": 128}
WORDS = {
    "exp": 34, "exp2": 34, "log": 224, "log2": 224, "sqrt": 65, "rsqrt": 65, "reciprocal": 33, "erf": 47, "gelu": 404,
    "gelu_tanh": 474, "silu": 427, "sigmoid": 351, "tanh": 49, "softplus": 354, "mish": 426, "elu": 72,
    "hardswish": 194, "relu": 3, "sin": 152, "cos": 151, "atan": 76, "erfc": 422,
}  # fmt: skip


def golden(function, x):
    """In float64, with what is below float32's range made 0."""
    y = function(torch.from_numpy(np.asarray(x, np.float64))).numpy()
    return np.where(np.abs(y) < 2.0**-126 * (1 - 2.0**-12), 0, y)


@cache
def results(name):
    """(what the table gives, what the function is) at EVERY."""
    return evaluate(named(name), EVERY).astype(np.float64), golden(GOLDEN[name], EVERY)


def wave_error(name, x):
    """How much more a sine or cosine may be off: its argument is multiplied by 18 bits of 1/2π."""
    return np.where((np.abs(x) >= 1) & (name in RANGES), 2.0**-18 + 2.0**-21 * np.abs(x), 0)


def errors(found, exact):
    """Relative to the exact result, or FLOOR; 0 where it is beyond float32 or no number."""
    error = np.abs(found - exact) / np.maximum(np.abs(exact), FLOOR)
    return np.where(np.abs(exact) < 2.0**128 * (1 - 2.0**-11), error, 0)


@pytest.fixture(autouse=True)
def _numbers_may_be_infinite():
    with np.errstate(all="ignore"):
        yield


# -- every function named ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_fits_a_table(name):
    assert len(named(name).words) == WORDS[name] <= WORD_COUNT


@pytest.mark.parametrize("name", GOLDEN)
def test_error_at_every_number(name):
    found, exact = results(name)
    normal = np.isfinite(EVERY) & ((np.abs(EVERY) >= 2.0**-126) | (EVERY == 0))
    within = normal & (np.abs(EVERY) < RANGES.get(name, np.inf))
    error = errors(found, exact)
    assert (error[within & (wave_error(name, EVERY) == 0)] < ULP).all()
    # Rounding may add half a unit in the last place, which is less where the significand is large.
    unit = np.exp2(np.floor(np.log2(np.maximum(np.abs(found), 2.0**-126)))) * ULP
    off = np.abs(found - exact) - unit / 2
    bound = wave_error(name, EVERY) + BEFORE_ROUNDING * np.maximum(np.abs(exact), FLOOR)
    beyond = np.abs(exact) >= 2.0**128 * (1 - 2.0**-11)
    assert (off <= bound)[within & ~beyond & np.isfinite(exact)].all()
    saturated = 2.0**128 * (1 - 2.0**-11)
    assert (np.abs(found) == saturated)[within & beyond & np.isfinite(exact)].all()
    outside = normal & ~within
    assert np.isnan(found[outside]).all()


@pytest.mark.parametrize("name", [name for name in GOLDEN if name not in ("sin", "cos")])
def test_rises_and_falls_with_the_function(name):
    found, exact = results(name)
    for first in (1 << 10, (1 << 18) + (1 << 10)):  # from the least number of each sign
        y, f = found[first : first + (254 << 10)], exact[first : first + (254 << 10)]
        step = np.diff(f)
        # Not around a turn, and where PyTorch's own last bits say nothing.
        clear = np.isfinite(step) & (np.abs(step) > np.maximum(2.0**-30 * np.abs(f[1:]), 2.0**-45))
        assert (np.diff(y)[clear] * np.sign(step[clear]) >= 0).all()


@pytest.mark.parametrize("name", GOLDEN)
def test_special_numbers(name):
    function = GOLDEN[name]
    x = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 2.0**-140, -(2.0**-140)])
    found = evaluate(named(name), x)
    exact = golden(function, [0.0, -0.0, np.inf, -np.inf, np.nan, 0.0, -0.0])
    # The limit, where PyTorch has 0 · infinity.
    limits = {"gelu": 0.0, "gelu_tanh": 0.0, "silu": 0.0, "mish": 0.0, "hardswish": 0.0}
    exact[3] = limits.get(name, exact[3])
    np.testing.assert_allclose(found, exact, rtol=2.0**-11, atol=0)
    assert list(found[:2]) == list(found[5:])


def test_exact_points():
    points = {
        "exp": {0: 1}, "exp2": {0: 1, 3: 8, -2: 0.25, -126: 2.0**-126}, "log": {1: 0}, "log2": {1: 0, 8: 3, 0.125: -3},
        "sqrt": {0: 0, 1: 1, 4: 2, 2.0**-40: 2.0**-20}, "rsqrt": {1: 1, 0.25: 2}, "reciprocal": {1: 1, -4: -0.25},
        "erf": {0: 0, 8: 1, -8: -1}, "gelu": {0: 0, 40: 40, -40: 0}, "gelu_tanh": {0: 0, 40: 40, -40: 0},
        "silu": {0: 0, 40: 40}, "sigmoid": {0: 0.5, 40: 1}, "tanh": {0: 0, 20: 1, -20: -1}, "softplus": {40: 40},
        "mish": {0: 0, 40: 40}, "elu": {0: 0, 1.5: 1.5, -40: -1}, "hardswish": {0: 0, -3: 0, 3: 3, 7: 7, -5: 0},
        "relu": {0: 0, -1: 0, 1.5: 1.5}, "sin": {0: 0}, "cos": {0: 1},
    }  # fmt: skip
    for name, values in points.items():
        found = evaluate(named(name), np.float32(list(values)))
        assert list(found) == list(values.values()), name


@pytest.mark.parametrize("name", ["relu"])
def test_relu_passes_every_number(name):
    found, exact = results(name)
    normal = np.isfinite(EVERY) & (np.abs(EVERY) >= 2.0**-126)
    assert (found == exact)[normal].all()


@pytest.mark.parametrize("name", ["tanh", "erf", "reciprocal"])
def test_odd_functions_are_odd_in_every_bit(name):
    found, _ = results(name)
    half = 1 << 18
    numbers = ~np.isnan(found[:half])
    assert (found[:half] == -found[half:])[numbers].all()


# -- float32 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_error_of_any_float32(name):
    random = np.random.default_rng(1)
    x = (np.exp2(random.uniform(-22, 8, 20_000)) * random.choice([-1, 1], 20_000)).astype(np.float32)
    x = x[np.abs(x) < RANGES.get(name, 80)]
    cut = (x.view(np.uint32) & 0xFFFFFF80).view(np.float32)  # what is looked at
    found, exact = evaluate(named(name), x, 16).astype(np.float64), golden(GOLDEN[name], cut)
    error = np.abs(found - exact) - wave_error(name, x)
    assert (error[~np.isnan(exact)] <= (BEFORE_ROUNDING * np.maximum(np.abs(exact), FLOOR))[~np.isnan(exact)]).all()
    assert (np.isnan(found) == np.isnan(exact)).all()


# -- any function ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent, octaves", [(-4, 31), (-2, 62), (-1, 125), (-0.5, 125), (0.5, 125), (1, 125),
                                               (2, 62), (4, 31), (1 / 3, 13.9), (0.7, 13.9)])  # fmt: skip
def test_powers(exponent, octaves):
    x = np.float32(2.0 ** np.linspace(-octaves, octaves, 4001))
    x = (x.view(np.uint32) & 0xFFFFE000).view(np.float32)
    assert errors(evaluate(power(exponent), x).astype(np.float64), x.astype(np.float64) ** exponent).max() < ULP


def test_other_bases():
    x = (np.linspace(-30, 30, 4001).astype(np.float32).view(np.uint32) & 0xFFFFE000).view(np.float32)
    assert errors(evaluate(exponential(10), x).astype(np.float64), 10.0 ** x.astype(np.float64)).max() < ULP
    positive = np.abs(x[x != 0])
    found = evaluate(logarithm(10), positive).astype(np.float64)
    assert errors(found, np.log10(positive.astype(np.float64))).max() < ULP


@pytest.mark.parametrize(
    "function",
    [
        torch.nn.functional.selu, torch.nn.functional.relu6, torch.nn.functional.hardsigmoid, torch.atan, torch.abs,
        torch.nn.functional.leaky_relu,
    ],
)  # fmt: skip
def test_any_other_function(function):
    x = np.float32(np.linspace(-20, 20, 8001))
    x = (x.view(np.uint32) & 0xFFFFE000).view(np.float32)
    found = evaluate(table_of(function), x).astype(np.float64)
    assert errors(found, golden(function, x)).max() < ULP


def test_a_range_may_be_stated():
    table = table_of(torch.sinh, most=2)
    x = np.float32([0.5, -3.25, 7.9, 8, -100])
    found = evaluate(table, x)
    np.testing.assert_allclose(found[:3], np.sinh(x[:3].astype(np.float64)), rtol=ULP)
    assert np.isnan(found[3:]).all()


@pytest.mark.parametrize(
    "function, message",
    [
        (torch.sinh, "towards infinity"),
        (torch.floor, "cannot be made of 512 lines"),
        (lambda x: torch.sin(40 * x).clamp(-0.5, 0.5), "towards infinity"),
    ],
)
def test_what_no_table_can_hold_is_refused(function, message):
    with pytest.raises(HeddleError, match=message):
        table_of(function)

"""Scores in fixed point against float64, and their powers against PyTorch."""

import numpy as np
import pytest
import torch
from heddle.arch import scores
from heddle.arch.config import FACTOR_BITS
from heddle.arch.numerics import FLOAT32, Arithmetic

ONE = 1 << scores.FRACTION_BITS
F32 = np.float32
every_width = pytest.mark.parametrize("factor_bits", sorted(FACTOR_BITS.values()))


def numbers(rng, *shape, spread=8):
    x = rng.choice([-1, 1], shape) * rng.uniform(1, 2, shape) * 2.0 ** rng.integers(-spread, spread, shape)
    return x.astype(F32)


@every_width
def test_a_score_is_the_product_to_within_what_is_cut_off(factor_bits):
    rng = np.random.default_rng(factor_bits)
    for x in (rng.integers(-(2**31), 2**31, 20_000).astype(np.int32), rng.integers(-99, 99, 20_000).astype(np.int32),
              numbers(rng, 20_000, spread=40)):  # fmt: skip
        key, row = numbers(rng, 20_000, spread=20), numbers(rng, 20_000, spread=20)
        exact = x.astype(np.float64) * key * row
        found = scores.score(x, key, row, factor_bits) / ONE
        held = np.clip(exact, -(2.0**14), 2.0**14)
        assert (np.abs(found) <= np.abs(held)).all() and (found * exact >= 0).all()
        inside = np.abs(exact) < 2.0**14
        assert (np.abs(found - held)[inside] <= 1 / ONE + 2.0 ** (3 - factor_bits) * np.abs(held)[inside]).all()
        assert (np.abs(found)[np.abs(exact) > 2.0**14 * 1.001] == 2.0**14 - 1 / ONE).all()


@every_width
def test_scores_of_few_bits_are_exact(factor_bits):
    x = np.array([-5, 3, 0, 1 << 12], np.int32)
    key, row = np.array([0.25, -2, 4, 1.5], F32), np.array([1, 8, 3, 0.125], F32)
    assert (scores.score(x, key, row, factor_bits) / ONE == x * key * row).all()


@every_width
def test_what_is_no_number(factor_bits):
    inf, nan = np.inf, np.nan
    x, key, row = np.array([[1, inf, 1], [-1, inf, 1], [0, inf, 1], [-inf, 1, 2], [inf, 1, -1], [nan, 1, 1],
                            [2, nan, 1], [-inf, 0, 1], [-inf, -1, 1]], F32).T  # fmt: skip
    expected = ["unknown", "hidden", "unknown", "hidden", "hidden", "unknown", "unknown", "unknown", "unknown"]
    found = scores.score(x, key, row, factor_bits)
    assert found.tolist() == [scores.HIDDEN if each == "hidden" else scores.UNKNOWN for each in expected]


def test_an_added_number_is_rounded_down_and_held():
    rng = np.random.default_rng(1)
    operand = np.concatenate([numbers(rng, 5_000, spread=30), np.array([0, -0.0, 1e-42, -1e-30], F32)])
    t = rng.integers(-(2**30), 2**30, len(operand))
    found = scores.added(t, operand) - t
    held = np.clip(np.floor(operand.astype(np.float64) * ONE), -(2**29), 2**29 - 1)
    held[-2] = 0  # a subnormal is zero
    assert (found == held).all()
    for number, expected in ((np.inf, scores.UNKNOWN), (-np.inf, scores.HIDDEN), (np.nan, scores.UNKNOWN)):
        assert scores.added(np.array([5]), F32(number)) == expected
    assert scores.added(np.array([scores.HIDDEN]), F32(np.inf)) == scores.UNKNOWN
    assert scores.added(np.array([scores.HIDDEN]), F32(3)) == scores.HIDDEN


@pytest.mark.parametrize("bits", [11, 16])
def test_powers_are_close_to_those_of_pytorch(bits):
    difference = np.concatenate([-np.arange(1 << 17), -np.random.default_rng(2).integers(0, 150 * ONE, 50_000)])
    golden = torch.exp2(torch.tensor(difference / ONE)).numpy()
    found = scores.power(difference + 77 * ONE, 77 * ONE, bits)
    normal = golden > 2.0**-126
    assert (np.abs(found / golden - 1)[normal] < 2.0**-bits + 2.0**-13).all()
    assert not found[difference < -127 * ONE].any()
    assert (found[difference == 0] == 1).all() and (found <= 1).all()
    ordered = found[: 1 << 17]
    assert (np.diff(ordered) <= 0).all()


def test_sums_and_their_floats():
    x = np.array([1, 0.5, 2.0**-28, 2.0**-29, 0, -3, 2.0**20, 2.0**40], F32)
    assert scores.fixed(x).tolist() == [1 << 28, 1 << 27, 1, 0, 0, 3 << 28, (1 << 48) - 1, (1 << 48) - 1]
    parts = np.array([1 << 28, (1 << 28) + 1, 0, 5, (1 << 47) + (1 << 24)])
    assert scores.total(parts, 24).tolist() == [1, 1, 1, 1, 2.0**19 + 2.0**-4]
    rng = np.random.default_rng(3)
    parts = rng.integers(1 << 28, 1 << 48, 1000)
    for bits in FACTOR_BITS.values():
        error = 1 - scores.total(parts, bits) / (parts * 2.0**-28)
        assert (error >= 0).all() and (error < 2.0 ** (1 - bits)).all()


def test_products_of_row_numbers_are_rounded_once():
    arithmetic, rng = Arithmetic(11), np.random.default_rng(4)
    a, b = (arithmetic.cut(numbers(rng, 20_000, spread=100)) for _ in range(2))
    exact = a.astype(np.float64) * b
    found = arithmetic.multiply_widely(a, b)
    normal = (np.abs(exact) > 2.0**-126) & (np.abs(exact) < 2.0**127)
    assert (np.abs(found / exact - 1)[normal] <= 2.0**-18).all() and (arithmetic.cut(found) == found).all()
    assert (found[np.abs(exact) < 2.0**-126] == 0).all() and np.isfinite(found).all()
    assert (FLOAT32.multiply_widely(a, b) == FLOAT32.multiply(a, b)).all()

"""Scores in fixed point against float64, and their powers against PyTorch."""

import numpy as np
import pytest
import torch
from heddle.arch import scores
from heddle.arch.config import FACTOR_BITS
from heddle.arch.numerics import FLOAT32, Arithmetic, to_bits

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
        key, row = numbers(rng, 20_000, spread=40), numbers(rng, 20_000, spread=40)
        exact = x.astype(np.float64) * key * row
        found = scores.score(x, key, row, factor_bits).astype(np.float64)
        assert np.isfinite(found).all() and (np.abs(found) <= np.abs(exact)).all() and (found * exact >= 0).all()
        inside = (np.abs(exact) < 2.0**128) & (np.abs(found) > 0)
        assert (np.abs(found[inside] / exact[inside] - 1) <= 2.0 ** (3 - factor_bits)).all()
        assert (np.abs(exact)[found == 0] < 2.0**-126 * (1 + 2.0 ** (3 - factor_bits))).all()
        assert (np.abs(found)[np.abs(exact) > 2.0**129] == np.finfo(F32).max).all()


@every_width
def test_scales_that_columns_share_make_no_differences(factor_bits):
    """Of one scale only one factor of all scores is cut off: ratios are those of x to within 2⁻²²."""
    rng = np.random.default_rng(7)
    x = rng.integers(2**23, 2**24, 20_000).astype(np.int32)
    found = scores.score(x, F32(np.log2(np.e)), F32(0.1234567), factor_bits).astype(np.float64)
    ratio = found / x
    assert ratio.max() / ratio.min() - 1 < 2.0**-22


@every_width
def test_scores_of_few_bits_are_exact(factor_bits):
    x = np.array([-5, 3, 0, 1 << 12, (1 << 24) - 1], np.int32)
    key, row = np.array([0.25, -2, 4, 1.5, 8], F32), np.array([1, 8, 3, 0.125, 2.0**90], F32)
    assert (scores.score(x, key, row, factor_bits) == x * key.astype(float) * row).all()


@every_width
def test_what_is_no_number(factor_bits):
    inf, nan = np.inf, np.nan
    x, key, row = np.array([[1, inf, 1], [-1, inf, 1], [0, inf, 1], [-inf, 1, 2], [inf, 1, -1], [nan, 1, 1],
                            [2, nan, 1], [-inf, 0, 1], [-inf, -1, 1], [1e-42, 1e38, 1e38]], F32).T  # fmt: skip
    expected = np.array([inf, -inf, nan, -inf, -inf, nan, nan, nan, inf, 0], F32)
    assert (to_bits(scores.score(x, key, row, factor_bits)) == to_bits(expected)).all()


def test_a_difference_is_that_of_float64_where_it_counts():
    rng = np.random.default_rng(1)
    greatest = np.concatenate([numbers(rng, 30_000, spread=12), numbers(rng, 30_000, spread=120)])
    step = rng.uniform(0, 1, len(greatest)) * 2.0 ** rng.integers(-20, 12, len(greatest))
    for t in ((greatest - step).astype(F32), np.nextafter(greatest, F32(-np.inf)), greatest):
        t = np.where(np.abs(t) < np.finfo(F32).tiny, F32(0), t)
        exact = t.astype(np.float64) - greatest
        found = scores.difference(t, greatest) / ONE
        near = exact > -255
        cut = np.where(np.maximum(np.abs(t), np.abs(greatest)) < 512, 2 / ONE, 0)  # of both
        assert (np.abs(found - exact) <= cut)[near].all() and (found[exact < -256] < -250).all()
        assert (found[t == greatest] == 0).all() and near.mean() > 0.2
    assert (scores.difference(F32(-np.inf), np.array([-3e38, 0, 1e38], F32)) < -250 * ONE).all()


@pytest.mark.parametrize("bits", [11, 16])
def test_powers_are_close_to_those_of_pytorch(bits):
    difference = np.concatenate([np.arange(1 << 17), np.random.default_rng(2).integers(0, 150 * ONE, 50_000)])
    for greatest in (0, 511, 100_000, -100_000):
        t = (greatest - difference / ONE).astype(F32)
        golden = torch.exp2(torch.tensor(t.astype(np.float64) - greatest)).numpy()
        found = scores.power(t, F32(greatest), bits)
        normal = golden > 2.0**-126
        assert (np.abs(found / golden - 1)[normal] < 2.0**-bits + 2.0**-13).all()
        assert not found[golden < 2.0**-127].any()
        assert (found[t == greatest] == 1).all() and (found <= 1).all()
        ordered = found[: 1 << 17]
        assert (np.diff(ordered) <= 0).all()
    for no_score in (np.inf, np.nan):
        assert np.isnan(scores.power(F32(3), F32(no_score), bits))


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

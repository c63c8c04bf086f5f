"""Scores of SOFTMAX, what they lack of the greatest in fixed point, their powers of 2, and sums of those: the oracle.

A score is a float32: the product of a sum or value and of two scales. With x = ±X·2^e, X of SCORE_BITS (24) bits, K and
R of `factor_bits`, the leading one in front and what is below cut off,

    scales   S = K·R >> factor_bits
    score    ±X·S, again cut to SCORE_BITS; saturated, and zero below 2⁻¹²⁶

So scales that columns share change all of a row by one factor, and nothing else; those of single columns count with
factor_bits.

How much less a score is than the greatest of its row shows as a factor of its power, so an absolute bound is what
counts, and there the difference is in fixed point. Both numbers are cut to multiples of 2^(r − 24), r the exponent of
the greatest, but at least LEAST_REFERENCE: 2⁻¹⁶ at least. Of scores beyond ±2⁹ nothing is cut off that is near enough
to the greatest to have any weight, so their difference is exact, however large they are.

A power 2^(t − greatest) is the line of its segment among the 32 of the table of 2^x, whose numbers it has in common
with that function, rounded half up. Sums have 28 bits behind the point; what is below is cut off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .fixed_functions import EXP2
from .functions import COEFFICIENT_FRACTION_BITS, GUARD_BITS, POWER_BITS

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]

SCORE_BITS = 24  # of a significand
LARGEST = float(np.finfo(np.float32).max)

FRACTION_BITS = 16  # of a difference
WHOLE_BITS = 9  # of one in two's complement; what does not fit has no weight
LEAST_REFERENCE = SCORE_BITS - FRACTION_BITS
MOST_SHIFT = 31  # of a difference to its place: enough that only none is left

OFFSET_BITS = FRACTION_BITS - POWER_BITS  # of a place in a segment
POWER_FRACTION_BITS = COEFFICIENT_FRACTION_BITS + GUARD_BITS  # of a power before it is rounded

SUM_FRACTION_BITS = 28
KEPT_BITS = SUM_FRACTION_BITS + 20  # of what is kept of blocks before
SUM_BITS = KEPT_BITS + 1

# (start, slope) of each segment of a power: those of the table, whose last segments may have an exponent of their own.
SEGMENTS = tuple((word.c0 << word.exponent, word.c1 << word.exponent) for word in EXP2.words[: 1 << POWER_BITS])


def score(x: NDArray, key_scale: ArrayLike, row_scale: ArrayLike, factor_bits: int) -> Floats:
    """Products of sums or values, int32 or float32, and two scales each, float32."""
    x_negative, x_size, x_exponent, x_special, x_nan = _parts(x, SCORE_BITS)
    key, row = (_parts(np.asarray(each, np.float32), factor_bits) for each in (key_scale, row_scale))
    size = x_size * (key[1] * row[1] >> factor_bits)
    spare = np.maximum(_length(size) - SCORE_BITS, 0)
    last_place = x_exponent + key[2] + row[2] - (SCORE_BITS + factor_bits - 3)
    exact = np.ldexp((size >> spare << spare).astype(np.float64), last_place.astype(int))
    found = np.where(exact < 2.0**-126, 0.0, np.minimum(exact, LARGEST))
    special, nan = x_special | key[3] | row[3], x_nan | key[4] | row[4]
    zero = (x_size == 0) | (key[1] == 0) | (row[1] == 0)
    found = np.where(special, np.where(nan | zero, np.nan, np.inf), found)
    signed = np.copysign(found, np.where(x_negative ^ key[0] ^ row[0], -1.0, 1.0))
    return np.where(np.isnan(found), np.nan, signed).astype(np.float32)


def difference(t: ArrayLike, greatest: ArrayLike) -> Integers:
    """(t − greatest)·2^FRACTION_BITS of finite scores, none of them greater, or of −∞: then, and wherever it does not
    fit, something far below what fits."""
    g_negative, g_size, g_exponent, _, _ = _parts(np.asarray(greatest, np.float32), SCORE_BITS)
    t_negative, t_size, t_exponent, _, _ = _parts(np.asarray(t, np.float32), SCORE_BITS)
    reference = np.maximum(g_exponent, LEAST_REFERENCE)
    of_greatest, of_t = (np.clip(reference + 1 - exponent, 0, 63) for exponent in (g_exponent, t_exponent))
    g, t = g_size << 2 >> of_greatest, t_size << 2 >> of_t
    found = np.where(t_negative, -t, t) - np.where(g_negative, -g, g)
    found = found << np.minimum(reference - LEAST_REFERENCE, MOST_SHIFT)
    return np.where(t_exponent > reference + 1, -(1 << 62), found)


def power(t: ArrayLike, greatest: ArrayLike, bits: int) -> Floats:
    """2^(t − greatest) with so many significand bits, of scores that are no greater; NaN if the greatest is +∞ or NaN,
    and so is no score."""
    below = difference(t, greatest)
    fraction = below & (1 << FRACTION_BITS) - 1
    segment, offset = fraction >> OFFSET_BITS, fraction & (1 << OFFSET_BITS) - 1
    starts, slopes = (np.array(each, np.int64) for each in zip(*SEGMENTS, strict=True))
    size = (starts[segment] << GUARD_BITS) + (slopes[segment] * offset >> OFFSET_BITS - GUARD_BITS)
    rounded = (size >> POWER_FRACTION_BITS - bits) + 1 >> 1
    whole = np.maximum((below >> FRACTION_BITS) + 127, 0)
    packed = (whole - 1 << 23) + (rounded << 24 - bits)  # the leading one, or two, is one more of the exponent
    result = np.where(whole == 0, 0, packed).astype(np.uint32).view(np.float32)
    return np.where(np.asarray(greatest) < np.inf, result, np.uint32(0x7FC00000).view(np.float32))


def fixed(x: ArrayLike) -> Integers:
    """The magnitude of float32 numbers with SUM_FRACTION_BITS, rounded down; below 2^KEPT_BITS or counted as that."""
    with np.errstate(all="ignore"):
        scaled = np.abs(np.asarray(x, np.float64)) * 2.0**SUM_FRACTION_BITS
        return np.minimum(np.nan_to_num(scaled, nan=0.0), 2.0**KEPT_BITS - 1).astype(np.int64)


def total(parts: Integers, factor_bits: int) -> Floats:
    """A sum as float32, cut to `factor_bits`; 1 more if it is below 1."""
    one = 1 << SUM_FRACTION_BITS
    number = np.where(parts < one, parts + one, parts)
    places = np.maximum(_length(number) - factor_bits, 0)
    return ((number >> places << places) * 2.0**-SUM_FRACTION_BITS).astype(np.float32)


def _length(size: Integers) -> Integers:
    """Bits of integers that are not negative, of 53 at most."""
    return np.frexp(size.astype(np.float64))[1].astype(np.int64)


def _parts(x: NDArray, bits: int):
    """(sign, significand cut to so many bits or 0, exponent, whether it is infinite or NaN, whether NaN)."""
    if x.dtype == np.int32:
        size = np.abs(x.astype(np.int64))
        length, none = _length(size), np.zeros(x.shape, bool)
        return x < 0, size << 32 - length >> 32 - bits, length - 1, none, none
    u = np.asarray(x, np.float32).view(np.uint32).astype(np.int64)
    exponent, fraction = u >> 23 & 255, u & 0x7FFFFF
    size = np.where(exponent == 0, 0, (fraction | 0x800000) >> 24 - bits)
    special = exponent == 255
    return u >> 31 == 1, size, exponent - 127, special, special & (fraction != 0)

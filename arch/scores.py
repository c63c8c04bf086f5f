"""Scores of SOFTMAX in fixed point, their powers of 2, and sums of those: the oracle, in integers.

A score is a signed number of 32 bits, 16 of them behind the point. What it lacks of a real number shows as a factor of
its power, so an absolute bound is what counts, and sums, differences and maxima are those of integers. Two numbers
stand for what is none: HIDDEN, below all scores, for a column that has no weight, and UNKNOWN, above all, for NaN.

Significands are cut to `factor_bits`. With x = ±X·2^e, X of so many bits with the leading one in front:

    scales   S = K·R >> factor_bits
    score    ±(X·S >> 2·factor_bits − 32) >> 13 − (sum of the three e), whose magnitude is below 2³⁰ or counts as that
    added    the number of an additive mask · 2¹⁶, rounded down; its magnitude is 2²⁹ at most

A power 2^(t − greatest) is the line of its segment among the 32 of the table of 2^x, whose numbers it has in common
with that function, rounded half up. Sums have 28 bits behind the point; what is below is cut off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .fixed_functions import EXP2
from .functions import COEFFICIENT_FRACTION_BITS, GUARD_BITS, POWER_BITS

Integers = NDArray[np.int64]

FRACTION_BITS = 16  # of a score
SCORE_BITS = 30  # of the magnitude of a product
ADDED_BITS = 29  # of an added number, with its sign apart
HIDDEN = -0x7F800000  # in ROW, where scores stand as `numerics` orders numbers, the lowest finite one
UNKNOWN = 0x7FC00000  # there it is NaN, as all from LEAST_UNKNOWN on
LEAST_UNKNOWN = 0x7F800000
SHIFT_BITS = 5  # of how far a product is moved to its place
NO_SHIFT = 13  # exponent from which on it need not be

OFFSET_BITS = FRACTION_BITS - POWER_BITS  # of a place in a segment
POWER_FRACTION_BITS = COEFFICIENT_FRACTION_BITS + GUARD_BITS  # of a power before it is rounded

SUM_FRACTION_BITS = 28
KEPT_BITS = SUM_FRACTION_BITS + 20  # of what is kept of blocks before
SUM_BITS = KEPT_BITS + 1

# (start, slope) of each segment of a power: those of the table, whose last segments may have an exponent of their own.
SEGMENTS = tuple((word.c0 << word.exponent, word.c1 << word.exponent) for word in EXP2.words[: 1 << POWER_BITS])


def score(x: NDArray, key_scale: ArrayLike, row_scale: ArrayLike, factor_bits: int) -> Integers:
    """Products of sums or values, int32 or float32, and two scales each, float32."""
    x_negative, x_size, x_exponent, x_special, x_nan = _parts(x, factor_bits)
    key, row = (_parts(np.asarray(each, np.float32), factor_bits) for each in (key_scale, row_scale))
    negative, size = x_negative ^ key[0] ^ row[0], x_size * (key[1] * row[1] >> factor_bits)
    places = NO_SHIFT - (x_exponent + key[2] + row[2])
    held = np.clip(places, 0, (1 << SHIFT_BITS) - 1)
    size = np.where(places > held, 0, size >> 2 * factor_bits - 32 >> held)
    zero = (x_size == 0) | (key[1] == 0) | (row[1] == 0)
    limit = (1 << SCORE_BITS) - 1
    size = np.where(zero, 0, np.where(places < 0, limit, np.minimum(size, limit)))
    result = np.where(negative, -size, size)
    special, nan = x_special | key[3] | row[3], x_nan | key[4] | row[4] | zero
    return np.where(special, np.where(negative & ~nan, HIDDEN, UNKNOWN), result)


def added(t: Integers, operand: ArrayLike) -> Integers:
    """The sum of scores and float32 numbers; −∞ hides, and NaN and +∞ make unknown."""
    negative, size, exponent, special, nan = _parts(np.asarray(operand, np.float32), 24)
    places, limit = ADDED_BITS - FRACTION_BITS - 1 - exponent, (1 << ADDED_BITS) - 1
    signed = np.where(negative, -size, size) << ADDED_BITS - 24 >> np.clip(places, 0, (1 << SHIFT_BITS) - 1)
    number = np.where(size == 0, 0, np.where(places < 0, np.where(negative, ~limit, limit), signed))
    number = np.where(special, np.where(negative & ~nan, HIDDEN, UNKNOWN), number)
    hidden, unknown = (t == HIDDEN) | (number == HIDDEN), (t == UNKNOWN) | (number == UNKNOWN)
    return np.where(unknown, UNKNOWN, np.where(hidden, HIDDEN, t + number))


def power(t: ArrayLike, greatest: ArrayLike, bits: int) -> NDArray[np.float32]:
    """2^(t − greatest) with so many significand bits, of a score that is none greater; NaN of what is unknown."""
    difference: Integers = np.asarray(t, np.int64) - np.asarray(greatest, np.int64)
    fraction = difference & (1 << FRACTION_BITS) - 1
    segment, offset = fraction >> OFFSET_BITS, fraction & (1 << OFFSET_BITS) - 1
    starts, slopes = (np.array(each, np.int64) for each in zip(*SEGMENTS, strict=True))
    size = (starts[segment] << GUARD_BITS) + (slopes[segment] * offset >> OFFSET_BITS - GUARD_BITS)
    rounded = (size >> POWER_FRACTION_BITS - bits) + 1 >> 1
    whole = (difference >> FRACTION_BITS) + 127
    packed = (whole - 1 << 23) + (rounded << 24 - bits)  # the leading one, or two, is one more of the exponent
    result = np.where(whole < 1, 0, packed).astype(np.uint32).view(np.float32)
    return np.where(np.asarray(greatest) >= LEAST_UNKNOWN, np.uint32(0x7FC00000).view(np.float32), result)


def fixed(x: ArrayLike) -> Integers:
    """The magnitude of float32 numbers with SUM_FRACTION_BITS, rounded down; below 2^KEPT_BITS or counted as that."""
    with np.errstate(all="ignore"):
        scaled = np.abs(np.asarray(x, np.float64)) * 2.0**SUM_FRACTION_BITS
        return np.minimum(np.nan_to_num(scaled, nan=0.0), 2.0**KEPT_BITS - 1).astype(np.int64)


def total(parts: Integers, factor_bits: int) -> NDArray[np.float32]:
    """A sum as float32, cut to `factor_bits`; 1 more if it is below 1."""
    one = 1 << SUM_FRACTION_BITS
    number = np.where(parts < one, parts + one, parts)
    places = np.maximum(np.frexp(number.astype(np.float64))[1].astype(np.int64) - factor_bits, 0)
    return ((number >> places << places) * 2.0**-SUM_FRACTION_BITS).astype(np.float32)


def _parts(x: NDArray, bits: int):
    """(sign, significand cut to so many bits or 0, exponent, whether it is infinite or NaN, whether NaN)."""
    if x.dtype == np.int32:
        size = np.abs(x.astype(np.int64))
        length = np.frexp(size.astype(np.float64))[1].astype(np.int64)
        none = np.zeros(x.shape, bool)
        return x < 0, size << 32 - length >> 32 - bits, length - 1, none, none
    u = np.asarray(x, np.float32).view(np.uint32).astype(np.int64)
    exponent, fraction = u >> 23 & 255, u & 0x7FFFFF
    size = np.where(exponent == 0, 0, (fraction | 0x800000) >> 24 - bits)
    special = exponent == 255
    return u >> 31 == 1, size, exponent - 127, special, special & (fraction != 0)

"""`arch/scores.py` for compiled kernels, one number at a time.

Products of factors are exact in float64, so scores are made there: to cut a significand is to clear the end of it, and
to move a number to its place is to cut off its fraction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from ...arch.config import FACTOR_BITS
from ...arch.functions import GUARD_BITS
from ...arch.numerics import FUNCTION_PRECISION
from ...arch.scores import (
    FRACTION_BITS,
    KEPT_BITS,
    LEAST_REFERENCE,
    MOST_SHIFT,
    OFFSET_BITS,
    POWER_FRACTION_BITS,
    SCORE_BITS,
    SEGMENTS,
    SUM_FRACTION_BITS,
    WHOLE_BITS,
)
from ..jit import OPTIONS, compiled
from ..jit import inlined_late as inlined
from .float32 import (
    INFINITY,
    LARGEST,
    MAGNITUDE,
    MIN_NORMAL_FLOAT64,
    NAN,
    SIGN,
    bits_of,
    clean,
    f4,
    float_of,
    i4,
    product,
)

_intrinsic: Any = intrinsic  # pyright takes what they make for what they are made of
_overload: Any = overload
i8, f8 = np.int64, np.float64
FLOAT64_BITS = 53  # of a significand
TF32_FACTOR_BITS, FLOAT32_FACTOR_BITS = FACTOR_BITS[11], FACTOR_BITS[24]
LARGEST_FLOAT64 = f8(LARGEST.view(np.float32))
FARTHEST = f8(-(1 << FRACTION_BITS + WHOLE_BITS))  # a difference that has no weight
SUM_ONE, KEPT_LIMIT = f8(1 << SUM_FRACTION_BITS), f8((1 << KEPT_BITS) - 1)
SEGMENT, OFFSET = len(SEGMENTS) - 1, (1 << OFFSET_BITS) - 1
SLOPE_BITS = max(slope for _, slope in SEGMENTS).bit_length()
SLOPE = (1 << SLOPE_BITS) - 1
LINES = np.array([start << SLOPE_BITS | slope for start, slope in SEGMENTS], np.int32)


@_intrinsic
def bits_of_double(typing: Any, x: Any) -> Any:
    """The bits of a float64 as an int64."""
    return types.int64(types.float64), lambda _, builder, __, given: builder.bitcast(given[0], ir.IntType(64))


@_intrinsic
def double_of(typing: Any, bits: Any) -> Any:
    """The float64 of these bits."""
    return types.float64(types.int64), lambda _, builder, __, given: builder.bitcast(given[0], ir.DoubleType())


def factor_bits(format: Any) -> Any:
    """Significand bits of factors, by the format of vector arithmetic."""


@_overload(factor_bits, jit_options=OPTIONS)
def _factor_bits(format):
    bits = i8(TF32_FACTOR_BITS if isinstance(format, types.Integer) else FLOAT32_FACTOR_BITS)
    return lambda format: bits


def power_bits(format: Any) -> Any:
    """Those of a power."""


@_overload(power_bits, jit_options=OPTIONS)
def _power_bits(format):
    bits = i4(11 if isinstance(format, types.Integer) else FUNCTION_PRECISION)
    return lambda format: bits


def exact(x: Any) -> Any:
    """A sum or a value as it is read, in float64."""


@_overload(exact, jit_options=OPTIONS)
def _exact(x):
    if isinstance(x, types.Integer):
        return lambda x: f8(x)
    return lambda x: f8(clean(x))


@inlined
def cut(x, bits):
    """The first bits of a significand."""
    return double_of(i8(bits_of_double(x) & i8(i8(-1) << i8(FLOAT64_BITS - bits))))


@inlined
def score(x, key, row, bits):
    """The score of one, `exact`, and two scales that are `cut`."""
    scale = f8(key * row)
    exponent = i8(i8(bits_of_double(key) >> 52 & 0x7FF) + i8(bits_of_double(row) >> 52 & 0x7FF) - 1023)
    normal = i8(bits_of_double(scale) >> 52 & 0x7FF) != exponent  # the product of significands is 2 or more
    scale = cut(scale, i8(bits if normal else i8(bits - 1)))
    t = cut(f8(cut(x, i8(SCORE_BITS)) * scale), i8(SCORE_BITS))
    size, sign = abs(t), i4(i8(bits_of_double(t) >> 32) & i8(0x80000000))
    held = f8(LARGEST_FLOAT64 if size > LARGEST_FLOAT64 and size < np.inf else size)
    held = f8(0) if size < MIN_NORMAL_FLOAT64 else held
    result = float_of(i4(bits_of(f4(held)) | sign))
    return result if t == t else float_of(NAN)


@inlined
def unit_of(greatest):
    """(factor to units of what is compared with the greatest of a row, the greatest in them, and the factor from there
    to a difference in fixed point)."""
    exponent = i8(i8(i4(bits_of(greatest) & MAGNITUDE) >> 23) - 127)
    reference = max(exponent, i8(LEAST_REFERENCE))
    unit = double_of(i8(i8(1023 + SCORE_BITS) - reference << 52))
    up = double_of(i8(i8(1023) + min(i8(reference - LEAST_REFERENCE), i8(MOST_SHIFT)) << 52))
    return unit, f8(np.trunc(f8(f8(greatest) * unit))), up


@inlined
def power(format, t, unit, greatest, up):
    """2^(t − greatest) of a score that is no greater, and of none that is unknown; `unit_of` its greatest."""
    below = f8(f8(np.trunc(f8(f8(t) * unit)) - greatest) * up)
    difference = i4(below if below > FARTHEST else FARTHEST)
    line = LINES[i4(difference >> OFFSET_BITS) & SEGMENT]
    rise = i4(i4(i4(line & SLOPE) * i4(difference & OFFSET)) >> OFFSET_BITS - GUARD_BITS)
    size = i4(i4(i4(line >> SLOPE_BITS) << GUARD_BITS) + rise)
    bits = power_bits(format)
    nearest = i4(i4(i4(size >> i4(POWER_FRACTION_BITS - bits)) + 1) >> 1)
    whole = i4(i4(difference >> FRACTION_BITS) + 126)
    packed = i4(i4(whole << 23) + i4(nearest << i4(24 - bits)))
    return float_of(packed if whole >= 0 else i4(0))


@compiled
def power_of_row(format, t, greatest):
    """The same of any."""
    unit, number, up = unit_of(greatest)
    return power(format, t, unit, number, up) if greatest < np.inf else float_of(NAN)


@inlined
def fixed_power(p):
    """A power in the sum of a row."""
    return i4(f8(f8(p) * SUM_ONE))


@inlined
def fixed(x):
    """The magnitude of a number in the sum of a row."""
    size = f8(abs(f8(x)) * SUM_ONE)
    size = size if size < KEPT_LIMIT else KEPT_LIMIT
    return i8(size if x == x else f8(0))


@compiled
def total_of(format, parts):
    """A sum as float32."""
    parts = i8(parts + (1 << SUM_FRACTION_BITS)) if parts < 1 << SUM_FRACTION_BITS else parts
    return f4(f8(cut(f8(parts), factor_bits(format)) / SUM_ONE))


@inlined
def cut_float(format, x):
    """A float32 cut to `factor_bits`, made clean."""
    return clean(float_of(i4(bits_of(x) & i4(i4(-1) << i4(24 - factor_bits(format))))))


def multiply_widely(format: Any, a: Any, b: Any) -> Any:
    """a · b as `Arithmetic.multiply_widely`."""


@_overload(multiply_widely, jit_options=OPTIONS)
def _multiply_widely(format, a, b):
    if isinstance(format, types.Integer):
        return lambda format, a, b: _multiply_once(a, b)
    return lambda format, a, b: clean(product(a, b))


@compiled
def _multiply_once(a, b):
    number = f8(f8(a) * f8(b))
    bits, dropped = bits_of_double(number), i8(FLOAT64_BITS - TF32_FACTOR_BITS)
    nearest = double_of(i8(i8(bits + i8(i8(1) << i8(dropped - 1)) - 1 + i8(bits >> dropped & 1)) >> dropped << dropped))
    sign = i4(SIGN if i8(bits) < 0 else i4(0))
    if number != number:
        return float_of(NAN)
    if abs(number) == np.inf:
        return float_of(i4(sign | INFINITY))
    if abs(number) < 2.0**-126:
        return float_of(sign)
    if abs(nearest) >= 2.0**128:
        return float_of(i4(sign | i4(LARGEST & i4(i4(-1) << i4(24 - TF32_FACTOR_BITS)))))
    return f4(nearest)

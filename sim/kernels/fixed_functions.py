"""2^x, 1/x and 1/√x by table for compiled kernels, as the methods of `numerics.Arithmetic`, of numbers in its format.

What comes once a row is evaluated like any function. 2^x comes once an element: it has a form of its own, of which LLVM
makes vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from ...arch.fixed_functions import EXP2, RECIPROCAL, RSQRT
from ...arch.functions import (
    COEFFICIENT_FRACTION_BITS,
    GUARD_BITS,
    OFFSET_BITS,
    POWER_BITS,
    SEGMENT_MASKS,
    SIGNIFICAND_BITS,
    Mode,
)
from ...arch.numerics import FUNCTION_PRECISION, RECIPROCAL_STEP
from ..jit import OPTIONS, compiled
from ..jit import inlined_late as inlined
from .float32 import INFINITY, MAGNITUDE, MIN_NORMAL, NAN, bits_of, f4, fit, float_of, i4
from .functions import evaluate, packed

_overload: Any = overload  # pyright takes what it makes for what it is made of
EXP2_SEGMENTS, SEGMENT_MASK = 1 << POWER_BITS, i4(SEGMENT_MASKS[Mode.POWER])
LOOKED_AT = i4(-(1 << 7))  # 16 fraction bits
MOST = f4(128)  # from which size on the result is the largest number, or 0
FRACTION_SCALE = f4(1 << POWER_BITS + OFFSET_BITS)
OFFSET_MASK = i4((1 << OFFSET_BITS) - 1)
C1_BITS, EXPONENT_BITS = 15, 1
TO_FLOAT = 23 - COEFFICIENT_FRACTION_BITS - GUARD_BITS  # from the sum of a segment to the fraction of a float32
RECIPROCAL_TABLE, RSQRT_TABLE = packed(RECIPROCAL), packed(RSQRT)
# The three numbers of a segment in one, to be fetched at once.
EXP2_LINES = np.array(
    [(word.c0 << C1_BITS | word.c1) << EXPONENT_BITS | word.exponent for word in EXP2.words[:EXP2_SEGMENTS]], np.int32
)


def significand_bits(format: Any) -> Any:
    """Of what a function gives in this format."""


@_overload(significand_bits, jit_options=OPTIONS)
def _significand_bits(format):
    bits = i4(SIGNIFICAND_BITS if isinstance(format, types.Integer) else FUNCTION_PRECISION)
    return lambda format: bits


@inlined
def exp2(format, x):
    """2^x."""
    bits = bits_of(x)
    size = float_of(i4(i4(bits & MAGNITUDE) & LOOKED_AT))
    size = size if size < MOST else MOST
    point = i4(f4(size * FRACTION_SCALE))
    point = i4(~point) if bits < 0 and i4(bits & MAGNITUDE) >= MIN_NORMAL else point
    upper = i4(point >> OFFSET_BITS)
    line = EXP2_LINES[upper & SEGMENT_MASK]
    c0, c1 = i4(line >> C1_BITS + EXPONENT_BITS), i4(i4(line >> EXPONENT_BITS) & OFFSET_MASK)
    total = i4(i4(c0 << GUARD_BITS) + i4(i4(c1 * i4(point & OFFSET_MASK)) >> OFFSET_BITS - GUARD_BITS))
    fraction = i4(total << i4(i4(line & 1) + TO_FLOAT))
    least = i4(i4(1) << i4(24 - significand_bits(format)))
    rounded = i4(i4(fraction + i4(least >> 1)) & i4(-least))
    result = i4(rounded + i4(i4(i4(upper >> POWER_BITS) + 126) << 23))
    result = result if result >= MIN_NORMAL else i4(0)
    result = result if result < INFINITY else i4(INFINITY - least)
    result = INFINITY if bits == INFINITY else result
    return float_of(result) if x == x else float_of(NAN)


@compiled
def rcp(format, x):
    """1/x."""
    return evaluate(x, RECIPROCAL_TABLE, significand_bits(format))


@compiled
def rsqrt(format, x):
    """1/√x."""
    return evaluate(x, RSQRT_TABLE, significand_bits(format))


@inlined
def multiplier_of(format, a, limit):
    """limit·rcp(a), as `numerics.row_scale`, of a ≥ 2⁻⁶⁰: no product here is near 2⁻¹²⁶ or overflows."""
    inverse = rcp(format, f4(a * f4(1 / RECIPROCAL_STEP)))
    return fit(format, f4(fit(format, f4(limit * f4(1 / RECIPROCAL_STEP))) * inverse))

"""The machine's float32 arithmetic for compiled kernels: `arch/numerics.py` again, one number at a time.

Written so that LLVM turns loops over these functions into vector instructions: selects instead of branches, int32
instead of int64. The result of one operation goes into the next without its NaNs being made the quiet NaN: `canonical`
does that where their bits count.

Products: numpy's are rounded first, the machine flushes by the exact product, and the two differ where a product just
below 2⁻¹²⁶ is rounded up to it. Kernels collect in `edge` whether any product of a row has that magnitude, and if so
compute the row again with `multiply_exactly`: it hardly ever happens, and looking for it costs two instructions.

Saturation: numpy's sums and products overflow to infinity, which no later one makes finite again. So kernels look for
it where a chain of them ends (`overflown`), and if they find it compute the row again with `add_saturated` and
`multiply_exactly`.

Formats: kernels of vector arithmetic take its format as an argument, one of FORMATS, and put every result through
`fit`, or where it counts `fit_saturated`. The type of that argument tells which it is, so each format has machine code
of its own, made when it is first needed, and float32 costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from ..jit import OPTIONS, compiled
from ..jit import inlined_late as inlined

_intrinsic: Any = intrinsic  # pyright takes what they make for what they are made of
_overload: Any = overload
i4, f4, i8 = np.int32, np.float32, np.int64
MAGNITUDE, SIGN = i4(0x7FFFFFFF), i4(-(1 << 31))
MIN_NORMAL, INFINITY, NAN = i4(0x00800000), i4(0x7F800000), i4(0x7FC00000)
LARGEST, LARGEST_BF16 = i4(0x7F7FFFFF), i4(0x7F7F0000)
MIN_NORMAL_FLOAT64 = 2.0**-126
ROUND = f4(1.5 * 2**23)  # x + ROUND has no fraction bits, so x is rounded, to even, for |x| ≤ 2²²
ROUND_BITS = i4(0x4B400000)


FORMATS = {24: f4(24), 11: i4(11)}  # by significand bits
DROPPED = 13  # bits of a float32 that TF32 has not
KEPT, BELOW_HALF = i4(-(1 << DROPPED)), i4((1 << DROPPED - 1) - 1)
LARGEST_TF32 = i4(LARGEST & KEPT)


@_intrinsic
def bits_of(typing: Any, x: Any) -> Any:
    """The bits of a float32 as an int32."""
    return types.int32(types.float32), lambda _, builder, __, given: builder.bitcast(given[0], ir.IntType(32))


@_intrinsic
def float_of(typing: Any, bits: Any) -> Any:
    """The float32 of these bits."""
    return types.float32(types.int32), lambda _, builder, __, given: builder.bitcast(given[0], ir.FloatType())


@inlined
def flush(x):
    """A subnormal becomes a zero of its sign."""
    bits = bits_of(x)
    return float_of(i4(bits & SIGN)) if i4(bits & MAGNITUDE) < MIN_NORMAL else x


def number(value):
    """A sum or a value as it is read: an int32 rounded, a float32 flushed."""


@_overload(number, jit_options=OPTIONS)
def _number(value):
    if isinstance(value, types.Integer):
        return lambda value: f4(value)
    return lambda value: flush(value)


def entered(format: Any, value: Any) -> Any:
    """A sum or a value as it enters vector arithmetic: rounded once to this format, an int32 or a float32 flushed."""


@_overload(entered, jit_options=OPTIONS)
def _entered(format, value):
    if isinstance(value, types.Float):
        return lambda format, value: fit_saturated(format, flush(value))
    if isinstance(format, types.Integer):
        return lambda format, value: _tf32_of_int32(value)
    return lambda format, value: f4(value)


def joined(format: Any, high: Any, low: Any, lowest: Any, planes: Any) -> Any:
    """high·256 + low, or with 2 planes (high·256 + low)·256 + lowest, likewise; only of sums, which are int32."""


@_overload(joined, jit_options=OPTIONS)
def _joined(format, high, low, lowest, planes):
    if isinstance(high, types.Float):
        return lambda format, high, low, lowest, planes: high
    if isinstance(format, types.Integer):
        return lambda format, high, low, lowest, planes: _tf32_of_int64(_panels(high, low, lowest, planes))
    return lambda format, high, low, lowest, planes: f4(_panels(high, low, lowest, planes))


@inlined
def _panels(high, low, lowest, planes):
    total = i8(high) * 256 + low
    return total * 256 + lowest if planes == 2 else total


@inlined
def _tf32_of_int32(value):
    """Rounded to odd to 24 bits first: an integer that has more loses its last eight, and what they were goes to the
    bit above. Then a second rounding does no harm."""
    upper = i4(i4(value >> 8) | i4(i4(value & 255) != 0))
    exact = f4(value) if -(1 << 24) < value < 1 << 24 else f4(f4(upper) * f4(256))
    return float_of(nearest_tf32(bits_of(exact)))


@inlined
def _tf32_of_int64(value):
    """The same by way of float64, which holds it."""
    exact, near = np.float64(value), f4(value)
    bits = bits_of(near)
    bits = i4(bits - i4(abs(np.float64(near)) > abs(exact)))  # towards zero
    return float_of(nearest_tf32(i4(bits | i4(np.float64(near) != exact))))


def fit(format: Any, x: Any) -> Any:
    """A result in this format; one that rounds beyond the largest number is infinite, as if it had overflowed. x is no
    NaN but a quiet one."""


@_overload(fit, jit_options=OPTIONS)
def _fit(format, x):
    if isinstance(format, types.Integer):
        return lambda format, x: float_of(nearest_tf32(bits_of(x)))
    return lambda format, x: x


def fit_saturated(format: Any, x: Any) -> Any:
    """float32 in this format, finite numbers finite ones, the quiet NaN for any NaN if it is not float32 itself."""


@_overload(fit_saturated, jit_options=OPTIONS)
def _fit_saturated(format, x):
    if isinstance(format, types.Integer):
        return lambda format, x: tf32(x)
    return lambda format, x: x


@inlined
def nearest_tf32(bits):
    """Bits of a float32, or of a magnitude, rounded to 11 significand bits, ties to even."""
    return i4(i4(i4(bits + BELOW_HALF) + i4(i4(bits >> DROPPED) & 1)) & KEPT)


@inlined
def tf32(x):
    """Rounded to 11 significand bits, finite numbers to finite ones; the quiet NaN for any NaN."""
    bits = bits_of(x)
    most = INFINITY if i4(bits & MAGNITUDE) == INFINITY else LARGEST_TF32
    nearest = nearest_tf32(i4(bits & MAGNITUDE))
    nearest = i4((nearest if nearest < most else most) | i4(bits & SIGN))
    return float_of(nearest) if x == x else float_of(NAN)


@inlined
def canonical(x):
    """Any NaN becomes the quiet NaN."""
    return x if x == x else float_of(NAN)


@inlined
def clean(x):
    """Both."""
    return canonical(flush(x))


@inlined
def add(a, b):
    """a + b if that does not overflow. What is below 2⁻¹²⁶ is exact, so there is no edge as with products."""
    return flush(f4(a + b))


@inlined
def add_saturated(a, b):
    """a + b."""
    return _saturated(flush(f4(a + b)), a, b)


@inlined
def _saturated(result, a, b):
    """What is infinite though neither operand is becomes the largest finite number."""
    bits = bits_of(result)
    overflow = i4(bits & MAGNITUDE) == INFINITY and not overflown(a) and not overflown(b)
    return float_of(i4(i4(bits & SIGN) | LARGEST)) if overflow else result


@inlined
def overflown(x):
    """Whether x is infinite or NaN."""
    return i4(bits_of(x) & MAGNITUDE) >= INFINITY


@inlined
def multiply(a, b, edge):
    """(a · b if that does not overflow, whether this or an earlier product must be computed again)."""
    product = f4(a * b)
    return flush(product), i4(edge | i4(i4(bits_of(product) & MAGNITUDE) == MIN_NORMAL))


@inlined
def multiply_exactly(a, b, edge):
    """The same, and the product is right."""
    product = f4(a * b)
    if i4(bits_of(product) & MAGNITUDE) == MIN_NORMAL and abs(np.float64(a) * np.float64(b)) < MIN_NORMAL_FLOAT64:
        product = float_of(i4(bits_of(product) & SIGN))
    return _saturated(flush(product), a, b), edge


@inlined
def product(a, b):
    """a · b, of numbers that come alone."""
    return multiply_exactly(a, b, i4(0))[0]


@inlined
def key(x):
    """Integers in the order of `numerics.maximum`, of which this is its own inverse; x is no NaN but the quiet one."""
    bits = bits_of(x)
    return i4(bits ^ MAGNITUDE) if bits < 0 else bits


@inlined
def of_key(number):
    """The float32 with this key."""
    return float_of(i4(number ^ MAGNITUDE) if number < 0 else number)


@inlined
def bf16(x):
    """Rounded to the nearest bf16, ties to even, finite numbers to finite ones; the quiet NaN for any NaN."""
    bits = bits_of(x)
    most = INFINITY if i4(bits & MAGNITUDE) == INFINITY else LARGEST_BF16
    rounded = i4(i4(i4(bits & MAGNITUDE) + i4(0x7FFF) + i4(i4(bits >> 16) & 1)) & i4(-(1 << 16)))
    rounded = i4((rounded if rounded < most else most) | i4(bits & SIGN))
    return float_of(rounded) if x == x else float_of(NAN)


@inlined
def code_of(x, limit):
    """The nearest integer, ties to even, saturated to ± limit; NaN gives 0."""
    x = x if x == x else f4(0)
    x = x if x < limit else limit
    x = x if x > -limit else f4(-limit)
    return i4(bits_of(f4(x + ROUND)) - ROUND_BITS)


def _row_sum(wrap: Any, plus: Any) -> Any:
    @wrap
    def row_sum(x, columns, group):
        """Σ of x[:columns] in the machine's order, as `numerics.row_sum`, with `plus` for sums; `group` has as many
        elements as the machine has lanes, and is overwritten."""
        a, b, c, d = f4(0), f4(0), f4(0), f4(0)
        for start in range(0, columns, len(group)):
            some = x[start : min(start + len(group), columns)]
            for i in range(len(some)):
                group[i] = some[i]
            for i in range(len(some), len(group)):
                group[i] = f4(0)
            width = len(group)
            while width > 1:
                width //= 2
                for i in range(width):
                    group[i] = plus(group[i], group[width + i])
            a, b, c, d = b, c, d, plus(a, group[0])
        return plus(plus(a, c), plus(b, d))  # wherever the first of them has come to

    return row_sum


row_sum, row_sum_saturated = _row_sum(inlined, add), _row_sum(compiled, add_saturated)

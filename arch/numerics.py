"""The bit-exact oracle: every operation the machine performs on numbers, in numpy.

Arrays are float32 (or integers where said) and broadcast. Every float32 operation rounds to nearest even, treats
subnormal operands as zero, gives a zero of the exact result's sign where the exact result is below 2⁻¹²⁶, and turns any
NaN into the one quiet NaN 0x7FC00000. There is no fused multiply-add. Order of reductions is part of each definition.

Sums and products saturate: of finite operands they are finite, ±LARGEST (0x7F7FFFFF) where IEEE arithmetic overflows.
Rounding to bf16 does likewise. So what an instruction makes of finite numbers has no NaN and no infinity in it; those
of its operands count as in IEEE arithmetic.

VECTOR, SOFTMAX and NORM may compute in a narrower format: see `Arithmetic`, which the composites take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import scores
from .config import ADD_CYCLES, FACTOR_BITS, WIDE_PRECISION, HardwareConfig
from .fixed_functions import EXP2, RECIPROCAL, RSQRT
from .functions import Table, evaluate
from .isa import Combine, Digit

Floats = NDArray[np.float32]

NAN = np.uint32(0x7FC00000).view(np.float32)
INFINITY = np.float32(np.inf)
LARGEST = np.float32(np.finfo(np.float32).max)
LARGEST_BF16 = np.uint32(0x7F7F0000).view(np.float32)
LOWEST = np.float32(-LARGEST)
ONE = np.float32(1)
MIN_NORMAL = np.float32(2.0**-126)
MAXIMUM_FLOOR = np.float32(2.0**-60)  # least magnitude that a row is scaled by
LEAST_VARIANCE, MOST_VARIANCE = np.float32(2.0**-125), np.float32(2.0**126)  # of which rsqrt can be refined
CODE_LIMIT = np.float32(127)
RECIPROCAL_OF_127 = np.float32(1 / 127)
WIDE_CODE_LIMIT = np.float32(32639)  # 127·256 + 127: its digits are at most 127
RECIPROCAL_OF_32639 = np.float32(1 / 32639)
RECIPROCAL_STEP = np.float32(128)  # of the magnitude of a row, before its reciprocal

_FLOAT64_PRECISION = 53
FUNCTION_PRECISION = 16  # significand bits of functions by table, if the format has more

# -- float32 -----------------------------------------------------------------------------------------------------------


def to_bits(x: ArrayLike) -> NDArray[np.uint32]:
    """The IEEE bits of float32 numbers."""
    return np.asarray(x, np.float32).view(np.uint32)


def from_bits(u: ArrayLike) -> Floats:
    """The float32 numbers of IEEE bits."""
    return np.asarray(u, np.uint32).view(np.float32)


def clean(x: ArrayLike) -> Floats:
    """Subnormals become zeros of their sign, any NaN the quiet NaN."""
    return _finish(np.array(x, np.float32, ndmin=1)).reshape(np.shape(x))


def add(a: ArrayLike, b: ArrayLike) -> Floats:
    """a + b, saturated."""
    return _add(clean(a), clean(b))


def subtract(a: ArrayLike, b: ArrayLike) -> Floats:
    """a − b, which is a + (−b)."""
    return _add(clean(a), clean(np.negative(np.asarray(b, np.float32))))


def multiply(a: ArrayLike, b: ArrayLike) -> Floats:
    """a · b, saturated."""
    return _multiply(clean(a), clean(b))


def maximum(a: ArrayLike, b: ArrayLike) -> Floats:
    """The greater in the order −inf … −0 < +0 … +inf < NaN: that of the bits as sign and magnitude."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float32), np.asarray(b, np.float32))
    return np.where(_key(a) >= _key(b), a, b)


def minimum(a: ArrayLike, b: ArrayLike) -> Floats:
    """The lesser in the order of `maximum`."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float32), np.asarray(b, np.float32))
    return np.where(_key(a) <= _key(b), a, b)


def relu(x: ArrayLike) -> Floats:
    """maximum(x, +0)."""
    return maximum(x, np.float32(0))


def from_int32(i: ArrayLike) -> Floats:
    """int32 → float32, rounded to nearest even."""
    return np.asarray(i, np.int32).astype(np.float32)


def to_bf16(x: ArrayLike) -> Floats:
    """float32 rounded to the nearest bf16 (ties to even), still as float32. Finite numbers stay finite: they saturate
    at ±LARGEST_BF16."""
    return rounded(x, 8)


def rounded(x: ArrayLike, precision: int) -> Floats:
    """float32 rounded to so many significand bits, ties to even; finite numbers stay finite, subnormals are zeros."""
    return _rounded(clean(x), precision)


def round_int8(x: ArrayLike) -> NDArray[np.int8]:
    """Nearest integer, ties to even, saturated to ±127; NaN gives 0."""
    x = np.asarray(x, np.float32)
    return np.where(np.isnan(x), 0, np.clip(np.rint(x), -127, 127)).astype(np.int8)


def digits(code: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """(high, low) with code = 256·high + low, low from −128 to 127; |code| ≤ 32639."""
    low = ((code + 128) & 255) - 128
    return ((code - low) >> 8).astype(np.int8), low.astype(np.int8)


# -- functions by table ------------------------------------------------------------------------------------------------


def exp2(x: ArrayLike) -> Floats:
    """2^x of 17 significant bits of x, with 16."""
    return evaluate(EXP2, x, FUNCTION_PRECISION)


def rcp(x: ArrayLike) -> Floats:
    """1 / x, likewise. Zero gives infinity of its sign, infinity zero; results below 2⁻¹²⁶ are zeros of its sign."""
    return evaluate(RECIPROCAL, x, FUNCTION_PRECISION)


def rsqrt(x: ArrayLike) -> Floats:
    """1 / √x, likewise. Zero gives infinity of its sign, +inf gives +0, a negative number NaN."""
    return evaluate(RSQRT, x, FUNCTION_PRECISION)


# -- formats -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arithmetic:
    """Sums, products and functions of floats that have `precision` significand bits: float32's 24, or 11, those of TF32
    (1 + 8 + 10 bits). Operands are floats of this format, as `round` and every result are.

    An operation is that of float32, its result rounded once more: of 11 bits that is what rounding the exact result
    once gives, flushed and saturated like all others. For sums and products of p-bit numbers a first rounding to q bits
    does no harm if q ≥ 2p + 2 (Figueroa, "When is double rounding innocuous?", 1995): 24 ≥ 2·11 + 2, and 12 bits would
    be one too many. At the lower end products need no rule of their own: one from 2⁻¹²⁷ up is exact as a subnormal
    float32, for it has at most 22 bits, and none is rounded up to 2⁻¹²⁶. At the upper end both roundings saturate. A
    function by table (arch/functions.py) is rounded once, to this format, or if it is float32 to 16 bits.

    VECTOR takes sums of the array, and planes of them together, as integers that are rounded once. What must see all
    bits is done in float32 and rounded after: x − mean. Row sums, means and scores stay float32. What scores lack of
    the greatest, and sums of their powers, are in fixed point (arch/scores.py); what scales of scores are cut to, and
    what SOFTMAX makes of the numbers of a row, have `factor_bits`, as many as one multiplier of an FPGA takes, or those
    of float32.
    """

    precision: int

    @property
    def factor_bits(self) -> int:
        """Significand bits of scores' scales and of the numbers that SOFTMAX makes of a row."""
        return FACTOR_BITS[self.precision]

    @property
    def function_bits(self) -> int:
        """Significand bits of functions by table."""
        return min(self.precision, FUNCTION_PRECISION)

    @property
    def refines(self) -> bool:
        """Whether numbers have more bits than functions by table give."""
        return self.precision > FUNCTION_PRECISION

    def round(self, x: ArrayLike) -> Floats:
        """Numbers of float32 as they enter."""
        return rounded(x, self.precision)

    def from_integer(self, i: ArrayLike) -> Floats:
        """Integers below 2⁵³, rounded once."""
        dropped = np.int64(_FLOAT64_PRECISION - self.precision)
        u, one = np.asarray(i, np.int64).astype(np.float64).view(np.int64), np.int64(1)
        nearest = u + (one << dropped - one) - one + (u >> dropped & one)
        return (nearest >> dropped << dropped).view(np.float64).astype(np.float32)

    def add(self, a: ArrayLike, b: ArrayLike) -> Floats:
        """a + b."""
        return _rounded(_add(a, b), self.precision)

    def multiply(self, a: ArrayLike, b: ArrayLike) -> Floats:
        """a · b."""
        return _rounded(_multiply(a, b), self.precision)

    def multiply_widely(self, a: ArrayLike, b: ArrayLike) -> Floats:
        """a · b with `factor_bits`, of numbers that have no more."""
        return _multiply(a, b) if self.factor_bits == WIDE_PRECISION else _multiply_once(a, b, self.factor_bits)

    def cut(self, x: ArrayLike) -> Floats:
        """Numbers of float32 with the `factor_bits` that stand first."""
        below = np.uint32((1 << WIDE_PRECISION - self.factor_bits) - 1)
        return clean(from_bits(to_bits(x) & ~below))

    def exp2(self, x: ArrayLike) -> Floats:
        """2^x."""
        return self.by_table(EXP2, x)

    def rcp(self, x: ArrayLike) -> Floats:
        """1 / x."""
        return self.by_table(RECIPROCAL, x)

    def rsqrt(self, x: ArrayLike) -> Floats:
        """1 / √x."""
        return self.by_table(RSQRT, x)

    def by_table(self, table: Table, x: ArrayLike) -> Floats:
        """The function of a table, with 16 significant bits at most."""
        return evaluate(table, x, self.function_bits)


FLOAT32 = Arithmetic(WIDE_PRECISION)


def arithmetic_of(config: HardwareConfig) -> Arithmetic:
    """That of VECTOR, SOFTMAX and NORM."""
    return Arithmetic(config.precision)


# -- reductions --------------------------------------------------------------------------------------------------------


def row_sum(x: ArrayLike, lanes: int) -> Floats:
    """Σ over the last axis, in the machine's order.

    Of each group of `lanes` elements, the last one filled up with +0: a[i] += a[i + w/2] for w = lanes, lanes/2 … 2.
    The sum of group k is added to partial k mod 4 (ADD_CYCLES), in order from +0; then (p₀ + p₂) + (p₁ + p₃).
    """
    sums = _group_sums(x, lanes)
    partial = np.zeros((*sums.shape[:-1], ADD_CYCLES), np.float32)
    for start in range(0, sums.shape[-1], ADD_CYCLES):
        some = sums[..., start : start + ADD_CYCLES]
        partial[..., : some.shape[-1]] = _add(partial[..., : some.shape[-1]], some)
    pairs = _add(partial[..., :2], partial[..., 2:])
    return _add(pairs[..., 0], pairs[..., 1])


def running_row_sum(x: ArrayLike, lanes: int) -> Floats:
    """Σ over the last axis as Reduce finds it: of groups as for `row_sum`, but these are added in their order from
    +0."""
    return column_sum(_group_sums(x, lanes)[..., None])[..., 0]


def _group_sums(x: ArrayLike, lanes: int) -> Floats:
    x = clean(x)
    padding = -x.shape[-1] % lanes
    x = np.concatenate([x, np.zeros((*x.shape[:-1], padding), np.float32)], -1)
    x = x.reshape(*x.shape[:-1], -1, lanes)
    width = lanes
    while width > 1:
        width //= 2
        x = _add(x[..., :width], x[..., width:])
    return x[..., 0]


def row_maximum(x: ArrayLike) -> Floats:
    """The greatest over the last axis, in the order of `maximum`."""
    x = np.asarray(x, np.float32)
    return np.take_along_axis(x, np.argmax(_key(x), -1)[..., None], -1)[..., 0]


def extremes(x: ArrayLike, count: int = 1, least: bool = False) -> tuple[Floats, NDArray[np.int32]]:
    """(numbers, places) (…, count): the greatest over the last axis, or the least, in their order. Zeros are equal, and
    +0 as a result; NaN comes first; of equal numbers that which stands first."""
    x = clean(x) + np.float32(0)  # −0 + 0 is +0
    key = -_key(np.where(np.isnan(x), x, -x) + np.float32(0) if least else x).astype(np.int64)
    places = np.argmin(key, -1)[..., None] if count == 1 else np.argsort(key, -1, kind="stable")[..., :count]
    return np.take_along_axis(x, places, -1), places.astype(np.int32)


def column_sum(x: ArrayLike) -> Floats:
    """Σ over the last axis but one, in its order from +0."""
    x = clean(x)
    total = np.zeros((*x.shape[:-2], x.shape[-1]), np.float32)
    for m in range(x.shape[-2]):
        total = _add(total, x[..., m, :])
    return total


def rotate(x: ArrayLike, cosine: ArrayLike, sine: ArrayLike, arithmetic: Arithmetic = FLOAT32) -> Floats:
    """Rotary position embedding (Su et al., 2021) of rows (…, M, N): x·cosine + partner·sine, where the partner of
    element n is n + N/2 or n − N/2. The sines of the first half of a row come negated."""
    x, cosine, sine = map(arithmetic.round, (x, cosine, sine))
    half = x.shape[-1] // 2
    partner = np.concatenate([x[..., half:], x[..., :half]], -1)
    return arithmetic.add(arithmetic.multiply(x, cosine), arithmetic.multiply(partner, sine))


def matmul_bf16(a: Floats, b: Floats, rows: int, before: ArrayLike | None = None) -> Floats:
    """a (…, M, K) @ b (…, K, N) of bf16 numbers in float32, tile by tile of `rows` along K (a multiple of it).

    Within a tile the products are added one after the other, from +0; the sums of tiles are added in their order, to
    `before` (…, M, N) where there is one.
    """
    a, b = clean(a), clean(b)
    total = None if before is None else clean(before)
    for start in range(0, a.shape[-1], rows):
        tile = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), np.float32)
        for k in range(start, start + rows):
            tile = _add(tile, _multiply(a[..., :, k, None], b[..., k, None, :]))
        total = tile if total is None else _add(total, tile)
    assert total is not None, "K is at least one tile"
    return total


def matmul_int8(a: NDArray[np.int8], b: NDArray[np.int8]) -> NDArray[np.int32]:
    """a (…, M, K) @ b (…, K, N) in int32, wrapping.

    Sums of up to 1,024 products are exact in float32, so BLAS does them.
    """
    total = np.zeros((1, 1), np.int32)
    for k in range(0, a.shape[-1], 1024):
        part = a[..., k : k + 1024].astype(np.float32) @ b[..., k : k + 1024, :].astype(np.float32)
        total = total + part.astype(np.int32)
    return total


# -- composites: what one instruction does to a panel ------------------------------------------------------------------


def map_values(
    source: NDArray,
    *,
    scale: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    row_scale: ArrayLike | None = None,
    function: Callable[[Floats], Floats] | None = None,
    combine: Combine = Combine.NONE,
    operand: ArrayLike | None = None,
    operand_scale: ArrayLike | None = None,
    planes: Sequence[NDArray[np.int32]] = (),
    arithmetic: Arithmetic = FLOAT32,
) -> Floats:
    """The elementwise front of VECTOR.

    source (…, M, N) int32 or float32; scale, offset (…, N) or (…, 1, N); row_scale (…, M); operand (…, M or 1, N or 1).
    Float sources are cleaned as they are read. Steps: · scale, · row_scale, + offset, function, combine. `planes` are
    further sums (…, M, N) int32, the lower digits: x·256 + plane for each, an integer. `operand_scale` (…, M)
    multiplies the operand. ROTATE is `rotate` of the source by operands (…, M, 2·N), cosines and sines, and nothing
    else; SELECT gives x, whatever the operand.
    """
    if source.dtype == np.int32:
        total = source.astype(np.int64)
        for plane in planes:
            total = total * 256 + plane
        x = arithmetic.from_integer(total)
    else:
        x = arithmetic.round(source)
    if combine is Combine.ROTATE and operand is not None:
        cosine, sine = np.split(np.asarray(operand, np.float32), 2, axis=-1)
        return rotate(x, cosine, sine, arithmetic)
    read = arithmetic.round
    if scale is not None:
        x = arithmetic.multiply(x, read(scale))
    if row_scale is not None:
        x = arithmetic.multiply(x, read(row_scale)[..., None])
    if offset is not None:
        x = arithmetic.add(x, read(offset))
    x = x if function is None else function(x)
    if combine is Combine.NONE or operand is None:
        return x
    return combined(combine, x, second_operand(operand, operand_scale, arithmetic), arithmetic)


def second_operand(operand: ArrayLike, scale: ArrayLike | None, arithmetic: Arithmetic = FLOAT32) -> Floats:
    """y of VECTOR: an operand (…, M, N) as it enters, times a number for each row (…, M), if there are any."""
    y = arithmetic.round(operand)
    return y if scale is None else arithmetic.multiply(y, arithmetic.round(scale)[..., None])


def combined(how: Combine, x: Floats, y: Floats, arithmetic: Arithmetic = FLOAT32) -> Floats:
    """What x becomes by y. NaN compares false, and is the maximum and the minimum of itself and anything."""
    if how in (Combine.ADD, Combine.SUBTRACT, Combine.SUBTRACT_FROM):
        x, y = (-x if how is Combine.SUBTRACT_FROM else x), (-y if how is Combine.SUBTRACT else y)
        return arithmetic.add(x, y)
    if how is Combine.MULTIPLY:
        return arithmetic.multiply(x, y)
    if how is Combine.MAXIMUM:
        return maximum(x, y)
    if how is Combine.MINIMUM:
        return np.where(np.isnan(x) | np.isnan(y), NAN, minimum(x, y))
    if how is Combine.SELECT:
        return np.broadcast_arrays(x, y)[0]
    compare = {Combine.LESS: np.less, Combine.LESS_EQUAL: np.less_equal, Combine.EQUAL: np.equal}[how]
    return compare(x, y).astype(np.float32)


class CodeFormat(Enum):
    """What a code is: an int8 of its own, a digit of 16 bits, or a bf16 number, which needs no scale."""

    INT8 = "int8"
    HIGH = "high"
    LOW = "low"
    BF16 = "bf16"


def code_format(config: HardwareConfig, digit: Digit = Digit.WHOLE) -> CodeFormat:
    """The format of the codes that a machine writes."""
    if config.pe == "bf16":
        return CodeFormat.BF16
    return {Digit.WHOLE: CodeFormat.INT8, Digit.HIGH: CodeFormat.HIGH, Digit.LOW: CodeFormat.LOW}[digit]


def row_scale(
    greatest: ArrayLike, to: CodeFormat = CodeFormat.INT8, arithmetic: Arithmetic = FLOAT32
) -> tuple[Floats, Floats]:
    """(scale, multiplier) of rows with largest magnitude `greatest`: a·(1/127), 127·rcp(a), a = max(greatest, 2⁻⁶⁰);
    with digits 32639 for 127; 1 and 1 for bf16. The constants are rounded.

    The reciprocal is taken of a/128, and the limit divided by 128 for it: that changes no bit, but keeps it from being
    flushed where a is beyond 2¹²⁶.
    """
    a = maximum(arithmetic.round(greatest), MAXIMUM_FLOOR)
    if to is CodeFormat.BF16:
        return np.ones_like(a), np.ones_like(a)
    limit, reciprocal = (
        (CODE_LIMIT, RECIPROCAL_OF_127) if to is CodeFormat.INT8 else (WIDE_CODE_LIMIT, RECIPROCAL_OF_32639)
    )
    limit, reciprocal = arithmetic.round(limit / RECIPROCAL_STEP), arithmetic.round(reciprocal)
    inverse = arithmetic.rcp(arithmetic.multiply(a, 1 / RECIPROCAL_STEP))
    return arithmetic.multiply(a, reciprocal), arithmetic.multiply(limit, inverse)


def encode_rows(
    x: Floats, multiplier: Floats, to: CodeFormat = CodeFormat.INT8, arithmetic: Arithmetic = FLOAT32
) -> NDArray:
    """Codes of rows x (…, M, N): int8, or float32 that are bf16. Ties to even, saturated; NaN gives 0 (bf16: NaN)."""
    if to is CodeFormat.BF16:
        return to_bf16(x)
    scaled = arithmetic.multiply(arithmetic.round(x), multiplier[..., None])
    if to is CodeFormat.INT8:
        return round_int8(scaled)
    limit = float(WIDE_CODE_LIMIT)
    code = np.where(np.isnan(scaled), 0, np.clip(np.rint(scaled), -limit, limit)).astype(np.int64)
    return digits(code)[to is CodeFormat.LOW]


def quantise(
    x: Floats, to: CodeFormat = CodeFormat.INT8, arithmetic: Arithmetic = FLOAT32
) -> tuple[NDArray, Floats]:
    """Rows of x (…, M, N) → codes (…, M, N) and scales (…, M); x ≈ codes · scale (the code of both digits)."""
    scale, multiplier = row_scale(row_maximum(np.abs(x)), to, arithmetic)
    return encode_rows(x, multiplier, to, arithmetic), scale


def softmax(
    source: NDArray,
    key_scale: ArrayLike,
    value_scale: ArrayLike,
    row: ArrayLike,
    visible: NDArray[np.bool_],
    additive: ArrayLike | None = None,
    to: CodeFormat = CodeFormat.INT8,
    arithmetic: Arithmetic = FLOAT32,
) -> tuple[NDArray, Floats]:
    """Scores (…, M, N) → codes of the un-normalised probabilities (…, M, N) and row scales (…, M).

    key_scale and value_scale (…, N), row (…, M), visible (…, M, N). A column that is not seen, or whose score is −∞,
    has no weight. A sum below 1 is one of nothing, and counts 1 more: such a row gives zero codes and a finite scale.
    """
    t = _scores(source, key_scale, row, visible, additive, arithmetic)
    p, inverse = _powers(t, arithmetic)
    q = _weighted(t, p, value_scale, arithmetic)
    codes, scale = _probability_codes(q, inverse, to, arithmetic)
    return codes, scale


def softmax_values(
    source: NDArray,
    key_scale: ArrayLike,
    value_scale: ArrayLike,
    row: ArrayLike,
    visible: NDArray[np.bool_],
    additive: ArrayLike | None = None,
    arithmetic: Arithmetic = FLOAT32,
) -> Floats:
    """Scores (…, M, N) → probabilities times the scales of V (…, M, N), before rounding to the format of VALUE.
    Arguments as for `softmax`."""
    t = _scores(source, key_scale, row, visible, additive, arithmetic)
    p, inverse = _powers(t, arithmetic)
    return arithmetic.multiply(_weighted(t, p, value_scale, arithmetic), inverse[..., None])


def _powers(t: Floats, arithmetic: Arithmetic) -> tuple[Floats, Floats]:
    """(2**(t − greatest), 1 / their sum) of each row."""
    greatest = maximum(row_maximum(t), LOWEST)
    p = _power(t, greatest[..., None], arithmetic)
    return p, arithmetic.rcp(arithmetic.round(_total(p, greatest, arithmetic)))


class OnlineSoftmaxResult(NamedTuple):
    """What one block of an online softmax gives: codes (…, M, N), and for each row (…, M) the scale of its codes, the
    factor of what came before, and the running maximum and sum."""

    codes: NDArray
    scale: Floats
    rescale: Floats
    greatest: Floats
    total: Floats


def online_softmax(
    acc: NDArray,
    key_scale: ArrayLike,
    value_scale: ArrayLike,
    row: ArrayLike,
    visible: NDArray[np.bool_],
    before: tuple[ArrayLike, ArrayLike] | None = None,
    to: CodeFormat = CodeFormat.INT8,
    arithmetic: Arithmetic = FLOAT32,
) -> OnlineSoftmaxResult:
    """One block of columns of a softmax, after blocks that left the running maximum and sum `before` (…, M) each.

    Arguments as for `softmax`. What is kept of `before` counts in the sum by its magnitude.
    """
    t = _scores(acc, key_scale, row, visible, None, arithmetic)
    greatest, kept = maximum(row_maximum(t), LOWEST), np.zeros(t.shape[:-1], np.float32)
    if before:
        known = maximum(before[0], LOWEST)
        greatest = maximum(greatest, known)
        kept = arithmetic.multiply_widely(
            arithmetic.cut(before[1]), scores.power(known, greatest, arithmetic.function_bits)
        )
    p = _power(t, greatest[..., None], arithmetic)
    total = _total(p, greatest, arithmetic, kept)
    inverse = arithmetic.rcp(arithmetic.round(total))
    codes, scale = _probability_codes(_weighted(t, p, value_scale, arithmetic), inverse, to, arithmetic)
    rescale = arithmetic.round(arithmetic.multiply_widely(kept, inverse))  # 1 where this block adds nothing
    return OnlineSoftmaxResult(codes, scale, rescale, greatest, total)


def _scores(
    source: NDArray, key_scale: ArrayLike, row: ArrayLike, visible: NDArray[np.bool_], additive: ArrayLike | None,
    arithmetic: Arithmetic,
) -> Floats:  # fmt: skip
    """Sums of the array, int32 or float32, or values, as scores in units of log2; −∞ where not seen."""
    key_scale, row = np.asarray(key_scale, np.float32)[..., None, :], np.asarray(row, np.float32)[..., None]
    t = scores.score(np.asarray(source), key_scale, row, arithmetic.factor_bits)
    t = t if additive is None else _add(t, clean(additive))
    return np.where(visible, t, -INFINITY)


def _power(t: Floats, greatest: Floats, arithmetic: Arithmetic) -> Floats:
    """2**(t − greatest); 0 where hidden."""
    return np.where(t == -INFINITY, np.float32(0), scores.power(t, greatest, arithmetic.function_bits))


def _total(p: Floats, greatest: Floats, arithmetic: Arithmetic, kept: ArrayLike = 0.0) -> Floats:
    """Σ p over the last axis, in fixed point, and what is kept of blocks before."""
    kept = np.asarray(kept, np.float32)
    total = scores.total(scores.fixed(p).sum(-1) + scores.fixed(kept), arithmetic.factor_bits)
    return np.where((greatest < INFINITY) & np.isfinite(kept), total, NAN)


def _probability_codes(
    q: Floats, inverse: Floats, to: CodeFormat, arithmetic: Arithmetic
) -> tuple[NDArray, Floats]:
    """(codes, scale of each row) of p times the scales of V, the scale times `inverse`."""
    if to is CodeFormat.BF16:
        return encode_rows(q, inverse, to, arithmetic), inverse
    a = maximum(row_maximum(q), MAXIMUM_FLOOR)  # the scales of V are not negative
    limit, reciprocal = (
        (CODE_LIMIT, RECIPROCAL_OF_127) if to is CodeFormat.INT8 else (WIDE_CODE_LIMIT, RECIPROCAL_OF_32639)
    )
    widely, reciprocal = arithmetic.multiply_widely, rounded(reciprocal, arithmetic.factor_bits)
    limit = arithmetic.round(limit / RECIPROCAL_STEP)
    multiplier = arithmetic.round(widely(limit, arithmetic.rcp(arithmetic.multiply(a, 1 / RECIPROCAL_STEP))))
    return encode_rows(q, multiplier, to, arithmetic), widely(widely(a, reciprocal), inverse)


def _weighted(t: Floats, p: Floats, value_scale: ArrayLike, arithmetic: Arithmetic) -> Floats:
    """p times the scales of V; +0 where hidden."""
    q = arithmetic.multiply(p, arithmetic.round(value_scale)[..., None, :])
    return np.where(t == -INFINITY, np.float32(0), q)


def norm(
    x: Floats, gamma: ArrayLike, beta: ArrayLike, reciprocal: float, epsilon: float, lanes: int, centred: bool,
    arithmetic: Arithmetic = FLOAT32,
) -> Floats:  # fmt: skip
    """LayerNorm (centred) or RMSNorm of rows x (…, M, N); gamma, beta (…, N). Before rounding to the format of VALUE.
    See `norm_with_statistics`."""
    return norm_with_statistics(x, gamma, beta, reciprocal, epsilon, lanes, centred, arithmetic).y


class NormResult(NamedTuple):
    """Normalised rows (…, M, N), and of each row (…, M): Σx, its mean, Σd² and 1/σ. Where x is not centred, the first
    two are 0."""

    y: Floats
    sum_of_x: Floats
    mean: Floats
    sum_of_squares: Floats
    deviation: Floats


def norm_with_statistics(
    x: Floats, gamma: ArrayLike, beta: ArrayLike, reciprocal: float, epsilon: float, lanes: int, centred: bool,
    arithmetic: Arithmetic = FLOAT32,
) -> NormResult:  # fmt: skip
    """`norm` with what it finds of each row.

    With float32 rsqrt is refined by one Newton step: y·(1.5 − (0.5·v)·(y·y)); 11 bits it has without. A finite variance
    v is held between LEAST_VARIANCE and MOST_VARIANCE, where no factor of it leaves the range of float32. Sums
    saturate: a row whose Σd² is beyond LARGEST is divided by √(LARGEST·reciprocal), which is less than its deviation.
    Sums and means are float32, and so is x − mean before it is rounded.
    """
    add, multiply = arithmetic.add, arithmetic.multiply
    x, inverse = clean(x), clean(np.float32(reciprocal))
    sum_of_x = row_sum(x, lanes) if centred else np.zeros(x.shape[:-1], np.float32)
    mean = _multiply(sum_of_x, inverse) if centred else sum_of_x
    x = arithmetic.round(_add(x, -mean[..., None]))
    sum_of_squares = row_sum(multiply(x, x), lanes)
    mean_square = _multiply(sum_of_squares, inverse)
    variance = add(arithmetic.round(mean_square), arithmetic.round(np.float32(epsilon)))
    variance = np.where(np.isfinite(variance), np.clip(variance, LEAST_VARIANCE, MOST_VARIANCE), variance)
    deviation = arithmetic.rsqrt(variance)
    if arithmetic.refines:
        square = multiply(deviation, deviation)
        correction = add(np.float32(1.5), -multiply(multiply(variance, np.float32(0.5)), square))
        deviation = multiply(deviation, correction)
    scaled = multiply(multiply(x, deviation[..., None]), arithmetic.round(gamma))
    return NormResult(add(scaled, arithmetic.round(beta)), sum_of_x, mean, sum_of_squares, deviation)


# -- inside ------------------------------------------------------------------------------------------------------------


def _finish(r: Floats, *operands: ArrayLike) -> Floats:
    """Flush subnormals, canonicalise NaN, and saturate what is infinite though no operand is; in place where r allows
    it."""
    r = np.asarray(r, np.float32)
    if not r.ndim:
        return _finish(r[None], *operands)[0]
    tiny = np.abs(r) < MIN_NORMAL
    if tiny.any():
        np.copysign(np.float32(0), r, out=r, where=tiny)
    if not np.isfinite(r).all():
        r[np.isnan(r)] = NAN
        if operands:
            finite = np.logical_and(*map(np.isfinite, operands))
            r = np.where(np.isinf(r) & finite, np.copysign(LARGEST, r), r)
    return r


def _rounded(x: Floats, precision: int) -> Floats:
    """The same of numbers that are clean."""
    dropped = WIDE_PRECISION - precision
    if not dropped:
        return x
    u, kept = to_bits(x), np.uint32(0x1_0000_0000 - (1 << dropped))
    half, last = np.uint32((1 << dropped - 1) - 1), u >> np.uint32(dropped) & np.uint32(1)
    result = ((u + half + last) & kept).view(np.float32)
    if not np.isfinite(result).all():
        largest = (to_bits(LARGEST) & kept).view(np.float32)
        result = np.where(np.isinf(result) & np.isfinite(x), np.copysign(largest, x), result)
        result = np.where(np.isnan(x), NAN, result)
    return result


def _add(a: ArrayLike, b: ArrayLike) -> Floats:
    with np.errstate(all="ignore"):
        return _finish(np.add(a, b, dtype=np.float32), a, b)


def _multiply(a: ArrayLike, b: ArrayLike) -> Floats:
    with np.errstate(all="ignore"):
        r = np.multiply(a, b, dtype=np.float32)
        # A product just below 2⁻¹²⁶ may have been rounded up to it; the machine flushes by the exact product.
        edge = np.abs(r) == MIN_NORMAL
        if edge.any():
            exact = np.abs(np.multiply(a, b, dtype=np.float64))
            r = np.where(edge & (exact < MIN_NORMAL), np.copysign(np.float32(0), r), r)
        return _finish(r, a, b)


def _multiply_once(a: ArrayLike, b: ArrayLike, precision: int) -> Floats:
    """a · b rounded once to so many bits, of numbers that have no more than 24."""
    with np.errstate(all="ignore"):
        exact = np.multiply(a, b, dtype=np.float64)
        u, dropped = np.atleast_1d(exact).view(np.int64), 53 - precision
        nearest = (u + (1 << dropped - 1) - 1 + (u >> dropped & 1) >> dropped << dropped).view(np.float64)
        nearest = np.where(np.isfinite(exact), nearest.reshape(exact.shape), exact)
        tiny, over = np.abs(exact) < float(MIN_NORMAL), np.isfinite(exact) & (np.abs(nearest) >= 2.0**128)
        largest = rounded(LARGEST, precision)
        result = np.where(tiny, 0, np.where(over, largest, np.abs(nearest)))
        return _finish(np.copysign(result, exact).astype(np.float32))


def _key(x: Floats) -> NDArray[np.int32]:
    """Integers in the order of `maximum`."""
    bits = np.ascontiguousarray(x).view(np.int32)
    return np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)

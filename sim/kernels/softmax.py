"""SOFTMAX, compiled: scores → codes of un-normalised probabilities in ACT, or probabilities in VALUE, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload
from numpy.typing import NDArray

from ...arch.config import FACTOR_BITS, WIDE_PRECISION, HardwareConfig, Memory
from ...arch.isa import Masking, OnlineSoftmax, Result, Softmax, Source
from ...arch.numerics import CODE_LIMIT, LOWEST, MAXIMUM_FLOOR, RECIPROCAL_OF_127, RECIPROCAL_STEP, rounded
from ..jit import OPTIONS, compiled, entry, inlined_late
from ..state import Rows, State
from .fixed_functions import rcp
from .float32 import (
    FORMATS,
    NAN,
    add_saturated,
    bits_of,
    canonical,
    clean,
    code_of,
    f4,
    fit,
    fit_saturated,
    float_of,
    i4,
    key,
    multiply,
    multiply_exactly,
    of_key,
    overflown,
)
from .kernel import Kernel
from .scores import (
    cut,
    cut_float,
    exact,
    f8,
    factor_bits,
    fixed,
    fixed_power,
    i8,
    multiply_widely,
    power,
    power_of_row,
    score,
    total_of,
    unit_of,
)
from .vector import ONES, place, store_values, unpack_pairs

_overload: Any = overload  # pyright takes what it makes for what it is made of
FLOAT32 = FORMATS[24]
NO_LENGTHS: Rows = (np.full(1, np.iinfo(np.int32).max, np.int32), 0, 0, 0)
_FLOOR = int(MAXIMUM_FLOOR.view(np.int32))


# -- from Python -------------------------------------------------------------------------------------------------------


def softmax(i: Softmax, state: State, config: HardwareConfig) -> None:
    """Like `units.softmax.softmax`."""
    words, row = -(-i.columns // config.columns), state[Memory.ROW]
    operands, additive, lengths = _operands(i, state, config), ONES, NO_LENGTHS
    if i.mask is Masking.ADDITIVE:
        additive = state[Memory.VALUE].rows(i.operand_address, i.operand_stride, i.rows, words)
    elif i.mask is Masking.LENGTHS:
        lengths = state.index_rows(i.operand_address, i.rows)
    batch = state.batch if additive[1] or lengths[1] or any(each[1] for each in operands) else 1
    if i.result is Result.VALUES:
        into, scales = state[Memory.VALUE].rows_for(i.address, i.stride, i.rows, words, batch), ONES
    else:
        into, scales = _codes_into(i, state, config, batch), row.rows_for(i.scales_address, 1, i.rows, 1, batch)
    per_word = config.columns if i.result is Result.VALUES else config.rows
    softmax_rows(FORMATS[config.precision], batch, i.rows, i.columns, *operands, i.mask is Masking.ADDITIVE, additive,
                 i.causal, i.window, i.offset, lengths, 0, False, 1, ONES, _scratch(i, config), into, per_word,
                 config.value_format == "bf16", scales, scales)  # fmt: skip


def online_softmax(i: OnlineSoftmax, state: State, config: HardwareConfig) -> None:
    """Like `units.softmax.online_softmax`."""
    row, operands = state[Memory.ROW], _operands(i, state, config)
    before = ONES if i.first else row.rows(i.state_address, 1, 2 * i.rows, 1)
    batch = state.batch if before[1] or any(each[1] for each in operands) else 1
    codes, buffers = _codes_into(i, state, config, batch), _scratch(i, config)
    scales = row.rows_for(i.scales_address, 1, 2 * i.rows, 1, batch)
    after = row.rows_for(i.state_address, 1, 2 * i.rows, 1, batch)
    softmax_rows(FORMATS[config.precision], batch, i.rows, i.columns, *operands, False, ONES, i.causal, i.window,
                 i.offset, NO_LENGTHS, i.together, True, i.first, before, buffers, codes, config.rows, False, scales,
                 after)  # fmt: skip


EXECUTE = {Softmax: Kernel(softmax, bf16=False), OnlineSoftmax: Kernel(online_softmax, bf16=False)}


def _operands(i: Softmax | OnlineSoftmax, state: State, config: HardwareConfig) -> tuple[Rows, Rows, Rows]:
    """Scores, pairs and the factors of rows."""
    words = -(-i.columns // config.columns)
    values = isinstance(i, Softmax) and i.source is Source.VALUE
    memory = Memory.VALUE if values else Memory.ACC
    scores = state[memory].rows(i.source_address, i.source_stride, i.rows, words)
    pairs = state[Memory.PARAM].rows(i.param_address, 0, 1, words)
    return scores, pairs, ONES if values else state[Memory.ROW].rows(i.row_address, 1, i.rows, 1)


def _codes_into(i: Softmax | OnlineSoftmax, state: State, config: HardwareConfig, batch: int) -> Rows:
    return state[Memory.ACT].rows_for(i.address, i.stride, i.rows, -(-i.columns // config.rows), batch)


def _scratch(i: Softmax | OnlineSoftmax, config: HardwareConfig) -> NDArray:
    """Room for five numbers of each column of a row."""
    width = -(-i.columns // config.columns) * config.columns
    return np.empty((5, width), np.float32)


# -- compiled ----------------------------------------------------------------------------------------------------------


@entry
def softmax_rows(format, batch, rows, columns, source, pairs, row_scale, added, additive, causal, window, offset,
                 lengths, together, online, first, before, buffers, into, per_word, to_bf16, scales,
                 after):  # fmt: skip
    """Softmax, or OnlineSoftmax if `online`: as `numerics.softmax`, `softmax_values` and `online_softmax`."""
    x, key_scale, value_scale, scores = buffers[0], buffers[1], buffers[2], buffers[4]
    results, numbers, state = into[0], scales[0], after[0]
    padded = -(-columns // per_word) * per_word
    bits = factor_bits(format)
    for b in range(batch):
        unpack_pairs(FLOAT32, pairs, b, len(x), True, key_scale, value_scale)
        for n in range(len(x)):
            key_scale[n] = cut_float(format, key_scale[n])
            value_scale[n] = fit_saturated(format, value_scale[n])
        for m in range(rows):
            position = offset + (0 if together else m)
            high = min(columns, max(position + 1, 0)) if causal else columns
            high = min(high, max(lengths[0][place(lengths, b, m)], 0))
            low = min(max(position - window + 1, 0), high) if window else 0
            at, factor = place(source, b, m), cut(exact(row_scale[0][place(row_scale, b, m)]), bits)
            sums = source[0][at : at + len(x)]
            for n in range(low, high):
                scores[n] = score(exact(sums[n]), f8(key_scale[n]), factor, bits)
            if added:
                at = place(additive, b, m)
                mask = additive[0][at : at + len(x)]
                for n in range(low, high):
                    scores[n] = add_saturated(scores[n], clean(mask[n]))
            for n in range(low):
                scores[n] = -np.inf
            for n in range(high, len(x)):
                scores[n] = -np.inf
            greatest_key, kept = key(LOWEST), f4(0)
            for n in range(low, high):
                greatest_key = max(greatest_key, key(canonical(scores[n])))
            greatest = of_key(i4(greatest_key))
            if online and not first:
                known = of_key(i4(max(key(before[0][place(before, b, m)]), key(LOWEST))))
                greatest = of_key(i4(max(greatest_key, key(known))))
                known_total = cut_float(format, before[0][place(before, b, rows + m)])
                kept = multiply_widely(format, known_total, power_of_row(format, known, greatest))
            unknown, parts = not greatest < np.inf, fixed(kept)
            unit, number, up = unit_of(greatest)
            for n in range(len(x)):
                x[n] = power(format, scores[n], unit, number, up)  # 0 of −∞
            for n in range(len(x)):
                parts = i8(parts + i8(fixed_power(x[n])))
            if unknown:
                for n in range(len(x)):
                    x[n] = float_of(NAN)
            total = float_of(NAN) if unknown or overflown(kept) else total_of(format, parts)
            inverse = rcp(format, fit_saturated(format, total))
            at = place(into, b, m)
            words, y = results[at : at + padded], buffers[3]
            scale = finish(format, words, x, scores, columns, value_scale, inverse, y, to_bf16)
            numbers[place(scales, b, m)] = scale
            if online:
                numbers[place(scales, b, rows + m)] = fit_saturated(format, multiply_widely(format, kept, inverse))
                state[place(after, b, m)] = greatest
                state[place(after, b, rows + m)] = total


def finish(format, words, x, scores, columns, value_scale, inverse, y, to_bf16) -> Any:
    """Write a row of probabilities x, not yet normalised, as codes or values; the scale that codes have."""


@_overload(finish, jit_options=OPTIONS)
def _finish(format, words, x, scores, columns, value_scale, inverse, y, to_bf16):
    if isinstance(words.dtype, types.Integer):
        return lambda format, words, x, scores, columns, value_scale, inverse, y, to_bf16: _codes(
            format, words, x, scores, value_scale, inverse
        )
    return lambda format, words, x, scores, columns, value_scale, inverse, y, to_bf16: _values(
        format, words, x, scores, columns, value_scale, inverse, y, to_bf16
    )


@inlined_late
def _codes(format, words, x, scores, value_scale, inverse):
    # What is too small here need not be flushed: it is below 2⁻⁶⁰, and its code 0.
    most = i4(_FLOOR)
    for n in range(len(x)):
        v = fit(format, f4(x[n] * value_scale[n]))
        x[n] = f4(0) if scores[n] == -np.inf else v
    for n in range(len(x)):
        most = max(most, bits_of(canonical(x[n])))
    a = float_of(i4(most))
    inverse_of_a = rcp(format, f4(a * f4(1 / RECIPROCAL_STEP)))
    limit = fit(format, f4(CODE_LIMIT * f4(1 / RECIPROCAL_STEP)))
    multiplier = fit_saturated(format, multiply_widely(format, limit, inverse_of_a))
    for n in range(min(len(x), len(words))):
        words[n] = np.int8(code_of(fit(format, f4(x[n] * multiplier)), CODE_LIMIT))
    for n in range(len(x), len(words)):
        words[n] = 0
    over_limit = multiply_widely(format, a, cut_reciprocal(format))
    return multiply_widely(format, over_limit, inverse)


def cut_reciprocal(format: Any) -> Any:
    """1/127 with `factor_bits`."""


@_overload(cut_reciprocal, jit_options=OPTIONS)
def _cut_reciprocal(format):
    reciprocal = rounded(RECIPROCAL_OF_127, FACTOR_BITS[11 if isinstance(format, types.Integer) else WIDE_PRECISION])
    number = f4(reciprocal)
    return lambda format: number


@inlined_late
def _values(format, words, x, scores, columns, value_scale, inverse, y, to_bf16):
    if _weighted_fast(format, x, scores, value_scale, inverse, y):
        _weighted_exact(format, x, scores, value_scale, inverse, y)
    for n in range(columns, len(y)):
        y[n] = f4(0)
    store_values(y, words, to_bf16)
    return f4(1)  # a scale that nobody wants


def _weighted(wrap: Any, times: Any) -> Any:
    @wrap
    def weighted(format, x, scores, value_scale, inverse, y):
        """y = x·value_scale·inverse, with `times` for products. None is beyond its first factor, which is 1 at most."""
        edge = i4(0)
        for n in range(len(x)):
            v, edge = times(x[n], value_scale[n], edge)
            y[n] = f4(0) if scores[n] == -np.inf else fit(format, v)
        for n in range(len(x)):
            v, edge = times(y[n], inverse, edge)
            y[n] = fit(format, v)
        return edge

    return weighted


_weighted_fast = _weighted(inlined_late, multiply)
_weighted_exact = _weighted(compiled, multiply_exactly)


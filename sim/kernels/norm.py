"""NORM, compiled: LayerNorm and RMSNorm row by row, VALUE → VALUE."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arch.config import HardwareConfig, Memory
from ...arch.isa import Norm, NormKind, Statistics
from ...arch.numerics import FUNCTION_PRECISION, LEAST_VARIANCE, MOST_VARIANCE
from ..jit import compiled, entry, inlined_late
from ..state import State
from .fixed_functions import rsqrt
from .float32 import (
    FORMATS,
    add,
    add_saturated,
    canonical,
    f4,
    fit,
    fit_saturated,
    flush,
    i4,
    multiply,
    multiply_exactly,
    overflown,
    product,
    row_sum,
    row_sum_saturated,
)
from .kernel import Kernel
from .vector import ONES, place, store_values, unpack_pairs

SUMS = int(Statistics.SUMS)


def execute(i: Norm, state: State, config: HardwareConfig) -> None:
    """Like `units.norm.execute`."""
    words, value = -(-i.columns // config.columns), state[Memory.VALUE]
    pairs = state[Memory.PARAM].rows(i.param_address, 0, 1, words)
    source = value.rows(i.source_address, i.source_stride, i.rows, words)
    batch = state.batch if pairs[1] or source[1] else 1
    into = value.rows_for(i.address, i.stride, i.rows, words, batch)
    buffers = np.empty((5, words * config.columns), np.float32)
    group = np.empty(config.vector_lanes, np.float32)
    centred, statistics = i.kind is NormKind.LAYER, ONES
    if i.statistics is not Statistics.NONE:
        statistics = state[Memory.ROW].rows_for(i.statistics_address, 1, i.rows * (1 + centred), 1, batch)
    norm_rows(FORMATS[config.precision], batch, i.rows, i.columns, source, pairs, i.reciprocal, i.epsilon, centred,
              buffers, group, into, config.value_format == "bf16", int(i.statistics), np.empty(4, np.float32),
              statistics)  # fmt: skip


EXECUTE = {Norm: Kernel(execute, bf16=True)}


def _norm(wrap: Any, times: Any, plus: Any, total: Any, fit: Any) -> Any:
    @wrap
    def norm(format, columns, x, squares, gamma, beta, inverse, epsilon, centred, refines, group, y, found):
        """`numerics.norm_with_statistics` of one row x, with `times` for products, `plus` for sums and `total` for
        those of a row, each made `fit`. `found`: Σx, the mean, Σd², 1/σ."""
        edge, sum_of_row, mean = i4(0), f4(0), f4(0)
        if centred:
            sum_of_row = total(x, columns, group)
            edge = i4(overflown(sum_of_row))
            mean = product(sum_of_row, inverse)
        for n in range(len(x)):
            y[n] = fit(format, plus(x[n], f4(-mean)))
            v, edge = times(y[n], y[n], edge)
            squares[n] = fit(format, v)
        sum_of_squares = total(squares, columns, group)
        edge = i4(edge | overflown(sum_of_squares))
        mean_square = fit_saturated(format, product(sum_of_squares, inverse))
        variance = fit_saturated(format, add_saturated(mean_square, epsilon))
        if not overflown(variance):
            variance = min(max(variance, LEAST_VARIANCE), MOST_VARIANCE)
        deviation = rsqrt(format, variance)
        if refines:
            correction = add(f4(1.5), f4(-product(product(variance, f4(0.5)), product(deviation, deviation))))
            deviation = product(deviation, correction)
        found[0], found[1], found[2], found[3] = sum_of_row, mean, sum_of_squares, deviation
        for n in range(len(x)):
            v, edge = times(y[n], deviation, edge)
            v, edge = times(fit(format, v), gamma[n], edge)
            y[n] = fit(format, plus(fit(format, v), beta[n]))
            edge = i4(edge | overflown(y[n]))
        return edge

    return norm


_norm_fast = _norm(inlined_late, multiply, add, row_sum, fit)
_norm_exact = _norm(compiled, multiply_exactly, add_saturated, row_sum_saturated, fit_saturated)


@entry
def norm_rows(format, batch, rows, columns, source, pairs, reciprocal, epsilon, centred, buffers, group, into,
              to_bf16, statistics, found, statistics_into):  # fmt: skip
    """Norm of rows, rounded to the format of VALUE, and the `statistics` of each."""
    x, y, squares, gamma, beta = buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
    inverse, small = flush(f4(reciprocal)), fit_saturated(format, flush(f4(epsilon)))
    given = (columns, x, squares, gamma, beta, inverse, small, centred, format > FUNCTION_PRECISION, group, y, found)
    data, result = source[0], into[0]
    for b in range(batch):
        unpack_pairs(format, pairs, b, len(x), True, gamma, beta)
        for m in range(rows):
            at = place(source, b, m)
            row = data[at : at + len(x)]
            for n in range(len(x)):
                x[n] = flush(row[n])
            if _norm_fast(format, *given):
                _norm_exact(format, *given)
            if statistics != 0:
                first, behind = statistics_into[2] + b * statistics_into[1] + m, rows if centred else 0
                sums = statistics == SUMS
                if centred:
                    statistics_into[0][first] = canonical(found[0] if sums else found[1])
                statistics_into[0][first + behind] = canonical(found[2] if sums else found[3])
            at = place(into, b, m)
            for n in range(columns, len(y)):
                y[n] = f4(0)
            store_values(y, result[at : at + len(y)], to_bf16)

"""NORM, compiled: LayerNorm and RMSNorm row by row, VALUE → VALUE."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arch.config import HardwareConfig, Memory
from ...arch.isa import Norm, NormKind
from ...arch.numerics import LEAST_VARIANCE, MOST_VARIANCE, TABLE_PRECISION
from ..jit import compiled, entry, inlined_late
from ..state import State
from .float32 import (
    FORMATS,
    add,
    add_saturated,
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
    rsqrt,
)
from .kernel import Kernel
from .vector import place, store_values, unpack_pairs


def execute(i: Norm, state: State, config: HardwareConfig) -> None:
    """Like `units.norm.execute`."""
    words, value = -(-i.columns // config.columns), state[Memory.VALUE]
    pairs = state[Memory.PARAM].rows(i.param_address, 0, 1, words)
    source = value.rows(i.source_address, i.source_stride, i.rows, words)
    batch = state.batch if pairs[1] or source[1] else 1
    into = value.rows_for(i.address, i.stride, i.rows, words, batch)
    buffers = np.empty((5, words * config.columns), np.float32)
    group = np.empty(config.vector_lanes, np.float32)
    norm_rows(FORMATS[config.precision], batch, i.rows, i.columns, source, pairs, i.reciprocal, i.epsilon,
              i.kind is NormKind.LAYER, buffers, group, into, config.value_format == "bf16")  # fmt: skip


EXECUTE = {Norm: Kernel(execute, bf16=True)}


def _norm(wrap: Any, times: Any, plus: Any, total: Any, fit: Any) -> Any:
    @wrap
    def norm(format, columns, x, squares, gamma, beta, inverse, epsilon, centred, refines, group, y):
        """`numerics.norm` of one row x, with `times` for products, `plus` for sums and `total` for those of a row, each
        made `fit`."""
        edge, shift = i4(0), f4(-0.0)
        if centred:
            sum_of_row = total(x, columns, group)
            edge = i4(overflown(sum_of_row))
            shift = f4(-product(sum_of_row, inverse))
        for n in range(len(x)):
            y[n] = fit(format, plus(x[n], shift))
            v, edge = times(y[n], y[n], edge)
            squares[n] = fit(format, v)
        sum_of_squares = total(squares, columns, group)
        edge = i4(edge | overflown(sum_of_squares))
        mean_square = fit_saturated(format, product(sum_of_squares, inverse))
        variance = fit_saturated(format, add_saturated(mean_square, epsilon))
        if not overflown(variance):
            variance = min(max(variance, LEAST_VARIANCE), MOST_VARIANCE)
        deviation = fit(format, rsqrt(variance))
        if refines:
            correction = add(f4(1.5), f4(-product(product(variance, f4(0.5)), product(deviation, deviation))))
            deviation = product(deviation, correction)
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
              to_bf16):  # fmt: skip
    """Norm of rows, rounded to the format of VALUE."""
    x, y, squares, gamma, beta = buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
    inverse, small = flush(f4(reciprocal)), fit_saturated(format, flush(f4(epsilon)))
    given = (columns, x, squares, gamma, beta, inverse, small, centred, format > TABLE_PRECISION, group, y)
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
            at = place(into, b, m)
            for n in range(columns, len(y)):
                y[n] = f4(0)
            store_values(y, result[at : at + len(y)], to_bf16)

"""VECTOR, compiled: Map, Quantise and Argmax row by row, from the words of memories to words of memories."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch.config import HardwareConfig, Memory
from ...arch.isa import Activation, Argmax, Codes, Combine, Digit, Map, Quantise, Scales, Source
from ...arch.numerics import (
    ACTIVATION_COEFFICIENTS,
    CODE_LIMIT,
    MAXIMUM_FLOOR,
    RECIPROCAL_OF_127,
    RECIPROCAL_OF_32639,
    WIDE_CODE_LIMIT,
)
from .. import units
from ..jit import compiled, entry, inlined_late
from ..state import Rows, State
from ..units.vector import write_indices
from .float32 import (
    INFINITY,
    MAGNITUDE,
    NAN,
    add,
    bf16,
    bits_of,
    canonical,
    code_of,
    exp2,
    f4,
    float_of,
    flush,
    i4,
    key,
    multiply,
    multiply_exactly,
    number,
    product,
    rcp,
)

ADD, MULTIPLY, ROTATE = int(Combine.ADD), int(Combine.MULTIPLY), int(Combine.ROTATE)
NONE, RELU, GATED_BY_X, GATED = range(4)  # forms of an activation
TO_ACT, TO_WEIGHT, TO_WEIGHT_TRANSPOSED = int(Codes.ACT), int(Codes.WEIGHT), int(Codes.WEIGHT_TRANSPOSED)
HIGH, LOW = int(Digit.HIGH), int(Digit.LOW)
FLOOR = int(MAXIMUM_FLOOR.view(np.int32))
ONES: Rows = (np.ones(1, np.float32), 0, 0, 0)  # a factor that changes nothing


def _form(kind: Activation) -> tuple[int, NDArray[np.float32]]:
    """The form of an activation, and limit, gate, constant, then the coefficients from the first that is not 0 on."""
    if kind is Activation.NONE or kind is Activation.RELU:
        return (RELU if kind is Activation.RELU else NONE), np.zeros(4, np.float32)
    c = ACTIVATION_COEFFICIENTS[kind]
    first = next(place for place, coefficient in enumerate(c.p) if coefficient)
    numbers = [c.limit, np.float32(0) if c.gate is None else c.gate, c.constant, *c.p[first:]]
    return (GATED_BY_X if c.gate is None else GATED), np.array(numbers, np.float32)


FORMS = {kind: _form(kind) for kind in Activation}


# -- from Python -------------------------------------------------------------------------------------------------------


def execute(i: Map | Quantise | Argmax, state: State, config: HardwareConfig) -> None:
    """Like `units.vector.execute`."""
    if isinstance(i, Quantise) and i.codes is Codes.WEIGHT and i.stride < i.rows:  # blocks of words may overlap
        return units.vector.execute(i, state, config)
    memory = Memory.ACC if i.source is Source.ACC else Memory.VALUE
    words = -(-i.columns // config.columns)
    source = state[memory].rows(i.source_address, i.source_stride, i.rows * (1 + i.planes), words)
    pairs = state[Memory.PARAM].rows(i.param_address, 0, 1, words) if i.scaled else ONES
    row_scale = state[Memory.ROW].rows(i.row_address, 1, i.rows, 1) if i.row_scaled else ONES
    operand = operand_scale = ONES
    if i.combine is not Combine.NONE:
        length = 2 * words if i.combine is Combine.ROTATE else words
        operand = state[Memory.VALUE].rows(i.operand_address, i.operand_stride, i.rows, length)
    if isinstance(i, Map) and i.operand_scaled:
        operand_scale = state[Memory.ROW].rows(i.operand_row_address, 1, i.rows, 1)
    batch = state.batch if source[1] or pairs[1] or row_scale[1] or operand[1] or operand_scale[1] else 1
    form, numbers = FORMS[i.activation]
    width = words * config.columns
    buffers = np.empty((5, width), np.float32)
    front = (batch, i.rows, i.columns, source, i.planes, pairs, i.scaled, row_scale, form, numbers, int(i.combine),
             operand, operand_scale, buffers)  # fmt: skip
    if isinstance(i, Map):
        into = state[Memory.VALUE].rows_for(i.address, i.stride, i.rows, words, batch)
        map_rows(*front, into, config.value_format == "bf16")
    elif isinstance(i, Argmax):
        places = np.empty((batch, i.rows), np.int32)
        argmax_rows(*front, places)
        write_indices(i, state, places)
    else:
        into, scales = _codes_into(i, state, config, words, batch), _scales_into(i, state, config, batch)
        if into[1] or scales[0][1]:  # parts of words that differ already
            front = state.batch, *front[1:]
        per_word = config.rows if i.codes is Codes.ACT else config.columns
        row = np.empty(-(-i.columns // per_word) * per_word, np.int8)
        quantise_rows(*front, row, into, int(i.codes), per_word, int(i.digit), *scales)


def _codes_into(i: Quantise, state: State, config: HardwareConfig, words: int, batch: int) -> Rows:
    if i.codes is Codes.ACT:
        return state[Memory.ACT].rows_for(i.address, i.stride, i.rows, -(-i.columns // config.rows), batch)
    if i.codes is Codes.WEIGHT:
        return state[Memory.WEIGHT].rows_for(i.address, i.stride, words, i.rows, batch)
    blocks = -(-i.rows // config.columns)
    return state[Memory.WEIGHT].rows_to_change(i.address, i.stride, blocks, i.columns, batch)


def _scales_into(i: Quantise, state: State, config: HardwareConfig, batch: int) -> tuple[Rows, int, int, int]:
    """Where scales go: the elements from one to the next, and two places of each."""
    if i.scales is Scales.ROW:
        return state[Memory.ROW].rows_for(i.scales_address, 1, i.rows, 1, batch), 1, 0, 0
    into = state[Memory.PARAM].rows_to_change(i.scales_address, 0, 1, -(-i.rows // config.columns), batch)
    return into, 2, int(i.scales is Scales.PARAM_OFFSET), int(i.scales is not Scales.PARAM_SCALE)


# -- compiled: one row -------------------------------------------------------------------------------------------------


def _front(wrap: Any, times: Any) -> Any:
    """The elementwise front of VECTOR on one row, with `times` for products: `numerics.map_values`."""

    @wrap
    def front(columns, source, planes, plane_step, scale, offset, row_scale, form, numbers, combine, operand,
              operand_scale, x, u, y):  # fmt: skip
        edge = i4(0)
        for n in range(columns):
            x[n] = number(source[n])
        for number_of_plane in range(1, planes + 1):
            start = number_of_plane * plane_step
            plane = source[start : start + columns]
            for n in range(columns):
                x[n] = f4(f4(x[n] * f4(256)) + f4(plane[n]))
        if combine == ROTATE:
            half = columns // 2
            for n in range(half):
                u[n], u[half + n] = x[half + n], x[n]
            sine = operand[columns : 2 * columns]
            for n in range(columns):
                v, edge = times(x[n], flush(operand[n]), edge)
                w, edge = times(u[n], flush(sine[n]), edge)
                x[n] = add(v, w)
            return edge
        for n in range(columns):
            v, edge = times(x[n], scale[n], edge)
            v, edge = times(v, row_scale, edge)
            x[n] = add(v, offset[n])
        if form == RELU:
            for n in range(columns):
                bits = bits_of(canonical(x[n]))
                x[n] = float_of(bits if bits > 0 else i4(0))
        elif form != NONE:
            # Up to the exponent, what is too small need not be flushed: it goes into sums with coefficients or 1.
            limit, gate, constant = numbers[0], numbers[1], numbers[2]
            most = bits_of(limit)
            for n in range(columns):
                bits = i4(bits_of(f4(x[n] * x[n])) & MAGNITUDE)
                u[n] = float_of(bits if bits < most else most)
                y[n] = numbers[3]
            for coefficient in numbers[4:]:
                for n in range(columns):
                    y[n] = f4(f4(y[n] * u[n]) + coefficient)
            for n in range(columns):
                v, edge = times(y[n], x[n], edge)
                y[n] = f4(f4(1) + exp2(v))
            for n in range(columns):
                y[n] = rcp(y[n])
            if form == GATED_BY_X:
                for n in range(columns):
                    v, edge = times(y[n], x[n], edge)
                    x[n] = f4(v + constant)
            else:
                for n in range(columns):
                    v, edge = times(y[n], gate, edge)
                    x[n] = f4(v + constant)
        if combine == ADD:
            for n in range(columns):
                v, edge = times(flush(operand[n]), operand_scale, edge)
                x[n] = add(x[n], v)
        elif combine == MULTIPLY:
            for n in range(columns):
                v, edge = times(flush(operand[n]), operand_scale, edge)
                x[n], edge = times(x[n], v, edge)
        return edge

    return front


_front_fast, _front_exact = _front(inlined_late, multiply), _front(compiled, multiply_exactly)


@inlined_late
def unpack_pairs(pairs, b, columns, given, scale, offset):
    """The scales and offsets of columns for the input `b`; what changes nothing unless they are `given`."""
    data, batch_step, first, _ = pairs
    at = first + b * batch_step
    some = data[at : at + 2 * columns]
    if given:
        for n in range(columns):
            scale[n], offset[n] = flush(some[2 * n]), flush(some[2 * n + 1])
    else:
        for n in range(columns):
            scale[n], offset[n] = f4(1), f4(-0.0)


@inlined_late
def place(rows, b, m):
    """Where row m begins for the input b."""
    return rows[2] + b * rows[1] + m * rows[3]


@inlined_late
def _row(b, m, rows, columns, source, planes, row_scale, form, numbers, combine, operand, operand_scale, buffers):
    """x of row m for the input b, to the first of the buffers, +0 from `columns` on. Loops are over whole words: LLVM
    makes the rest of a division by the length of vectors slow."""
    x, u, y, scale, offset = buffers[0], buffers[1], buffers[2], buffers[3], buffers[4]
    width, plane_step = buffers.shape[1], rows * source[3]
    at = place(source, b, m)
    data = source[0][at : at + planes * plane_step + width]
    at = place(operand, b, m)
    other = operand[0][at : at + 2 * width]
    factor = flush(row_scale[0][place(row_scale, b, m)])
    operand_factor = flush(operand_scale[0][place(operand_scale, b, m)])
    if _front_fast(width, data, planes, plane_step, scale, offset, factor, form, numbers, combine, other,
                   operand_factor, x, u, y):  # fmt: skip
        _front_exact(width, data, planes, plane_step, scale, offset, factor, form, numbers, combine, other,
                     operand_factor, x, u, y)  # fmt: skip
    for n in range(columns, width):
        x[n] = f4(0)


# -- compiled: all rows ------------------------------------------------------------------------------------------------


@entry
def map_rows(batch, rows, columns, source, planes, pairs, scaled, row_scale, form, numbers, combine, operand,
             operand_scale, buffers, into, to_bf16):  # fmt: skip
    """Map: x(m, n) rounded to the format of VALUE, +0 up to the end of its last word."""
    result = into[0]
    x = buffers[0]
    for b in range(batch):
        unpack_pairs(pairs, b, len(x), scaled, buffers[3], buffers[4])
        for m in range(rows):
            _row(b, m, rows, columns, source, planes, row_scale, form, numbers, combine, operand, operand_scale,
                 buffers)  # fmt: skip
            at = place(into, b, m)
            store_values(x, result[at : at + len(x)], to_bf16)


@inlined_late
def store_values(x, words, to_bf16):
    """A row to words of VALUE."""
    if to_bf16:
        for n in range(len(words)):
            words[n] = bf16(x[n])
    else:
        for n in range(len(words)):
            words[n] = canonical(x[n])


@entry
def argmax_rows(batch, rows, columns, source, planes, pairs, scaled, row_scale, form, numbers, combine, operand,
                operand_scale, buffers, places):  # fmt: skip
    """Argmax: the first place of the greatest of each row."""
    x = buffers[0]
    for b in range(batch):
        unpack_pairs(pairs, b, len(x), scaled, buffers[3], buffers[4])
        for m in range(rows):
            _row(b, m, rows, columns, source, planes, row_scale, form, numbers, combine, operand, operand_scale,
                 buffers)  # fmt: skip
            best = 0
            greatest = key(canonical(x[0]))
            for n in range(1, columns):
                this = key(canonical(x[n]))
                if this > greatest:
                    best, greatest = n, this
            places[b, m] = best


@entry
def quantise_rows(batch, rows, columns, source, planes, pairs, scaled, row_scale, form, numbers, combine, operand,
                  operand_scale, buffers, row, into, codes_to, per_word, digit, scales, scales_step, half,
                  other_half):  # fmt: skip
    """Quantise: codes and scales of rows. Words are `per_word` codes long, and `row` holds whole words of a row."""
    codes, numbers_out = into[0], scales[0]
    limit = WIDE_CODE_LIMIT if digit else CODE_LIMIT
    reciprocal = RECIPROCAL_OF_32639 if digit else RECIPROCAL_OF_127
    padded = -(-columns // per_word) * per_word
    x = buffers[0]
    for b in range(batch):
        unpack_pairs(pairs, b, len(x), scaled, buffers[3], buffers[4])
        for m in range(rows):
            _row(b, m, rows, columns, source, planes, row_scale, form, numbers, combine, operand, operand_scale,
                 buffers)  # fmt: skip
            greatest = i4(FLOOR)
            for n in range(len(x)):
                bits = i4(bits_of(x[n]) & MAGNITUDE)
                greatest = bits if bits > greatest else greatest
            a = float_of(NAN if greatest > INFINITY else greatest)
            multiplier = product(limit, rcp(a))
            at = scales[2] + b * scales[1] + m * scales_step
            numbers_out[at + half] = numbers_out[at + other_half] = canonical(product(a, reciprocal))
            if codes_to == TO_ACT:
                at = place(into, b, m)
                encode(x, multiplier, limit, digit, codes[at : at + padded])
                continue
            encode(x, multiplier, limit, digit, row)
            if codes_to == TO_WEIGHT:
                at = into[2] + b * into[1] + m * per_word
                for start in range(0, columns, per_word):
                    word, part = codes[at : at + per_word], row[start : start + per_word]
                    for n in range(per_word):
                        word[n] = part[n]
                    at += into[3]
            else:
                at = place(into, b, m // per_word) + m % per_word
                column = codes[at : at + columns * per_word]
                for n in range(columns):
                    column[n * per_word] = row[n]


@inlined_late
def encode(x, multiplier, limit, digit, codes):
    """Codes of whole words. What would be flushed, or is at the edge of it, rounds to 0 in any case."""
    count = min(len(x), len(codes))
    if digit:
        for n in range(count):
            codes[n] = _digit(code_of(f4(x[n] * multiplier), limit), digit)
    else:
        for n in range(count):
            codes[n] = np.int8(code_of(f4(x[n] * multiplier), limit))
    for n in range(count, len(codes)):
        codes[n] = 0


@inlined_late
def _digit(code, digit):
    """The digit of a code that is written, as `numerics.digits`; the code itself if it has one only."""
    low = i4(i4(i4(code + 128) & 255) - 128)
    high = i4(i4(code - low) >> 8)
    return np.int8(high if digit == HIGH else low if digit == LOW else code)

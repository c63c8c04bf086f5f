"""VECTOR, compiled: Map and Quantise row by row, from the words of memories to words of memories; x for Reduce."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...arch.config import HardwareConfig, Memory
from ...arch.functions import DESCRIPTOR_COUNT, FRACTION_BITS, Descriptor, Table
from ...arch.isa import (
    Codes,
    Combine,
    Digit,
    Function,
    Layout,
    Map,
    Quantise,
    Reduce,
    Scales,
    SecondOperand,
    Source,
    VectorInstruction,
)
from ...arch.numerics import (
    CODE_LIMIT,
    MAXIMUM_FLOOR,
    RECIPROCAL_OF_127,
    RECIPROCAL_OF_32639,
    WIDE_CODE_LIMIT,
)
from .. import units
from ..jit import compiled, entry, inlined_late
from ..state import Rows, State
from ..units.vector import entries_of, reduce_values, table_of, write_mapped
from .fixed_functions import multiplier_of
from .float32 import (
    FORMATS,
    INFINITY,
    MAGNITUDE,
    NAN,
    add,
    add_saturated,
    bf16,
    bits_of,
    canonical,
    code_of,
    entered,
    f4,
    fit,
    fit_saturated,
    float_of,
    flush,
    i4,
    joined,
    key,
    multiply,
    multiply_exactly,
    overflown,
)
from .functions import PackedTable, packed, replace, replace_plainly
from .kernel import Kernel

ADD, MULTIPLY, ROTATE, SELECT = (int(each) for each in (Combine.ADD, Combine.MULTIPLY, Combine.ROTATE, Combine.SELECT))
SUBTRACT, SUBTRACT_FROM = int(Combine.SUBTRACT), int(Combine.SUBTRACT_FROM)
MAXIMUM, MINIMUM = int(Combine.MAXIMUM), int(Combine.MINIMUM)
LESS, LESS_EQUAL = int(Combine.LESS), int(Combine.LESS_EQUAL)
NONE, RELU, BY_TABLE = range(3)  # forms of a function
TO_ACT, TO_WEIGHT, TO_WEIGHT_TRANSPOSED = int(Codes.ACT), int(Codes.WEIGHT), int(Codes.WEIGHT_TRANSPOSED)
HIGH, LOW = int(Digit.HIGH), int(Digit.LOW)
FLOOR = int(MAXIMUM_FLOOR.view(np.int32))
BLOCK = 1024  # elements that are computed together, whole rows and at least one: their buffers stay in the L1 cache
ONES: Rows = (np.ones(1, np.float32), 0, 0, 0)  # a factor that changes nothing
NO_TABLE = packed(Table((Descriptor(),) * DESCRIPTOR_COUNT, ()))


@lru_cache(64)
def _packed(entries: bytes) -> PackedTable:
    """The table as kernels read it."""
    return packed(table_of(entries))


# -- from Python -------------------------------------------------------------------------------------------------------


def map_panel(i: Map, state: State, config: HardwareConfig) -> None:
    """Like `units.vector.map_panel`."""
    if _differs(i, state):
        return units.vector.map_panel(i, state, config)
    factors = state[Memory.ROW].rows(i.operand_row_address, 1, i.rows, 1) if i.operand_scaled else ONES
    front = _operands(i, state, config, factors)
    if i.layout is not Layout.ROWS:
        return write_mapped(i, state, config, _computed(i, front))
    words = -(-i.columns // config.columns)
    if i.combine is Combine.SELECT:
        into = state[Memory.VALUE].rows_to_change(i.address, i.stride, i.rows, words, front[1])
        front = (front[0], state.batch if into[1] else 1, *front[2:])
    else:
        into = state[Memory.VALUE].rows_for(i.address, i.stride, i.rows, words, front[1])
    map_rows(*front, into, config.value_format == "bf16")


def reduce_panel(i: Reduce, state: State, config: HardwareConfig) -> None:
    """Like `units.vector.reduce_panel`."""
    if _differs(i, state):
        return units.vector.reduce_panel(i, state, config)
    reduce_values(i, state, config, _computed(i, _operands(i, state, config)))


def _computed(i: VectorInstruction, front: tuple) -> NDArray[np.float32]:
    """x(m, n), (batch or 1, rows, columns)."""
    values = np.empty((front[1], i.rows, i.columns), np.float32)
    value_rows(*front, values)
    return values


def quantise_panel(i: Quantise, state: State, config: HardwareConfig) -> None:
    """Like `units.vector.quantise_panel`."""
    if _differs(i, state) or i.codes is Codes.WEIGHT and i.stride < i.rows:  # blocks of words may overlap
        return units.vector.quantise_panel(i, state, config)
    front = _operands(i, state, config)
    into, scales = _codes_into(i, state, config, front[1]), _scales_into(i, state, config, front[1])
    if into[1] or scales[0][1]:  # parts of words that differ already
        front = front[0], state.batch, *front[2:]
    per_word = config.rows if i.codes is Codes.ACT else config.columns
    row = np.empty(-(-i.columns // per_word) * per_word, np.int8)
    quantise_rows(*front, row, into, int(i.codes), per_word, int(i.digit), *scales)


EXECUTE = {
    Map: Kernel(map_panel, bf16=True),
    Quantise: Kernel(quantise_panel, bf16=False),
    Reduce: Kernel(reduce_panel, bf16=True),
}


def _operands(i: VectorInstruction, state: State, config: HardwareConfig, operand_scale: Rows = ONES) -> tuple:
    """What the kernels begin with: the format, then the batch, 1 if all that is read is the same for all inputs."""
    memory = Memory.ACC if i.source is Source.ACC else Memory.VALUE
    words = -(-i.columns // config.columns)
    source = state[memory].rows(i.source_address, i.source_stride, i.rows * (1 + i.planes), words)
    pairs = state[Memory.PARAM].rows(i.param_address, 0, 1, words) if i.scaled else ONES
    row_scale = state[Memory.ROW].rows(i.row_address, 1, i.rows, 1) if i.row_scaled else ONES
    operand, across = ONES, i.operand_memory is Memory.ROW  # one number across the row
    if across:
        step, rows = (1, i.rows) if i.operand is SecondOperand.COLUMN else (0, 1)
        data, batch_step, first, _ = state[Memory.ROW].rows(i.operand_address, 1, rows, 1)
        operand = data, batch_step, first, step
    elif i.combine is not Combine.NONE:
        length = 2 * words if i.combine is Combine.ROTATE else words
        operand = state[Memory.VALUE].rows(i.operand_address, i.operand_stride, i.rows, length)
    batch = state.batch if source[1] or pairs[1] or row_scale[1] or operand[1] or operand_scale[1] else 1
    form = {Function.NONE: NONE, Function.RELU: RELU}.get(i.function, BY_TABLE)
    table = _packed(entries_of(i.function, state)[0]) if form == BY_TABLE else NO_TABLE
    width = words * config.columns
    buffers = state.scratch("vector", np.float32, 10, max(1, min(i.rows, BLOCK // width)) * width)
    return (FORMATS[config.precision], batch, i.rows, i.columns, width, source, i.planes, pairs, i.scaled, row_scale,
            form, table, int(i.combine), across, operand, operand_scale, buffers)  # fmt: skip


def _differs(i: VectorInstruction, state: State) -> bool:
    """Whether it has a function by table, whose table may not be the same for all inputs."""
    return i.function not in (Function.NONE, Function.RELU) and bool(state.tables.differs.any())


def _codes_into(i: Quantise, state: State, config: HardwareConfig, batch: int) -> Rows:
    if i.codes is Codes.ACT:
        return state[Memory.ACT].rows_for(i.address, i.stride, i.rows, -(-i.columns // config.rows), batch)
    if i.codes is Codes.WEIGHT:
        return state[Memory.WEIGHT].rows_for(i.address, i.stride, -(-i.columns // config.columns), i.rows, batch)
    blocks = -(-i.rows // config.columns)
    return state[Memory.WEIGHT].rows_to_change(i.address, i.stride, blocks, i.columns, batch)


def _scales_into(i: Quantise, state: State, config: HardwareConfig, batch: int) -> tuple[Rows, int, int, int]:
    """Where scales go: the elements from one to the next, and two places of each."""
    if i.scales is Scales.ROW:
        return state[Memory.ROW].rows_for(i.scales_address, 1, i.rows, 1, batch), 1, 0, 0
    into = state[Memory.PARAM].rows_to_change(i.scales_address, 0, 1, -(-i.rows // config.columns), batch)
    return into, 2, int(i.scales is Scales.PARAM_OFFSET), int(i.scales is not Scales.PARAM_SCALE)


# -- compiled: a block of rows -----------------------------------------------------------------------------------------


@compiled
def choose(combine, x, y):
    """What `combine` makes of x and y that is no sum or product, in place of x."""
    if combine in (MAXIMUM, MINIMUM):
        for n in range(len(x)):
            ordered = x[n] == x[n] and y[n] == y[n]
            second = (key(canonical(x[n])) < key(canonical(y[n]))) != (combine == MINIMUM and ordered)
            x[n] = y[n] if second else x[n]
    elif combine == LESS:
        for n in range(len(x)):
            x[n] = f4(1) if x[n] < y[n] else f4(0)
    elif combine == LESS_EQUAL:
        for n in range(len(x)):
            x[n] = f4(1) if x[n] <= y[n] else f4(0)
    else:
        for n in range(len(x)):
            x[n] = f4(1) if x[n] == y[n] else f4(0)


def _front(wrap: Any, times: Any, plus: Any, fit: Any) -> Any:
    """The elementwise front of VECTOR, with `times` for products and `plus` for sums, each made `fit`:
    `numerics.map_values`."""

    @wrap
    def front(format, x, u, y, z, scale, offset, row_scale, form, table, combine, operand, operand_scale, result):
        edge = i4(0)
        if combine == ROTATE:
            for n in range(len(x)):
                v, edge = times(x[n], operand[n], edge)
                w, edge = times(u[n], operand_scale[n], edge)
                result[n] = fit(format, plus(fit(format, v), fit(format, w)))
                edge = i4(edge | overflown(result[n]))
            return edge
        for n in range(len(x)):
            v, edge = times(x[n], scale[n], edge)
            v, edge = times(fit(format, v), row_scale[n], edge)
            result[n] = fit(format, plus(fit(format, v), offset[n]))
            edge = i4(edge | overflown(result[n]))
        if form == RELU:
            for n in range(len(x)):
                bits = bits_of(canonical(result[n]))
                result[n] = float_of(bits if bits > 0 else i4(0))
        elif form == BY_TABLE:
            bits = i4(format) if i4(format) < FRACTION_BITS else i4(FRACTION_BITS)
            for n in range(len(x)):
                result[n] = flush(result[n])
            if table.is_plain:
                replace_plainly(result, table, bits, u, y, z)
            else:
                replace(result, table, bits)
        if combine == ADD:
            for n in range(len(x)):
                v, edge = times(operand[n], operand_scale[n], edge)
                result[n] = fit(format, plus(result[n], fit(format, v)))
                edge = i4(edge | overflown(result[n]))
        elif combine == MULTIPLY:
            for n in range(len(x)):
                v, edge = times(operand[n], operand_scale[n], edge)
                w, edge = times(result[n], fit(format, v), edge)
                result[n] = fit(format, w)
                edge = i4(edge | overflown(result[n]))
        elif combine != 0:
            for n in range(len(x)):
                v, edge = times(operand[n], operand_scale[n], edge)
                y[n] = fit(format, v)
                edge = i4(edge | overflown(y[n]))
            if combine in (SUBTRACT, SUBTRACT_FROM):
                of_x, of_y = (f4(1), f4(-1)) if combine == SUBTRACT else (f4(-1), f4(1))
                for n in range(len(x)):
                    result[n] = fit(format, plus(f4(of_x * result[n]), f4(of_y * y[n])))
                    edge = i4(edge | overflown(result[n]))
            elif combine != SELECT:
                choose(combine, result, y)
        return edge

    return front


_front_fast = _front(inlined_late, multiply, add, fit)
_front_exact = _front(compiled, multiply_exactly, add_saturated, fit_saturated)


@inlined_late
def unpack_pairs(format, pairs, b, columns, given, scale, offset):
    """The scales and offsets of columns for the input `b`; what changes nothing unless they are `given`."""
    data, batch_step, first, _ = pairs
    at = first + b * batch_step
    some = data[at : at + 2 * columns]
    if given:
        for n in range(columns):
            scale[n] = fit_saturated(format, flush(some[2 * n]))
            offset[n] = fit_saturated(format, flush(some[2 * n + 1]))
    else:
        for n in range(columns):
            scale[n], offset[n] = f4(1), f4(-0.0)


@inlined_late
def place(rows, b, m):
    """Where row m begins for the input b."""
    return rows[2] + b * rows[1] + m * rows[3]


@inlined_late
def _prepare(format, b, width, pairs, scaled, row_scale, operand_scale, buffers):
    """What is the same for all blocks of an input, or of all inputs."""
    scale, offset = buffers[3], buffers[4]
    if b == 0 or pairs[1] != 0:
        unpack_pairs(format, pairs, b, width, scaled, scale, offset)
        for n in range(width, len(scale)):
            scale[n], offset[n] = scale[n - width], offset[n - width]
    if b == 0 and row_scale[3] == 0:
        _fill(buffers[5], fit_saturated(format, flush(row_scale[0][row_scale[2]])))
    if b == 0 and operand_scale[3] == 0:
        _fill(buffers[7], fit_saturated(format, flush(operand_scale[0][operand_scale[2]])))


@inlined_late
def _fill(some, value):
    for n in range(len(some)):
        some[n] = value


@inlined_late
def _block(format, b, first, count, rows, columns, width, source, planes, row_scale, form, table, combine, across,
           operand, operand_scale, buffers):  # fmt: skip
    """x of `count` rows from `first` on for the input b, row after row in the last of the buffers, +0 from `columns` to
    `width`. Loops are over whole words, most of them over the whole block: LLVM makes the rest of a division by the
    length of vectors slow."""
    x, u, operands = buffers[0], buffers[1], buffers[6]
    for m in range(count):
        begin = m * width
        row = x[begin : begin + width]
        at = place(source, b, first + m)
        data = source[0][at : at + width]
        if planes:
            at = place(source, b, first + m + rows)
            low = source[0][at : at + width]
            at = place(source, b, first + m + planes * rows)
            lowest = source[0][at : at + width]
            for n in range(width):
                row[n] = joined(format, data[n], low[n], lowest[n], planes)
        else:
            for n in range(width):
                row[n] = entered(format, data[n])
        if row_scale[3] != 0:
            factor = fit_saturated(format, flush(row_scale[0][place(row_scale, b, first + m)]))
            _fill(buffers[5, begin : begin + width], factor)
        if operand_scale[3] != 0:
            factor = fit_saturated(format, flush(operand_scale[0][place(operand_scale, b, first + m)]))
            _fill(buffers[7, begin : begin + width], factor)
        if across:
            factor = fit_saturated(format, flush(operand[0][place(operand, b, first + m)]))
            _fill(operands[begin : begin + width], factor)
        elif combine != 0:
            at = place(operand, b, first + m)
            data, into = operand[0][at : at + width], operands[begin : begin + width]
            for n in range(width):
                into[n] = fit_saturated(format, flush(data[n]))
        if combine == ROTATE:
            data, into = operand[0][at + width : at + 2 * width], buffers[7, begin : begin + width]
            for n in range(width):
                into[n] = fit_saturated(format, flush(data[n]))
            half, swapped = width // 2, u[begin : begin + width]
            for n in range(half):
                swapped[n], swapped[half + n] = row[half + n], row[n]
    size = count * width
    given = (x[:size], u[:size], buffers[2, :size], buffers[9, :size], buffers[3, :size], buffers[4, :size],
             buffers[5, :size], form, table, combine, operands[:size], buffers[7, :size],
             buffers[8, :size])  # fmt: skip
    if _front_fast(format, *given):
        _front_exact(format, *given)
    for m in range(count):
        for n in range(m * width + columns, (m + 1) * width):
            buffers[8, n] = f4(0)


# -- compiled: all rows ------------------------------------------------------------------------------------------------


@entry
def map_rows(format, batch, rows, columns, width, source, planes, pairs, scaled, row_scale, form, table, combine,
             across, operand, operand_scale, buffers, into, to_bf16):  # fmt: skip
    """Map: x(m, n) rounded to the format of VALUE, +0 up to the end of its last word."""
    block = buffers.shape[1] // width
    for b in range(batch):
        _prepare(format, b, width, pairs, scaled, row_scale, operand_scale, buffers)
        for first in range(0, rows, block):
            count = min(block, rows - first)
            _block(format, b, first, count, rows, columns, width, source, planes, row_scale, form, table, combine,
                   across, operand, operand_scale, buffers)  # fmt: skip
            for m in range(count):
                at = place(into, b, first + m)
                if combine == SELECT:
                    for n in range(columns):
                        if buffers[2, m * width + n] != f4(0):  # y
                            x = buffers[8, m * width + n]
                            into[0][at + n] = bf16(x) if to_bf16 else canonical(x)
                    for n in range(columns, width):
                        into[0][at + n] = f4(0)
                else:
                    store_values(buffers[8, m * width : (m + 1) * width], into[0][at : at + width], to_bf16)


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
def value_rows(format, batch, rows, columns, width, source, planes, pairs, scaled, row_scale, form, table, combine,
               across, operand, operand_scale, buffers, values):  # fmt: skip
    """x(m, n), as it is."""
    block = buffers.shape[1] // width
    for b in range(batch):
        _prepare(format, b, width, pairs, scaled, row_scale, operand_scale, buffers)
        for first in range(0, rows, block):
            count = min(block, rows - first)
            _block(format, b, first, count, rows, columns, width, source, planes, row_scale, form, table, combine,
                   across, operand, operand_scale, buffers)  # fmt: skip
            for m in range(count):
                x = buffers[8, m * width : (m + 1) * width]
                for n in range(columns):
                    values[b, first + m, n] = canonical(x[n])


@entry
def quantise_rows(format, batch, rows, columns, width, source, planes, pairs, scaled, row_scale, form, table,
                  combine, across, operand, operand_scale, buffers, row, into, codes_to, per_word, digit, scales,
                  scales_step, half, other_half):  # fmt: skip
    """Quantise: codes and scales of rows. Words are `per_word` codes long, and `row` holds whole words of a row."""
    codes, numbers_out = into[0], scales[0]
    limit = WIDE_CODE_LIMIT if digit else CODE_LIMIT
    reciprocal = fit(format, RECIPROCAL_OF_32639 if digit else RECIPROCAL_OF_127)
    padded = -(-columns // per_word) * per_word
    block = buffers.shape[1] // width
    for b in range(batch):
        _prepare(format, b, width, pairs, scaled, row_scale, operand_scale, buffers)
        for first in range(0, rows, block):
            count = min(block, rows - first)
            _block(format, b, first, count, rows, columns, width, source, planes, row_scale, form, table, combine,
                   across, operand, operand_scale, buffers)  # fmt: skip
            for m in range(count):
                x = buffers[8, m * width : (m + 1) * width]
                greatest = i4(FLOOR)
                for n in range(len(x)):
                    bits = i4(bits_of(x[n]) & MAGNITUDE)
                    greatest = bits if bits > greatest else greatest
                buffers[0, m] = float_of(NAN if greatest > INFINITY else greatest)
            for m in range(count):
                buffers[1, m] = multiplier_of(format, buffers[0, m], limit)
            for m in range(count):
                at = scales[2] + b * scales[1] + (first + m) * scales_step
                scale = canonical(fit(format, f4(buffers[0, m] * reciprocal)))
                numbers_out[at + half] = numbers_out[at + other_half] = scale
                x, multiplier = buffers[8, m * width : (m + 1) * width], buffers[1, m]
                if codes_to == TO_ACT:
                    at = place(into, b, first + m)
                    encode(format, x, multiplier, limit, digit, codes[at : at + padded])
                    continue
                encode(format, x, multiplier, limit, digit, row)
                if codes_to == TO_WEIGHT:
                    at = into[2] + b * into[1] + (first + m) * per_word
                    for start in range(0, columns, per_word):
                        word, part = codes[at : at + per_word], row[start : start + per_word]
                        for n in range(per_word):
                            word[n] = part[n]
                        at += into[3]
                else:
                    at = place(into, b, (first + m) // per_word) + (first + m) % per_word
                    column = codes[at : at + columns * per_word]
                    for n in range(columns):
                        column[n * per_word] = row[n]


@inlined_late
def encode(format, x, multiplier, limit, digit, codes):
    """Codes of whole words. What would be flushed, or is at the edge of it, rounds to 0 in any case."""
    count = min(len(x), len(codes))
    if digit:
        for n in range(count):
            codes[n] = _digit(code_of(fit(format, f4(x[n] * multiplier)), limit), digit)
    else:
        for n in range(count):
            codes[n] = np.int8(code_of(fit(format, f4(x[n] * multiplier)), limit))
    for n in range(count, len(codes)):
        codes[n] = 0


@inlined_late
def _digit(code, digit):
    """The digit of a code that is written, as `numerics.digits`; the code itself if it has one only."""
    low = i4(i4(i4(code + 128) & 255) - 128)
    high = i4(i4(code - low) >> 8)
    return np.int8(high if digit == HIGH else low if digit == LOW else code)

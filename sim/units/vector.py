"""VECTOR: Map, Quantise and Reduce, elementwise on panels from ACC or VALUE, and the tables of its functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...arch.config import MEMORY_CYCLES, SUM_CYCLES, HardwareConfig, Memory
from ...arch.errors import HeddleError
from ...arch.functions import DESCRIPTOR_COUNT, HEADER_PLACE, WORD_BITS, WORD_COUNT, WORD_PLACE, Table
from ...arch.isa import (
    Axis,
    Codes,
    Combine,
    Function,
    Layout,
    Map,
    Quantise,
    Reduce,
    Reduction,
    Results,
    Scales,
    SecondOperand,
    Source,
    Tables,
    VectorInstruction,
)
from ...arch.numerics import (
    Floats,
    arithmetic_of,
    code_format,
    column_sum,
    extremes,
    map_values,
    quantise,
    relu,
    running_row_sum,
    second_operand,
    to_bf16,
)
from ..state import State, in_words
from .meaning import Meaning
from .panel import act_groups, read_groups, word_groups


def set_tables(i: Tables, state: State, config: HardwareConfig) -> None:
    """Copy entries of tables."""
    words = np.ascontiguousarray(state[Memory.PARAM].read(i.param_address, 0, 1, -(-i.entries // config.columns)))
    entries = words.reshape(len(words), -1).view("<i8")[:, : i.entries] & (1 << WORD_BITS) - 1
    state.tables.write(i.place, 0, entries[:, None, :, None])


def map_panel(i: Map, state: State, config: HardwareConfig) -> None:
    """Write x(m, n)."""
    scale = state.row_numbers(i.operand_row_address, i.rows) if i.operand_scaled else None
    x = _values(i, state, config, scale)
    if i.combine is Combine.SELECT:
        chosen = second_operand(_operand(i, state), scale, arithmetic_of(config)) != 0
        _write_chosen(i, state, config, x, np.broadcast_to(chosen, (len(chosen), i.rows, i.columns)))
    else:
        write_mapped(i, state, config, x)


def write_mapped(i: Map, state: State, config: HardwareConfig, x: NDArray[np.float32]) -> None:
    """Write x(m, n), (batch or 1, rows, columns), where its layout says."""
    if i.layout is Layout.ROWS:
        state.write_values(i.address, i.stride, x)
    elif i.layout is Layout.SHIFTED:
        state.write_elements(i.address, i.stride, x, i.shift)
    else:
        for block, row in enumerate(range(0, i.rows, config.columns)):  # in the order of rows, as words may overlap
            some = x[:, row : row + config.columns].swapaxes(1, 2)
            state.write_elements(i.address + block, i.stride, some)


def quantise_panel(i: Quantise, state: State, config: HardwareConfig) -> None:
    """Write the codes of x(m, n) and the scales of rows."""
    codes, scales = quantise(_values(i, state, config), code_format(config, i.digit), arithmetic_of(config))
    _write_codes(i, state, config, codes)
    _write_scales(i, state, scales)


def reduce_panel(i: Reduce, state: State, config: HardwareConfig) -> None:
    """Write what rows or columns of x come to."""
    reduce_values(i, state, config, _values(i, state, config))


def reduce_values(i: Reduce, state: State, config: HardwareConfig, x: NDArray[np.float32]) -> None:
    """The same of x(m, n), (batch or 1, rows, columns)."""
    if i.axis is Axis.ROWS:
        least = i.kind is Reduction.MINIMUM
        total = column_sum(x) if i.kind is Reduction.SUM else extremes(x.swapaxes(-1, -2), 1, least)[0][..., 0]
        state.write_values(i.address, 0, total[:, None])
        return
    if i.kind is Reduction.SUM:
        numbers = running_row_sum(x, config.vector_lanes)[..., None]
    else:
        numbers, places = extremes(x, i.count, i.kind is Reduction.MINIMUM)
        if i.placed:
            write_indices(i.index_address, state, places.reshape(len(places), -1))
    if i.results is Results.ROW:
        state.write_row_numbers(i.address, numbers.reshape(len(numbers), -1))
    elif i.results is Results.VALUE:
        state.write_elements(i.address, i.stride, numbers)


def _values(
    i: VectorInstruction, state: State, config: HardwareConfig, operand_scale: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:  # fmt: skip
    """x(m, n), (batch or 1, rows, columns), an operand of rows being multiplied first by a number for each."""
    memory = Memory.ACC if i.source is Source.ACC else Memory.VALUE
    panels = state.panel(memory, i.source_address, i.source_stride, i.rows * (1 + i.planes), i.columns)
    source, *planes = (panels[:, start : start + i.rows] for start in range(0, panels.shape[1], i.rows))
    scale = offset = operand = None
    if i.scaled:
        scale, offset = (each[:, None] for each in state.pairs(i.param_address, i.columns))
    if i.combine is not Combine.NONE:
        operand = _operand(i, state)
    return map_values(
        source,
        scale=scale,
        offset=offset,
        row_scale=state.row_numbers(i.row_address, i.rows) if i.row_scaled else None,
        function=_function(i, state, config),
        combine=i.combine,
        operand=operand,
        operand_scale=operand_scale,
        planes=planes,
        arithmetic=arithmetic_of(config),
    )


def _operand(i: VectorInstruction, state: State) -> NDArray[np.float32]:
    """The second operand, (batch or 1, rows or 1, columns or 1); of ROTATE cosines, then sines."""
    if i.operand is SecondOperand.VALUE:
        columns = i.columns * (2 if i.combine is Combine.ROTATE else 1)
        return state.panel(Memory.VALUE, i.operand_address, i.operand_stride, i.rows, columns)
    rows = i.rows if i.operand is SecondOperand.COLUMN else 1
    return state.row_numbers(i.operand_address, rows)[..., None]


def _write_chosen(
    i: Map, state: State, config: HardwareConfig, x: NDArray[np.float32], chosen: NDArray[np.bool_]
) -> None:
    """Write those of x(m, n), (batch or 1, rows, columns), that are chosen, and +0 beyond the columns."""
    words, value = -(-i.columns // config.columns), state[Memory.VALUE]
    rounded = in_words(to_bf16(x) if config.value_format == "bf16" else x, config.columns)
    written = in_words(chosen, config.columns) | (np.arange(words * config.columns) >= i.columns).reshape(words, -1)
    for m in range(i.rows):
        row, at = slice(m, m + 1), i.address + m * i.stride
        value.write(at, 0, np.where(written[:, row], rounded[:, row], value.read(at, 0, 1, words)))


def _function(i: VectorInstruction, state: State, config: HardwareConfig) -> Callable[[Floats], Floats] | None:
    """The function of an instruction, of arrays (batch or 1, …); None if it has none."""
    if i.function in (Function.NONE, Function.RELU):
        return relu if i.function else None
    tables, arithmetic = [table_of(entries) for entries in entries_of(i.function, state)], arithmetic_of(config)

    def by_table(x: Floats) -> Floats:
        if len(tables) == 1:
            return arithmetic.by_table(tables[0], x)
        inputs = np.broadcast_to(x, (len(tables), *x.shape[1:]))
        return np.stack([arithmetic.by_table(*pair) for pair in zip(tables, inputs, strict=True)])

    return by_table


def entries_of(function: Function, state: State) -> list[bytes]:
    """Header, descriptors and words of a function by table: of each input, or once if they are the same for all."""
    number = function - Function.TABLE_0
    places = [(HEADER_PLACE + number, 1), (number * DESCRIPTOR_COUNT, DESCRIPTOR_COUNT), (WORD_PLACE, WORD_COUNT)]
    parts = [state.tables.read(place, 0, 1, count)[:, 0, :, 0] for place, count in places]
    batch = max(map(len, parts))
    parts = [np.broadcast_to(part, (batch, part.shape[1])) for part in parts]
    return [entries.tobytes() for entries in np.concatenate(parts, 1)]


@lru_cache(64)
def table_of(entries: bytes) -> Table:
    """The table that `entries_of` gives. Raises HeddleError if it is none."""
    try:
        return Table.from_bytes(entries)
    except HeddleError as error:
        raise HeddleError(f"no table of a function: {error}") from None


def write_indices(address: int, state: State, places: NDArray[np.int32]) -> None:
    """Places, (batch or 1, n), to the elements of INDEX from `address` on."""
    index, per_word = state[Memory.INDEX], state.config.word_elements(Memory.INDEX)
    count = places.shape[1]
    first, skip = divmod(address, per_word)
    for word in range(first, first + -(-(skip + count) // per_word)):
        start = word * per_word - address  # the place that is element 0 of this word
        low, high = max(start, 0), min(start + per_word, count)
        part = index.part(word, 1, places.shape[0])
        part[:, 0, low - start : high - start] = places[:, low:high]


def _write_codes(i: Quantise, state: State, config: HardwareConfig, codes: NDArray) -> None:
    if i.codes is Codes.ACT:
        state[Memory.ACT].write(i.address, i.stride, in_words(codes, config.rows))
    elif i.codes is Codes.WEIGHT:
        words = in_words(codes, config.columns).transpose(0, 2, 1, 3)  # (batch, blocks, rows, elements)
        state[Memory.WEIGHT].write(i.address, i.stride, words)
    else:
        for block, row in enumerate(range(0, i.rows, config.columns)):
            some = codes[:, row : row + config.columns].transpose(0, 2, 1)  # (batch, columns, rows of this word)
            words = state[Memory.WEIGHT].part(i.address + block * i.stride, i.columns, codes.shape[0])
            words[..., : some.shape[-1]] = some


def _write_scales(i: Quantise, state: State, scales: NDArray[np.float32]) -> None:
    if i.scales is Scales.ROW:
        state.write_row_numbers(i.scales_address, scales)
        return
    halves = {Scales.PARAM_SCALE: [0], Scales.PARAM_OFFSET: [1], Scales.PARAM_PAIR: [0, 1]}[i.scales]
    per_word = state.config.columns
    for word, row in enumerate(range(0, i.rows, per_word)):
        some = scales[:, row : row + per_word]
        pairs = state[Memory.PARAM].part(i.scales_address + word, 1, scales.shape[0])
        pairs[:, 0, : some.shape[-1], halves] = some


def tables_cycles(i: Tables, config: HardwareConfig) -> int:
    """D: an entry a cycle, from memory through a register."""
    return i.entries + MEMORY_CYCLES + 1


def map_cycles(i: Map, config: HardwareConfig) -> int:
    """D: from start to retire."""
    if i.layout is Layout.ROWS:
        return i.rows * word_groups(i, config) * i.interval + _front_cycles(i, config)
    # The lanes of a group are written one after the other.
    spacing = max(i.interval, config.vector_lanes)
    last = (i.rows * read_groups(i, config) - 1) * spacing + i.interval + _front_cycles(i, config)
    return last + config.vector_lanes - 1


def reduce_cycles(i: Reduce, config: HardwareConfig) -> int:
    """D: a walk for each number of a row."""
    sums, along_rows = i.kind is Reduction.SUM, i.axis is Axis.ROWS
    if not sums and not along_rows:
        return i.count * (_maximum_cycles(i, config) + 1)
    # A running sum takes one number each time that it comes round.
    spacing = SUM_CYCLES if sums else i.interval
    groups = word_groups(i, config) if along_rows else read_groups(i, config)
    tail = (config.lane_sum_cycles if along_rows else config.running_sum_cycles + 1) if sums else 1
    return (i.rows * groups - 1) * spacing + i.interval + _front_cycles(i, config) + tail


def quantise_cycles(i: Quantise, config: HardwareConfig) -> int:
    """D: a walk for the maxima, then one for the codes."""
    lanes = config.vector_lanes
    groups, tail = {
        Codes.ACT: (i.rows * act_groups(i, config), 0),
        Codes.WEIGHT: (i.rows * word_groups(i, config), 0),
        # V rows together, as many as it takes; the last tile leaves the transposer by itself.
        Codes.WEIGHT_TRANSPOSED: (-(-i.rows // lanes) * lanes * read_groups(i, config), lanes),
    }[i.codes]
    codes = groups * i.interval + _front_cycles(i, config) + config.quantise_cycles + tail
    return _maximum_cycles(i, config) + config.row_scale_cycles + codes


def _front_cycles(i: VectorInstruction, config: HardwareConfig) -> int:
    """From the read of a group to its values."""
    return MEMORY_CYCLES + config.vector_map_cycles + (config.rotate_cycles if i.combine is Combine.ROTATE else 0)


def _maximum_cycles(i: VectorInstruction, config: HardwareConfig) -> int:
    """From the start to the maximum of the last row."""
    return i.rows * read_groups(i, config) * i.interval + _front_cycles(i, config) + config.row_maximum_cycles


MEANING = {
    Tables: Meaning(set_tables, kernel=False, cycles=tables_cycles),
    Map: Meaning(map_panel, kernel=True, cycles=map_cycles),
    Quantise: Meaning(quantise_panel, kernel=True, cycles=quantise_cycles),
    Reduce: Meaning(reduce_panel, kernel=True, cycles=reduce_cycles),
}

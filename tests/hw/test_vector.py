"""VECTOR against the equations of arch/isa in the oracle's arithmetic (every bit of every memory), against PyTorch,
and in the cycles that docs/architecture.md gives."""

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from heddle.arch import numerics
from heddle.arch.config import (
    ADD_CYCLES,
    MEMORY_CYCLES,
    PRESETS,
    SUM_CYCLES,
    HardwareConfig,
    Memory,
)
from heddle.arch.functions import (
    DESCRIPTOR_COUNT,
    HEADER_PLACE,
    PLACE_COUNT,
    TABLE_COUNT,
    WORD_COUNT,
    WORD_PLACE,
    Table,
    Word,
    pack_word,
)
from heddle.arch.isa import (
    Axis,
    Codes,
    Combine,
    Digit,
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
)
from heddle.compiler.functions import named
from heddle.cosim.random_tables import random_table, random_words
from heddle.hw.units.vector import Vector

from ..machines import BF16_PORT_8, NANO, ODD, TF32, VALUES, VALUES_TF32
from .unit_bench import Memories as UnitMemories
from .unit_bench import Record, assert_accesses, assert_same, run_unit

SHAPES = {
    "nano": NANO,
    "3x5": ODD,
    "float32": VALUES,
    "8x4": replace(NANO, rows=8, vector_lanes=4),
    "small": PRESETS["small"],
    "bf16": BF16_PORT_8,
    "tf32": TF32,
    "tf32 of float32": replace(VALUES_TF32, vector_lanes=1),
}  # fmt: skip
both_shapes = pytest.mark.parametrize("config", [NANO, ODD], ids=["nano", "3x5"])
three_shapes = pytest.mark.parametrize("config", [NANO, ODD, BF16_PORT_8], ids=["nano", "3x5", "bf16"])
all_shapes = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)

Work = Map | Quantise | Reduce | Tables


def duration(config: HardwareConfig, work: Work) -> int:
    """D of an instruction, as docs/architecture.md gives it."""
    if isinstance(work, Tables):
        return work.entries + MEMORY_CYCLES + 1
    lanes, m, n, v = config.vector_lanes, work.rows, work.columns, work.interval
    g = -(-n // lanes)
    w = -(-n // config.columns) * config.columns // lanes
    a = -(-n // config.rows) * config.rows // lanes
    rotates = work.combine is Combine.ROTATE
    rotate = ADD_CYCLES if rotates else 0
    to_value = MEMORY_CYCLES + rotate + config.vector_map_cycles
    if isinstance(work, Map) and work.layout is Layout.ROWS:
        return m * w * v + to_value
    if isinstance(work, Map):
        return (m * g - 1) * max(v, lanes) + v + to_value + lanes - 1
    if isinstance(work, Reduce) and work.axis is Axis.ROWS:
        u, tail = (SUM_CYCLES, SUM_CYCLES + min(lanes, 4) - 1) if work.kind is Reduction.SUM else (v, 1)
        return (m * w - 1) * u + v + to_value + tail
    if isinstance(work, Reduce) and work.kind is Reduction.SUM:
        return (m * g - 1) * SUM_CYCLES + v + to_value + config.running_sum_cycles + 1
    if isinstance(work, Reduce):
        return work.count * (m * g * v + to_value + config.row_maximum_cycles + 1)
    q, t = {
        Codes.ACT: (m * a, 0),
        Codes.WEIGHT: (m * w, 0),
        Codes.WEIGHT_TRANSPOSED: (-(-m // lanes) * lanes * g, lanes),
    }[work.codes]
    maxima = m * g * v + to_value + config.row_maximum_cycles + config.row_scale_cycles
    return maxima + q * v + to_value + config.quantise_cycles + t


class Memories(UnitMemories):
    """With WEIGHT and INDEX, and with scales that make values of the size of 1 of the accumulators."""

    names = (*UnitMemories.names, "weight", "index")

    def __init__(self, config: HardwareConfig, seed: int = 0):
        super().__init__(config, seed)
        random = np.random.default_rng(seed)
        offsets = random.normal(0, 0.5, (config.param_words, config.columns)).astype(np.float32)
        self.param[:, 1::2] = numerics.to_bits(offsets)
        self.weight = self.coded(random.integers(-127, 128, (config.weight_words, config.columns), dtype=np.int8))
        elements = config.word_elements(Memory.INDEX)
        self.index = random.integers(-(2**31), 2**31, (config.index_words, elements)).astype(np.int32)
        self.tables = [int(each) for each in np.zeros(PLACE_COUNT, int)]  # what evaluators hold, by place

    def copy(self):
        """The same contents, apart from each other."""
        twin = super().copy()
        twin.tables = list(self.tables)
        return twin

    def put_entries(self, address: int, numbers: Sequence[int]) -> None:
        """Entries of tables from a word of PARAM on: the lower halves of pairs first, what is left of them ones."""
        pairs = np.array([number | 0xFFF << 36 for number in numbers], np.uint64)
        self.param.reshape(-1)[2 * address * self.config.columns :][: 2 * len(pairs)] = pairs.view(np.uint32)

    def entries(self, address: int, count: int) -> list[int]:
        """The inverse."""
        pairs = self.param.reshape(-1)[2 * address * self.config.columns :][: 2 * count].reshape(-1, 2)
        return [int(low) | (int(high) & 15) << 32 for low, high in pairs]

    def table(self, function: Function) -> Table:
        """The table that evaluators hold as one of four."""
        number = function - 1
        return Table.from_ints([
            self.tables[HEADER_PLACE + number],
            *self.tables[number * DESCRIPTOR_COUNT : (number + 1) * DESCRIPTOR_COUNT],
            *self.tables[WORD_PLACE:HEADER_PLACE],
        ])  # fmt: skip

    def places(self, address: int, rows: int) -> np.ndarray:
        """(rows,) int32 elements of INDEX."""
        return self.index.reshape(-1)[address : address + rows]


def x_of(memories: Memories, work: Work) -> np.ndarray:
    """(rows, columns) float32: what the elementwise front makes, from the equations in arch/isa."""
    m, n = work.rows, work.columns
    planes = []
    if work.source is Source.ACC:
        source, *planes = (
            memories.sums(work.source_address + p * m * work.source_stride, work.source_stride, m, n)
            for p in range(1 + work.planes)
        )
    else:
        source = memories.values(work.source_address, work.source_stride, m, n)
    scale, offset = memories.pairs(work.param_address, n) if work.scaled else (None, None)
    row = _rows(memories, work.row_address, m)
    return numerics.map_values(
        source,
        scale=scale,
        offset=offset,
        row_scale=row if work.row_scaled else None,
        function=_function(memories, work.function),
        combine=work.combine,
        operand=_operand(memories, work),
        operand_scale=_operand_scale(memories, work),
        planes=planes,
        arithmetic=numerics.arithmetic_of(memories.config),
    )


def _function(memories: Memories, function: Function):
    if function in (Function.NONE, Function.RELU):
        return numerics.relu if function is Function.RELU else None
    table, arithmetic = memories.table(function), numerics.arithmetic_of(memories.config)
    return lambda x: arithmetic.by_table(table, x)


def _operand(memories: Memories, work: Work) -> np.ndarray:
    """(rows or 1, columns or 1) numbers as they are read."""
    if work.operand is SecondOperand.VALUE:
        columns = work.columns * (2 if work.combine is Combine.ROTATE else 1)
        return memories.values(work.operand_address, work.operand_stride, work.rows, columns)
    rows = work.rows if work.operand is SecondOperand.COLUMN else 1
    return _rows(memories, work.operand_address, rows)[:, None]


def _operand_scale(memories: Memories, work: Work) -> np.ndarray | None:
    if isinstance(work, Map) and work.operand_scaled:
        return _rows(memories, work.operand_row_address, work.rows)
    return None


def _rows(memories: Memories, address: int, rows: int) -> np.ndarray:
    return numerics.from_bits(memories.row[address : address + rows, 0].copy())


def execute(memories: Memories, work: Work) -> None:
    """The effect of `work` on `memories`, from the equations in arch/isa."""
    if isinstance(work, Tables):
        memories.tables[work.place : work.place + work.entries] = memories.entries(work.param_address, work.entries)
        return
    m, n, config = work.rows, work.columns, memories.config
    x = x_of(memories, work)
    if isinstance(work, Reduce):
        _reduce(memories, work, x)
        return
    if isinstance(work, Map) and work.layout is not Layout.ROWS:
        bits = numerics.to_bits(numerics.to_bf16(x) if config.value_format == "bf16" else x) >> (32 - config.value_bits)
        for i, j in np.ndindex(m, n):
            line, place = (j, i) if work.layout is Layout.TRANSPOSED else (i, j + work.shift)
            if place >= 0:
                word = work.address + line * work.stride + place // config.columns
                memories.value[word, place % config.columns] = bits[i, j]
        return
    if isinstance(work, Map):
        filled = np.zeros((m, -(-n // config.columns) * config.columns), np.float32)
        filled[:, :n] = numerics.to_bf16(x) if config.value_format == "bf16" else x
        bits = (numerics.to_bits(filled) >> (32 - config.value_bits)).astype(memories.value.dtype)
        written = np.ones(filled.shape, bool)
        if work.combine is Combine.SELECT:
            y = numerics.second_operand(_operand(memories, work), _operand_scale(memories, work),
                                        numerics.arithmetic_of(config))  # fmt: skip
            written[:, :n] = y != 0
        for i in range(m):
            words, chosen = bits[i].reshape(-1, config.columns), written[i].reshape(-1, config.columns)
            memories.value[work.address + i * work.stride :][: len(words)][chosen] = words[chosen]
        return
    codes, scales = numerics.quantise(x, numerics.code_format(config, work.digit), numerics.arithmetic_of(config))
    codes = memories.coded(codes)
    for i in range(m):
        _write_scale(memories, work, i, numerics.to_bits(scales)[i])
        if work.codes is Codes.ACT:
            words = np.zeros((-(-n // config.rows), config.rows), codes.dtype)
            words.reshape(-1)[:n] = codes[i]
            memories.act[work.address + i * work.stride :][: len(words)] = words
        for j in range(-(-n // config.columns) * config.columns):
            code = codes[i, j] if j < n else 0
            if work.codes is Codes.WEIGHT:
                memories.weight[work.address + j // config.columns * work.stride + i, j % config.columns] = code
            elif work.codes is Codes.WEIGHT_TRANSPOSED and j < n:
                memories.weight[work.address + i // config.columns * work.stride + j, i % config.columns] = code


def _reduce(memories: Memories, work: Reduce, x: np.ndarray) -> None:
    config, count, least = memories.config, work.count, work.kind is Reduction.MINIMUM
    shift = 32 - config.value_bits
    if work.axis is Axis.ROWS:
        total = numerics.column_sum(x) if work.kind is Reduction.SUM else numerics.extremes(x.T, 1, least)[0][:, 0]
        words = np.zeros((-(-work.columns // config.columns), config.columns), np.float32)
        words.reshape(-1)[: work.columns] = numerics.to_bf16(total) if shift else total
        memories.value[work.address :][: len(words)] = (numerics.to_bits(words) >> shift).astype(memories.value.dtype)
        return
    if work.kind is Reduction.SUM:
        found, places = numerics.running_row_sum(x, config.vector_lanes)[:, None], None
    else:
        found, places = numerics.extremes(x, count, least)
    if work.placed:
        memories.places(work.index_address, work.rows * count)[:] = places.reshape(-1)
    for m in range(work.rows):
        if work.results is Results.ROW:
            memories.row[work.address + m * count :][:count, 0] = numerics.to_bits(found[m])
        elif work.results is Results.VALUE:
            stored = numerics.to_bits(numerics.to_bf16(found[m]) if shift else found[m]) >> shift
            for j in range(count):
                memories.value[work.address + m * work.stride + j // config.columns, j % config.columns] = stored[j]


def _write_scale(memories: Memories, work: Quantise, i: int, bits: np.uint32) -> None:
    columns = memories.config.columns
    if work.scales is Scales.ROW:
        memories.row[work.scales_address + i] = bits
    else:
        halves = {Scales.PARAM_SCALE: [0], Scales.PARAM_OFFSET: [1], Scales.PARAM_PAIR: [0, 1]}[work.scales]
        for half in halves:
            memories.param[work.scales_address + i // columns, 2 * (i % columns) + half] = bits


def run(memories: Memories, program: Sequence[Work], gap: int = 1) -> list[Record]:
    """Execute `program` on the RTL, each instruction `gap` cycles after the retire of the one before."""
    return run_unit(Vector(memories.config), memories, program, gap=gap)


def check(memories: Memories, program: Sequence[Work], gap: int = 1) -> None:
    """Run `program` and hold memories, durations and accesses to the specification."""
    config, expected = memories.config, memories.copy()
    for work in program:
        execute(expected, work)
    records = run(memories, program, gap)
    assert_same(memories, expected)
    for work, record in zip(program, records, strict=True):
        assert record.retire - record.start == duration(config, work), work
        # The cycles of transposed codes beyond `columns` pass without a write, also at the very end.
        by_lanes = isinstance(work, Quantise) and work.codes is Codes.WEIGHT_TRANSPOSED
        by_lanes |= isinstance(work, Map) and work.layout is not Layout.ROWS
        unwritten = -work.columns % config.vector_lanes if by_lanes else 0
        assert_accesses(config, work, replace(record, retire=record.retire - unwritten))
        if isinstance(work, Tables):
            cycles = range(record.start + 1, record.start + 1 + work.entries)
            assert [cycle for cycle, *_ in record.reads] == [*cycles] and not record.writes
        else:
            assert_reads(config, work, record)


def assert_reads(config: HardwareConfig, work: Map | Quantise | Reduce, record: Record) -> None:
    """Groups beyond `columns` read nothing, and those within read once a walk, in the cycles of their interval."""
    v, groups = work.interval, -(-work.columns // config.vector_lanes)
    source = 4 if work.combine is Combine.ROTATE else 1 + work.planes + (work.combine is not Combine.NONE)
    scales = work.scaled + work.row_scaled + (isinstance(work, Map) and work.operand_scaled)
    walks = 2 if isinstance(work, Quantise) else work.count if isinstance(work, Reduce) else 1
    assert len(record.reads) == walks * (source + scales) * work.rows * groups, work
    if isinstance(work, Map) and work.layout is Layout.ROWS:
        per_word = config.columns // config.vector_lanes
        groups_of_row = -(-groups // per_word) * per_word
        last_reads = [record.start + (m * groups_of_row + group + 1) * v
                      for m in range(work.rows) for group in range(groups)]  # fmt: skip
    elif isinstance(work, Reduce) and work.axis is Axis.COLUMNS and work.kind is not Reduction.SUM:
        walk = duration(config, work) // work.count
        last_reads = [record.start + j * walk + (group + 1) * v
                      for j in range(work.count) for group in range(work.rows * groups)]  # fmt: skip
    else:
        return
    assert {cycle for cycle, *_ in record.reads} == {last - early for last in last_reads for early in range(v)}


def set_tables(memories: Memories, tables: Sequence[Table], words: Sequence[Word]) -> Tables:
    """What makes all that evaluators hold four tables and their words."""
    parts = [table.to_ints() for table in tables]
    descriptors = [each for part in parts for each in part[1 : 1 + DESCRIPTOR_COUNT]]
    filled = [*map(pack_word, words), *[0] * (WORD_COUNT - len(words))]
    memories.put_entries(250, [*descriptors, *filled, *(part[0] for part in parts)])
    return Tables(param_address=250, entries=PLACE_COUNT)


def set_random_tables(memories: Memories, seed: int) -> Tables:
    """The same of tables of no function."""
    random = Random(seed)
    tables = [random_table(random, (), number % 2 == 1) for number in range(TABLE_COUNT)]
    return set_tables(memories, tables, random_words(random))


def random_work(config: HardwareConfig, random: np.random.Generator) -> Work:
    """Any legal instruction on regions that do not overlap; small."""
    rows, columns = int(random.integers(1, config.columns + 3)), int(random.integers(1, 3 * config.columns + 1))
    combine, source = Combine(random.integers(0, 12)), Source(random.integers(0, 2))
    operand = SecondOperand(random.integers(0, 3) if combine is not Combine.ROTATE else 0)
    rotates = combine is Combine.ROTATE
    if rotates:
        unit = math.lcm(config.columns, 2 * config.vector_lanes)
        source, columns = Source.VALUE, unit * int(random.integers(1, 5))
    words, act_words = -(-columns // config.columns), -(-columns // config.rows)

    def flag() -> int:
        return int(random.integers(2))

    def stride(least: int) -> int:
        return least + int(random.integers(0, 4))

    common = dict(
        rows=rows,
        columns=columns,
        source=source,
        source_address=int(random.integers(0, 500)),
        source_stride=stride(words),
        scaled=flag() & (not rotates),
        param_address=int(random.integers(0, 100)),
        row_scaled=flag() & (not rotates),
        row_address=int(random.integers(0, 100)),
        function=Function.NONE if rotates else random.choice(list(Function)),
        combine=combine,
        operand=operand,
        operand_address=int(random.integers(600, 1000)) if operand is SecondOperand.VALUE else int(random.integers(90)),
        operand_stride=stride(2 * words),
        planes=int(random.integers(0, 3)) if source is Source.ACC and config.pe == "int8" else 0,
    )
    kind = random.choice(["map", "map", "quantise", "quantise", "reduce", "reduce"])
    if kind == "map" or combine is Combine.SELECT:
        combines = combine not in (Combine.NONE, Combine.ROTATE) and operand is SecondOperand.VALUE
        layout = Layout.ROWS if combine is Combine.SELECT else Layout(random.integers(0, 3))
        least = 1 - min(columns, config.columns)
        shift = int(random.integers(least, config.columns)) if layout is Layout.SHIFTED else 0
        return Map(**common, address=int(random.integers(1300, 1800)), stride=stride(words),
                   operand_scaled=flag() & combines, operand_row_address=int(random.integers(0, 100)), layout=layout,
                   shift=shift)  # fmt: skip
    if kind == "reduce":
        return random_reduce(config, random, common)
    codes = Codes(random.integers(0, 3))
    least = {Codes.ACT: act_words, Codes.WEIGHT: rows, Codes.WEIGHT_TRANSPOSED: columns}[codes]
    return Quantise(
        **common,
        codes=codes,
        address=int(random.integers(0, 1000)),
        stride=stride(least),
        scales=Scales(random.integers(0, 4)),
        scales_address=int(random.integers(200, 400)),
        digit=Digit(random.integers(0, 3) if config.pe == "int8" else 0),
    )


def random_reduce(config: HardwareConfig, random: np.random.Generator, common: dict) -> Reduce:
    """Along either axis, to one number or to several."""
    what, axis = Reduction(random.integers(0, 3)), Axis(random.integers(0, 2))
    results = Results.VALUE if axis is Axis.ROWS else Results(random.integers(0, 3))
    if what is Reduction.SUM:
        results, placed, count = results or Results.ROW, 0, 1
    else:
        placed = int(not results or random.integers(2)) & (axis is Axis.COLUMNS)
        count = 1 if axis is Axis.ROWS else int(random.integers(1, min(common["columns"], config.columns + 2) + 1))
    address = {Results.NONE: 0, Results.ROW: 200, Results.VALUE: 1300}[results] + int(random.integers(0, 200))
    return Reduce(**common, kind=what, axis=axis, results=results, address=address,
                  stride=2 + int(random.integers(0, 3)), placed=placed, count=count,
                  index_address=int(random.integers(0, 20)))  # fmt: skip


@all_shapes
def test_random_instructions_leave_the_bits_and_take_the_cycles_of_the_specification(config):
    random = np.random.default_rng(11)
    memories = Memories(config, 1)
    check(memories, [set_random_tables(memories, 1), *(random_work(config, random) for _ in range(14))])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_finite_numbers_give_finite_numbers(config, seed):
    memories, random = Memories(config), np.random.default_rng(seed)
    memories.make_hard(seed)
    if config.pe == "bf16":
        memories.acc[:] = numerics.to_bits(numerics.multiply(numerics.from_bits(memories.acc), 2.0**124))
    tables = [named("tanh"), named("elu").moved(64), named("erf").moved(192), named("relu").moved(256)]
    words = [Word()] * WORD_COUNT
    for table, start in zip(tables, (0, 64, 192, 256), strict=True):
        words[start : start + len(table.words)] = table.words
    program = [set_tables(memories, tables, words), *(random_work(config, random) for _ in range(10))]
    check(memories, program)
    assert np.isfinite(memories.values(0, 1, memories.value.shape[0], config.columns)).all()


def kinds_of_work(config: HardwareConfig) -> list[Work]:
    """One instruction for each way through the pipeline: intervals 1 to 4, for each what the walks are for."""
    region = dict(rows=1, columns=2 * config.columns, source_stride=2)
    value = dict(**region, source=Source.VALUE, operand_address=600, operand_stride=4)
    rotation = dict(**value, combine=Combine.ROTATE)
    codes = dict(codes=Codes.WEIGHT_TRANSPOSED, address=100, stride=16, scales_address=200)
    planes = 2 if config.pe == "int8" else 0
    return [
        Map(**region, scaled=1, address=1300),
        Map(**value, combine=Combine.ADD, address=1310),
        Map(**region, planes=planes, address=1320),
        Map(**rotation, address=1330),
        Map(**region, layout=Layout.TRANSPOSED, address=1400, stride=2),
        Map(**rotation, layout=Layout.SHIFTED, shift=-1, address=1430),
        Quantise(**region, planes=planes, **codes),
        Quantise(**rotation, **codes),
        Map(**region, combine=Combine.LESS, operand=SecondOperand.SCALAR, operand_address=3, address=1340),
        Map(**value | dict(operand=SecondOperand.COLUMN, operand_address=5), combine=Combine.SELECT, row_scaled=1,
            address=1350),
        Reduce(**region, kind=Reduction.MAXIMUM, count=2, placed=1, index_address=1),
        Reduce(**rotation, kind=Reduction.MINIMUM, results=Results.VALUE, address=1340, placed=1, index_address=2),
        Reduce(**region, kind=Reduction.SUM, results=Results.ROW, address=300),
        Reduce(**rotation, kind=Reduction.SUM, results=Results.VALUE, address=1350),
        Reduce(**region, kind=Reduction.SUM, axis=Axis.ROWS, results=Results.VALUE, address=1360),
        Reduce(**rotation, kind=Reduction.MAXIMUM, axis=Axis.ROWS, results=Results.VALUE, address=1370),
        Tables(param_address=3, entries=2 * config.columns + 1, place=WORD_PLACE + 7),
    ]


@pytest.mark.parametrize(
    "config", [NANO, *(pytest.param(each, marks=pytest.mark.long) for each in (ODD, BF16_PORT_8))],
    ids=["nano", "3x5", "bf16"],
)
def test_every_kind_of_work_right_after_every_kind(config):
    kinds = kinds_of_work(config)
    order = [i for a in range(len(kinds)) for b in range(a) for i in (a, b)] + list(range(len(kinds)))  # to and fro
    check(Memories(config, 13), [kinds[i] for a in range(len(kinds)) for i in (a, a)] + [kinds[i] for i in order])


@both_shapes
def test_every_width_of_a_row(config):
    widths = range(1, 2 * config.columns + 2)
    program: list[Work] = [Map(rows=2, columns=n, source_stride=3, scaled=1, address=100 * n, stride=4) for n in widths]
    check(Memories(config, 2), program[::2] + [
        Quantise(rows=2, columns=n, source_stride=3, address=100 * n, stride=2 * n + 3) for n in widths
    ][1::2])  # fmt: skip


@three_shapes
@pytest.mark.parametrize("codes", Codes, ids=lambda codes: codes.name)
def test_codes_and_scales_reach_every_place(config, codes):
    """More rows than a word has columns, so that transposed codes and scales of columns go on to the next word."""
    rows = 2 * config.columns + 1
    stride = {Codes.ACT: 4, Codes.WEIGHT: rows + 2, Codes.WEIGHT_TRANSPOSED: config.columns + 3}[codes]
    check(Memories(config, 3), [
        Quantise(rows=rows, columns=config.columns + 1, source_stride=2, codes=codes, address=100, stride=stride,
                 scales=scales, scales_address=300)
        for scales in (Scales.PARAM_SCALE, Scales.PARAM_OFFSET, Scales.PARAM_PAIR)
    ])  # fmt: skip


@both_shapes
def test_a_row_of_one_column_and_a_panel_of_one_row(config):
    check(Memories(config, 4), [
        Map(rows=1, columns=1, source=Source.VALUE, combine=Combine.ADD, operand_address=7, address=50),
        Quantise(rows=1, columns=1, address=3, scales_address=9),
        Quantise(rows=1, columns=1, codes=Codes.WEIGHT_TRANSPOSED, address=3, scales_address=9),
    ])  # fmt: skip


@pytest.mark.parametrize("codes", Codes, ids=lambda codes: codes.name)
def test_a_transposed_quantise_starts_in_the_cycle_after_another(codes):
    """With four lanes its codes take cycles after the group that ends it: not those of the one before."""
    config = replace(NANO, vector_lanes=4)
    check(Memories(config, 8), [
        Quantise(rows=2, columns=3, source_stride=1, codes=codes, address=20, stride=4),
        Quantise(rows=2, columns=3, source_stride=1, codes=Codes.WEIGHT_TRANSPOSED, address=40, stride=4),
    ])  # fmt: skip


def test_the_most_rows_of_a_panel():
    check(Memories(NANO, 5), [Quantise(rows=NANO.panel_rows, columns=3, source_stride=1, address=8, stride=1)])


@both_shapes
def test_values_are_replaced_in_place(config):
    """A residual: read and written at the same addresses, by either operand."""
    region = dict(rows=4, columns=2 * config.columns)
    check(Memories(config, 6), [
        Map(**region, source_stride=2, combine=Combine.ADD, operand_address=40, operand_stride=2, address=40, stride=2),
        Map(**region, source=Source.VALUE, source_address=40, source_stride=2, function=Function.RELU,
            combine=Combine.MULTIPLY, operand_address=90, operand_stride=3, address=40, stride=2),
    ], gap=3)  # fmt: skip


@pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.name)
def test_a_map_by_elements_starts_in_the_cycle_after_another(layout):
    """With four lanes the last group of the one before could still be on its way out, lane by lane."""
    config = replace(NANO, vector_lanes=4)
    common = dict(rows=2, columns=4, source_stride=1, stride=2)
    check(Memories(config, 15), [
        Map(**common, layout=layout, address=1300),
        Map(**common, layout=Layout.TRANSPOSED, address=1320),
        Map(**common, layout=layout, address=1340),
        Map(**common, layout=Layout.SHIFTED, shift=1, address=1360),
    ])  # fmt: skip


@three_shapes
def test_values_by_elements_reach_every_place(config):
    """Every shift, with rows that overlap in a word, and more rows than a word has columns, turned."""
    rows, columns = config.columns + 1, config.columns + 2
    shifted = [
        Map(rows=3, columns=columns, source_stride=3, layout=Layout.SHIFTED, shift=shift, address=1300 + 8 * k,
            stride=1)
        for k, shift in enumerate(range(1 - config.columns, config.columns))
    ]  # fmt: skip
    turned = [
        Map(rows=rows, columns=columns, source=Source.VALUE, source_stride=2, layout=Layout.TRANSPOSED,
            address=1500 + 50 * stride, stride=stride) for stride in (0, 1, 2, 3)
    ]  # fmt: skip
    check(Memories(config, 12), shifted + turned)


@both_shapes
def test_a_row_may_be_repeated(config):
    """A source, or an operand, of stride 0 is one row for all; a result of stride 0 what the last row makes."""
    common = dict(rows=3, columns=config.columns + 1, source=Source.VALUE, combine=Combine.ADD, operand_address=600)
    check(Memories(config, 14), [
        Map(**common, source_stride=0, operand_stride=2, address=1300, stride=2),
        Map(**common, source_stride=2, operand_stride=0, address=1310, stride=3),
        Map(**common, source_stride=0, operand_stride=0, address=1320, stride=0),
        Map(**common, source_stride=5, operand_stride=3, address=1330, stride=2),
    ])  # fmt: skip


@both_shapes
def test_special_values_of_memory_are_cleaned(config):
    """Subnormals, infinities and odd NaNs in VALUE, PARAM and ROW; the greatest accumulators."""
    memories = Memories(config, 7)
    top = np.array([0x0001, 0x8001, 0x7F80, 0xFF80, 0x7FC1, 0xFF81, 0x8000, 0x0080, 0x7F7F], np.uint32)
    shift = 32 - config.value_bits
    memories.value[:8] = np.resize(top << 16 >> shift, (8, config.columns))
    memories.param[0] = np.resize(np.array([0x3F80_0000, 0x8000_0001, 0x0000_0001, 0x3F80_0000], np.uint32),
                                  2 * config.columns)  # fmt: skip
    memories.row[:4, 0] = 0x3F80_0000, 0x7F80_0001, 0x8000_0001, 0xFF80_0000
    memories.acc[:4] = np.resize(np.array([-(2**31), 2**31 - 1, 0, -1, 1], np.int32), (4, config.columns))
    region = dict(rows=4, columns=config.columns, source_stride=1)
    check(memories, [
        Map(**region, source=Source.VALUE, address=100, stride=1),
        Map(**region, source=Source.VALUE, function=Function.RELU, address=110, stride=1),
        Map(**region, source=Source.VALUE, combine=Combine.MULTIPLY, operand_address=3, operand_stride=1, address=120,
            stride=1),
        Map(**region, scaled=1, row_scaled=1, address=130, stride=1),
        Quantise(**region, source=Source.VALUE, address=100, stride=2, scales_address=100),
        Quantise(**region, row_scaled=1, address=110, stride=2, scales_address=110),
    ])  # fmt: skip


def test_a_row_of_zeros_has_zero_codes_and_a_finite_scale():
    memories = Memories(NANO, 8)
    memories.acc[:2] = 0
    run(memories, [Quantise(rows=1, columns=6, address=5, stride=2, scales_address=2)])
    assert not memories.act[5:7].any()
    assert memories.row[2, 0] == numerics.to_bits(np.float32(2.0**-60) * np.float32(1 / 127))


def test_scale_and_offset_by_hand():
    memories = Memories(NANO, 9)
    memories.acc[0] = [4, -8, 100, 7]
    memories.param[0].view(np.float32)[:] = [0.5, 1, 0.25, 0, 1, -1, 2, 0]
    memories.row[3].view(np.float32)[:] = 2
    run(memories, [Map(columns=3, scaled=1, row_scaled=1, row_address=3, address=20)])
    expected = np.array([0.5 * 4 * 2 + 1, 0.25 * -8 * 2, 100 * 2 - 1, 0], np.float32)
    np.testing.assert_array_equal(memories.values(20, 0, 1, 4)[0], expected)


GOLDEN = {
    Function.TABLE_0: ("tanh", torch.tanh),
    Function.TABLE_1: ("erf", torch.erf),
    Function.TABLE_2: ("rsqrt", torch.rsqrt),
    Function.TABLE_3: ("elu", torch.nn.functional.elu),
    Function.RELU: ("relu", torch.relu),
}


@both_shapes
def test_a_layer_is_that_of_pytorch(config):
    """Dequantise, bias, function, residual: within half a unit of bf16 and 2⁻¹¹ of the function. Tables stand beside
    each other."""
    memories, rows, columns = Memories(config, 10), 3, 2 * config.columns - 1
    memories.row[6 : 6 + rows] &= 0x7FFF_FFFF  # square roots
    memories.param[4:10, 1::2] &= 0x7FFF_FFFF
    memories.acc[10:20] = np.abs(memories.acc[10:20])
    tables = [named(name).moved(128 * number) for number, (name, _) in enumerate(GOLDEN.values()) if name != "relu"]
    words = [word for table in tables for word in [*table.words, *[Word()] * (128 - len(table.words))]]
    scale, bias = (torch.from_numpy(x) for x in memories.pairs(4, columns))
    row = torch.from_numpy(memories.row[6 : 6 + rows].view(np.float32).copy())
    acc = torch.from_numpy(memories.panel("acc", 10, 2, rows, columns).copy())
    residual = torch.from_numpy(memories.values(600, 3, rows, columns))
    run(memories, [set_tables(memories, tables, words)] + [
        Map(rows=rows, columns=columns, source_address=10, source_stride=2, scaled=1, param_address=4, row_scaled=1,
            row_address=6, function=function, combine=Combine.ADD, operand_address=600, operand_stride=3,
            address=1000 + 50 * function, stride=2)
        for function in GOLDEN
    ])  # fmt: skip
    x = acc.float() * scale * row + bias
    for function, (name, golden) in GOLDEN.items():
        y = golden(x)
        expected, values = (y + residual).numpy(), memories.values(1000 + 50 * function, 2, rows, columns)
        tolerance = 2.0**-8 * np.abs(expected) + 2.0**-10 * np.abs(y.numpy())
        assert (np.abs(values - expected) <= tolerance).all(), name


@both_shapes
def test_dequantised_codes_are_the_values_of_pytorch(config):
    """Every element within half a step of its row's scale, and 10⁻⁴ of the row's greatest for the reciprocal."""
    memories, rows, columns = Memories(config, 12), 5, 3 * config.rows - 1
    x = torch.from_numpy(memories.values(0, 6, rows, columns))
    run(memories, [
        Quantise(rows=rows, columns=columns, source=Source.VALUE, source_stride=6, address=10, stride=3,
                 scales_address=50)
    ])  # fmt: skip
    codes = np.stack([memories.act[10 + 3 * m : 13 + 3 * m].reshape(-1)[:columns] for m in range(rows)])
    scales = memories.row[50 : 50 + rows].view(np.float32)
    greatest = x.abs().amax(1, keepdim=True).numpy()
    np.testing.assert_allclose(scales, greatest / 127, rtol=1e-6)
    assert (np.abs(codes * scales - x.numpy()) <= scales / 2 + 1e-4 * greatest).all()

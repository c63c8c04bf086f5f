"""What the tests of SOFTMAX share: its instructions by the oracle, and the cycles that docs/architecture.md gives."""


import numpy as np
from heddle.arch import numerics
from heddle.arch.config import ADD_CYCLES, MEMORY_CYCLES, MULTIPLY_CYCLES, HardwareConfig
from heddle.arch.functions import EVALUATE_CYCLES
from heddle.arch.isa import Masking, OnlineSoftmax, Result, Softmax, Source
from heddle.hw.units.softmax import Softmax as SoftmaxUnit

from .unit_bench import Memories, Record, assert_accesses, assert_same, run_unit

# Where things are, in every test: ACC, PARAM, ROW and VALUE are read, ACT and ROW written.
PLACES = {"source_address": 37, "param_address": 11, "row_address": 5, "address": 70, "scales_address": 200}


def softmax(config: HardwareConfig, rows: int, columns: int, gap: int = 0, **fields) -> Softmax:
    """An instruction whose panels have `gap` words between rows."""
    values = fields.get("result") is Result.VALUES
    words, act_words = -(-columns // config.columns) + gap, -(-columns // config.rows) + gap
    strides = {"source_stride": words, "operand_stride": words + gap, "stride": words if values else act_words}
    operand = 9 if fields.get("mask") is Masking.LENGTHS else 300
    return Softmax(rows=rows, columns=columns, **{**PLACES, "operand_address": operand, **strides, **fields})


def online_softmax(config: HardwareConfig, rows: int, columns: int, gap: int = 0, **fields) -> OnlineSoftmax:
    """A block, likewise; its state is at 300."""
    words, act_words = -(-columns // config.columns) + gap, -(-columns // config.rows) + gap
    strides = {"source_stride": words, "stride": act_words}
    return OnlineSoftmax(rows=rows, columns=columns, **{**PLACES, "state_address": 300, **strides, **fields})


def duration(config: HardwareConfig, work: Softmax | OnlineSoftmax) -> int:
    """D, as docs/architecture.md gives it."""
    online = isinstance(work, OnlineSoftmax)
    lanes, m = config.vector_lanes, work.rows
    g = -(-work.columns // lanes)
    per_word = config.columns if not online and work.result is Result.VALUES else config.rows
    a = -(-work.columns // per_word) * per_word // lanes
    front, p = MEMORY_CYCLES + 6 + ADD_CYCLES, 7
    state = 2 * m + MEMORY_CYCLES + 1 + 3 + p + 4 if online and not work.first else 0
    maxima = m * g + front + config.row_maximum_cycles + 3
    sums = (m - 1) * max(g, 5) + g + front + p + config.total_cycles
    sums += EVALUATE_CYCLES + 4 + MULTIPLY_CYCLES + (3 if online else 1)
    codes = m * a + front + p + MULTIPLY_CYCLES + config.quantise_cycles
    return state + maxima + sums + codes


def visible(work: Softmax | OnlineSoftmax, memories: Memories | None = None) -> np.ndarray:
    """(rows, columns) of which row sees which column; lengths are in INDEX of `memories`."""
    m, n = np.arange(work.rows)[:, None], np.arange(work.columns)
    place = work.offset + (0 * m if isinstance(work, OnlineSoftmax) and work.together else m)
    seen = np.ones((work.rows, work.columns), bool)
    if work.causal:
        seen &= n <= place
    if work.window:
        seen &= n > place - work.window
    if isinstance(work, Softmax) and work.mask is Masking.LENGTHS:
        assert memories is not None
        seen &= n < memories.indices(work.operand_address, work.rows)[:, None]
    return seen


def row_numbers(memories: Memories, address: int, rows: int) -> np.ndarray:
    """(rows,) float32 numbers in ROW."""
    return numerics.from_bits(memories.row[address : address + rows, 0].copy())


def operands(memories: Memories, work: Softmax | OnlineSoftmax):
    """acc, key scales, value scales, row scales: arguments of the oracle."""
    key_scale, value_scale = memories.pairs(work.param_address, work.columns)
    panel = work.source_address, work.source_stride, work.rows, work.columns
    if isinstance(work, Softmax) and work.source is Source.VALUE:
        return memories.values(*panel), key_scale, value_scale, np.ones(work.rows, np.float32)
    return memories.sums(*panel), key_scale, value_scale, row_numbers(memories, work.row_address, work.rows)


def additive_mask(memories: Memories, work: Softmax) -> np.ndarray | None:
    """(rows, columns), if there is one."""
    if work.mask is not Masking.ADDITIVE:
        return None
    return memories.values(work.operand_address, work.operand_stride, work.rows, work.columns)


def execute(memories: Memories, work: Softmax | OnlineSoftmax) -> None:
    """The effect of `work` on `memories`, by the oracle."""
    config, rows = memories.config, work.rows
    arguments = (*operands(memories, work), visible(work, memories))
    to, arithmetic = numerics.code_format(config), numerics.arithmetic_of(config)
    if isinstance(work, Softmax) and work.result is Result.VALUES:
        values = numerics.softmax_values(*arguments, additive_mask(memories, work), arithmetic)
        memories.put("value", work.address, work.stride, memories.stored(values))
        return
    if isinstance(work, Softmax):
        codes, scales = numerics.softmax(*arguments, additive_mask(memories, work), to, arithmetic)
        written = [(work.scales_address, scales)]
    else:
        state = work.state_address, work.state_address + rows
        before = None if work.first else [row_numbers(memories, place, rows) for place in state]
        result = numerics.online_softmax(*arguments, before, to, arithmetic)
        codes = result.codes
        written = [(work.scales_address, result.scale), (work.scales_address + rows, result.rescale),
                   (state[0], result.greatest), (state[1], result.total)]  # fmt: skip
    memories.put("act", work.address, work.stride, memories.coded(codes))
    for place, numbers in written:
        memories.row[place : place + rows, 0] = numerics.to_bits(numbers)


def check(memories: Memories, program: list, gap: int = 1) -> list[Record]:
    """Run `program` on the RTL and hold memories, durations and accesses to the specification."""
    expected = memories.copy()
    for work in program:
        execute(expected, work)
    records = run_unit(SoftmaxUnit(memories.config), memories, program, gap=gap)
    assert_same(memories, expected)
    for work, record in zip(program, records, strict=True):
        assert record.retire - record.start == duration(memories.config, work), work
        assert_accesses(memories.config, work, record)
        # Groups beyond `columns` read nothing, the others once in each of the three phases, the state before them.
        online = isinstance(work, OnlineSoftmax)
        groups = work.rows * -(-work.columns // memories.config.vector_lanes)
        state = 2 * work.rows if online and not work.first else 0
        ports = 3 if online else 3 - (work.source is Source.VALUE) + (work.mask is not Masking.NONE)
        assert len(record.reads) == 3 * groups * ports + state
        row_numbers = 4 if online else int(work.result is Result.CODES)
        assert len([name for _, name, _ in record.writes if name == "row"]) == work.rows * row_numbers
    return records

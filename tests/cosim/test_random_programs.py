"""Random programs are legal on any machine, always the same for a seed, and between them try everything."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import (
    Append,
    Axis,
    Codes,
    Combine,
    Digit,
    Function,
    Guard,
    IndexMap,
    IndexOperation,
    Layout,
    Load,
    Map,
    Masking,
    Matmul,
    Norm,
    NormKind,
    OnlineSoftmax,
    Part,
    Quantise,
    Reduce,
    Reduction,
    Result,
    Results,
    Scales,
    SecondOperand,
    Softmax,
    Source,
    Statistics,
    Store,
    Stream,
    Tables,
)
from heddle.cosim import random_data
from heddle.cosim.random_programs import random_program
from heddle.sim.machine import simulate

from ..machines import ARRAY_5X3, BASE_BF16, BF16, ODD_BF16, ONE_BANK, ROOMY, VALUES
from .conftest import NANO

MACHINES = {
    "nano": NANO,
    "3x5": ROOMY,
    "5x3": ARRAY_5X3,
    "small": PRESETS["small"],
    "base": PRESETS["base"],
    "edge": PRESETS["edge"],
    "one bank": ONE_BANK,
    "wide port": replace(NANO, name="wide", rows=64, columns=64, axi_bytes=64, burst_beats=4),
    "float32": replace(VALUES, load_outstanding=1, queue_depth=2),
    "bf16": BF16,
    "3x5, bf16": ODD_BF16,
    "base, bf16": BASE_BF16,
}


@pytest.mark.parametrize("config", MACHINES.values(), ids=MACHINES)
def test_programs_are_legal(config):
    for seed in range(3):
        result = simulate(random_program(config, seed, instructions=25))
        assert result.cycles > 0


def test_a_seed_gives_one_program():
    first, again, other = (random_program(NANO, seed) for seed in (7, 7, 8))
    assert first.listing() == again.listing() and first.config.dram == again.config.dram
    assert np.array_equal(first.image, again.image)  # with the code, to the last bit
    assert first.listing() != other.listing()


def test_programs_between_them_try_everything():
    programs = [random_program(NANO, seed) for seed in range(100)]
    instructions = [each for program in programs for each in program.instructions]
    kinds = (Load, Store, Matmul, Map, Quantise, Reduce, Softmax, OnlineSoftmax, Norm, Append, Stream, Guard, IndexMap,
             Tables)  # fmt: skip
    of = {kind: [each for each in instructions if isinstance(each, kind)] for kind in kinds}
    assert {each.memory for each in of[Load]} == set(Memory) - {Memory.ACC, Memory.ROW}
    assert {each.memory for each in of[Store]} == set(Memory) - {Memory.ACC, Memory.ROW, Memory.PAGE}
    assert {each.gather for each in of[Load]} == {each.scatter for each in of[Store]} == {0, 1}
    assert {each.function for each in of[Map]} == {each.function for each in of[Quantise]} == set(Function)
    assert {each.place >> 7 for each in of[Tables]} == {*range(9)} and any(each.entries == 1 for each in of[Tables])
    assert {each.layout for each in of[Map]} == set(Layout)
    shifts = {each.shift for each in of[Map] if each.layout is Layout.SHIFTED}
    assert shifts == set(range(1 - NANO.columns, NANO.columns))
    pairs = {(c, o) for c in set(Combine) - {Combine.ROTATE} for o in SecondOperand} | {(Combine.ROTATE, 0)}
    assert {(each.combine, each.operand) for each in of[Map]} == pairs
    for kind in (Quantise, Reduce):
        assert {each.combine for each in of[kind]} == set(Combine) - {Combine.SELECT}
        assert {each.operand for each in of[kind] if each.combine} == set(SecondOperand)
    columns, rows = ([each for each in of[Reduce] if each.axis is axis] for axis in Axis)
    assert {each.kind for each in rows} == set(Reduction)
    assert {(each.kind, each.results, each.placed) for each in columns} == {
        (kind, results, placed) for kind in Reduction for results in Results for placed in (0, 1)
        if not (kind is Reduction.SUM and placed) and (placed or results)
    }  # fmt: skip
    assert any(each.count > NANO.columns for each in columns) and {each.count for each in columns} > {1, 2, 3}
    assert {(each.codes, each.scales) for each in of[Quantise]} == {(c, s) for c in Codes for s in Scales}
    assert {(each.codes, each.digit) for each in of[Quantise]} == {(c, d) for c in Codes for d in Digit}
    for kind in (Map, Quantise, Reduce):
        assert {each.planes for each in of[kind] if each.source is Source.ACC} == {0, 1, 2}
    scaled = {each.combine for each in of[Map] if each.operand_scaled}
    assert scaled == set(Combine) - {Combine.NONE, Combine.ROTATE}
    assert {(each.causal, each.window > 0) for each in of[Softmax]} == {(c, w) for c in (0, 1) for w in (False, True)}
    assert {(each.source, each.mask, each.result) for each in of[Softmax]} == {
        (s, m, r) for s in Source for m in Masking for r in Result if s is Source.ACC or m is not Masking.ADDITIVE
    }
    assert {(each.causal, each.together, each.first, each.register > 0) for each in of[OnlineSoftmax]} == {
        (c, t, f, r) for c in (0, 1) for t in (0, 1) for f in (0, 1) for r in (False, True)
    }
    assert {(each.operation, each.source, each.operand) for each in of[IndexMap]} == {
        (operation, source, operand) for operation in IndexOperation for source in (0, 1) for operand in (0, 1)
    }
    assert {each.register > 0 for each in of[IndexMap]} == {each.step > 0 for each in of[IndexMap]} == {False, True}
    assert any(each.source and each.address == each.source_address for each in of[IndexMap])  # in place
    assert {(each.kind, each.statistics) for each in of[Norm]} == {(k, s) for k in NormKind for s in Statistics}
    assert {each.accumulate for each in of[Matmul]} == {0, 1}
    assert any(each.rows == 1 for each in of[Matmul]) and any(each.rows > 20 for each in of[Matmul])
    assert any(each.k_tiles > 2 and each.n_tiles > 1 for each in of[Matmul])
    assert {each.columns % NANO.columns for each in of[Map]} == set(range(NANO.columns))
    assert any(each.address == each.source_address for each in of[Norm])  # in place
    pairs = {(each.unit, target) for each in instructions for target in Unit if each.signal >> target & 1}
    assert len(pairs) > 25
    dram = {(program.config.dram.latency_cycles, program.config.dram.cycles_per_beat) for program in programs}
    assert {1, 2} <= {latency for latency, _ in dram} and {beat for _, beat in dram} == {1, 2, 3, 4}


def test_programs_between_them_use_all_of_the_cache_and_its_registers():
    results = [simulate(random_program(NANO, seed), values=False) for seed in range(80)]
    written = [each for result in results for each in result.program.instructions]
    dispatched = [each for result in results for each in result.dispatched]
    appends = [each.instruction for each in dispatched if isinstance(each.instruction, Append)]
    streams = [each.instruction for each in dispatched if isinstance(each.instruction, Stream)]
    assert {each.part for each in appends} == {Part.VALUES, Part.PAIRS} and {each.part for each in streams} == set(Part)
    assert {each.slot for each in appends} == set(range(NANO.columns))
    assert any(each.slot + each.tokens > 2 * NANO.columns for each in appends), "over three blocks"
    assert any(each.heads > 1 and each.tokens > 1 for each in appends)
    assert {each.page_blocks for each in streams} >= {0, 1, 2, 3}
    assert any(each.blocks > 1 << each.page_blocks for each in streams), "over pages"
    assert any(each.words < each.token_words for each in streams)
    assert any(each.first for each in streams) and any(each.block for each in appends)
    for kind, fields in {
        Matmul: ("n_register", "k_register"), OnlineSoftmax: ("register",), Append: ("block_register", "slot_register"),
        Stream: ("first_register", "count_register"), Guard: ("register",), IndexMap: ("register",),
    }.items():  # fmt: skip
        for field in fields:
            assert any(getattr(each, field) for each in written if isinstance(each, kind)), field
    void = [each.instruction for each in dispatched if each.void]
    assert {each.unit for each in void} == set(Unit)
    assert len(void) > 60
    last = [result.program.cache_bytes for result in results]
    assert len(set(last)) > 10 and any(max(result.program.scalar_values) == (1 << 32) - 1 for result in results)


def test_programs_leave_much_in_dram():
    program = random_program(NANO, 3)
    changed = simulate(program).image_of(0) != program.image
    assert changed.sum() > 2000


def test_numbers_next_to_the_largest_stay_finite():
    """2 − 2⁻⁵² times 2¹²⁷ is no float32, and would be rounded to an infinity."""

    class Greatest:
        def integers(self, low, high=None, shape=None):
            return 1 if shape is None else np.full(shape, high - 1)

        def uniform(self, low, high, shape):
            return np.full(shape, np.nextafter(high, low))

        def choice(self, values, shape):
            return np.full(shape, values[0])

    found = random_data._any_magnitude(Greatest(), (3,)).view(np.float32)
    assert found.tolist() == [-np.finfo(np.float32).max] * 3

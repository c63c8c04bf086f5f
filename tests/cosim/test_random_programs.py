"""Random programs are legal on any machine, always the same for a seed, and between them try everything."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import (
    Activation,
    Append,
    Argmax,
    Codes,
    Combine,
    Digit,
    Guard,
    Load,
    Map,
    Matmul,
    Norm,
    NormKind,
    OnlineSoftmax,
    Part,
    Quantise,
    Scales,
    Softmax,
    Source,
    Store,
    Stream,
)
from heddle.cosim import random_data
from heddle.cosim.random_programs import random_program
from heddle.sim.machine import simulate

from .conftest import NANO, ODD

MACHINES = {
    "nano": NANO,
    "3x5": ODD,
    "5x3": replace(NANO, name="5x3", rows=5, columns=3, vector_lanes=1),
    "small": PRESETS["small"],
    "base": PRESETS["base"],
    "edge": PRESETS["edge"],
    "one bank": replace(NANO, name="one", act_banks=1, weight_banks=1, acc_banks=1, value_banks=1, param_banks=1),
    "wide port": replace(NANO, name="wide", rows=64, columns=64, axi_bytes=64, burst_beats=4),
    "float32": replace(NANO, name="float32", value_format="float32", load_outstanding=1, queue_depth=2),
    "bf16": replace(NANO, name="bf16", pe="bf16"),
    "3x5, bf16": replace(ODD, name="3x5-bf16", pe="bf16"),
    "base, bf16": replace(PRESETS["base"], name="base-bf16", pe="bf16"),
}


@pytest.mark.parametrize("config", MACHINES.values(), ids=MACHINES)
def test_programs_are_legal(config):
    for seed in range(3):
        result = simulate(random_program(config, seed, instructions=25))
        assert result.cycles > 0


def test_a_seed_gives_one_program():
    first, again, other = (random_program(NANO, seed) for seed in (7, 7, 8))
    assert first.instructions == again.instructions and first.config.dram == again.config.dram
    assert np.array_equal(first.image, again.image)
    assert first.instructions != other.instructions


def test_programs_between_them_try_everything():
    programs = [random_program(NANO, seed) for seed in range(80)]
    instructions = [each for program in programs for each in program.instructions]
    kinds = Load, Store, Matmul, Map, Quantise, Argmax, Softmax, OnlineSoftmax, Norm, Append, Stream, Guard
    of = {kind: [each for each in instructions if isinstance(each, kind)] for kind in kinds}
    assert {each.memory for each in of[Load]} == set(Memory) - {Memory.ACC, Memory.ROW}
    assert {each.memory for each in of[Store]} == set(Memory) - {Memory.ACC, Memory.ROW, Memory.PAGE}
    assert {each.gather for each in of[Load]} == {0, 1}
    assert {each.activation for each in of[Map]} == set(Activation)
    assert {each.combine for each in of[Map]} == {each.combine for each in of[Quantise]} == set(Combine)
    assert {each.combine for each in of[Argmax]} == set(Combine)
    assert {(each.codes, each.scales) for each in of[Quantise]} == {(c, s) for c in Codes for s in Scales}
    assert {(each.codes, each.digit) for each in of[Quantise]} == {(c, d) for c in Codes for d in Digit}
    for kind in (Map, Quantise, Argmax):
        assert {each.planes for each in of[kind] if each.source is Source.ACC} == {0, 1, 2}
    assert {(each.operand_scaled, each.combine) for each in of[Map]} >= {(1, Combine.ADD), (1, Combine.MULTIPLY)}
    assert {(each.causal, each.window > 0, each.additive) for each in of[Softmax]} == {
        (c, w, a) for c in (0, 1) for w in (False, True) for a in (0, 1)
    }
    assert {(each.causal, each.together, each.first, each.register > 0) for each in of[OnlineSoftmax]} == {
        (c, t, f, r) for c in (0, 1) for t in (0, 1) for f in (0, 1) for r in (False, True)
    }
    assert {each.kind for each in of[Norm]} == set(NormKind)
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
        Stream: ("first_register", "count_register"), Guard: ("register",),
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

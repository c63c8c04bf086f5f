"""Random programs are legal on any machine, always the same for a seed, and between them try everything."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import (
    Activation,
    Codes,
    Combine,
    Load,
    Map,
    Matmul,
    Norm,
    NormKind,
    Quantise,
    Scales,
    Softmax,
    Store,
)
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
    programs = [random_program(NANO, seed) for seed in range(40)]
    instructions = [each for program in programs for each in program.instructions]
    of = {kind: [each for each in instructions if isinstance(each, kind)]
          for kind in (Load, Store, Matmul, Map, Quantise, Softmax, Norm)}  # fmt: skip
    assert {each.memory for each in of[Load]} == set(Memory) - {Memory.ACC, Memory.ROW}
    assert {each.memory for each in of[Store]} == {Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE}
    assert {each.gather for each in of[Load]} == {0, 1}
    assert {each.activation for each in of[Map]} == set(Activation)
    assert {each.combine for each in of[Map]} == {each.combine for each in of[Quantise]} == set(Combine)
    assert {(each.codes, each.scales) for each in of[Quantise]} == {(c, s) for c in Codes for s in Scales}
    assert {(each.causal, each.window > 0, each.additive) for each in of[Softmax]} == {
        (c, w, a) for c in (0, 1) for w in (False, True) for a in (0, 1)
    }
    assert {each.kind for each in of[Norm]} == set(NormKind)
    assert {each.accumulate for each in of[Matmul]} == {0, 1}
    assert any(each.rows == 1 for each in of[Matmul]) and any(each.rows > 20 for each in of[Matmul])
    assert any(each.k_tiles > 2 and each.n_tiles > 1 for each in of[Matmul])
    assert {each.columns % NANO.columns for each in of[Map]} == set(range(NANO.columns))
    assert any(each.address == each.source_address for each in of[Norm])  # in place
    pairs = {(each.unit, target) for each in instructions for target in Unit if each.signal >> target & 1}
    assert len(pairs) > 20
    dram = {(program.config.dram.latency_cycles, program.config.dram.cycles_per_beat) for program in programs}
    assert {1, 2} <= {latency for latency, _ in dram} and {beat for _, beat in dram} == {1, 2, 3, 4}


def test_programs_leave_much_in_dram():
    program = random_program(NANO, 3)
    changed = simulate(program).image_of(0) != program.image
    assert changed.sum() > 2000

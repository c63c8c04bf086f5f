"""Shares of a run: names from labels, and sums that agree with what else is known of the run."""

from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.isa import Halt, Load, Matmul
from heddle.arch.program import Program
from heddle.cosim.random_programs import random_program
from heddle.sim.machine import simulate
from heddle.sim.profile import Profile, in_any_layer, layer_of, operator_of
from heddle.sim.roofline import roofline, write_roofline

LABELS = {
    "layers.0.attention.output: weights": ("layers.0.attention.output", "layers.0", "layers.*.attention.output"),
    "layers.11.mlp.2: map": ("layers.11.mlp.2", "layers.11", "layers.*.mlp.2"),
    "encoder.layers.3: add": ("encoder.layers.3", "encoder.layers.3", "encoder.layers.*"),
    "patch_embedding: pixels": ("patch_embedding", "patch_embedding", "patch_embedding"),
    "bert.pooler.dense: matmul": ("bert.pooler.dense", "bert", "bert.pooler.dense"),
    "linear_24: matmul": ("linear_24", "linear_24", "linear_24"),
    "end": ("end", "end", "end"),
}


@pytest.mark.parametrize("label", LABELS)
def test_names(label):
    operator, layer, any_layer = LABELS[label]
    assert (operator_of(label), layer_of(operator), in_any_layer(operator)) == (operator, layer, any_layer)


def small_run():
    """Two layers: each loads a word of WEIGHT and multiplies 3 rows by its tile; the second load overlaps."""
    to_matrix, from_load = 1 << Unit.MATRIX, 1 << Unit.LOAD
    instructions = [
        Load(memory=Memory.WEIGHT, words=4, signal=to_matrix),
        Load(memory=Memory.WEIGHT, words=4, address=1024, dram_address=4096, signal=to_matrix),
        Matmul(rows=3, act_stride=1, acc_stride=1, wait=from_load),
        Matmul(rows=3, act_stride=1, acc_stride=1, weight_address=1024, acc_address=8, wait=from_load),
        Halt(),
    ]
    labels = "layers.0.up: weights", "layers.1.up: weights", "layers.0.up: matmul", "layers.1.up: matmul", "end"
    program = Program(PRESETS["nano"], tuple(instructions), 1 << 16, labels=labels, useful_macs=80)
    return simulate(program, values=False)


def test_operators_join_their_layers_and_layers_their_operators():
    profile = Profile(small_run())
    up, end = profile.operators
    assert (up.name, up.instructions, up.tile_macs) == ("layers.*.up", 4, 2 * 3 * 16)
    assert up.read_bytes["dram"] == 2 * 16 + 4 * 32 and up.read_bytes["weight"] == 2 * 16
    assert up.written_bytes == dict.fromkeys(up.written_bytes, 0) | {"weight": 2 * 16, "acc": 2 * 3 * 16}
    assert (end.name, end.tile_macs, end.active_cycles) == ("end", 0, 0)
    assert [each.name for each in profile.layers] == ["layers.0", "layers.1", "end"]
    assert [each.tile_macs for each in profile.layers] == [48, 48, 0]


def test_active_cycles_count_an_overlap_once():
    result = small_run()
    (up, _), timing = Profile(result).operators, result.timing
    cycles = set()
    for index in range(4):
        cycles |= set(range(timing.start[index], timing.retire[index] + 1))
    assert up.active_cycles == len(cycles)


@pytest.mark.parametrize("seed", range(6))
def test_shares_sum_to_the_run(seed):
    program = random_program(PRESETS["nano"], seed)
    labels = tuple(f"layers.{index % 3}.{'ab'[index % 2]}: x" for index in range(len(program.instructions)))
    result = simulate(replace(program, labels=labels), values=False)
    profile = Profile(result)
    assert profile.whole.busy_cycles == result.busy
    assert profile.whole.dram_bytes == sum(result.bytes.values())
    assert profile.whole.path_cycles == sum(profile.path_by_unit.values()) == result.cycles
    for shares in (profile.operators, profile.layers):
        assert sum(each.path_cycles for each in shares) == result.cycles
        assert sum(each.dram_bytes for each in shares) == profile.whole.dram_bytes
        assert sum(each.tile_macs for each in shares) == profile.whole.tile_macs
        assert sum(each.busy_cycles["vector"] for each in shares) == result.busy["vector"]
    assert sum(count for *_, count in profile.path_by_operator()) == result.cycles


# -- roofline ----------------------------------------------------------------------------------------------------------


def test_points_lie_under_their_roofs():
    result = small_run()
    content = roofline(Profile(result))
    (up,) = content.operators
    assert (content.peak_macs_per_cycle, content.peak_bytes_per_cycle) == (16, 4)
    assert up.macs_per_byte == 96 / (2 * 16 + 4 * 32) and up.roof_macs_per_cycle == pytest.approx(4 * up.macs_per_byte)
    assert up.macs_per_cycle < up.roof_macs_per_cycle
    assert content.run.macs == 80 and content.run.cycles == result.cycles
    assert content.run.macs_per_cycle < content.run.roof_macs_per_cycle


def test_a_slower_dram_has_a_lower_roof():
    slow = PRESETS["nano"].with_dram(cycles_per_beat=4).dram
    assert roofline(Profile(small_run()), slow).peak_bytes_per_cycle == 1


def test_the_picture_is_written(tmp_path):
    content = roofline(Profile(small_run()))
    write_roofline(tmp_path / "roof.svg", content)
    assert "layers.*.up" in (tmp_path / "roof.svg").read_text() or (tmp_path / "roof.svg").stat().st_size > 10_000
    without = replace(content, run=None, operators=[])
    write_roofline(tmp_path / "empty.png", without)
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")

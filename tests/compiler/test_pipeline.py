"""The whole compiler: search, printing, layout of DRAM, files, whole models on odd machines."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Halt, Load
from heddle.arch.program import Program
from heddle.compiler.builder import Tiling
from heddle.compiler.pipeline import compile
from heddle.models import bert, encoder
from heddle.models.registry import WORKLOADS
from heddle.sim.machine import simulate
from torch import nn

from ..machines import VALUES

SMALL_BERT = bert.BertConfig(vocabulary=23, positions=7, width=12, depth=1, heads=2, hidden=20, classes=3)


def layer(norm="PreNormLayer", **sizes):
    return encoder.seeded(getattr(encoder, norm), encoder.EncoderConfig(**sizes))


def test_it_shows_every_pass():
    shown = {}
    model = layer(width=8, hidden=12)
    program = compile(model, [torch.zeros(1, 5, 8)], PRESETS["nano"], name="layer", output="y", show=shown.__setitem__)
    assert list(shown) == [
        "capture", "fold_constants", "follow_views", "legalise", "fold_known", "split_host", "fuse", "quantise",
        "segments", "tile", "schedule", "allocate", "emit",
    ]  # fmt: skip
    texts = {name: str(result) for name, result in shown.items()}
    assert "aten.scaled_dot_product_attention" in texts["capture"] and "# encoder.py:" in texts["capture"]
    assert "attention(" in texts["fuse"] and "int8[" in texts["quantise"]
    assert "head 0 softmax" in texts["tile"] and "head 0 softmax" in texts["schedule"] and "ACC" in texts["allocate"]
    assert "wait:" in texts["emit"]
    assert (program.name, program.outputs()[0].name, program.inputs()[0].name) == ("layer", "y", "x")


def test_the_search_is_never_slower_than_the_simplest_tiling(run, nano):
    model, x = layer(), torch.randn(2, 10, 24)
    simple, searched = run(model, nano, x, tiling=Tiling(1, 4)), run(model, nano, x, tiling=None)
    np.testing.assert_array_equal(simple.output, searched.output)
    assert searched.cycles <= simple.cycles


def test_the_program_is_the_same_every_time(nano):
    programs = [compile(layer(), [torch.zeros(1, 10, 24)], nano) for _ in range(2)]
    assert programs[0].instructions == programs[1].instructions
    np.testing.assert_array_equal(programs[0].image, programs[1].image)


def test_labels_name_layer_and_operator(nano):
    program = compile(layer(), [torch.zeros(1, 10, 24)], nano, tiling=Tiling())
    assert len(program.labels) == len(program.instructions)
    expected = {"norm1: norm", "attention: head 1 softmax", "mlp.up: gelu quantise", "program: store", "end"}
    assert expected <= {*program.labels}


def test_dram_holds_code_then_data_without_overlap(nano):
    program = compile(layer(), [torch.zeros(1, 10, 24)], nano, tiling=Tiling())
    pieces = [(0, program.code_bytes), *((address, len(content)) for address, content in program.data)]
    pieces += [(tensor.address, tensor.size_bytes) for tensor in (*program.inputs(), *program.outputs())]
    pieces.sort()
    assert all(start + size <= after for (start, size), (after, _) in zip(pieces, pieces[1:], strict=False))
    assert pieces[-1][0] + pieces[-1][1] <= program.dram_bytes
    assert program.dram_bytes & (program.dram_bytes - 1) == 0
    assert isinstance(program.instructions[-1], Halt)
    assert all(each.dram_address % nano.burst_bytes == 0 for each in program.instructions if isinstance(each, Load)
               and each.gather)  # fmt: skip


def test_a_saved_program_gives_the_same_outputs(run, nano, tmp_path):
    x = torch.randn(2, 10, 24)
    found = run(layer(), nano, x)
    found.program.save(tmp_path / "layer.heddle")
    program = Program.load(tmp_path / "layer.heddle")
    np.testing.assert_array_equal(simulate(program, {"x": x.numpy()}).outputs["output"], found.output)
    assert program.useful_macs == found.program.useful_macs


def test_useful_macs_are_those_of_the_model(nano):
    program = compile(layer(width=24, heads=2, hidden=48), [torch.zeros(1, 10, 24)], nano, tiling=Tiling())
    assert program.useful_macs == 10 * (4 * 24 * 24 + 2 * 24 * 48) + 2 * 10 * 10 * 24


@pytest.mark.parametrize(
    ("norm", "tokens", "sizes"),
    [
        ("PreNormLayer", 1, {"width": 6, "heads": 1, "hidden": 7}),
        ("PreNormLayer", 13, {"width": 15, "heads": 3, "hidden": 31, "activation": nn.ReLU}),
        ("PostNormLayer", 9, {"width": 22, "heads": 2, "hidden": 17, "bias": False}),
        ("PostNormLayer", 17, {"width": 18, "heads": 6, "hidden": 40, "activation": nn.SiLU, "bias": False}),
    ],
)
def test_layers_of_odd_sizes_are_close_to_pytorch(run, config, norm, tokens, sizes):
    found = run(layer(norm, **sizes), config, torch.randn(4, tokens, sizes["width"]), tiling=Tiling(2, 16))
    assert found.sqnr_db > 36


def test_value_memory_of_float32_is_closer_still(run, nano):
    x = torch.randn(4, 10, 24)
    exact = VALUES
    assert run(layer(), exact, x).sqnr_db > run(layer(), nano, x).sqnr_db - 0.1


def test_bert_is_close_to_pytorch(run, config):
    ids, segments = torch.randint(0, 23, (4, 7)), torch.randint(0, 2, (4, 7))
    assert run(bert.seeded(SMALL_BERT), config, ids, segments).sqnr_db > 33


def test_digits_vit_is_close_to_pytorch_and_keeps_the_array_busy(run):
    workload = WORKLOADS["digits-vit"]
    found = run(workload.model(), PRESETS["small"], *workload.load(16).tensors(), tiling=None)
    assert found.sqnr_db > 38
    assert found.program.useful_macs / (64 * found.cycles) > 0.65


def test_a_layer_that_does_not_fit_names_memory_and_words(nano):
    model = layer(width=64, heads=4, hidden=256)
    with pytest.raises(
        HeddleError, match=r"\d+ words of \w+ are needed .*nano has \d+.*: choose a larger configuration"
    ):
        compile(model, [torch.zeros(1, 60, 64)], nano, tiling=Tiling())


def test_a_layer_that_does_not_fit_at_once_goes_in_groups_of_rows(run, nano):
    found = run(layer(width=64, heads=4, hidden=256), nano, torch.randn(2, 60, 64), tiling=None)
    assert found.sqnr_db > 35
    rows, tiling = found.program.choices[0], found.program.choices[2]
    assert rows.chosen.startswith("in groups") and any("words of" in str(each) for each in rows.considered.values())
    assert tiling.what.startswith("tiling") and "groups of" in tiling.chosen


def test_a_layer_too_wide_for_any_group_says_what_is_too_small(nano):
    with pytest.raises(HeddleError, match=r"words of \w+.*nano has \d+.*: choose a larger configuration"):
        compile(layer(width=2048, heads=1, hidden=8), [torch.zeros(1, 24, 2048)], nano)


def test_the_search_is_written_into_the_program():
    """Every way that was tried with its estimate, the best of them simulated; of those the chosen one has the least."""
    model, x = layer(width=8, hidden=12), [torch.zeros(1, 9, 8)]
    rows, precision, choice, filled, simulated = compile(model, x, PRESETS["nano"]).choices
    assert rows.chosen.startswith("all at once") and precision.chosen == "w8a8 of 4 operators"
    assert filled.chosen == "all to 100%" and not filled.considered
    assert choice.what == "tiling" and len(choice.considered) >= 5
    assert simulated.what == "simulated" and simulated.chosen == choice.chosen and len(simulated.considered) > 1
    estimates = [each for each in choice.considered.values() if isinstance(each, int)]
    finalists = [choice.considered[each] for each in simulated.considered]
    assert min(finalists) == min(estimates) and max(finalists) < 1.06 * min(estimates)
    assert simulated.considered[simulated.chosen] == min(simulated.considered.values())  # all move as many bytes
    *_, given, _ = compile(model, x, PRESETS["nano"], tiling=Tiling(2, 4)).choices
    assert (given.chosen, list(given.considered)) == (str(Tiling(2, 4)), [str(Tiling(2, 4))])


class Named(nn.Module):
    """Its input is called as the result is by default."""

    def forward(self, output):
        return torch.relu(output)


def test_an_input_called_like_the_result_is_refused_and_another_name_helps(nano):
    with pytest.raises(HeddleError, match="two inputs or results are called 'output': rename"):
        compile(Named(), [torch.zeros(1, 3, 4)], nano)
    program = compile(Named(), [torch.zeros(1, 3, 4)], nano, output="y")
    x = np.array([[-1.0, 2, -3, 4]] * 3, np.float32)
    assert simulate(program, {"output": x}).outputs["y"].tolist() == [[[0, 2, 0, 4]] * 3]


def test_one_tensor_given_twice_is_two_inputs(nano):
    class Sum(nn.Module):
        def forward(self, x, y):
            return torch.relu(x) + y

    z = torch.zeros(1, 1, 4)
    program = compile(Sum(), (z, z), nano)
    x, y = np.array([[-1.0, 2, -3, 4]], np.float32), np.array([[1.0, 1, 2, 2]], np.float32)
    assert simulate(program, {"x": x, "y": y}).outputs["output"].tolist() == [[[1, 3, 2, 6]]]


@pytest.mark.parametrize(
    ("model", "width", "message"),
    [
        (nn.Sequential(nn.Linear(70000, 8, device="meta")), 70000, r"in 0: K = 70000 is too large: .* at most 65535"),
        (nn.Sequential(nn.ReLU()), 70000, r"map would need columns = 70000, but an instruction can have .* 65535"),
    ],
)
def test_a_size_that_no_instruction_can_have_names_layer_and_limit(model, width, message):
    with pytest.raises(HeddleError, match=message):
        compile(model, [torch.zeros(1, 2, width)], PRESETS["server"])


SAVE = """
import sys, torch
from heddle.arch.config import PRESETS
from heddle.compiler.pipeline import compile
from heddle.models import encoder
model = encoder.seeded(encoder.PreNormLayer, encoder.EncoderConfig())
compile(model, [torch.zeros(1, 10, 24)], PRESETS["nano"]).save(sys.argv[1])
"""


def test_another_process_writes_the_same_bytes(nano, tmp_path):
    compile(layer(), [torch.zeros(1, 10, 24)], nano).save(tmp_path / "here.heddle")
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", SAVE, str(tmp_path / "there.heddle")], env=environment, check=True)
    assert (tmp_path / "here.heddle").read_bytes() == (tmp_path / "there.heddle").read_bytes()

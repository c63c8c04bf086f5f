"""MLPs in slices of their hidden features: what is computed, what is not sliced, and what it saves."""

import numpy as np
import pytest
import torch
from heddle.arch import numerics
from heddle.arch.config import PRESETS
from heddle.compiler.builder import Tiling
from heddle.compiler.matrix import quantise_matrix
from heddle.compiler.pipeline import compile, front_end
from heddle.compiler.slices import edges, mlps, slices_of
from heddle.models import encoder
from heddle.sim.machine import simulate
from torch import nn

SIZES = encoder.EncoderConfig(width=24, heads=2, hidden=96)


def layer(kind=encoder.PreNormLayer, sizes=SIZES):
    return encoder.seeded(kind, sizes)


def graph_of(model, width=24):
    return front_end(model, [torch.zeros(1, 10, width)], lambda name, graph: None)


@pytest.mark.parametrize("slices", [2, 5, 7])
@pytest.mark.parametrize("kind", [encoder.PreNormLayer, encoder.PostNormLayer])
def test_a_layer_in_slices_is_as_near_to_pytorch(run, config, kind, slices):
    x = torch.randn(3, 10, 24)
    whole, sliced = (run(layer(kind), config, x, tiling=Tiling(2, 8, slices=each)) for each in (1, slices))
    assert sliced.sqnr_db > 38 and sliced.sqnr_db > whole.sqnr_db - 4  # a rounding more for each slice
    assert (sliced.output != whole.output).any()
    assert sliced.program.useful_macs == whole.program.useful_macs


def test_each_slice_has_scales_of_its_own_and_is_added_to_those_before(run, nano):
    """Against the same in float64, with a rounding to a value for each slice. What is a thousand times as large in one
    slice, and does not count, takes nothing from the others."""
    model, x = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 6)), torch.randn(4, 5, 8)
    with torch.no_grad():
        model[0].weight[3] *= 1000
        model[2].weight[:, :8] = 0
    sliced, whole = (run(model, nano, x, tiling=Tiling(slices=each)) for each in (3, 1))
    up, down = (quantise_matrix(each.weight, each.bias) for each in (model[0], model[2]))
    codes, scale = numerics.quantise(numerics.to_bf16(x.numpy()))
    hidden = np.maximum((codes @ up.codes.T.astype(np.float64)) * up.scale * scale[..., None] + up.offset, 0)
    expected = np.zeros((4, 5, 6))
    for start in (0, 8, 16):
        codes, scale = numerics.quantise(hidden[..., start : start + 8].astype(np.float32))
        sums = codes @ down.codes[:, start : start + 8].T.astype(np.float64) * down.scale * scale[..., None]
        expected = numerics.to_bf16((expected + sums + (down.offset if start == 0 else 0)).astype(np.float32))
    np.testing.assert_allclose(sliced.output, expected, rtol=2**-6, atol=2e-3)
    assert sliced.sqnr_db > 30 > 15 > whole.sqnr_db


class Twice(nn.Module):
    """The residual is read once more after it has been added."""

    def __init__(self):
        super().__init__()
        self.mlp = encoder.Mlp(SIZES)

    def forward(self, x):
        y = torch.relu(x)
        return (y + self.mlp(y)) * y


def test_a_residual_that_is_read_again_stays(run, config):
    model = Twice()
    (mlp,) = mlps(graph_of(model))
    assert not mlp.in_place
    assert run(model, config, torch.randn(4, 6, 24), tiling=Tiling(slices=4)).sqnr_db > 30
    assert all(each.in_place for each in mlps(graph_of(layer())))


def test_panels_change_no_bit_and_groups_of_rows_hardly_any(run, nano):
    x, given = torch.randn(2, 20, 24), dict(weight_share=8, slices=3)
    outputs = [run(layer(), nano, x, tiling=Tiling(**given, **each)).output
               for each in ({}, {"parts": 3}, {"group_rows": 8})]  # fmt: skip
    np.testing.assert_array_equal(outputs[1], outputs[0])
    difference = outputs[2] - outputs[0]  # its attention reads keys and values from a cache, block by block
    assert 10 * np.log10((outputs[0] ** 2).sum() / (difference**2).sum()) > 38


@pytest.mark.parametrize("precision", ["w8a16", "w16a16"])
def test_only_w8a8_is_sliced(run, nano, precision):
    model, x = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 6)), torch.randn(2, 5, 8)
    whole, sliced = (run(model, nano, x, tiling=Tiling(slices=each), precision=precision) for each in (1, 3))
    np.testing.assert_array_equal(sliced.output, whole.output)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(24, 48), nn.ReLU()),
        nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 24), nn.GELU()),
        nn.Sequential(nn.Linear(24, 48), nn.LayerNorm(48), nn.Linear(48, 24)),
    ],
    ids=["one layer", "a function of the sum", "not its codes alone"],
)
def test_what_is_no_such_pair_is_left_alone(model):
    assert not list(mlps(graph_of(model)))


def test_slices_begin_at_whole_words(odd):
    assert edges(96, 2, odd) == [0, 45, 96]  # words of 3 codes and of 5 values
    assert edges(10, 4, odd) == [0, 10]
    assert edges(64, 4, PRESETS["base"]) == [0, 16, 32, 48, 64]


def test_as_few_slices_as_act_holds():
    """`nano` holds 2,048 words of 4 codes: of 60 rows of 64 features 960, and 18 for each row of a slice."""
    (mlp,) = mlps(graph_of(layer(sizes=encoder.EncoderConfig(width=64, heads=2, hidden=256)), 64))
    assert [slices_of(mlp, rows, PRESETS["nano"]) for rows in (25, 60, 100)] == [1, 4, 16]
    assert slices_of(mlp, 128, PRESETS["nano"]) > 64  # the codes of x fill it


def test_larger_groups_of_rows_load_weights_less_often(run, nano):
    """60 rows, of which ACT holds the hidden codes of 8 beside those of x: in two groups instead, in fewer cycles."""
    model, x = layer(sizes=encoder.EncoderConfig(width=64, heads=4, hidden=256)), torch.randn(1, 60, 64)
    weights = sum(each.numel() for each in model.parameters() if each.ndim == 2)
    sliced, grouped = (simulate(compile(model, [x], nano, tiling=tiling), values=False)
                       for tiling in (None, Tiling(1, 8, 8)))  # fmt: skip
    assert "slices" in sliced.program.choices[2].chosen
    assert 2 * weights < sliced.bytes["load"] < 3 * weights and grouped.bytes["load"] > 6 * weights
    assert sliced.cycles < grouped.cycles


def test_a_layer_of_bert_moves_hardly_more_than_it_must():
    """128 tokens on `base`: 7.1 MB of weights, which ACT has the room to use twice; at least 98 % of the peak."""
    with torch.device("meta"):
        model = encoder.PostNormLayer(encoder.EncoderConfig(width=768, heads=12, hidden=3072)).eval()
    result = simulate(compile(model, [torch.zeros(1, 128, 768)], PRESETS["base"]), values=False)
    assert sum(result.bytes.values()) < 16e6 and result.mac_utilisation > 0.98

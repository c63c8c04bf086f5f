"""Linear layers against exact integers, and in every loop order."""

from itertools import product

import numpy as np
import pytest
import torch
from heddle.arch import numerics
from heddle.arch.isa import Matmul, Quantise
from heddle.compiler.builder import Tiling
from heddle.compiler.matrix import quantise_matrix
from heddle.compiler.ops.linear import streamed
from torch import nn

from ...machines import NANO


@pytest.fixture
def nano():
    """One of float32: in tf32 what is stored as bf16 is rounded twice."""
    return NANO


def exact(linear, x):
    """w8a8 in float64, rounded once to bf16: codes of the stored input times codes of the weight."""
    matrix = quantise_matrix(linear.weight, linear.bias)
    codes, scale = numerics.quantise(numerics.to_bf16(x.numpy()))
    sums = codes.astype(np.float64) @ matrix.codes.T.astype(np.float64)
    return numerics.to_bf16((sums * matrix.scale * scale[..., None] + matrix.offset).astype(np.float32))


@pytest.mark.parametrize(("rows", "inputs", "outputs", "bias"), [(1, 1, 1, True), (7, 13, 11, True), (5, 8, 20, False)])
def test_it_is_the_product_of_the_codes(run, config, rows, inputs, outputs, bias):
    model, x = nn.Linear(inputs, outputs, bias), torch.randn(3, rows, inputs)
    found = run(model, config, x)
    expected = exact(model, x)
    assert found.output.shape == (3, rows, outputs)
    np.testing.assert_allclose(found.output, expected, rtol=2**-7, atol=1e-6)
    assert (found.output == expected).mean() > 0.95  # the others are a rounding apart
    assert found.program.useful_macs == rows * inputs * outputs


def test_a_row_of_zeros_gives_the_bias(run, nano):
    model = nn.Linear(6, 5)
    found = run(model, nano, torch.zeros(1, 2, 6))
    np.testing.assert_array_equal(found.output[0, 1], numerics.to_bf16(model.bias.detach().numpy()))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh])
@pytest.mark.parametrize("last", [True, False], ids=["to values", "to codes"])
def test_activations_are_taken_in(run, nano, activation, last):
    model = nn.Sequential(nn.Linear(9, 14), activation(), *[] if last else [nn.Linear(14, 6)])
    found = run(model, nano, torch.randn(4, 5, 9))
    assert found.sqnr_db > 33
    assert sum(isinstance(each, Quantise) for each in found.program.instructions) == (1 if last else 2)


def test_a_residual_and_a_gate_are_taken_in(run, config):
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.gate, self.down = nn.Linear(10, 14), nn.Linear(10, 14), nn.Linear(14, 10)

        def forward(self, x):
            return x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))

    assert run(Gated(), config, torch.randn(4, 6, 10)).sqnr_db > 38


def test_chunks_and_panels_do_not_change_the_bits(run, nano):
    model = nn.Sequential(nn.Linear(12, 30), nn.ReLU(), nn.Linear(30, 12))
    x = torch.randn(2, 13, 12)
    tilings = Tiling(1, 1), Tiling(3, 1), Tiling(2, 4096)
    whole, panels, chunks = (run(model, nano, x, tiling=tiling) for tiling in tilings)
    np.testing.assert_array_equal(panels.output, whole.output)
    np.testing.assert_array_equal(chunks.output, whole.output)
    counts = [sum(isinstance(each, Matmul) for each in run.program.instructions) for run in (whole, panels, chunks)]
    assert counts == [2, 6, 2 * (8 + 3)]


@pytest.mark.parametrize(("hidden", "loads"), [(400, 7), (1200, 57)])
def test_weights_larger_than_the_memory_stream_through_it(run, nano, hidden, loads):
    """Once, if the sums of both panels fit into ACC; else once for each panel."""
    model = nn.Sequential(nn.Linear(32, hidden), nn.ReLU(), nn.Linear(hidden, 8))
    found = run(model, nano, torch.randn(1, 8, 32), tiling=Tiling(2, 8))
    assert found.sqnr_db > 33
    assert found.program.labels.count("0: weights") == loads


def test_panels_of_streamed_weights_begin_and_end_one_by_one(nano):
    """32 words of N, 32 deep, in chunks of 4 words: of 4,096 words of WEIGHT an eighth each, so two at either end."""
    panels, chunks = [(0, 8), (8, 8)], [(first, 4) for first in range(0, 32, 4)]
    found = list(streamed(panels, chunks, 128, nano))
    assert sorted(found) == sorted(product(panels, chunks))
    (first, second), (a, b, *middle, c, d) = panels, chunks
    assert found[:4] == [(first, a), (first, b), (second, a), (second, b)]
    assert found[4:-4] == [(panel, chunk) for chunk in middle for panel in panels]
    assert found[-4:] == [(first, c), (first, d), (second, c), (second, d)]
    few = list(streamed(panels, chunks[:3], 1024, nano))  # a chunk fills WEIGHT
    assert few == [(panel, chunk) for chunk in chunks[:3] for panel in panels]

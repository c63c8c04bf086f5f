"""Whole numbers: exact in each format of vectors and values, of all numbers that it has."""

from dataclasses import replace

import heddle
import pytest
import torch
from heddle.arch.config import PRESETS
from torch import nn

BITS = {("float32", "float32"): 24, ("tf32", "float32"): 11, ("float32", "bf16"): 8, ("tf32", "bf16"): 8}


class Whole(nn.Module):
    def forward(self, x):
        return x.round(), x.floor(), x.ceil(), x.trunc()


def numbers(bits):
    """(1, 12, 10) of any size, among them halves, with so many bits."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 12, 10, generator=generator) * 10.0 ** torch.randint(-3, 7, (1, 12, 10), generator=generator)
    x[0, 0] = torch.tensor([0, 0.5, -0.5, 1.5, 2.5, -3.5, 127.5, -64.5, 1, -2])
    unit = 2.0 ** (x.abs().clamp(min=1e-6).log2().floor() - bits + 1)
    return (x / unit).round() * unit


@pytest.mark.parametrize("vectors, values", BITS)
def test_it_is_exact(vectors, values):
    x = numbers(BITS[vectors, values])
    config = replace(PRESETS["nano"], vector_format=vectors, value_format=values)
    program = heddle.compile(Whole(), (x,), config, precision="w16a16")
    found = heddle.simulate(program, {"x": x.numpy()[0]}).outputs
    for expected, each in zip(Whole()(x), found.values(), strict=True):
        torch.testing.assert_close(torch.from_numpy(each).view(12, 10), expected[0], rtol=0, atol=0)

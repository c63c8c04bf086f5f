"""Sums, products and activations outside linear layers; rows."""

import numpy as np
import pytest
import torch
from heddle.arch import numerics
from torch import nn

FUNCTIONS = {
    "sum of inputs": lambda x, y: x + y,
    "product of inputs": lambda x, y: x * y,
    "square": lambda x, y: x * x + y,
    "number": lambda x, y: (x * 0.5 + 1.25) * y,
    "row constant": lambda x, y: y + x * torch.arange(6.0),
    "tanh": lambda x, y: torch.tanh(x) + y,
    "gelu": lambda x, y: nn.functional.gelu(x + y),
}


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, y):
        return self.function(x, y)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_close_to_bf16(run, odd, name):
    assert run(Function(FUNCTIONS[name]), odd, torch.randn(3, 7, 6), torch.randn(3, 7, 6)).sqnr_db > 42


def test_consecutive_rows_are_only_another_place(run, config):
    x = torch.randn(2, 9, 6)
    found = run(Function(lambda x, y: x[:, 2:6] + y), config, x, torch.zeros(2, 4, 6))
    np.testing.assert_array_equal(found.output, numerics.to_bf16(x[:, 2:6].numpy()))

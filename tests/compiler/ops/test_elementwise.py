"""Sums, products and functions of one number outside linear layers; rows."""

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
    "exp": lambda x, y: torch.exp(x) * y,
    "exp2": lambda x, y: torch.exp2(x) * y,
    "log": lambda x, y: torch.log(x * x + 1) + y,
    "log2": lambda x, y: torch.log2(x * x + 1) + y,
    "sqrt": lambda x, y: torch.sqrt(x * x) + y,
    "rsqrt": lambda x, y: torch.rsqrt(x * x + 0.5) * y,
    "reciprocal": lambda x, y: torch.reciprocal(x * x + 1) * y,
    "erf": lambda x, y: torch.erf(x) + y,
    "softplus": lambda x, y: nn.functional.softplus(x) + y,
    "mish": lambda x, y: nn.functional.mish(x) + y,
    "elu": lambda x, y: nn.functional.elu(x) + y,
    "hardswish": lambda x, y: nn.functional.hardswish(x) + y,
    "sin and cos": lambda x, y: torch.sin(x) + torch.cos(y),
    "powers": lambda x, y: x**-1 * 0.01 + (y * y + 1) ** 0.75,
    "square and cube": lambda x, y: x**2 + y**3,
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

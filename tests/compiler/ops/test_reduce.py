"""What reductions and combinations take in: fewer instructions, the values of PyTorch, and what must stay as it was."""

import numpy as np
import pytest
import torch
from heddle.arch.config import get_config
from heddle.arch.isa import Map, Reduce
from heddle.compiler.pipeline import compile
from heddle.sim.machine import simulate
from torch import nn


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, y):
        return self.function(x, y)


def run(function, fused=True):
    """(maps, reductions, output, what PyTorch says)."""
    torch.manual_seed(2)
    x, y = torch.randn(1, 24, 40), torch.randn(1, 24, 40)
    program = compile(Of(function), (x, y), get_config("base"), fused=fused)
    kinds = [type(each) for each in program.instructions]
    (found,) = simulate(program, {"x": x.numpy()[0], "y": y.numpy()[0]}).outputs.values()
    expected = function(x, y)[0].numpy()
    return kinds.count(Map), kinds.count(Reduce), found.reshape(expected.shape), expected


def noise(found, expected):
    return np.square(found - expected).sum() / np.square(expected).sum()


@pytest.mark.parametrize("function", [
    lambda x, y: (x * y).sum(-1, keepdim=True), lambda x, y: (x * y).sum(-2, keepdim=True),
    lambda x, y: torch.maximum(x, y).amin(-1, keepdim=True),
    lambda x, y: torch.exp(x).sum(-1, keepdim=True) + y[..., :1],
    lambda x, y: (torch.exp(x) * y).sum(-1, keepdim=True), lambda x, y: (x * y).amax(-2, keepdim=True),
])  # fmt: skip
def test_a_reduction_takes_in_what_is_done_before(function):
    maps, reductions, found, expected = run(function)
    apart, _, other, _ = run(function, fused=False)
    assert maps < apart and reductions and noise(found, expected) < 1e-4 and noise(other, expected) < 1e-3


def test_what_is_compared_is_rounded_alike():
    """exp(x) of the same numbers is equal, though one of the two is read by the comparison alone."""
    maps, _, found, _ = run(lambda x, y: (torch.exp(x) == torch.exp(x + 0 * y)).float())
    assert found.all() and maps > 1


def test_what_is_read_twice_is_made_once():
    _, reductions, found, expected = run(lambda x, y: x * y - (x * y).mean(-1, keepdim=True))
    assert reductions and noise(found, expected) < 1e-4


def test_a_function_of_what_a_view_repeats_is_computed_before():
    """1 / n of each row, not of each number."""
    x = torch.randn(1, 24, 40)
    program = compile(Of(lambda x, y: x / y.expand(-1, -1, 40)), (x, x[..., :1].abs() + 1), get_config("base"))
    functions = [each for each in program.instructions if getattr(each, "function", None)]
    assert functions and all(each.columns == 1 for each in functions)


def test_a_column_takes_in_a_function_of_its_numbers():
    """x / |x|: the reciprocal root is taken on the way to ROW, in float32."""
    function = lambda x, y: torch.nn.functional.normalize(x, dim=-1) * y  # noqa: E731
    maps, reductions, found, expected = run(function)
    assert maps == reductions and noise(found, expected) < 2e-5
    apart, _, other, _ = run(function, fused=False)
    assert apart > maps and noise(other, expected) < 1e-4


def test_a_column_that_is_compared_is_rounded_alike():
    """exp of a row's number, equal to itself in every column, though one of the two goes through ROW."""
    _, _, found, _ = run(lambda x, y: (torch.exp(x[..., :1]) == torch.exp(x[..., :1] + 0 * y)).float())
    assert found.all()

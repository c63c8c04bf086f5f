"""Weights whose codes have scales that no product survives."""


import numpy as np
import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.compiler.builder import Tiling
from heddle.compiler.pipeline import compile
from heddle.sim.machine import simulate
from torch import nn

from ..machines import VALUES as CONFIG

DEPTH = 64


def layer(greatest):
    """Output 1 has weights of this size; the others ordinary ones."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(DEPTH, 3, bias=False)).requires_grad_(False)
    model[0].weight[1] *= greatest / model[0].weight[1].abs().max()
    return model.eval()


def compiled(model, precision="w8a8"):
    x = torch.zeros(1, 2, DEPTH)
    return compile(model, (x,), CONFIG, precision=precision, tiling=Tiling())


@pytest.mark.parametrize("precision", ["w8a8", "w8a16", "w16a16"])
@pytest.mark.parametrize("exponent", [-100, -64, -61, 0, 90, 105])
def test_weights_of_any_usual_size_count(precision, exponent):
    model = layer(2.0**exponent)
    x = torch.randn(1, 2, DEPTH) * 2.0 ** (-exponent / 2)  # neither the sums nor what they become leave float32
    found = simulate(compiled(model, precision), {"input": x.numpy()}).outputs["output"].reshape(2, 3)
    golden = model.double()(x.double())[0].numpy()
    assert np.abs(found - golden)[:, 1].max() < 0.02 * np.abs(golden[:, 1]).max()


TOO_SMALL = r"aten.linear of shape \(1, 2, 3\) in 0.*: output 1 of its matrix of 3 × 64 has weights at most "
TOO_GREAT = r"aten.linear of shape \(1, 2, 3\) in 0.*: output 1 of its matrix of 3 × 64 has weights as great as "


@pytest.mark.parametrize(
    ("precision", "greatest", "message"),
    [
        ("w8a8", 2.0**-121, TOO_SMALL + r"3.8e-37: for w8a8 the greatest must be 0, or at least 1.5e-36"),
        ("w16a16", 2.0**-112, TOO_SMALL + r"1.9e-34: for w16a16 the greatest must be 0, or at least 3.8e-34"),
        ("w8a8", 2.0**116, TOO_GREAT + r"8.3e\+34: for w8a8 the greatest must be below 4.2e\+34"),
        ("w8a16", 2.0**108, TOO_GREAT + r"3.2e\+32: for w8a16 the greatest must be below 1.6e\+32"),
    ],
)
def test_weights_of_which_nothing_would_be_left_are_refused(precision, greatest, message):
    with pytest.raises(HeddleError, match=message):
        compiled(layer(greatest), precision)


def test_an_output_of_zeros_is_no_mistake():
    model = layer(1.0)
    model[0].weight[1] = 0
    found = simulate(compiled(model), {"input": np.ones((1, 2, DEPTH), np.float32)}).outputs["output"]
    assert not found[..., 1].any() and found[..., [0, 2]].all()

"""Every operator of the closed set, by itself and in small sums of them, computed by the accelerator as by PyTorch."""


import heddle
import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS

from ...machines import VALUES as EXACT
from ..test_rules import CONVOLUTIONS, FUNCTIONS, INFINITE, MASK, PAIRS, TRUTH, One, Two, X, Y, rows

READS_ONE = ("div by a parameter", "addmm")  # of the two inputs: refused, as the other means nothing
REFUSED = ("topk, least",)  # places that are turned
CASES = {
    **{name: (Two(function), (X, Y)) for name, function in PAIRS.items() if name not in READS_ONE},
    **{name: (Two(function), (rows(1, 6, 6), MASK)) for name, function in TRUTH.items()},
    **{name: (One(function), (X,)) for name, function in INFINITE.items()},
    **{name: (One(function), (X,)) for name, function in FUNCTIONS.items() if name not in REFUSED},
    **{name: (One(lambda m, x, module=module: module.eval()(x)), (x,)) for name, (module, x) in CONVOLUTIONS.items()},
}


def sqnr_db(golden, found):
    golden, found = (np.asarray(each, np.float64).ravel() for each in (golden, found))
    finite = ~(np.isinf(golden) & (golden == found))
    noise = ((golden - found)[finite] ** 2).sum()
    return 99.0 if noise == 0 else 10 * np.log10((golden[finite] ** 2).sum() / noise)


def worst(name, config, precision, **options):
    model, inputs = CASES[name]
    for each in model.modules():
        each.eval()
    with torch.no_grad():
        golden = model(*inputs)
    program = heddle.compile(model, inputs, config, precision=precision, **options)
    named = {key: each.numpy() for key, each in zip(("x", "y"), inputs, strict=False)}
    found = heddle.simulate(program, named).outputs
    expected = [golden] if isinstance(golden, torch.Tensor) else list(golden)
    assert len(found) == len(expected)
    return min(sqnr_db(a, b) for a, b in zip(expected, found.values(), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_pytorch_does(name):
    """In float32, with codes of 16 bits: what is left are the tables of functions."""
    assert worst(name, EXACT, "w16a16") > 65


@pytest.mark.parametrize("name", ["attention, grouped", "attention, lowest numbers", "layer_norm", "softmax", "stack"])
def test_it_does_without_fusions(name):
    assert worst(name, EXACT, "w16a16", fused=False) > 65


@pytest.mark.parametrize("name", ["matmul", "einsum, no batch", "attention", "cat", "1d", "mean"])
@pytest.mark.parametrize("machine", ["small", "base"])
def test_in_the_formats_of_the_presets(name, machine):
    assert worst(name, PRESETS[machine], "w8a8") > 30

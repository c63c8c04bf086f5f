"""Random models, each computed by the accelerator as by PyTorch: 40 by default, 500 among the long tests."""


import heddle
import numpy as np
import pytest
import torch

from ..machines import SMALL_VALUES as EXACT
from .random_models import RandomModel

LEAST_DB = 45  # with codes of 16 bits and values of float32; rounding adds up over the calls of a model


def check(seed, **options):
    model = RandomModel(seed).eval()
    if not model.steps:
        return
    with torch.no_grad():
        golden = model(model.x)
    program = heddle.compile(model, (model.x,), EXACT, precision="w16a16", **options)
    found = heddle.simulate(program, {"x": model.x.numpy()}, timing=False).outputs
    expected = [golden] if isinstance(golden, torch.Tensor) else list(golden)
    assert len(found) == len(expected)
    for theirs, ours in zip(expected, found.values(), strict=True):
        noise = np.square(theirs.numpy().ravel() - ours.ravel()).sum()
        assert noise <= 10 ** (-LEAST_DB / 10) * np.square(theirs.numpy()).sum(), (seed, theirs, ours)


@pytest.mark.parametrize("seed", [*range(40), 1001, 1261])
def test_a_random_model(seed):
    check(seed)


@pytest.mark.parametrize("seed", range(40, 50))
def test_a_random_model_without_fusions(seed):
    check(seed, fused=False)


@pytest.mark.long
@pytest.mark.parametrize("part", range(20))
def test_random_models(part):
    for seed in range(1000 + 25 * part, 1025 + 25 * part):
        check(seed, fused=bool(seed % 2))

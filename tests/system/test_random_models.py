"""Random models in lock-step on RTL: 6 by default, 50 among the long tests."""

import heddle
import pytest
from heddle.cosim.lockstep import lockstep

from ..compiler.random_models import RandomModel


def compare(seeds, config):
    """Each as it is fused, or not, by turns."""
    programs = []
    for seed in seeds:
        model = RandomModel(seed).eval()
        if model.steps:
            x = model.x.numpy()
            program = heddle.compile(model, (model.x,), config, fused=bool(seed % 2))
            programs.append((program, {"x": x[0] if len(x) == 1 and x.ndim > 1 else x}))
    for program, inputs in programs:
        assert lockstep(program, [inputs]).first_difference is None


def test_on_nano(configs):
    compare(range(100, 106), configs["nano"])


@pytest.mark.long
@pytest.mark.parametrize("name", ["nano", "odd"])
def test_fifty(configs, name):
    compare(range(200, 250), configs[name])

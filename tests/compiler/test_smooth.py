"""SmoothQuant: the same function, with fewer outliers where it is quantised."""

import numpy as np
import torch
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.compiler.smooth import calibrate
from heddle.models.gpt2 import Gpt2, Gpt2Config
from heddle.sim.machine import simulate


def model_with_outliers():
    """Some channels of the norms are 30 times the others, as in large trained models; the weights that read them are
    small in return."""
    torch.manual_seed(1)
    model = Gpt2(Gpt2Config(vocabulary=17, context=16, width=16, depth=2, heads=2)).eval()
    with torch.no_grad():
        for layer in model.layers:
            for norm, readers in ((layer.norm1, [layer.attention.query, layer.attention.key, layer.attention.value]),
                                  (layer.norm2, [layer.mlp.up])):  # fmt: skip
                norm.weight[::7] *= 30
                for reader in readers:
                    reader.weight[:, ::7] /= 30
    return model


def test_ranges_are_those_of_the_norms():
    model = model_with_outliers()
    ids = torch.randint(0, 17, (1, 16))
    ranges = calibrate(model, [(ids,), (ids,)])
    assert set(ranges) > {"layers.0.norm1", "layers.0.norm2", "layers.1.norm1", "layers.1.norm2", "norm"}
    x = model.tokens(ids) + model.positions(torch.arange(16))
    torch.testing.assert_close(ranges["layers.0.norm1"], model.layers[0].norm1(x)[0].abs().amax(0))


def test_outliers_cost_less(nano):
    model = model_with_outliers()
    ids = torch.randint(0, 17, (1, 16))
    ranges = calibrate(model, [(torch.randint(0, 17, (4, 16)),)])
    with torch.no_grad():
        golden = model(ids)[0].double().numpy()
    errors = {}
    for name, known in (("plain", None), ("smooth", ranges)):
        program = compile_decoder(model, nano, CachePlan(16, 16), tokens=16, ranges=known, tiling=Tiling())
        inputs = {"ids": ids[0].numpy(), "positions": np.arange(16), "pages": np.zeros((1, 1), int)}
        found = simulate(program, inputs).outputs["logits"][0]
        errors[name] = ((golden - found) ** 2).sum()
    assert errors["smooth"] < errors["plain"] / 2

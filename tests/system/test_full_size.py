"""A layer of full size on the RTL of `base`: rows in groups, weights streamed, attention through the cache in DRAM."""

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS
from heddle.compiler.builder import Tiling
from heddle.compiler.pipeline import compile
from heddle.cosim.lockstep import lockstep
from heddle.models import bert
from heddle.sim.machine import simulate
from torch import nn

TOKENS = 128


class Layer(nn.Module):
    """One encoder layer of BERT-base by itself."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = bert.EncoderLayer(bert.BERT_BASE)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.long
def test_a_layer_of_bert_base_on_base():
    """Bits and cycles under Verilator, and PyTorch's values."""
    model = Layer().eval()
    x = torch.randn(1, TOKENS, bert.BERT_BASE.width)
    program = compile(model, [x], PRESETS["base"], name="bert-base-layer", tiling=Tiling(1, 4, 32))
    comparison = lockstep(program, [{"x": x[0].numpy()}], "verilator")
    assert comparison.first_difference is None and comparison.cycles > 3_000_000
    golden = model(x)[0].detach().numpy()
    found = simulate(program, {"x": x[0].numpy()}, timing=False).outputs["output"][0]
    assert 10 * np.log10((golden**2).sum() / ((golden - found) ** 2).sum()) > 35

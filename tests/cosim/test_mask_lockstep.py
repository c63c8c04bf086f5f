"""Lock-step of an attention with a row that sees nothing: minus infinity in VALUE, and zeros from SOFTMAX."""

import numpy as np
import torch
from heddle.compiler.builder import Tiling
from heddle.compiler.pipeline import compile
from heddle.cosim.lockstep import lockstep
from heddle.sim.machine import simulate
from torch import nn
from torch.nn import functional

from .conftest import NANO


class Masked(nn.Module):
    """One head whose query 2 sees nothing."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))
        self.register_buffer("seen", torch.tensor([[True, False, True]] * 2 + [[False] * 3]))

    def forward(self, x):
        return functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), attn_mask=self.seen)[None]


def test_a_row_that_sees_nothing_agrees_and_is_0():
    torch.manual_seed(0)
    program = compile(Masked(), [torch.randn(1, 3, 4)], NANO, tiling=Tiling())
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    output = simulate(program, {"x": x}).outputs["output"].reshape(3, 4)
    assert output[:2].any() and not output[2].any()
    assert lockstep(program, {"x": x}, engine="verilator").agrees

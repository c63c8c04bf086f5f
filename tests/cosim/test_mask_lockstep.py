"""Lock-step of attentions under masks: rows that see nothing, and tiles of keys that are left out."""

import numpy as np
import pytest
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


class Far(nn.Module):
    """Two heads of twelve tokens that see the first four and the last ones, and one of them nothing."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        seen = torch.ones(12, 12, dtype=torch.bool).tril()
        seen[:, 4:8] = seen[9] = False
        self.register_buffer("seen", seen)

    def forward(self, x):
        q, k, v = (each(x).unflatten(-1, (2, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.seen)
        return self.o(found.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("rows", [0, 4])
def test_tiles_that_are_left_out_agree(rows):
    torch.manual_seed(0)
    model, x = Far().eval(), torch.randn(1, 12, 8)
    program = compile(model, (x,), NANO, tiling=Tiling(group_rows=rows))
    output = simulate(program, {"x": x.numpy()}).outputs["output"].reshape(1, 12, 8)
    assert np.abs(output - model(x).detach().numpy()).max() < 0.05
    assert lockstep(program, {"x": x[0].numpy()}, engine="verilator").agrees

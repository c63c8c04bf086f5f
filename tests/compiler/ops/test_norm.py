"""LayerNorm and RMSNorm."""

import pytest
import torch
from torch import nn


@pytest.mark.parametrize("norm", [nn.LayerNorm(11), nn.LayerNorm(11, elementwise_affine=False), nn.RMSNorm(11),
                                  nn.LayerNorm(11, eps=0.5), nn.RMSNorm(11, eps=0.5)])  # fmt: skip
def test_it_is_close_to_bf16(run, odd, norm):
    found = run(norm, odd, torch.randn(3, 7, 11))
    assert found.sqnr_db > 45
    assert found.program.useful_macs == 0


def test_gamma_and_beta_count(run, nano):
    norm = nn.LayerNorm(8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    assert run(norm, nano, torch.randn(2, 5, 8)).sqnr_db > 45


def test_computed_parameters(run, nano):
    class Computed(nn.Module):
        def forward(self, x):
            return nn.functional.layer_norm(x, (8,), x[0, 0])

    assert run(Computed(), nano, torch.randn(1, 5, 8)).sqnr_db > 45

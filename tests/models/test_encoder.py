"""Encoder layers against PyTorch's own."""

import pytest
import torch
from heddle.models.encoder import EncoderConfig, PostNormLayer, PreNormLayer, seeded
from torch import nn


@pytest.mark.parametrize("layer", [PreNormLayer, PostNormLayer])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_pytorchs(layer, bias):
    ours = seeded(layer, EncoderConfig(width=12, heads=3, hidden=20, bias=bias))
    theirs = nn.TransformerEncoderLayer(
        12, 3, 20, activation="gelu", batch_first=True, norm_first=layer is PreNormLayer, bias=bias
    ).eval()
    attention = ours.attention
    projections = attention.query, attention.key, attention.value
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([each.weight for each in projections]))
        if bias:
            theirs.self_attn.in_proj_bias.copy_(torch.cat([each.bias for each in projections]))
        for mine, other in (
            (attention.output, theirs.self_attn.out_proj), (ours.mlp.up, theirs.linear1),
            (ours.mlp.down, theirs.linear2), (ours.norm1, theirs.norm1), (ours.norm2, theirs.norm2),
        ):  # fmt: skip
            other.weight.copy_(mine.weight)
            if other.bias is not None:
                other.bias.copy_(mine.bias)
            else:
                assert isinstance(mine, nn.Linear) or not mine.bias.copy_(torch.zeros(12)).any()
        x = torch.randn(2, 7, 12)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_the_seed_decides():
    first, second, other = (seeded(PreNormLayer, EncoderConfig(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.norm1.weight, second.norm1.weight)
    assert not torch.equal(first.mlp.up.weight, other.mlp.up.weight)

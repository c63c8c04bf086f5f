"""GPT-2 against PyTorch's own pre-norm layer."""

import pytest
import torch
from heddle.models.gpt2 import GPT2_LARGE, GPT2_MEDIUM, GPT2_SMALL, GPT2_XL, DecoderLayer, Gpt2, Gpt2Config
from torch import nn

SMALL = Gpt2Config(vocabulary=17, context=9, width=12, depth=2, heads=3)


def test_shapes_follow_the_configuration():
    model = Gpt2(SMALL)
    assert model(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 5, 17)
    assert model.positions.weight.shape == (9, 12) and model.layers[0].mlp.up.weight.shape == (48, 12)


@pytest.mark.parametrize(
    "config, millions", [(GPT2_SMALL, 124), (GPT2_MEDIUM, 355), (GPT2_LARGE, 774), (GPT2_XL, 1558)]
)
def test_full_sizes_have_the_published_number_of_parameters(config, millions):
    with torch.device("meta"):
        model = Gpt2(config)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions


def test_a_layer_is_pytorchs_pre_norm_layer():
    torch.manual_seed(0)
    ours = DecoderLayer(SMALL).eval()
    gelu = nn.GELU(approximate="tanh")
    theirs = nn.TransformerEncoderLayer(12, 3, 48, activation=gelu, batch_first=True, norm_first=True).eval()
    attention = ours.attention
    with torch.no_grad():
        projections = attention.query, attention.key, attention.value
        theirs.self_attn.in_proj_weight.copy_(torch.cat([each.weight for each in projections]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([each.bias for each in projections]))
    for mine, other in (
        (attention.output, theirs.self_attn.out_proj), (ours.mlp.up, theirs.linear1), (ours.mlp.down, theirs.linear2),
        (ours.norm1, theirs.norm1), (ours.norm2, theirs.norm2),
    ):  # fmt: skip
        other.load_state_dict(mine.state_dict())
    x = torch.randn(2, 7, 12)
    causal = nn.Transformer.generate_square_subsequent_mask(7)
    torch.testing.assert_close(ours(x), theirs(x, src_mask=causal, is_causal=True), rtol=1e-4, atol=1e-5)


def test_positions_count_and_the_head_is_the_token_embedding():
    torch.manual_seed(0)
    model = Gpt2(SMALL).eval()
    with torch.no_grad():
        logits = model(torch.full((1, 6), 3))[0]
        assert not torch.allclose(logits[0], logits[1])
        model.tokens.weight[5] *= 2  # a token that is not in the input
        doubled = model(torch.full((1, 6), 3))[0]
    torch.testing.assert_close(doubled[:, 5], 2 * logits[:, 5])
    torch.testing.assert_close(doubled[:, :5], logits[:, :5])

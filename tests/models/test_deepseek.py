"""Multi-head latent attention against a computation by hand."""

import math

import torch
from heddle.models.deepseek import DEEPSEEK_V3, Deepseek, DeepseekConfig, LatentAttention
from heddle.models.llama import rotary_tables, rotate
from torch.nn import functional

SMALL = DeepseekConfig(vocabulary=17, context=9, width=24, depth=2, heads=3, query_rank=10, kv_rank=7, plain_width=5,
                       rotary_width=4, value_width=6, hidden=20)  # fmt: skip


def test_shapes_follow_the_configuration():
    model = Deepseek(SMALL)
    assert model(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 5, 17)
    assert model.layers[0].attention.value.weight.shape == (18, 7) and model.cos.shape == (9, 2)
    assert "cos" not in model.state_dict() and "sin" not in model.state_dict()


def test_the_full_size_has_the_published_number_of_activated_parameters():
    with torch.device("meta"):
        model = Deepseek(DEEPSEEK_V3)
    count = sum(parameter.numel() for parameter in model.parameters()) - model.tokens.weight.numel()
    assert round(count / 1e9, 1) == 36.5  # 36.6 with the router, which dense layers do not have


def test_attention_is_attention_by_hand():
    torch.manual_seed(0)
    attention = LatentAttention(SMALL)
    x = torch.randn(6, 24)
    cos, sin = rotary_tables(6, 4, SMALL.theta)
    with torch.no_grad():
        for norm in (attention.query_norm, attention.kv_norm):
            norm.weight.uniform_(0.5, 1.5)
        query_latent = functional.rms_norm(x @ attention.query_down.weight.T, (10,), eps=1e-6)
        query_latent = query_latent * attention.query_norm.weight
        latent = functional.rms_norm(x @ attention.kv_down.weight.T, (7,), eps=1e-6) * attention.kv_norm.weight
        shared_key = rotate(x @ attention.key_rotary.weight.T, cos, sin)
        heads = []
        for head in range(3):
            q_plain = query_latent @ attention.query_plain.weight[5 * head : 5 * head + 5].T
            q_rotary = rotate(query_latent @ attention.query_rotary.weight[4 * head : 4 * head + 4].T, cos, sin)
            k_plain = latent @ attention.key_plain.weight[5 * head : 5 * head + 5].T
            v = latent @ attention.value.weight[6 * head : 6 * head + 6].T
            scores = (q_plain @ k_plain.T + q_rotary @ shared_key.T) / math.sqrt(5 + 4)
            heads.append(scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf).softmax(-1) @ v)
        expected = torch.cat(heads, -1) @ attention.output.weight.T
        torch.testing.assert_close(attention(x[None], cos, sin)[0], expected)

"""LLaMA: rotation, grouped queries and the sliding window against a computation by hand."""

import math

import pytest
import torch
from heddle.models.llama import LLAMA2_7B, LLAMA3_8B, Attention, Llama, LlamaConfig, banded_mask, rotary_tables, rotate

SMALL = LlamaConfig(vocabulary=17, context=9, width=24, depth=2, heads=6, kv_heads=2, hidden=20)


def test_shapes_follow_the_configuration():
    model = Llama(SMALL)
    assert model(torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 5, 17)
    assert model.layers[0].attention.key.weight.shape == (8, 24) and model.cos.shape == (9, 2)
    assert not any(name in model.state_dict() for name in ("cos", "sin", "mask"))


@pytest.mark.parametrize("config, billions", [(LLAMA2_7B, 6.74), (LLAMA3_8B, 8.03)])
def test_full_sizes_have_the_published_number_of_parameters(config, billions):
    with torch.device("meta"):
        model = Llama(config)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e9, 2) == billions


def test_heads_must_share_keys_evenly():
    with pytest.raises(ValueError, match="heads must be a multiple of kv_heads, not 4 of 3"):
        LlamaConfig(heads=4, kv_heads=3)


def test_rotation_is_multiplication_by_a_complex_number():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 8)
    cos, sin = rotary_tables(5, 8, theta=100.0)
    angles = torch.arange(5)[:, None] * torch.tensor([100.0 ** (-2 * i / 8) for i in range(4)])
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.exp(1j * angles)
    torch.testing.assert_close(rotate(x, cos, sin), torch.cat((turned.real, turned.imag), -1))


def test_scores_depend_on_distance_alone():
    torch.manual_seed(0)
    cos, sin = rotary_tables(12, 8, theta=10000.0)
    q, k = rotate(torch.randn(8).expand(12, 8), cos, sin), rotate(torch.randn(8).expand(12, 8), cos, sin)
    torch.testing.assert_close((q @ k.T)[3:, 3:], (q @ k.T)[:-3, :-3])


def attend_by_hand(attention: Attention, config: LlamaConfig, x: torch.Tensor) -> torch.Tensor:
    """Head by head and query by query: query head h reads key head h · kv_heads / heads."""
    tokens, width = len(x), config.head_width
    cos, sin = rotary_tables(tokens, width, config.theta)
    heads = []
    for head in range(config.heads):
        group = head * config.kv_heads // config.heads
        q = rotate(x @ attention.query.weight[head * width : (head + 1) * width].T, cos, sin)
        k = rotate(x @ attention.key.weight[group * width : (group + 1) * width].T, cos, sin)
        v = x @ attention.value.weight[group * width : (group + 1) * width].T
        rows = []
        for last in range(tokens):
            first = max(0, last - config.window + 1) if config.window else 0
            scores = k[first : last + 1] @ q[last] / math.sqrt(width)
            rows.append(scores.softmax(0) @ v[first : last + 1])
        heads.append(torch.stack(rows))
    return torch.cat(heads, -1) @ attention.output.weight.T


@pytest.mark.parametrize("window", [0, 1, 3, 9])
def test_attention_is_attention_by_hand(window):
    torch.manual_seed(0)
    config = LlamaConfig(width=24, heads=6, kv_heads=2, window=window)
    attention = Attention(config)
    x = torch.randn(7, 24)
    mask = banded_mask(7, window) if window else None
    with torch.no_grad():
        ours = attention(x[None], *rotary_tables(7, config.head_width, config.theta), mask)[0]
        torch.testing.assert_close(ours, attend_by_hand(attention, config, x))


def test_banded_mask_by_hand():
    assert banded_mask(4, 2).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


def test_a_window_as_long_as_the_text_is_no_window():
    torch.manual_seed(0)
    ids = torch.randint(0, 17, (1, 9))
    plain, windowed = Llama(SMALL), Llama(LlamaConfig(**{**vars(SMALL), "window": 9}))
    windowed.load_state_dict(plain.state_dict())
    torch.testing.assert_close(windowed(ids), plain(ids))

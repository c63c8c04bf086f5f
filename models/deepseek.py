"""DeepSeek-V3's decoder (DeepSeek-AI, 2024) with dense layers: multi-head latent attention, SwiGLU, RMSNorm.

Attention follows equations 1–11 of the V3 report (37–47 of the V2 report, where the appendix has them whole): keys and
values come from one latent of low rank, and position is in a rotated key that all heads share. Keys and values are
computed in full, not absorbed into the queries. Rotation pairs feature i with feature i + half, as in `llama`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .llama import SwiGlu, rotary_tables, rotate


@dataclass(frozen=True)
class DeepseekConfig:
    """Sizes of one decoder. The defaults are the docstrings model that ships with weights."""

    vocabulary: int = 96  # token ids are below this
    context: int = 256  # longest sequence
    width: int = 128  # features of a token
    depth: int = 4  # decoder layers
    heads: int = 4
    query_rank: int = 96  # features of the latent that queries come from
    kv_rank: int = 64  # features of the latent that keys and values come from
    plain_width: int = 32  # features of a head's query and key without position
    rotary_width: int = 32  # features of a head's query, and of the shared key, that are rotated
    value_width: int = 32  # features of a head's value
    hidden: int = 352  # features inside the MLP
    theta: float = 10000.0  # the slowest rotation turns about once in 2 π theta tokens
    epsilon: float = 1e-6  # of the RMS norms
    activation: str = "silu"  # a name of `ACTIVATIONS`, of the gate
    expert_layers: int = 0  # further layers of the released model, with experts: they are not built


# Section 4.2 of the V3 report; vocabulary, hidden features and epsilon as in the released config.json; the context is
# that of pre-training. In the released model only the first 3 layers are dense. The other 58 route each token to 8 of
# 256 experts beside a shared one: 9 SwiGLUs of 2,048 hidden features, as many multiplications as the 18,432 here.
DEEPSEEK_V3 = DeepseekConfig(vocabulary=129280, context=4096, width=7168, depth=61, heads=128, query_rank=1536,
                             kv_rank=512, plain_width=128, rotary_width=64, value_width=128, hidden=18432)  # fmt: skip


class LatentAttention(nn.Module):
    """Multi-head causal self-attention through latents. Comments give the equations of the V3 report."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        heads = config.heads
        self.heads = heads
        self.query_down = nn.Linear(config.width, config.query_rank, bias=False)
        self.query_norm = nn.RMSNorm(config.query_rank, eps=config.epsilon)
        self.query_plain = nn.Linear(config.query_rank, heads * config.plain_width, bias=False)
        self.query_rotary = nn.Linear(config.query_rank, heads * config.rotary_width, bias=False)
        self.kv_down = nn.Linear(config.width, config.kv_rank, bias=False)
        self.kv_norm = nn.RMSNorm(config.kv_rank, eps=config.epsilon)
        self.key_plain = nn.Linear(config.kv_rank, heads * config.plain_width, bias=False)
        self.key_rotary = nn.Linear(config.width, config.rotary_width, bias=False)
        self.value = nn.Linear(config.kv_rank, heads * config.value_width, bias=False)
        self.output = nn.Linear(heads * config.value_width, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        split = (self.heads, -1)
        latent = self.kv_norm(self.kv_down(x))  # (B, T, kv_rank): 1
        k_plain = self.key_plain(latent).unflatten(-1, split).transpose(1, 2)  # (B, H, T, N): 2
        k_rotary = rotate(self.key_rotary(x).unsqueeze(1), cos, sin)  # (B, 1, T, R): 3
        k = torch.cat((k_plain, k_rotary.expand(-1, self.heads, -1, -1)), dim=-1)  # (B, H, T, N + R): 4
        v = self.value(latent).unflatten(-1, split).transpose(1, 2)  # (B, H, T, value_width): 5
        query_latent = self.query_norm(self.query_down(x))  # (B, T, query_rank): 6
        q_plain = self.query_plain(query_latent).unflatten(-1, split).transpose(1, 2)  # (B, H, T, N): 7
        q_rotary = self.query_rotary(query_latent).unflatten(-1, split).transpose(1, 2)  # (B, H, T, R)
        q = torch.cat((q_plain, rotate(q_rotary, cos, sin)), dim=-1)  # (B, H, T, N + R): 8, 9
        # The default scale is that of equation 10: 1 / sqrt(N + R).
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, value_width): 10
        return self.output(y.transpose(1, 2).flatten(2))  # (B, T, W): 11


class DecoderLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.width, eps=config.epsilon)
        self.attention = LatentAttention(config)
        self.norm2 = nn.RMSNorm(config.width, eps=config.epsilon)
        self.mlp = SwiGlu(config.width, config.hidden, activation=config.activation)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), cos, sin)  # (B, T, W)
        return x + self.mlp(self.norm2(x))  # (B, T, W)


class Deepseek(nn.Module):
    """Token ids (B, T) int64 → logits (B, T, vocabulary) of the token after each."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: DeepseekConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width, eps=config.epsilon)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        cos, sin = rotary_tables(config.context, config.rotary_width, config.theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = ids.shape[1]
        cos, sin = self.cos[:tokens], self.sin[:tokens]  # (T, R/2)
        x = self.tokens(ids)  # (B, T, W)
        for layer in self.layers:
            x = layer(x, cos, sin)  # (B, T, W)
        return self.head(self.norm(x))  # (B, T, V)

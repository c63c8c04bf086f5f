"""LLaMA (Touvron et al., 2023; Llama 3, Grattafiori et al., 2024): RMSNorm, rotary positions, SwiGLU, grouped queries.

Rotation pairs feature i of a head with feature i + half, as in the Hugging Face weights; a sliding window over the keys
(Mistral 7B, Jiang et al., 2023) is an option, and so are biases (Qwen2, Yang et al., 2024).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .activations import ACTIVATIONS


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of one decoder. The defaults are the docstrings model that ships with weights."""

    vocabulary: int = 96  # token ids are below this
    context: int = 256  # longest sequence
    width: int = 128  # features of a token
    depth: int = 4  # decoder layers
    heads: int = 4  # query heads
    kv_heads: int = 2  # heads of keys and values; heads / kv_heads query heads share one
    hidden: int = 352  # features inside the MLP
    window: int = 0  # latest tokens that a token attends to, itself included; 0: all
    theta: float = 10000.0  # the slowest rotation turns about once in 2 π theta tokens
    epsilon: float = 1e-5  # of the RMS norms
    head: int = 0  # features of a head; 0: width / heads
    qkv_bias: bool = False  # of queries, keys and values
    output_bias: bool = False  # of what attention gives
    mlp_bias: bool = False
    activation: str = "silu"  # a name of `ACTIVATIONS`, of the gate

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads must be a multiple of kv_heads, not {self.heads} of {self.kv_heads}")

    @property
    def head_width(self) -> int:
        """Features of a head."""
        return self.head or self.width // self.heads


# Llama 2: tables 1 and 8 of its paper; Llama 3: table 3 of its paper. Norms, hidden features: the released params.json
# and config.json.
LLAMA2_7B = LlamaConfig(vocabulary=32000, context=4096, width=4096, depth=32, heads=32, kv_heads=32, hidden=11008)
LLAMA3_8B = LlamaConfig(vocabulary=128256, context=8192, width=4096, depth=32, heads=32, kv_heads=8, hidden=14336,
                        theta=500000.0)  # fmt: skip


def rotary_tables(positions: int, width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine (positions, width / 2) of position · theta^(−2 i / width)."""
    rates = theta ** (-torch.arange(0, width, 2) / width)  # (half)
    angles = torch.arange(positions)[:, None] * rates  # (positions, half)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (…, T, D) with the pair of features i and i + D/2 turned by the angle of cos and sin (T, D/2)."""
    x1, x2 = x.chunk(2, -1)  # (…, T, D/2)
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1)  # (…, T, D)


def banded_mask(tokens: int, window: int) -> Tensor:
    """Which keys a query sees, (tokens, tokens) bool: itself and the window − 1 before it."""
    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)  # (T, T)
    return (distance >= 0) & (distance < window)  # (T, T)


class Attention(nn.Module):
    """Grouped-query causal self-attention over rotated queries and keys. `mask` (T, T) takes the place of causality."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.shape = (-1, config.head_width)
        self.query = nn.Linear(config.width, config.heads * config.head_width, bias=config.qkv_bias)
        self.key = nn.Linear(config.width, config.kv_heads * config.head_width, bias=config.qkv_bias)
        self.value = nn.Linear(config.width, config.kv_heads * config.head_width, bias=config.qkv_bias)
        self.output = nn.Linear(config.heads * config.head_width, config.width, bias=config.output_bias)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        q = self.query(x).unflatten(-1, self.shape).transpose(1, 2)  # (B, H, T, D)
        k = self.key(x).unflatten(-1, self.shape).transpose(1, 2)  # (B, G, T, D)
        v = self.value(x).unflatten(-1, self.shape).transpose(1, 2)  # (B, G, T, D)
        y = functional.scaled_dot_product_attention(
            rotate(q, cos, sin), rotate(k, cos, sin), v, attn_mask=mask, is_causal=mask is None, enable_gqa=True
        )  # (B, H, T, D)
        return self.output(y.transpose(1, 2).flatten(2))  # (B, T, W)


class SwiGlu(nn.Module):
    """down(activation(gate(x)) · up(x)) (Shazeer, 2020); with silu, SwiGLU."""

    def __init__(self, width: int, hidden: int, bias: bool = False, activation: str = "silu") -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.gate(x)) * self.up(x))  # (B, T, W)


class DecoderLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(config.width, eps=config.epsilon)
        self.attention = Attention(config)
        self.norm2 = nn.RMSNorm(config.width, eps=config.epsilon)
        self.mlp = SwiGlu(config.width, config.hidden, config.mlp_bias, config.activation)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.attention(self.norm1(x), cos, sin, mask)  # (B, T, W)
        return x + self.mlp(self.norm2(x))  # (B, T, W)


class Llama(nn.Module):
    """Token ids (B, T) int64 → logits (B, T, vocabulary) of the token after each."""

    cos: Tensor
    sin: Tensor
    mask: Tensor | None

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.norm = nn.RMSNorm(config.width, eps=config.epsilon)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        cos, sin = rotary_tables(config.context, config.head_width, config.theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        mask = banded_mask(config.context, config.window) if config.window else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        tokens = ids.shape[1]
        cos, sin = self.cos[:tokens], self.sin[:tokens]  # (T, D/2)
        mask = None if self.mask is None else self.mask[:tokens, :tokens]  # (T, T)
        x = self.tokens(ids)  # (B, T, W)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)  # (B, T, W)
        return self.head(self.norm(x))  # (B, T, V)

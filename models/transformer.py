"""The Transformer (Vaswani et al., 2017, "Attention Is All You Need"): an encoder and a decoder, post-norm.

Sinusoidal positions; each decoder layer attends to the tokens before, and then to what the encoder made of the source.
The matrix of the token embeddings is that of the head too, as in section 3.4.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes. The defaults are the model that ships with weights: it reverses and sorts letters."""

    vocabulary: int = 32  # token ids of source and target are below this
    context: int = 32  # longest source, and longest target
    width: int = 64  # features of a token
    depth: int = 2  # layers of the encoder, and of the decoder
    heads: int = 4  # attention heads of width / heads features
    hidden: int = 128  # features between the two linear layers of the MLP
    epsilon: float = 1e-5  # of the layer norms


# Table 3 of the paper; vocabulary: the 37,000 tokens of section 5.1.
TRANSFORMER_BASE = TransformerConfig(vocabulary=37000, context=512, width=512, depth=6, heads=8, hidden=2048)


def sinusoids(positions: int, width: int) -> Tensor:
    """sin and cos of position / 10000^(2 i / width), side by side: (positions, width), section 3.5."""
    rates = 10000.0 ** (-torch.arange(0, width, 2) / width)  # (W/2)
    angles = torch.arange(positions)[:, None] * rates  # (positions, W/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (positions, W)


class Attention(nn.Module):
    """Multi-head attention of x to the tokens of `memory`, which is x itself for self-attention."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, memory: Tensor, causal: bool = False) -> Tensor:
        split = (self.heads, -1)
        q = self.query(x).unflatten(-1, split).transpose(1, 2)  # (B, H, T, W/H)
        k = self.key(memory).unflatten(-1, split).transpose(1, 2)  # (B, H, S, W/H)
        v = self.value(memory).unflatten(-1, split).transpose(1, 2)  # (B, H, S, W/H)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)  # (B, H, T, W/H)
        return self.output(y.transpose(1, 2).flatten(2))  # (B, T, W)


class Mlp(nn.Module):
    """Linear, ReLU, linear: equation 2."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.hidden)
        self.down = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.relu(self.up(x)))  # (B, T, W)


class EncoderLayer(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(config), Mlp(config)
        self.norm1, self.norm2 = (nn.LayerNorm(config.width, eps=config.epsilon) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, x))  # (B, S, W)
        return self.norm2(x + self.mlp(x))  # (B, S, W)


class DecoderLayer(nn.Module):
    """norm(x + self-attention), norm(x + attention to the source), norm(x + mlp)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention, self.cross, self.mlp = Attention(config), Attention(config), Mlp(config)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(config.width, eps=config.epsilon) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, x, causal=True))  # (B, T, W)
        x = self.norm2(x + self.cross(x, memory))  # (B, T, W)
        return self.norm3(x + self.mlp(x))  # (B, T, W)


class Transformer(nn.Module):
    """Ids of the source (B, S) and of the target (B, T) int64 → logits (B, T, vocabulary) of the token after each."""

    positions: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.tokens.weight, std=config.width**-0.5)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.register_buffer("positions", sinusoids(config.context, config.width), persistent=False)

    def embed(self, ids: Tensor) -> Tensor:
        """token · √width + position: (B, T, W)."""
        return self.tokens(ids) * math.sqrt(self.config.width) + self.positions[: ids.shape[1]]  # (B, T, W)

    def encode(self, source: Tensor) -> Tensor:
        """What the decoder attends to: (B, S, W)."""
        memory = self.embed(source)  # (B, S, W)
        for layer in self.encoder:
            memory = layer(memory)  # (B, S, W)
        return memory

    def forward(self, source: Tensor, ids: Tensor) -> Tensor:
        memory, x = self.encode(source), self.embed(ids)  # (B, S, W), (B, T, W)
        for layer in self.decoder:
            x = layer(x, memory)  # (B, T, W)
        return functional.linear(x, self.tokens.weight)  # (B, T, V)

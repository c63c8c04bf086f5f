"""GPT-2 (Radford et al., 2019): a pre-norm decoder over learned positions; the head is the token embedding transposed.

Queries, keys and values have a matrix each: GPT-2's one of three times the width, cut in three.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .activations import ACTIVATIONS


@dataclass(frozen=True)
class Gpt2Config:
    """Sizes of one decoder. The defaults are the docstrings model that ships with weights."""

    vocabulary: int = 96  # token ids are below this
    context: int = 256  # longest sequence
    width: int = 128  # features of a token
    depth: int = 4  # decoder layers
    heads: int = 4  # attention heads of width / heads features
    epsilon: float = 1e-5  # of the layer norms
    activation: str = "gelu_new"  # a name of `ACTIVATIONS`

    @property
    def hidden(self) -> int:
        """Features between the two linear layers of the MLP."""
        return 4 * self.width


# Table 2 of the paper; heads, vocabulary and context as in the released hparams.json files.
GPT2_SMALL = Gpt2Config(vocabulary=50257, context=1024, width=768, depth=12, heads=12)
GPT2_MEDIUM = Gpt2Config(vocabulary=50257, context=1024, width=1024, depth=24, heads=16)
GPT2_LARGE = Gpt2Config(vocabulary=50257, context=1024, width=1280, depth=36, heads=20)
GPT2_XL = Gpt2Config(vocabulary=50257, context=1024, width=1600, depth=48, heads=25)


class Attention(nn.Module):
    """Multi-head causal self-attention."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        shape = (batch, tokens, self.heads, width // self.heads)
        q = self.query(x).view(shape).transpose(1, 2)  # (B, H, T, W/H)
        k = self.key(x).view(shape).transpose(1, 2)  # (B, H, T, W/H)
        v = self.value(x).view(shape).transpose(1, 2)  # (B, H, T, W/H)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, W/H)
        return self.output(y.transpose(1, 2).reshape(batch, tokens, width))  # (B, T, W)


class Mlp(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.up = nn.Linear(config.width, config.hidden)
        self.down = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))  # (B, T, W)


class DecoderLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.epsilon)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=config.epsilon)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))  # (B, T, W)
        return x + self.mlp(self.norm2(x))  # (B, T, W)


class Gpt2(nn.Module):
    """Token ids (B, T) int64 → logits (B, T, vocabulary) of the token after each."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)

    def features(self, ids: Tensor) -> Tensor:
        """What the head reads: (B, T, W)."""
        positions = self.positions(torch.arange(ids.shape[1]))  # (T, W)
        x = self.tokens(ids) + positions  # (B, T, W)
        for layer in self.layers:
            x = layer(x)  # (B, T, W)
        return self.norm(x)

    def logits(self, x: Tensor) -> Tensor:
        """Of features (B, T, W): (B, T, V)."""
        return functional.linear(x, self.tokens.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.logits(self.features(ids))  # (B, T, V)

"""One encoder layer by itself (Vaswani et al., 2017; pre-norm after Xiong et al., 2020), with random weights.

Small enough for the smallest accelerators, and every size is a parameter: the workload for odd shapes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of one encoder layer."""

    width: int = 24  # features of a token
    heads: int = 2  # attention heads of width / heads features
    hidden: int = 48  # features between the two linear layers of the MLP
    bias: bool = True  # in the linear layers
    activation: type[nn.Module] = nn.GELU


class Attention(nn.Module):
    """Multi-head self-attention with separate projections."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width, config.bias)
        self.key = nn.Linear(config.width, config.width, config.bias)
        self.value = nn.Linear(config.width, config.width, config.bias)
        self.output = nn.Linear(config.width, config.width, config.bias)

    def forward(self, x: Tensor) -> Tensor:
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, W/H)
        k = self.key(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, W/H)
        v = self.value(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, W/H)
        y = functional.scaled_dot_product_attention(q, k, v)  # (B, H, T, W/H)
        return self.output(y.transpose(1, 2).flatten(2))  # (B, T, W)


class Mlp(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.hidden, config.bias)
        self.activation = config.activation()
        self.down = nn.Linear(config.hidden, config.width, config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))  # (B, T, W)


class PreNormLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))  # (B, T, W)
        return x + self.mlp(self.norm2(x))  # (B, T, W)


class PostNormLayer(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.norm1 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config)
        self.norm2 = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))  # (B, T, W)
        return self.norm2(x + self.mlp(x))  # (B, T, W)


def seeded(layer: type[PreNormLayer] | type[PostNormLayer], config: EncoderConfig, seed: int = 0) -> nn.Module:
    """A layer whose parameters, those of the norms too, are drawn from a seed. The global generator is left as is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = layer(config)
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()

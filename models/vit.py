"""Vision transformer (Dosovitskiy et al., 2021, "An Image Is Worth 16x16 Words").

Pre-norm encoder over patches with a [CLS] token and learned positions; the class is read from [CLS].
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .activations import Activation


@dataclass(frozen=True)
class VitConfig:
    """Sizes of one vision transformer. The defaults are the digits model that ships with weights."""

    image_size: int = 8  # pixels per side
    channels: int = 1
    patch_size: int = 2  # pixels per side; patches do not overlap
    width: int = 64  # features of a token
    depth: int = 3  # encoder layers
    heads: int = 4  # attention heads of width / heads features
    mlp_ratio: int = 4  # hidden features of the MLP / width
    classes: int = 10
    epsilon: float = 1e-5  # of the layer norms
    activation: str = "gelu"  # a name of `ACTIVATIONS`

    @property
    def patches(self) -> int:
        """Patches in one image; tokens are one more."""
        return (self.image_size // self.patch_size) ** 2


# Table 1 of the paper, for ImageNet; epsilon as in the released JAX code.
VIT_B16 = VitConfig(image_size=224, channels=3, patch_size=16, width=768, depth=12, heads=12, classes=1000,
                    epsilon=1e-6)  # fmt: skip


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.projection = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)  # (B, T, 3, H, W/H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, W/H)
        y = functional.scaled_dot_product_attention(q, k, v)  # (B, H, T, W/H)
        return self.projection(y.transpose(1, 2).reshape(batch, tokens, width))  # (B, T, W)


class EncoderLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.epsilon)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=config.epsilon)
        self.mlp = nn.Sequential(
            nn.Linear(config.width, config.mlp_ratio * config.width),
            Activation(config.activation),
            nn.Linear(config.mlp_ratio * config.width, config.width),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))  # (B, T, W)
        return x + self.mlp(self.norm2(x))  # (B, T, W)


class Vit(nn.Module):
    """Images (B, channels, image_size, image_size) → logits (B, classes)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(config.channels, config.width, config.patch_size, stride=config.patch_size)
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, 1 + config.patches, config.width) * 0.02)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self.head = nn.Linear(config.width, config.classes)

    def patches(self, images: Tensor) -> Tensor:
        """A token for each patch, without position: (B, P, W)."""
        return self.patch_embedding(images).flatten(2).transpose(1, 2)  # (B, P, W)

    def features(self, images: Tensor) -> Tensor:
        """What the layers make of [CLS] and the patches, before the last norm: (B, 1 + P, W)."""
        x = self.patches(images)  # (B, P, W)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + P, W)
        x = x + self.positions  # (B, 1 + P, W)
        for layer in self.layers:
            x = layer(x)  # (B, 1 + P, W)
        return x

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.features(images)[:, 0]))  # (B, classes)

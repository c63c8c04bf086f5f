"""Masked autoencoder (He et al., 2022, "Masked Autoencoders Are Scalable Vision Learners").

The encoder sees a quarter of the patches; a small decoder gets these and mask tokens in all other places, and draws the
pixels. The loss is the squared error of hidden patches, whose pixels are normalised patch by patch (section 3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .transformer import sinusoids
from .vit import EncoderLayer, Vit, VitConfig


@dataclass(frozen=True)
class MaeConfig:
    """Sizes of encoder and decoder; how much is seen."""

    encoder: VitConfig = VitConfig(width=32, depth=2, heads=2)
    decoder: VitConfig = VitConfig(width=16, depth=1, heads=2)
    visible: float = 0.25  # share of the patches that the encoder sees


def shuffled(patches: int, visible: float, seed: int) -> tuple[Tensor, Tensor]:
    """Which patches are seen, (1, V), and where in (the seen, the hidden) each patch is, (1, P): from noise, as in the
    paper's code, on the host."""
    order = torch.rand(1, patches, generator=torch.Generator().manual_seed(seed)).argsort(-1)  # (1, P)
    return order[:, : int(patches * visible)], order.argsort(-1)  # (1, V), (1, P)


class Mae(nn.Module):
    """Images (1, C, S, S), seen patches (1, V), places of all (1, P), both int64 → (loss, pixels (1, P, p²·C))."""

    positions: Tensor

    def __init__(self, config: MaeConfig) -> None:
        super().__init__()
        encoder, decoder = config.encoder, config.decoder
        self.side = encoder.patch_size
        self.encoder = Vit(encoder)
        del self.encoder.head, self.encoder.cls_token
        self.embed = nn.Linear(encoder.width, decoder.width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, decoder.width) * 0.02)
        self.register_buffer("positions", sinusoids(encoder.patches, decoder.width), persistent=False)
        self.layers = nn.ModuleList(EncoderLayer(decoder) for _ in range(decoder.depth))
        self.norm = nn.LayerNorm(decoder.width, eps=decoder.epsilon)
        self.pixels = nn.Linear(decoder.width, self.side**2 * encoder.channels)

    def patches(self, images: Tensor) -> Tensor:
        """The pixels of each patch: (1, P, p²·C)."""
        x = images.unflatten(3, (-1, self.side)).unflatten(2, (-1, self.side))  # (1, C, n, p, n, p)
        return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (1, P, p²·C)

    def forward(self, images: Tensor, seen: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        x = self.encoder.patches(images) + self.encoder.positions[:, 1:]  # (1, P, W)
        x = x[:, seen[0]]  # (1, V, W)
        for layer in self.encoder.layers:
            x = layer(x)  # (1, V, W)
        x = self.embed(self.encoder.norm(x))  # (1, V, D)
        hidden = places.shape[1] - seen.shape[1]
        x = torch.cat([x, self.mask_token.expand(-1, hidden, -1)], dim=1)  # (1, P, D)
        x = x[:, places[0]] + self.positions  # (1, P, D)
        for layer in self.layers:
            x = layer(x)  # (1, P, D)
        drawn = self.pixels(self.norm(x))  # (1, P, p²·C)
        target = self.patches(images)  # (1, P, p²·C)
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()  # (1, P, p²·C)
        error = (drawn - target).square().mean(-1)  # (1, P)
        masked = (places >= seen.shape[1]).float()  # (1, P)
        return (error * masked).sum() / hidden, drawn

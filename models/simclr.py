"""SimCLR (Chen et al., 2020, "A Simple Framework for Contrastive Learning of Visual Representations").

Two views of each image; the projection of one must find that of the other among all 2 B − 1 others (NT-Xent, equation
1). The encoder here is a ViT, where the paper has a ResNet.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .self_supervised import Encoder, projection, unit
from .vit import VitConfig


class SimClr(nn.Module):
    """Two views of B images, (B, C, S, S) each → the loss."""

    def __init__(self, config: VitConfig, features: int = 16, temperature: float = 0.5) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.projection = projection(config.width, config.width, features)
        self.temperature = temperature

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        count = first.shape[0]
        z = unit(self.projection(self.encoder(torch.cat([first, second]))))  # (2 B, F)
        scores = z @ z.T / self.temperature  # (2 B, 2 B)
        scores = scores.masked_fill(torch.eye(2 * count, dtype=torch.bool), -1e9)  # no view is its own pair
        pairs = torch.arange(2 * count).roll(count)  # (2 B): the other view of each
        return functional.cross_entropy(scores, pairs)  # ()

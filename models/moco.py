"""MoCo (He et al., 2020, "Momentum Contrast"): InfoNCE against a queue of keys from a slowly moving encoder.

Algorithm 1 of the paper as one step: queries from the online encoder, keys from the momentum encoder, whose weights
have followed the online ones before; then the keys take the places of the oldest in the queue, which wraps. All that a
step changes is input and result. The encoder is a ViT, as in MoCo v3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .self_supervised import Encoder, called, followed, projection, unit
from .vit import VitConfig


class MocoEncoder(nn.Module):
    """Images (B, C, S, S) → unit vectors (B, F)."""

    def __init__(self, config: VitConfig, features: int) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.projection = projection(config.width, config.width, features)

    def forward(self, images: Tensor) -> Tensor:
        return unit(self.projection(self.encoder(images)))  # (B, F)


class Moco(nn.Module):
    """Two views (B, C, S, S) of images, the queue (K, F), where it is written next (1) int64, and the weights of the
    momentum encoder → (loss, the queue and those weights after the step)."""

    def __init__(
        self, config: VitConfig, features: int = 16, momentum: float = 0.999, temperature: float = 0.07
    ) -> None:
        super().__init__()
        self.online = MocoEncoder(config, features)
        self.momentum, self.temperature = momentum, temperature

    def forward(
        self, first: Tensor, second: Tensor, queue: Tensor, place: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        weights = followed(self.momentum, weights, self.online.parameters())
        q = self.online(first)  # (B, F)
        k = called(self.online, weights, second)  # (B, F)
        positive = (q * k).sum(-1, keepdim=True)  # (B, 1)
        logits = torch.cat([positive, q @ queue.T], dim=1) / self.temperature  # (B, 1 + K)
        loss = functional.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64))  # ()
        return loss, enqueued(queue, k, place), weights


def enqueued(queue: Tensor, keys: Tensor, place: Tensor) -> Tensor:
    """The queue (K, F) with keys (B, F) in the places from `place` on, and from 0 on again where it ends."""
    count, behind = len(queue), torch.arange(len(queue))  # (K)
    turn = (behind - place) % count  # (K): which key a place gets, if there is one
    keys = torch.cat([keys, keys.new_zeros(1, keys.shape[1])])  # (B + 1, F)
    fresh = keys[turn.clamp(max=len(keys) - 1)]  # (K, F)
    return torch.where((turn < len(keys) - 1)[:, None], fresh, queue)  # (K, F)

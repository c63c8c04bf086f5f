"""DINO (Caron et al., 2021, "Emerging Properties in Self-Supervised Vision Transformers").

A student sees all crops of an image, a teacher the two large ones; the student's distribution over prototypes must
match the teacher's of another crop. The teacher's is centred and sharpened (section 3.1); its weights and the centre
follow by momentum. The last layer is normalised by rows, as in the paper's code, without its gain.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .self_supervised import called, followed, unit
from .vit import Vit, VitConfig


@dataclass(frozen=True)
class DinoConfig:
    """Sizes of head and loss."""

    hidden: int = 32  # features inside the head
    bottleneck: int = 16  # features before the prototypes
    prototypes: int = 24
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    momentum: float = 0.996  # of the teacher's weights
    centre_momentum: float = 0.9


class DinoEncoder(nn.Module):
    """Crops (B, C, S, S) of any size that patches divide → scores of prototypes (B, K)."""

    def __init__(self, vit: VitConfig, config: DinoConfig) -> None:
        super().__init__()
        self.vit = Vit(vit)
        del self.vit.head
        self.mlp = nn.Sequential(
            nn.Linear(vit.width, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.hidden), nn.GELU(),
            nn.Linear(config.hidden, config.bottleneck),
        )  # fmt: skip
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, config.bottleneck))

    def positions(self, side: int) -> Tensor:
        """Learned for the large crops; between them for small ones: (1, 1 + side², W)."""
        whole, width = self.vit.positions, self.vit.positions.shape[-1]
        large = round((whole.shape[1] - 1) ** 0.5)
        if side == large:
            return whole
        grid = whole[:, 1:].unflatten(1, (large, large)).permute(0, 3, 1, 2)  # (1, W, L, L)
        grid = functional.interpolate(grid, (side, side), mode="bicubic")  # (1, W, side, side)
        return torch.cat([whole[:, :1], grid.permute(0, 2, 3, 1).reshape(1, -1, width)], dim=1)

    def forward(self, crops: Tensor) -> Tensor:
        x = self.vit.patches(crops)  # (B, P, W)
        x = torch.cat([self.vit.cls_token.expand(len(x), -1, -1), x], dim=1)  # (B, 1 + P, W)
        x = x + self.positions(crops.shape[-1] // self.vit.config.patch_size)
        for layer in self.vit.layers:
            x = layer(x)  # (B, 1 + P, W)
        z = unit(self.mlp(self.vit.norm(x[:, 0])))  # (B, bottleneck)
        return z @ unit(self.prototypes).T  # (B, K)


class Dino(nn.Module):
    """Large crops (2, C, S, S) and small crops (N, C, s, s) of an image, the centre (K) and the teacher's weights →
    (loss, centre and weights after the step)."""

    def __init__(self, vit: VitConfig, config: DinoConfig) -> None:
        super().__init__()
        self.config = config
        self.student = DinoEncoder(vit, config)

    def forward(
        self, large: Tensor, small: Tensor, centre: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        config = self.config
        t = called(self.student, weights, large)  # (2, K)
        s = torch.cat([self.student(large), self.student(small)])  # (2 + N, K)
        target = ((t - centre) / config.teacher_temperature).softmax(-1)  # (2, K)
        scores = (s / config.student_temperature).log_softmax(-1)  # (2 + N, K)
        losses = -target @ scores.T  # (2, 2 + N)
        others = ~torch.eye(2, len(s), dtype=torch.bool)  # no crop is compared with itself
        loss = (losses * others).sum() / others.sum()  # ()
        centre = config.centre_momentum * centre + (1 - config.centre_momentum) * t.mean(0)  # (K)
        return loss, centre, followed(config.momentum, weights, self.student.parameters())

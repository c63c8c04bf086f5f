"""Mixtures of experts: Mixtral's router (Jiang et al., 2024) and DeepSeek-V3's (DeepSeek-AI, 2024), as layers.

A router scores all experts for a token; the k best compute it, weighted. Mixtral: softmax over the chosen scores.
DeepSeek-V3: sigmoids, a bias that balances the choice but not the weights, scaled weights, and an expert that all
tokens share (equations 12–16). The weights of all experts are one tensor, of which a token's choice gathers some.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .llama import SwiGlu


@dataclass(frozen=True)
class ExpertsConfig:
    """Sizes of a layer of experts. The defaults are small, for tests."""

    width: int = 32  # features of a token
    hidden: int = 16  # features inside an expert
    experts: int = 8
    chosen: int = 2  # experts of a token
    shared: int = 0  # experts that all tokens share, as one of so many times the hidden features
    scale: float = 1.0  # of the weights of chosen experts (DeepSeek's routed scaling factor)
    sigmoid: bool = False  # DeepSeek's router


MIXTRAL = ExpertsConfig(width=4096, hidden=14336, experts=8, chosen=2)  # section 2 of its paper
DEEPSEEK_V3 = ExpertsConfig(width=7168, hidden=2048, experts=256, chosen=8, shared=1, scale=2.5, sigmoid=True)


class SoftmaxRouter(nn.Module):
    """x (N, W) → weights (N, k), that sum to 1, and places (N, k) of the k best of E experts."""

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.chosen = config.chosen
        self.scores = nn.Linear(config.width, config.experts, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        best, places = self.scores(x).topk(self.chosen)  # (N, k)
        return best.softmax(-1), places  # (N, k)


class SigmoidRouter(nn.Module):
    """The same from sigmoids: a bias helps to choose, and has no part in the weights.

    The groups of experts to which the released model limits a token (node-limited routing) are left out.
    """

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.chosen, self.scale = config.chosen, config.scale
        self.scores = nn.Linear(config.width, config.experts, bias=False)
        self.register_buffer("balance", torch.zeros(config.experts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        affinity = self.scores(x).sigmoid()  # (N, E)
        places = (affinity + self.balance).topk(self.chosen).indices  # (N, k)
        best = affinity.gather(-1, places)  # (N, k)
        return self.scale * best / best.sum(-1, keepdim=True), places  # (N, k)


class Experts(nn.Module):
    """x (B, T, W) → (B, T, W): the sum of the chosen SwiGLUs of each token, and of the shared one."""

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.router = (SigmoidRouter if config.sigmoid else SoftmaxRouter)(config)
        scale = config.width**-0.5
        self.up = nn.Parameter(torch.randn(config.experts, 2 * config.hidden, config.width) * scale)  # gate, then up
        self.down = nn.Parameter(torch.randn(config.experts, config.width, config.hidden) * config.hidden**-0.5)
        self.shared = SwiGlu(config.width, config.shared * config.hidden) if config.shared else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)  # (N, W)
        weights, places = self.router(tokens)  # (N, k)
        up, down = self.up[places], self.down[places]  # (N, k, 2 F, W), (N, k, W, F)
        inner = up @ tokens[:, None, :, None]  # (N, k, 2 F, 1)
        gate, value = inner.chunk(2, dim=2)  # (N, k, F, 1)
        y = (down @ (functional.silu(gate) * value)).squeeze(-1)  # (N, k, W)
        y = (y * weights[..., None]).sum(1).view_as(x)  # (B, T, W)
        return y if self.shared is None else y + self.shared(x)

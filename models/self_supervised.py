"""What models share that learn from images without labels: a ViT as encoder, projection heads, momentum.

A momentum encoder is no trained one: its weights follow those of the online encoder, θ' ← m·θ' + (1 − m)·θ. Where that
happens on the accelerator, both are inputs and results of a program, as everything is that a run changes.
"""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from .vit import Vit, VitConfig

TINY = VitConfig(width=32, depth=2, heads=2)  # 16 patches of an image of 8 × 8 pixels


class Encoder(nn.Module):
    """Images (B, C, S, S) → the [CLS] token after the last norm, (B, W)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.vit = Vit(config)
        del self.vit.head

    def forward(self, images: Tensor) -> Tensor:
        return self.vit.norm(self.vit.features(images)[:, 0])  # (B, W)


def projection(width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear, ReLU, linear: the head of SimCLR (section 2.1) and of MoCo v2."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out))


def unit(x: Tensor) -> Tensor:
    """x (…, D) of length 1."""
    return functional.normalize(x, dim=-1)


def followed(momentum: float, slow: Iterable[Tensor], fast: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The weights of a momentum encoder after a step, from those before and those of the online encoder."""
    pairs = zip(slow, fast, strict=True)
    return tuple(momentum * before + (1 - momentum) * online.detach() for before, online in pairs)


def called(module: nn.Module, weights: Sequence[Tensor], *inputs: Tensor) -> Tensor:
    """What a module gives with other weights, in the order of its parameters, and without gradients."""
    names = [name for name, _ in module.named_parameters()]
    return functional_call(module, dict(zip(names, weights, strict=True)), inputs).detach()

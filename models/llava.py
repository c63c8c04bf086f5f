"""LLaVA (Liu et al., 2023, "Visual Instruction Tuning"; 1.5: Liu et al., 2024): a language model that sees.

A vision encoder makes features of patches, those before its last layer, without [CLS]; a projector of two layers (1.5)
makes tokens of them; the language model reads these before the text. The encoder is a ViT, the language model a Llama.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .llama import Llama, LlamaConfig
from .vit import Vit, VitConfig


@dataclass(frozen=True)
class LlavaConfig:
    """Sizes of the two models. The defaults are small, for tests."""

    vision: VitConfig = VitConfig(width=32, depth=3, heads=2)
    language: LlamaConfig = LlamaConfig(vocabulary=64, context=48, width=48, depth=2, heads=4, kv_heads=2, hidden=96)


class Llava(nn.Module):
    """Images (1, C, S, S) and ids (1, T) int64 → logits (1, T, vocabulary) of the token after each of the text."""

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__()
        width = config.language.width
        self.vision, self.language = Vit(config.vision), Llama(config.language)
        self.projector = nn.Sequential(nn.Linear(config.vision.width, width), nn.GELU(), nn.Linear(width, width))

    def see(self, images: Tensor) -> Tensor:
        """The tokens of an image: (1, P, W)."""
        vision = self.vision
        x = torch.cat([vision.cls_token, vision.patches(images)], dim=1) + vision.positions  # (1, 1 + P, V)
        for layer in vision.layers[:-1]:
            x = layer(x)  # (1, 1 + P, V)
        return self.projector(x[:, 1:])  # (1, P, W)

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        seen, language = self.see(images), self.language  # (1, P, W)
        x = torch.cat([seen, language.tokens(ids)], dim=1)  # (1, P + T, W)
        cos, sin = language.cos[: x.shape[1]], language.sin[: x.shape[1]]  # (P + T, D/2)
        for layer in language.layers:
            x = layer(x, cos, sin, None)  # (1, P + T, W)
        return language.head(language.norm(x[:, seen.shape[1] :]))  # (1, T, V)

"""I-JEPA (Assran et al., 2023, "Self-Supervised Learning … with a Joint-Embedding Predictive Architecture").

From a block of patches (the context) a predictor tells what a target encoder makes of other blocks: the loss is the
squared distance of features, not of pixels (section 3). The target encoder sees the whole image, its features are
normalised, and its weights follow the context encoder's by momentum. Blocks are chosen on the host.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .self_supervised import called, followed
from .transformer import sinusoids
from .vit import EncoderLayer, Vit, VitConfig


class PatchEncoder(nn.Module):
    """Images (1, C, S, S) and, of the patches to see, the places (V) int64 → features (1, V, W)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.vit = Vit(config)
        del self.vit.head, self.vit.cls_token

    def forward(self, images: Tensor, seen: Tensor | None = None) -> Tensor:
        x = self.vit.patches(images) + self.vit.positions[:, 1:]  # (1, P, W)
        x = x if seen is None else x[:, seen]  # (1, V, W)
        for layer in self.vit.layers:
            x = layer(x)  # (1, V, W)
        return self.vit.norm(x)  # (1, V, W)


class Predictor(nn.Module):
    """Features of the context (1, V, W), its places (V), those of a target (M), int64 → features of that (1, M, W)."""

    positions: Tensor

    def __init__(self, encoder: VitConfig, config: VitConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(encoder.width, config.width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        self.register_buffer("positions", sinusoids(encoder.patches, config.width), persistent=False)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self.output = nn.Linear(config.width, encoder.width)

    def forward(self, context: Tensor, seen: Tensor, target: Tensor) -> Tensor:
        x = self.embed(context) + self.positions[seen]  # (1, V, D)
        asked = self.mask_token + self.positions[target]  # (1, M, D)
        x = torch.cat([x, asked], dim=1)  # (1, V + M, D)
        for layer in self.layers:
            x = layer(x)  # (1, V + M, D)
        return self.output(self.norm(x[:, context.shape[1] :]))  # (1, M, W)


class IJepa(nn.Module):
    """An image (1, C, S, S), places of the context (V), of targets (N, M), all int64, and the weights of the target
    encoder → (loss, those weights after the step)."""

    def __init__(self, encoder: VitConfig, predictor: VitConfig, momentum: float = 0.996) -> None:
        super().__init__()
        self.encoder, self.predictor, self.momentum = PatchEncoder(encoder), Predictor(encoder, predictor), momentum

    def forward(
        self, image: Tensor, context: Tensor, targets: Tensor, *weights: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        features = called(self.encoder, weights, image)  # (1, P, W)
        features = functional.layer_norm(features, features.shape[-1:])  # (1, P, W)
        seen = self.encoder(image, context)  # (1, V, W)
        losses = []
        for target in targets.unbind():  # (M)
            predicted = self.predictor(seen, context, target)  # (1, M, W)
            losses.append((predicted - features[:, target]).square().mean())
        return torch.stack(losses).mean(), followed(self.momentum, weights, self.encoder.parameters())

"""Token merging (Bolya et al., 2023, "Token Merging: Your ViT But Faster"): each layer joins its r most similar pairs.

After the attention of a layer its tokens are dealt into two sets in turn; of the first, the r whose keys are nearest to
one of the second are added to it (section 3). A token is the mean of its patches, and counts as many times in the
softmax as it has patches (proportional attention, equation 1). [CLS] is never joined. Shapes are fixed: T − r a layer.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .vit import Vit


def merge(x: Tensor, size: Tensor, keys: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """x (B, T, W) and how many patches each token has (B, T, 1), joined by the similarity of keys (B, T, D): T − r."""
    metric = functional.normalize(keys, dim=-1)  # (B, T, D)
    scores = metric[:, 2::2] @ metric[:, 1::2].transpose(1, 2)  # (B, E, O): even tokens but [CLS], against odd ones
    best, partner = scores.max(-1)  # (B, E)
    order = best.argsort(-1, descending=True)  # (B, E)
    joined, kept = order[:, :r, None], order[:, r:, None]  # (B, r, 1), (B, E − r, 1)
    to = partner[..., None].gather(1, joined)  # (B, r, 1)
    sums = torch.cat([x * size, size], dim=-1)  # (B, T, W + 1): of patches, and of how many
    first, even, odd = sums[:, :1], sums[:, 2::2], sums[:, 1::2]  # (B, 1 / E / O, W + 1)
    width = sums.shape[-1]
    even, moved = (even.gather(1, places.expand(-1, -1, width)) for places in (kept, joined))  # (B, E − r / r, W + 1)
    odd = odd.scatter_add(1, to.expand(-1, -1, width), moved)  # (B, O, W + 1)
    found = torch.cat([first, even, odd], dim=1)  # (B, T − r, W + 1)
    return found[..., :-1] / found[..., -1:], found[..., -1:]  # (B, T − r, W), (B, T − r, 1)


class MergingVit(nn.Module):
    """Images (B, C, S, S) → logits (B, classes), by a ViT whose layers each join r pairs of tokens."""

    def __init__(self, vit: Vit, r: int) -> None:
        super().__init__()
        self.vit, self.layers, self.r = vit, list[Any](vit.layers), r

    def attend(self, attention: Any, x: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        """The attention of a layer, in proportion to sizes, (B, T, W), and the mean of its keys, (B, T, D)."""
        batch, tokens, width = x.shape
        heads = attention.heads
        qkv = attention.qkv(x).view(batch, tokens, 3, heads, width // heads)  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, D)
        bias = size.log().transpose(1, 2)[:, None]  # (B, 1, 1, T)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # (B, H, T, D)
        return attention.projection(y.transpose(1, 2).reshape(batch, tokens, width)), k.mean(1)

    def forward(self, images: Tensor) -> Tensor:
        vit = self.vit
        first = vit.cls_token.expand(len(images), -1, -1)  # (B, 1, W)
        x = torch.cat([first, vit.patches(images)], dim=1) + vit.positions  # (B, T, W)
        size = torch.ones(len(images), x.shape[1], 1)  # (B, T, 1)
        for layer in self.layers:
            y, keys = self.attend(layer.attention, layer.norm1(x), size)  # (B, T, W), (B, T, D)
            x = x + y  # (B, T, W)
            if self.r:
                x, size = merge(x, size, keys, self.r)  # (B, T − r, W)
            x = x + layer.mlp(layer.norm2(x))  # (B, T − r, W)
        return vit.head(vit.norm(x[:, 0]))  # (B, classes)

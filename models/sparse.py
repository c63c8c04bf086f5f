"""Sparse attention: which keys a query sees, as masks (T, T) bool, in blocks where the papers have blocks.

Window, global and random blocks together are BigBird (Zaheer et al., 2020); strided and fixed patterns are those of
Sparse Transformers (Child et al., 2019); a dilated window is Longformer's (Beltagy et al., 2020). The compiler loads
and computes the tiles alone that a mask has something in.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def _places(tokens: int) -> tuple[Tensor, Tensor]:
    """Of the query, (T, 1), and of the key, (T)."""
    return torch.arange(tokens)[:, None], torch.arange(tokens)


def _spread(blocks: Tensor, size: int) -> Tensor:
    """Blocks (N, N) → (N·size, N·size)."""
    return blocks.repeat_interleave(size, 0).repeat_interleave(size, 1)


def dense(tokens: int) -> Tensor:
    """Everything."""
    return torch.ones(tokens, tokens, dtype=torch.bool)


def causal(tokens: int) -> Tensor:
    """What came before, and itself."""
    return dense(tokens).tril()


def window(tokens: int, block: int = 64, width: int = 3) -> Tensor:
    """The `width` blocks around its own."""
    query, key = _places(tokens // block)
    return _spread((query - key).abs() <= width // 2, block)


def global_blocks(tokens: int, block: int = 64, count: int = 2) -> Tensor:
    """The first `count` blocks see all, and are seen by all; others see themselves too."""
    query, key = _places(tokens // block)
    return _spread((query < count) | (key < count) | (query == key), block)


def random_blocks(tokens: int, block: int = 64, count: int = 3, seed: int = 0) -> Tensor:
    """`count` blocks drawn for each, and its own."""
    blocks = tokens // block
    drawn = torch.rand(blocks, blocks, generator=torch.Generator().manual_seed(seed)).argsort(-1)  # (N, N)
    return _spread((drawn < count) | torch.eye(blocks, dtype=torch.bool), block)


def big_bird(tokens: int, block: int = 64) -> Tensor:
    """3 blocks in the window, 2 global ones, 3 random ones (section 2 of the paper)."""
    return window(tokens, block) | global_blocks(tokens, block) | random_blocks(tokens, block)


def strided(tokens: int, stride: int = 64) -> Tensor:
    """The last `stride` tokens, and each that is a multiple of `stride` before; causal."""
    query, key = _places(tokens)
    distance = query - key
    return (distance >= 0) & ((distance < stride) | (distance % stride == 0))


def fixed(tokens: int, stride: int = 64, summary: int = 16) -> Tensor:
    """The tokens of its own stretch of `stride`, and the last `summary` of each stretch before; causal."""
    query, key = _places(tokens)
    return (key <= query) & ((query // stride == key // stride) | (key % stride >= stride - summary))


def dilated(tokens: int, width: int = 64, dilation: int = 4) -> Tensor:
    """Each `dilation`-th of the tokens around, `width` of them, as in a head of Longformer."""
    query, key = _places(tokens)
    distance = (query - key).abs()
    return (distance % dilation == 0) & (distance <= width * dilation // 2)


def longformer(tokens: int, width: int = 64, special: int = 16) -> Tensor:
    """The `width` tokens on either side; the first `special` see all and are seen by all."""
    query, key = _places(tokens)
    return ((query - key).abs() <= width) | (query < special) | (key < special)


PATTERNS: dict[str, Callable[..., Tensor]] = {
    "dense": dense, "causal": causal, "window": window, "global": global_blocks, "random": random_blocks,
    "big-bird": big_bird, "strided": strided, "fixed": fixed, "dilated": dilated, "longformer": longformer,
    "causal-big-bird": lambda tokens, *sizes: big_bird(tokens, *sizes) & causal(tokens),
}  # fmt: skip


def live_blocks(mask: Tensor, block: int = 16) -> int:
    """How many blocks of block × block have something in sight."""
    rows, columns = (size // block for size in mask.shape)
    return int(mask.view(rows, block, columns, block).any(3).any(1).sum())


class SparseAttention(nn.Module):
    """Self-attention under a mask (T, T): x (B, T, W) → (B, T, W)."""

    mask: Tensor

    def __init__(self, mask: Tensor, width: int = 64, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        split = (self.heads, -1)
        q = self.query(x).unflatten(-1, split).transpose(1, 2)  # (B, H, T, W/H)
        k = self.key(x).unflatten(-1, split).transpose(1, 2)  # (B, H, T, W/H)
        v = self.value(x).unflatten(-1, split).transpose(1, 2)  # (B, H, T, W/H)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)  # (B, H, T, W/H)
        return self.output(y.transpose(1, 2).flatten(2))  # (B, T, W)

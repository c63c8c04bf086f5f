"""Weight matrices: int8 codes with a scale per output channel, and how WEIGHT and PARAM hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..arch.config import HardwareConfig

_SMALLEST = np.float32(2.0**-60)  # largest magnitude assumed for a channel of zeros


@dataclass(frozen=True)
class Matrix:
    """y[n] = (Σ_k codes[n, k]·x[k])·scale[n] + offset[n]. An output channel is a row here, as in torch's Linear."""

    codes: NDArray[np.int8]  # (N, K)
    scale: NDArray[np.float32]  # (N,)
    offset: NDArray[np.float32]  # (N,)

    @property
    def outputs(self) -> int:
        """N."""
        return self.codes.shape[0]

    @property
    def depth(self) -> int:
        """K."""
        return self.codes.shape[1]

    def __str__(self) -> str:
        return f"int8[{self.outputs}×{self.depth}]"

    def part(self, start: int, stop: int) -> Matrix:
        """Some of the output channels."""
        return Matrix(self.codes[start:stop], self.scale[start:stop], self.offset[start:stop])

    def spread(self, segment: int, per_word: int) -> Matrix:
        """With K in segments that each start a new word: zero weights at the pads."""
        if not segment or segment % per_word == 0:
            return self
        pad = -segment % per_word
        pieces = self.codes.reshape(self.outputs, -1, segment)
        codes = np.pad(pieces, ((0, 0), (0, 0), (0, pad))).reshape(self.outputs, -1)
        return Matrix(codes, self.scale, self.offset)

    def padded(self, config: HardwareConfig) -> Matrix:
        """With N rounded up to whole words and K to whole tiles, by zeros."""
        more_n, more_k = -self.outputs % config.columns, -self.depth % config.rows
        codes = np.pad(self.codes, ((0, more_n), (0, more_k)))
        return Matrix(codes, np.pad(self.scale, (0, more_n)), np.pad(self.offset, (0, more_n)))

    def words(self, config: HardwareConfig) -> NDArray[np.int8]:
        """(words of N, words of K, columns) int8 for WEIGHT: the block of an n-tile, in it a word per k."""
        full = self.padded(config)
        return full.codes.reshape(-1, config.columns, full.depth).transpose(0, 2, 1)

    def pairs(self, config: HardwareConfig) -> NDArray[np.float32]:
        """(words of N, columns, 2) float32 for PARAM: scale and offset."""
        return pairs_of_columns(self.scale, self.offset, config)


def quantise_matrix(weight: Tensor, bias: Tensor | None, factor: float = 1.0) -> Matrix:
    """weight (N, K) and bias (N) → codes, ±127 at each channel's largest magnitude. `factor` multiplies the output."""
    w = weight.detach().double().numpy()
    greatest = np.maximum(np.abs(w).max(axis=1), _SMALLEST)
    codes = np.rint(w * (127 / greatest)[:, None]).astype(np.int8)
    offset = np.zeros(len(w)) if bias is None else bias.detach().double().numpy() * factor
    return Matrix(codes, (greatest / 127 * factor).astype(np.float32), offset.astype(np.float32))


def pairs_of_columns(scale: ArrayLike, offset: ArrayLike, config: HardwareConfig) -> NDArray[np.float32]:
    """scale (N) and offset (N) → (words of N, columns, 2) for PARAM."""
    pairs = np.stack([np.asarray(scale, np.float32), np.asarray(offset, np.float32)], -1)
    return np.pad(pairs, ((0, -len(pairs) % config.columns), (0, 0))).reshape(-1, config.columns, 2)


def joined(matrices: Sequence[Matrix], config: HardwareConfig) -> Matrix:
    """Outputs side by side, each matrix starting a new word."""
    full = [matrix.padded(config) for matrix in matrices]
    return Matrix(*(np.concatenate([getattr(m, name) for m in full]) for name in ("codes", "scale", "offset")))

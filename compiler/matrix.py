"""Weight matrices: codes with a scale per output channel, and how WEIGHT and PARAM hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..arch.config import HardwareConfig
from ..arch.numerics import CODE_LIMIT, WIDE_CODE_LIMIT, digits, to_bf16
from .precision import Precision
from .weightless import concatenated, has_bytes, padded, shape_only

_OF_ZEROS = 2.0**-60  # largest magnitude assumed for a channel of zeros


@dataclass(frozen=True)
class Matrix:
    """y[n] = (Σ_k codes[n, k]·x[k])·scale[n] + offset[n]. An output channel is a row here, as in torch's Linear.

    Codes are int8, or bf16 numbers as float32. Where there are low digits, a code is 256·codes + low.
    """

    codes: NDArray  # (N, K)
    scale: NDArray[np.float32]  # (N,)
    offset: NDArray[np.float32]  # (N,)
    low: NDArray[np.int8] | None = None  # (N, K)

    @property
    def outputs(self) -> int:
        """N."""
        return self.codes.shape[0]

    @property
    def depth(self) -> int:
        """K."""
        return self.codes.shape[1]

    def __str__(self) -> str:
        kind = "int8" if self.codes.dtype == np.int8 else "bf16"
        return f"{kind if self.low is None else 'int16'}[{self.outputs}×{self.depth}]"

    @property
    def digits(self) -> list[Matrix]:
        """The matrix of the high digits, and that of the low ones if there are any."""
        return [self] if self.low is None else [replace(self, low=None), replace(self, codes=self.low, low=None)]

    def _with_codes(self, change: Callable[[NDArray], NDArray], **others: NDArray) -> Matrix:
        """All digits changed alike."""
        return replace(self, codes=change(self.codes), low=None if self.low is None else change(self.low), **others)

    def part(self, start: int, stop: int) -> Matrix:
        """Some of the output channels."""
        if (start, stop) == (0, self.outputs):
            return self
        return self._with_codes(
            lambda codes: codes[start:stop], scale=self.scale[start:stop], offset=self.offset[start:stop]
        )

    def deep_part(self, start: int, stop: int) -> Matrix:
        """Some of K; the offset is in the first."""
        part = self._with_codes(lambda codes: codes[:, start:stop])
        return part if start == 0 or not has_bytes(self.offset) else replace(part, offset=np.zeros_like(self.offset))

    def spread(self, segment: int, per_word: int) -> Matrix:
        """With K in segments that each start a new word: zero weights at the pads."""
        if not segment or segment % per_word == 0:
            return self
        pad = -segment % per_word

        def filled(codes: NDArray) -> NDArray:
            pieces = codes.reshape(self.outputs, -1, segment)
            return padded(pieces, ((0, 0), (0, 0), (0, pad))).reshape(self.outputs, -1)

        return self._with_codes(filled)

    def padded(self, config: HardwareConfig) -> Matrix:
        """With N rounded up to whole words and K to whole tiles, by zeros."""
        more_n, more_k = -self.outputs % config.columns, -self.depth % config.rows
        if not (more_n or more_k):
            return self
        return self._with_codes(
            lambda codes: padded(codes, ((0, more_n), (0, more_k))),
            scale=padded(self.scale, [(0, more_n)]), offset=padded(self.offset, [(0, more_n)]),
        )  # fmt: skip

    def words(self, config: HardwareConfig) -> NDArray:
        """(words of N, words of K, columns) for WEIGHT: the block of an n-tile, in it a word per k. Of `codes` only."""
        full = self.padded(config)
        return full.codes.reshape(-1, config.columns, full.depth).transpose(0, 2, 1)

    def pairs(self, config: HardwareConfig) -> NDArray[np.float32]:
        """(words of N, columns, 2) float32 for PARAM: scale and offset."""
        return pairs_of_columns(self.scale, self.offset, config)


def quantise_matrix(
    weight: Tensor, bias: Tensor | None, factor: float = 1.0, precision: Precision = Precision.W8A8
) -> Matrix:
    """weight (N, K) and bias (N) → codes, ±127 at each channel's largest magnitude (±32639 with two digits, the numbers
    themselves in bf16). `factor` multiplies the output. Codes of a weight without bytes have none."""
    if not has_bytes(weight, bias):
        return _shape_of_matrix(weight, precision)
    w = weight.detach().double().numpy()
    offset = np.zeros(len(w)) if bias is None else bias.detach().double().numpy() * factor
    offset = offset.astype(np.float32)
    if precision is Precision.BF16:
        return Matrix(to_bf16(w.astype(np.float32)), np.full(len(w), factor, np.float32), offset)
    limit = float(WIDE_CODE_LIMIT if precision.weight_digits == 2 else CODE_LIMIT)
    greatest = np.abs(w).max(axis=1)
    greatest[greatest == 0] = _OF_ZEROS
    codes = np.rint(w * (limit / greatest)[:, None]).astype(np.int64)
    scale = (greatest / limit * factor).astype(np.float32)
    if precision.weight_digits == 2:
        high, low = digits(codes)
        return Matrix(high, scale, offset, low)
    return Matrix(codes.astype(np.int8), scale, offset)


def _shape_of_matrix(weight: Tensor, precision: Precision) -> Matrix:
    codes = shape_only(weight.shape, np.float32 if precision is Precision.BF16 else np.int8)
    column = shape_only(weight.shape[:1])
    return Matrix(codes, column, column, codes if precision.weight_digits == 2 else None)


def pairs_of_columns(scale: NDArray | Tensor, offset: NDArray | Tensor, config: HardwareConfig) -> NDArray[np.float32]:
    """scale (N) and offset (N) → (words of N, columns, 2) for PARAM."""
    if not has_bytes(scale, offset):
        return shape_only((-(-len(scale) // config.columns), config.columns, 2))
    pairs = np.stack([np.asarray(scale, np.float32), np.asarray(offset, np.float32)], -1)
    return np.pad(pairs, ((0, -len(pairs) % config.columns), (0, 0))).reshape(-1, config.columns, 2)


def joined(matrices: Sequence[Matrix], config: HardwareConfig) -> Matrix:
    """Outputs side by side, each matrix starting a new word."""
    full = [matrix.padded(config) for matrix in matrices]
    if len(full) == 1:
        return full[0]
    names = ("codes", "scale", "offset") + ("low",) * (full[0].low is not None)
    return Matrix(**{name: concatenated([getattr(m, name) for m in full]) for name in names})

"""Emits what a panel of queries does with live tiles of keys (sight.py): scores, softmax, P·V.

Scores of live tiles lie side by side, so softmax sees nothing of the others. Tiles that follow each other on chip are
one product.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.config import Memory
from ..arch.isa import Masking, Matmul, OnlineSoftmax, Softmax
from .builder import Tiles
from .sight import Band, Hidden, Panel, Sight
from .sight import stretches as _stretches
from .tasks import Buffer

_MASKS_SHARE = 4  # masks that stay on chip take at most so small a part of VALUE


@dataclass(frozen=True)
class Codes:
    """Codes of queries: k-tiles of a row, where the first row is, and where its scale."""

    words: int
    address: int
    scales: int


@dataclass(frozen=True)
class Keys:
    """Keys or values of some tiles on chip, one tile behind the other."""

    tiles: Sequence[int]
    buffer: Buffer
    stride: int  # of keys: from a word of tokens to the next; of values: from a word of features to the next


@dataclass
class Live:
    """Works on the tiles that panels of queries see."""

    tiles: Tiles
    sight: Sight
    unit: int  # tokens of a tile
    masks: dict[bytes, tuple[int, int]] = field(default_factory=dict)  # those on chip: (address, stride)
    mask_words: int = 0

    def tokens(self, chosen: Sequence[int]) -> int:
        """Tokens of some tiles."""
        last = -(-self.sight.keys // self.unit) - 1
        return len(chosen) * self.unit - (self.unit * (last + 1) - self.sight.keys if last in chosen[-1:] else 0)

    def words(self, chosen: Sequence[int]) -> int:
        """Words of scores that they make."""
        return -(-self.tokens(chosen) // self.tiles.config.columns)

    def scores(
        self, queries: Codes, rows: int, keys: Keys, chosen: Sequence[int], address: int, stride: int, what: str
    ) -> None:  # fmt: skip
        """Of queries with some tiles of keys, side by side from `address` in ACC."""
        config, at = self.tiles.config, 0
        for _, place, count in self.stretches(keys, chosen):
            words = self.words(keys.tiles[place : place + count])
            self.tiles.emit(
                Matmul(rows=rows, k_tiles=queries.words, n_tiles=words, act_address=queries.address,
                       act_stride=queries.words, weight_stride=queries.words * config.rows,
                       weight_address=keys.buffer.at(place * self.unit // config.columns * keys.stride),
                       acc_address=address + at, acc_stride=stride), f"{what} scores",
            )  # fmt: skip
            at += words

    def weighted(
        self, probabilities: int, act_words: int, rows: int, values: Keys, chosen: Sequence[int], sums: int, words: int,
        what: str, accumulate: bool = False,
    ) -> None:  # fmt: skip
        """Probabilities side by side from an address in ACT on (`act_words` a row) times the values of some tiles."""
        config = self.tiles.config
        for at, place, count in self.stretches(values, chosen):
            tokens = self.tokens(values.tiles[place : place + count])
            self.tiles.emit(
                Matmul(rows=rows, k_tiles=-(-tokens // config.rows), n_tiles=words,
                       act_address=probabilities + at * self.unit // config.rows, act_stride=act_words,
                       weight_address=values.buffer.at(place * self.unit), weight_stride=values.stride,
                       acc_address=sums, acc_stride=words, accumulate=int(accumulate)), f"{what} p·v",
            )  # fmt: skip
            accumulate = True

    def softmax(
        self, panel: Panel, hidden: Hidden, front: dict[str, Any], what: str
    ) -> None:  # fmt: skip
        """Of all that a panel sees; `front` has the other operands of the instruction."""
        band, numbers = hidden
        mask, address, stride = Masking.NONE, 0, 0
        if numbers is not None:
            mask, (address, stride) = Masking.ADDITIVE, self._mask(numbers)
        self.tiles.emit(
            Softmax(rows=panel.count, **front, causal=int(band.causal), offset=band.offset, window=band.window,
                    mask=mask, operand_address=address, operand_stride=stride), f"{what} softmax",
        )  # fmt: skip

    def online(self, panel: Panel, band: Band, state: Buffer, first: bool, front: dict[str, Any], what: str) -> None:
        """Of some of it, behind what came before."""
        self.tiles.emit(
            OnlineSoftmax(rows=panel.count, **front, causal=int(band.causal), offset=band.offset, window=band.window,
                          first=int(first), state_address=state.at(0)), f"{what} softmax",
        )  # fmt: skip

    def stretches(self, keys: Keys, chosen: Sequence[int]) -> list[tuple[int, int, int]]:
        """(number among the chosen, place on chip, count) of tiles that follow each other on chip."""
        place = {tile: number for number, tile in enumerate(keys.tiles)}
        return _stretches([place[tile] for tile in chosen])

    def _mask(self, numbers: NDArray[np.float32]) -> tuple[int, int]:
        """(address, stride) in VALUE of numbers for each score. Equal ones are there once, as long as there is room."""
        tiles, name = self.tiles, hashlib.sha256(repr(numbers.shape).encode() + numbers.tobytes()).digest()
        if name in self.masks:
            return self.masks[name]
        tensor = tiles.mask_rows(name, numbers)
        words = -(-numbers.shape[1] // tiles.config.columns)
        buffer = tiles.buffer(Memory.VALUE, len(numbers) * words, "mask")
        tiles.load_tensor(tensor, 0, len(numbers), buffer.at(0), "load")
        if self.mask_words + buffer.words <= tiles.config.words(Memory.VALUE) // _MASKS_SHARE:
            self.masks[name] = buffer.at(0), words
            self.mask_words += buffer.words
        return buffer.at(0), words

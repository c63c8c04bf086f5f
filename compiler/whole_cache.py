"""Cached attention over the whole cache at once, for scores that the softmax of blocks has no place for: a number is
added to each, or a function is applied to them first.

A row of numbers in VALUE for each query, chosen by its position, is added to its scores: −∞ hides what comes later, and
what no token has been written to yet. Where scores go through a function, VECTOR applies it and adds the row, and the
softmax reads VALUE and gives probabilities there. The scales of keys are wanted before it then, and those of values
behind: the cache has two pairs for each token, (scale of its key, 0) and (scale of its value, 0).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..arch.config import Memory
from ..arch.isa import Combine, Map, Masking, Matmul, Quantise, Result, Softmax, Source
from ..arch.isa import Part as CachePart
from .builder import Tiles
from .flash import CachedAttention, Place, QueryPanel
from .graph import Node
from .matrix import pairs_of_columns
from .tasks import Buffer


class WholeCacheAttention(CachedAttention):
    """Emits the instructions of one layer."""

    def __init__(self, node: Node, tiles: Tiles) -> None:
        super().__init__(node, tiles)
        self.biases = node.biases  # rows that are added to scores: one for each head, or for all
        self.function = node.attributes.get("function", "")
        self.act_words = -(-self.tokens // self.config.rows)

    def _new_pairs(self, words: int) -> list[Buffer]:
        if not self.function:
            return super()._new_pairs(words)
        zeros = np.zeros((words, self.config.columns, 2), np.float32)
        return [self.tiles.load_pairs(f"{self.tiles.label}.new {role} scales", zeros) for role in ("key", "value")]

    def _blocks_there(self, sequence: int, rows: int, start: int) -> tuple[int, int]:
        """All that the cache has room for."""
        return 0, 0

    def _attend(self, sequence: int, kv_head: int) -> None:
        """All queries that share a kv-head."""
        keys, values, pairs = self._stream(sequence, kv_head, 0, self.tokens)
        of_values = pairs
        if self.function:
            of_values = self.tiles.buffer(Memory.PARAM, pairs.words, "v scales")
            blocks = -(-self.tokens // self.config.columns)
            self._stream_of(sequence, kv_head, 0, blocks)(CachePart.PAIRS, of_values, 0, 1, 1, second=True)
        for panel in self._queries_of(sequence, kv_head):
            scores, stride = self._scores(panel, keys)
            if self.function:
                codes = self._shaped(panel, scores, stride, pairs, of_values)
            else:
                codes = self._added(panel, scores, stride, pairs)
            self._weighted(panel, *codes, values)

    def _scores(self, panel: QueryPanel, keys: Buffer) -> tuple[Buffer, int]:
        """Products of queries and keys, and words of a row of them."""
        blocks = -(-self.tokens // self.config.columns)
        codes, _, at = self._query(panel)
        scores = self.tiles.buffer(Memory.ACC, panel.count * blocks, "scores")
        self.tiles.emit(
            Matmul(rows=panel.count, k_tiles=self.query_words, n_tiles=blocks,
                   act_address=codes.at(at * self.query_words), act_stride=self.query_words, weight_address=keys.at(0),
                   weight_stride=self.query_words * self.config.rows, acc_address=scores.at(0), acc_stride=blocks),
            f"head {panel.head} scores",
        )  # fmt: skip
        return scores, blocks

    def _added(self, panel: QueryPanel, scores: Buffer, stride: int, pairs: Buffer) -> tuple[Buffer, Buffer]:
        """Codes of probabilities, and their scales."""
        codes, scales = self._codes(panel)
        self.tiles.emit(
            Softmax(rows=panel.count, columns=self.tokens, **self._sums(panel, scores, stride, pairs),
                    mask=Masking.ADDITIVE, **self._bias(panel, stride), address=codes.at(0), stride=self.act_words,
                    scales_address=scales.at(0)), f"head {panel.head} softmax",
        )  # fmt: skip
        return codes, scales

    def _shaped(
        self, panel: QueryPanel, scores: Buffer, stride: int, pairs: Buffer, of_values: Buffer
    ) -> tuple[Buffer, Buffer]:
        """The same of scores that go through the function."""
        tiles, what = self.tiles, f"head {panel.head}"
        shaped = tiles.buffer(Memory.VALUE, panel.count * stride, "scores")
        front: dict[str, Any] = {"rows": panel.count, "columns": self.tokens}
        back: dict[str, Any] = {"source": Source.VALUE, "source_address": shaped.at(0), "source_stride": stride}
        tiles.emit(
            Map(**front, source=Source.ACC, scaled=1, row_scaled=1, **self._sums(panel, scores, stride, pairs),
                function=tiles.function(self.function), combine=Combine.ADD, **self._bias(panel, stride),
                address=shaped.at(0), stride=stride), f"{what} {self.function}",
        )  # fmt: skip
        row = torch.ones(self.tokens, dtype=torch.float64)
        units = tiles.load_pairs("log2(e)", pairs_of_columns(row * math.log2(math.e), row, self.config))
        tiles.emit(
            Softmax(**front, **back, param_address=units.at(0), result=Result.VALUES, address=shaped.at(0),
                    stride=stride), f"{what} softmax",
        )  # fmt: skip
        codes, scales = self._codes(panel)
        tiles.emit(
            Quantise(**front, **back, scaled=1, param_address=of_values.at(0), address=codes.at(0),
                     stride=self.act_words, scales_address=scales.at(0)), f"{what} p quantise",
        )  # fmt: skip
        return codes, scales

    def _codes(self, panel: QueryPanel) -> tuple[Buffer, Buffer]:
        return (self.tiles.buffer(Memory.ACT, panel.count * self.act_words, "p"),
                self.tiles.buffer(Memory.ROW, panel.count, "p scales"))  # fmt: skip

    def _sums(self, panel: QueryPanel, scores: Buffer, stride: int, pairs: Buffer) -> dict[str, Any]:
        """The operands of who reads products, with their scales."""
        _, scales, at = self._query(panel)
        return {"source_address": scores.at(0), "source_stride": stride, "param_address": pairs.at(0),
                "row_address": scales.at(at)}  # fmt: skip

    def _bias(self, panel: QueryPanel, stride: int) -> dict[str, Any]:
        """The rows that are added."""
        rows = self.tiles.values(self.node.inputs[-1])
        step = rows.words // self.biases if self.biases > 1 else 0  # from a head to the next
        place = Place(rows, 0, step, stride)
        address, step = self._rows_at(place, panel.start, panel.count, panel.head, panel.together)
        return {"operand_address": address, "operand_stride": step}

    def _weighted(self, panel: QueryPanel, codes: Buffer, scales: Buffer, values: Buffer) -> None:
        """P·V."""
        tiles, config, act_words, what = self.tiles, self.config, self.act_words, f"head {panel.head}"
        sums = tiles.buffer(Memory.ACC, panel.count * self.value_words, "p·v")
        tiles.emit(
            Matmul(rows=panel.count, k_tiles=act_words, n_tiles=self.value_words, act_address=codes.at(0),
                   act_stride=act_words, weight_address=values.at(0), weight_stride=values.words // self.value_words,
                   acc_address=sums.at(0), acc_stride=self.value_words), f"{what} p·v",
        )  # fmt: skip
        out = Place(self.attended, 0, self.value_words, self.value_words)
        address, stride = self._rows_at(out, panel.start, panel.count, panel.head, panel.together)
        tiles.emit(
            Map(rows=panel.count, columns=self.value_words * config.columns, source=Source.ACC,
                source_address=sums.at(0), source_stride=self.value_words, row_scaled=1, row_address=scales.at(0),
                address=address, stride=stride), f"{what} output",
        )  # fmt: skip

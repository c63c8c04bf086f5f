"""Rows of a table, one for the position of each token: learned positions."""

from __future__ import annotations

import numpy as np

from ..builder import Rows, Tiles
from ..graph import Graph, Node
from ..weightless import has_bytes, shape_only, to_numpy
from .embedding import gather_rows


def match(graph: Graph, node: Node) -> bool:
    """Never: the pass `take_tokens` makes it."""
    return False


def tile(node: Node, tiles: Tiles) -> None:
    """One gather per panel."""
    gather_rows(tiles, tiles.new_values(node), to_numpy(node.table), node.inputs[0], f"{tiles.label}.weight")


def rotary_rows(tiles: Tiles, positions: Node, cos: np.ndarray, sin: np.ndarray) -> Rows:
    """For each token the cosines and sines (positions, D/2) of a head of D features, in VALUE: a row of words for the
    cosines, as many for the sines, those of the first half negated. Each half starts a word of its own."""
    per_word = tiles.config.columns
    words = -(-cos.shape[1] // per_word)
    if has_bytes(cos, sin):
        pad = ((0, 0), (0, words * per_word - cos.shape[1]))
        cos, sin = np.pad(cos, pad), np.pad(sin, pad)
        table = np.concatenate([cos, cos, -sin, sin], axis=1).astype(np.float32)
        key = table.tobytes()
    else:
        table = shape_only((len(cos), 4 * words * per_word))
        key = table.shape
    if key not in tiles.rotary:
        tiles.rotary[key] = tiles.free_rows(positions.size, table.shape[1], "rotary")
        gather_rows(tiles, tiles.rotary[key], table, positions, "rotary table", ("rotary", key))
    return tiles.rotary[key]

"""Rows of a table, one for the position of each token: learned positions."""

from __future__ import annotations

import numpy as np

from ...arch.config import HardwareConfig
from ..builder import Rows, Tiles
from ..graph import Graph, Node
from ..weightless import has_bytes, shape_only, to_numpy
from .embedding import gather_rows


def match(graph: Graph, node: Node) -> bool:
    """Never: the pass `take_tokens` makes it."""
    return False


def tile(node: Node, tiles: Tiles) -> None:
    """One gather per panel. With a `segment` so many numbers of a row begin a word each."""
    table, segment = to_numpy(node.table), node.attributes.get("segment", 0)
    if segment % tiles.config.columns:
        parts = table.reshape(len(table), -1, segment)
        table = np.pad(parts, ((0, 0), (0, 0), (0, -segment % tiles.config.columns))).reshape(len(table), -1)
    gather_rows(tiles, tiles.new_values(node, segment=segment), table, node.inputs[0], f"{tiles.label}.weight")


def halves_apart(width: int, config: HardwareConfig) -> bool:
    """Whether each half of a head of `width` rotated features must start a word, because the head does not fill its
    words or half of it is not whole groups of lanes."""
    return width % config.columns != 0 or width % (2 * config.vector_lanes) != 0


def rotary_rows(tiles: Tiles, positions: Node, cos: np.ndarray, sin: np.ndarray) -> Rows:
    """For each token the cosines and sines (positions, D/2) of a head of D features, in VALUE: a row of words for the
    cosines, as many for the sines, those of the first half negated."""
    half = cos.shape[1]
    if halves_apart(2 * half, tiles.config):
        half = -(-half // tiles.config.columns) * tiles.config.columns
    if has_bytes(cos, sin):
        pad = ((0, 0), (0, half - cos.shape[1]))
        cos, sin = np.pad(cos, pad), np.pad(sin, pad)
        table = np.concatenate([cos, cos, -sin, sin], axis=1).astype(np.float32)
        key = table.tobytes()
    else:
        table = shape_only((len(cos), 4 * half))
        key = table.shape
    if key not in tiles.rotary:
        rows = tiles.group[1] if tiles.group else positions.size
        tiles.rotary[key] = tiles.free_rows(rows, table.shape[1], "rotary")
        gather_rows(tiles, tiles.rotary[key], table, positions, "rotary table", ("rotary", key))
    return tiles.rotary[key]

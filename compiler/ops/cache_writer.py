"""Keys and values that an attention of a decoder makes of its source, such as the states of an encoder: made once, and
written to the cache, from which `cached_attention` reads them in every run for tokens.

The value of the node is its last input as it is, so that writers form a chain that ends in a result.
"""

from __future__ import annotations

from ..builder import Tiles
from ..coder import Coder
from ..flash import CachedAttention
from ..graph import Graph, Node
from . import cached_attention


def match(graph: Graph, node: Node) -> bool:
    """Never: `source.take_source` makes it."""
    return False


def quantise(node: Node, coder: Coder) -> None:
    """A matrix of codes for each part that has a weight."""
    *_, carried = node.inputs
    cached_attention.quantise(node, coder)
    node.inputs[-1] = carried


def macs(node: Node) -> int:
    """Those of the projections."""
    return node.rows * node.token_macs


def tile(node: Node, tiles: Tiles) -> None:
    """Project and append."""
    CachedAttention(node, tiles).append()
    tiles.set_values(node, tiles.plain_values(node.inputs[-1]))

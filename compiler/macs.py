"""Useful multiply-accumulates: what the products of the model take, however they are tiled and computed.

Of a linear layer: tokens × features read × features given; of one that an attention takes in, only the features that it
reads, each once, however many heads share them. Of an attention: for each head and each pair of a query and a key that
it sees, the features of the key and of the value. A pair is seen unless the causal triangle, a window or a constant
mask (False, or −∞ added to the score) hides it. Padding, passes for more precision and what is computed once more do
not count; norms, activations, sums and gathers are no products of the array.

In a decoder the pairs depend on the position: `Program.total_macs` counts them, for each new token those with itself
and with all before it that its window shows.
"""

from __future__ import annotations

from collections import Counter

from .graph import Graph
from .ops import OPS


def count_macs(graph: Graph, moving: bool = False) -> tuple[int, Counter[int]]:
    """Those of a graph of quantised operators, and apart from them those of pairs that depend on the position: for
    each window (0: none) those of one pair in all heads and layers.

    moving  whether the positions of tokens change from run to run
    """
    total, apart = sum(OPS[node.op].macs(node) for node in graph if hasattr(OPS.get(node.op), "macs")), Counter()
    for node in graph:
        if moving and node.op == "cached_attention" and "keys" in node.attributes:
            total += node.heads * node.rows * node.keys * node.pair_width
        elif moving and node.op == "cached_attention":
            apart[node.window] += node.heads * node.pair_width
        elif node.op in ("attention", "cached_attention"):
            total += node.seen * node.pair_width
    return total, apart

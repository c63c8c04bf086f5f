"""One file per operator: its match, its tiling rule and its emission.

Each module has `match(graph, node)`, which replaces a pattern that ends or starts at `node` and says whether it did;
`tile(node, tiles)`, which emits its instructions; and, where it has weights, `quantise(node, coder)` and `macs(node)`,
the useful multiply-accumulates of its weights (macs.py).
"""

from . import (
    attention,
    cached_attention,
    elementwise,
    embedding,
    linear,
    matmul_attention,
    norm,
    patch_embedding,
    position_rows,
    quantise,
    rotary,
    rows,
)

# In the order in which they are matched: an attention takes in the linear layers before it.
OPS = {
    "patch_embedding": patch_embedding,
    "embedding": embedding,
    "matmul_attention": matmul_attention,
    "rotary": rotary,
    "cached_attention": cached_attention,
    "attention": attention,
    "norm": norm,
    "linear": linear,
    "elementwise": elementwise,
    "rows": rows,
    "position_rows": position_rows,
    "quantise": quantise,
}
# What a model without a cache is made of, and one with a cache.
ENCODER = [name for name in OPS if name not in ("rotary", "cached_attention")]
# STREAMED: an encoder whose rows go in groups, with keys and values in a cache.
STREAMED = [name for name in OPS if name not in ("attention", "rotary", "position_rows")]
DECODER = [name for name in OPS if name not in ("attention", "patch_embedding")]

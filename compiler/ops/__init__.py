"""One file per operator: its match, its tiling rule and its emission.

Each module has `match(graph, node)`, which replaces an operator of the closed set (ir.py), or a pattern of several that
ends or starts at `node`, and says whether it did; `tile(node, tiles)`, which emits its instructions; where it takes in
a neighbour, `fuse(graph, node)`; and, where it has weights, `quantise(node, coder)` and `macs(node)`, the useful
multiply-accumulates of its weights (macs.py).
"""

from . import (
    attention,
    cache_writer,
    cached_attention,
    cat,
    choose,
    elementwise,
    embedding,
    gather,
    linear,
    matmul,
    matmul_attention,
    norm,
    patch_embedding,
    position_rows,
    quantise,
    rearrange,
    reduce,
    rotary,
    round,
    shaped_attention,
    softmax,
    topk,
)

OPS = {
    "patch_embedding": patch_embedding,
    "embedding": embedding,
    "matmul_attention": matmul_attention,
    "shaped_attention": shaped_attention,
    "rotary": rotary,
    "cached_attention": cached_attention,
    "cache_writer": cache_writer,
    "attention": attention,
    "norm": norm,
    "linear": linear,
    "round": round,
    "elementwise": elementwise,
    "choose": choose,
    "reduce": reduce,
    "topk": topk,
    "softmax": softmax,
    "matmul": matmul,
    "cat": cat,
    "gather": gather,
    "rearrange": rearrange,
    "position_rows": position_rows,
    "quantise": quantise,
}
# Operators that are made of several of the closed set, in the order in which they are looked for: an attention takes in
# the linear layers before it. What none of them takes has an operator of its own (SINGLE).
ENCODER = ("patch_embedding", "matmul_attention", "attention")
# STREAMED: an encoder whose rows go in groups, with keys and values in a cache; rotations are computed before that.
STREAMED = ("patch_embedding", "matmul_attention", "cached_attention")
DECODER = ("shaped_attention", "matmul_attention", "rotary", "cached_attention")
ATTENTIONS = ("matmul_attention", "rotary")  # what a decoder that reads a source is searched for before it is split
SINGLE = (
    "embedding", "norm", "linear", "round", "elementwise", "choose", "reduce", "topk", "softmax", "matmul", "cat",
    "gather",
)  # fmt: skip
# Those that take in a neighbour, once each has its operator.
FUSING = ("linear", "elementwise", "reduce", "topk")

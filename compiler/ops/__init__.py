"""One file per operator: its match, its tiling rule and its emission.

Each module has `match(graph, node)`, which replaces a pattern that ends or starts at `node` and says whether it did;
`tile(node, tiles)`, which emits its instructions; and, where it has weights, `quantise(node, codes_of)`.
"""

from . import attention, elementwise, embedding, linear, matmul_attention, norm, patch_embedding, quantise, rows

# In the order in which they are matched: an attention takes in the linear layers before it.
OPS = {
    "patch_embedding": patch_embedding,
    "embedding": embedding,
    "matmul_attention": matmul_attention,
    "attention": attention,
    "norm": norm,
    "linear": linear,
    "elementwise": elementwise,
    "rows": rows,
    "quantise": quantise,
}

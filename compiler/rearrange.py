"""Follows views (reshape, permute, select …) by running them on element numbers instead of data.

Whatever chain of views a model writes, splitting heads or merging them, is then one table: for each element of the
result, the number of the element of the source that it is. Patterns compare tables, not spellings.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from .graph import Graph, Node, map_nodes

VIEWS = {
    "alias", "chunk", "clone", "contiguous", "detach", "dropout", "expand", "flatten", "movedim", "permute", "reshape",
    "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unflatten", "unsqueeze",
    "unsafe_split", "view", "_unsafe_view", "view_as", "expand_as", "swapaxes", "narrow", "mT", "numpy_T",
}  # fmt: skip


def follow_views(graph: Graph) -> Graph:
    """Each view of a tensor becomes one `rearrange` of what it is a view of. It keeps `index`, int64 of its own shape:
    which element of its (flattened) input each element is. A view with the same rows (tokens) as its source disappears.
    """
    tables: dict[Node, tuple[Node, Any]] = {}  # view → (source, element numbers: one tensor, or a list for a split)
    for node in graph:
        if not _is_view(node):
            continue
        source, index = tables.get(node.inputs[0]) or (node.inputs[0], element_numbers(node.inputs[0].shape))
        if isinstance(index, Tensor):
            index = index.contiguous()  # the element numbers must not be harder to view than the data are
        args, kwargs = map_nodes([node.args, node.kwargs], lambda n: index)  # noqa: B023 (used at once)
        result = node.target(*args, **kwargs)
        if not isinstance(result, Tensor):
            tables[node] = source, result
            continue
        view = node.turned_into("rearrange", [source], index=result)
        tables[view] = source, result
        graph.replace(node, view)
    for node in graph:
        if node.op == "rearrange" and node is not graph.output and _same_rows(node):
            graph.replace(node, node.inputs[0])
            graph.nodes.remove(node)
    return graph.without_dead()


def _same_rows(node: Node) -> bool:
    """Whether only the shape in front of the features has changed."""
    source = node.inputs[0]
    if min(len(node.shape), len(source.shape)) < 2 or node.columns != source.columns or node.rows != source.rows:
        return False
    return torch.equal(node.index.flatten(), element_numbers((source.size,)))


def _is_view(node: Node) -> bool:
    if "target" not in node.attributes or len(node.inputs) != 1:
        return False
    return node.target is operator.getitem or (node.op.startswith("aten.") and node.op.split(".")[1] in VIEWS)


def element_numbers(shape: tuple[int, ...]) -> Tensor:
    """0, 1, 2 … in the given shape."""
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


def origin(node: Node) -> tuple[Node, Tensor]:
    """What a node is a view of (itself, if it is none), and its element numbers there."""
    if node.op == "rearrange":
        return node.inputs[0], node.index
    return node, element_numbers(node.shape)

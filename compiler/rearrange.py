"""Follows views (reshape, permute, select …) by running them on shapes and strides alone.

Whatever chain of views a model writes, splitting heads or merging them, is then one layout (layout.py): for each
element of the result, which element of the source it is. Patterns compare layouts, not spellings.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from .graph import Graph, Node, map_nodes
from .layout import Layout

VIEWS = {
    "alias", "chunk", "clone", "contiguous", "detach", "expand", "flatten", "movedim", "permute", "reshape",
    "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unflatten", "unsqueeze",
    "unsafe_split", "view", "_unsafe_view", "view_as", "expand_as", "swapaxes", "narrow", "mT", "numpy_T", "unfold",
    "diagonal", "dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout",
}  # fmt: skip
_NO_VIEWS = ("aten.view.dtype",)  # of the bits, as other numbers


def follow_views(graph: Graph) -> Graph:
    """Each view of a tensor becomes one `rearrange` of what it is a view of, with its `layout`."""
    splits: dict[Node, tuple[Node, list[Layout]]] = {}  # split → (source, layouts of its parts)
    for node in graph:
        if not _is_view(node):
            continue
        if node.target is operator.getitem and node.inputs[0] not in splits:
            continue  # of a call with several results
        source, layout = splits.get(node.inputs[0]) or origin(node.inputs[0])
        found = _viewed(node, layout)
        if found is None:  # not of the source: of the view before it
            source = node.inputs[0]
            found = _viewed(node, Layout.of(source.shape))
        if isinstance(found, list):
            splits[node] = source, found
        else:
            graph.replace(node, node.turned_into("rearrange", [source], layout=found))
    return graph.without_dead()


def drop_views(graph: Graph) -> Graph:
    """Without the views that have the same rows as their source, and only another shape in front of the features."""
    for node in graph:
        if node.op == "rearrange" and node not in graph.outputs and _same_rows(node):
            graph.replace(node, node.inputs[0])
            graph.nodes.remove(node)
    return graph


def _viewed(node: Node, layout: Any) -> Any:
    """The layout of a view, or a list of layouts for a split; None if it has none."""
    if isinstance(layout, list):
        return layout[node.args[1]]
    data = torch.empty(layout.shape, device="meta")
    args, kwargs = map_nodes([node.args, node.kwargs], lambda n: data)
    result = node.target(*args, **kwargs)
    found = [_part(layout, each, data) for each in ([result] if isinstance(result, Tensor) else result)]
    if any(each is None for each in found):
        return None
    return found[0] if isinstance(result, Tensor) else found


def _part(layout: Layout, view: Tensor, data: Tensor) -> Layout | None:
    if view.untyped_storage()._cdata == data.untyped_storage()._cdata:
        return layout.viewed(view)
    return layout if view.shape == data.shape else None  # a copy


def _same_rows(node: Node) -> bool:
    """Whether only the shape in front of the features has changed."""
    source = node.inputs[0]
    if min(len(node.shape), len(source.shape)) < 2 or node.columns != source.columns or node.rows != source.rows:
        return False
    return node.layout.same_order(Layout.of(source.shape))


def _is_view(node: Node) -> bool:
    if "target" not in node.attributes or len(node.inputs) != 1:
        return False
    if node.op.endswith("dropout"):
        return not node.args[2]  # in evaluation mode
    if node.target is operator.getitem:
        return True
    return node.op.startswith("aten.") and node.op.split(".")[1] in VIEWS and node.op not in _NO_VIEWS


def origin(node: Node) -> tuple[Node, Layout]:
    """What a node is a view of (itself, if it is none), and its layout there."""
    if node.op == "rearrange":
        return node.inputs[0], node.layout
    return node, Layout.of(node.shape)


def view_of(like: Node, x: Node, layout: Layout, name: str = "") -> Node:
    """A view of x, as a node in the place of `like`; where x is a view itself, of what that is a view of."""
    source, inner = origin(x)
    found = inner.through(layout) if source is not x else layout
    if found is None:
        source, found = x, layout
    node = like.turned_into("rearrange", [source], layout.shape, layout=found)
    node.name = name or like.name
    return node


def split_heads(layout: Layout, rows: int, outputs: int) -> Tensor | None:
    """The output channel of each feature of each head, (H, D), if a view (1, H, T, D) of so many rows of outputs is
    these features of each row, and nothing else."""
    by_head = layout.merged(2)  # (H, T, D)
    columns = by_head.without(1).numbers()  # of token 0
    by_row = by_head.shape[1] == rows and by_head.dims[1] == (((rows, outputs),) if rows > 1 else ())
    return columns if by_row and columns.max() < outputs else None

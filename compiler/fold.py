"""Computes, at compile time, all that depends on constants alone: position rows, masks, expanded [CLS] tokens.

What is left has elements: a dimension of size 0 is refused here, so that no pass after this one meets any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .graph import Graph, Node, constant, map_nodes, refuse_in
from .ir import OPERATORS, as_number
from .operands import known
from .weightless import on_one_device

_MOST_BYTES = 1 << 31  # of a table of float32 that is made of constants
_MOST_GROWTH = 16  # times the numbers that it is made of


def fold_constants(graph: Graph) -> Graph:
    """Calls whose inputs are all constants become constants; what nobody reads any more is dropped. What depends on a
    constant without bytes has none either. Values without elements and random numbers are refused."""
    values_of: dict[Node, Any] = {}
    nodes = []
    for node in graph:
        if node.op == "constant":
            values_of[node] = node.value
        elif node.op not in ("input", "refused") and all(each in values_of for each in node.inputs):
            if _is_random(node):
                refuse_in(graph.problems, node, "it makes random numbers; a program computes the same every time")
                nodes.append(node)
                continue
            values = _on_one_device({each: values_of[each] for each in node.inputs})
            _require_size(node, values.values())
            args, kwargs = map_nodes([node.args, node.kwargs], values.__getitem__)
            try:
                with torch.no_grad():
                    values_of[node] = node.target(*args, **kwargs)
            except (RuntimeError, IndexError, ValueError, TypeError) as error:
                raise node.refuse(f"PyTorch cannot compute it: {error}") from None
            if "empty" in node.op:
                values_of[node].zero_()  # whatever the memory held, a program is the same every time
            node.attributes["made_of"] = list(dict.fromkeys(name for each in node.inputs for name in each.made_of))
            if isinstance(values_of[node], Tensor):
                node.attributes = {"value": values_of[node], "made_of": node.made_of}
                node.op, node.inputs = "constant", []
        nodes.append(node)
    _drop_empty_parts(nodes)
    folded = replace(graph, nodes=nodes).without_dead()
    for node in folded:
        if node.op not in ("constant", "refused") and 0 in node.shape:
            reason = "a dimension has size 0, so there is nothing to compute; every size must be at least 1"
            refuse_in(graph.problems, node, reason)
    return folded


def fold_known(graph: Graph) -> Graph:
    """The same of the closed set, for what rules have found out: known numbers are combined, and chosen from."""
    made: dict[Node, Node] = {}
    for node in graph:
        node.inputs = [made.get(each, each) for each in node.inputs]
        if node.op not in ("ir.combine", "ir.choose"):
            continue
        operands = [each for each in map(known, node.inputs) if each is not None]
        if len(operands) == len(node.inputs):
            found = OPERATORS[node.op].meaning(node, *on_one_device([as_number(each.value) for each in operands]))
            names = dict.fromkeys(name for each in operands for name in each.made_of)
            made[node] = constant(node.name, found.bool() if node.truth else found, [*names])
            made[node].host = node.host
    nodes, outputs = ([made.get(each, each) for each in some] for some in (graph.nodes, graph.outputs))
    return replace(graph, nodes=nodes, outputs=outputs).without_dead()


def _require_size(node: Node, values: Iterable[Any]) -> None:
    """Raise HeddleError for a call that makes a table much larger than what it is made of, such as the mask of a very
    long sequence, which has a number for each pair of tokens."""
    given = [each for each in values if isinstance(each, Tensor)]
    if any(each.is_meta for each in given) or 0 in node.shape:
        return
    size_bytes = 4 * node.size
    if size_bytes > _MOST_BYTES and node.size > _MOST_GROWTH * sum(each.numel() for each in given):
        raise node.refuse(f"it makes a table of {size_bytes:,} bytes of constants, as masks of long sequences are: "
                          f"compile for a shorter context, or state the mask as is_causal")  # fmt: skip


def _drop_empty_parts(nodes: list[Node]) -> None:
    """What has no elements adds nothing to a cat: such as the features that are not rotated, where all are."""
    for node in nodes:
        if node.op in ("aten.cat", "aten.concat") and 0 not in node.shape:
            parts = [each for each in node.args[0] if 0 not in each.shape]
            node.attributes["args"] = [parts, *node.args[1:]]
            node.inputs = list(dict.fromkeys(parts))


def _is_random(node: Node) -> bool:
    """Whether a call of constants gives other numbers each time. (In evaluation mode, dropout and attention do not.)"""
    if node.op.endswith("dropout") or node.op == "aten.scaled_dot_product_attention":
        return False
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _on_one_device(values: dict[Node, Any]) -> dict[Node, Any]:
    """All tensors on "meta", if one of them is."""
    tensors = {node: each for node, each in values.items() if isinstance(each, Tensor)}
    return values | dict(zip(tensors, on_one_device(list(tensors.values())), strict=True))

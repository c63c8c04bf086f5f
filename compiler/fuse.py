"""Replaces PyTorch calls by the operators of `ops/`, and refuses what none of them takes."""

from __future__ import annotations

from collections.abc import Sequence

from .graph import Graph
from .operands import require_finite
from .ops import ENCODER, OPS


def fuse(graph: Graph, ops: Sequence[str] = ENCODER) -> Graph:
    """Only inputs, constants and operators of `ops/` remain, of those named by `ops`. Raises HeddleError naming the
    first call that is left, or an input that nothing reads."""
    for module in (OPS[name] for name in ops):
        for node in graph:
            if node in graph.nodes and module.match(graph, node):
                graph = graph.without_dead()
    left = [node for node in graph if node.op not in OPS and node.op not in ("input", "constant")]
    if left:  # a view is left where what reads it is
        first = next((node for node in left if node.op != "rearrange"), left[0])
        raise first.refuse("the compiler has no rule for it here; use the operators of an encoder (linear, "
                           "scaled_dot_product_attention, layer_norm, gelu, …) in a form it knows")  # fmt: skip
    for node in graph:
        for each in node.inputs:
            if each.op == "constant":
                require_finite(node, each)
            if each.op == "input" and each.integer and node.op != "embedding":
                raise node.refuse(f"the integer input {each.name} can only choose rows of an embedding")
    if graph.output.op == "input":
        raise graph.output.refuse("the model returns its input")
    read = {each for node in graph for each in node.inputs}
    for node in graph:
        if node.op == "input" and node not in read:
            raise node.refuse(f"what the model returns must depend on each of its inputs, but does not on {node.name}: "
                              f"leave it out of forward and of the example inputs")  # fmt: skip
    return graph

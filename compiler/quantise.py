"""w8a8: weights become int8 with one scale per output channel; activations get dynamic scales, one per token."""

from __future__ import annotations

from .graph import Graph, Node
from .ops import OPS


def quantise(graph: Graph) -> Graph:
    """Weights become matrices of codes, and what a matrix multiplies is quantised: by the linear layer it comes from,
    if nobody else reads that, else by an operator of its own."""
    coded: dict[Node, Node] = {}

    def codes_of(node: Node) -> Node:
        if node not in coded:
            coded[node] = Node(f"{node.name}_codes", "quantise", [node], node.shape, node.source, node.layer)
            graph.insert_after(node, coded[node])
        return coded[node]

    for node in graph:
        if hasattr(OPS.get(node.op), "quantise"):
            OPS[node.op].quantise(node, codes_of)
    for node in graph:
        if node.op == "linear" and (user := graph.only_user(node)) and user.op == "quantise":
            node.attributes["codes"] = True
            graph.replace(user, node)
            graph.nodes.remove(user)
    return graph

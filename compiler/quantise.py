"""Weights become matrices of codes; what they multiply is quantised on the way, with a scale for each token.

How many bits both have is a matter of each layer (`precision`); w8a8 is the default.
"""

from __future__ import annotations

from collections import Counter

from ..arch.program import Choice
from .coder import Coder
from .graph import Graph
from .ops import OPS
from .precision import PrecisionRule


def quantise(graph: Graph, rule: PrecisionRule) -> Graph:
    """Weights become matrices of codes, and what a matrix multiplies is quantised: by the linear layer it comes from,
    if nobody else reads that, else by an operator of its own."""
    rule.require_layers([node.layer for node in graph if hasattr(OPS.get(node.op), "quantise")])
    coder = Coder(graph, rule)
    for node in graph:
        if hasattr(OPS.get(node.op), "quantise"):
            node.attributes["precision"] = rule.of(node.layer)
            OPS[node.op].quantise(node, coder)
    for node in graph:
        if node.op == "linear" and (user := graph.only_user(node)) and user.op == "quantise":
            node.attributes["codes"] = user.digits
            graph.replace(user, node)
            graph.nodes.remove(user)
    return graph


def precisions(graph: Graph) -> Choice:
    """How many operators of a graph have which precision."""
    found = Counter(node.attributes["precision"].value for node in graph if "precision" in node.attributes)
    return Choice("precision", ", ".join(f"{name} of {count} operators" for name, count in found.items()) or "none")

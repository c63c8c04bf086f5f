"""Weights become matrices of codes; what they multiply is quantised on the way, with a scale for each token.

How many bits both have is a matter of each layer (`precision`); w8a8 is the default.
"""

from __future__ import annotations

from ..arch.errors import HeddleError
from ..arch.program import Choice
from .coder import Coder
from .graph import Graph
from .ops import OPS
from .precision import PrecisionRule


def quantise(graph: Graph, rule: PrecisionRule) -> Graph:
    """Weights become matrices of codes, and what a matrix multiplies is quantised: by the linear layer it comes from,
    if nobody else reads that, else by an operator of its own."""
    coder = Coder(graph, rule)
    for node in graph:
        if hasattr(OPS.get(node.op), "quantise"):
            node.attributes["precision"] = rule.of(node.layer)
            try:
                OPS[node.op].quantise(node, coder)
            except HeddleError as error:
                graph.problems[node] = error
    graph.require_possible()
    for node in graph:
        if node.op == "linear" and (user := graph.only_user(node)) and user.op == "quantise":
            node.attributes["codes"] = user.digits
            graph.replace(user, node)
            graph.nodes.remove(user)
    return graph


def precisions(graph: Graph) -> Choice:
    """How many operators of a graph have which precision, and which layers have another than most."""
    layers: dict[str, list[str]] = {}
    for node in graph:
        if "precision" in node.attributes:
            layers.setdefault(node.precision.value, []).append(node.layer or node.name)
    by_count = sorted(layers, key=lambda each: -len(layers[each]))
    found = [f"{name} of {len(layers[name])} operators" for name in by_count]
    for place, name in enumerate(by_count[1:], 1):  # of the few, which
        found[place] += f" ({', '.join(dict.fromkeys(layers[name]))})"
    return Choice("precision", ", ".join(found) or "none")

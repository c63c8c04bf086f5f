"""Brings the calls of PyTorch to the closed set of `ir`, by the rules of `rules/`.

What no rule knows, torch's own decompositions bring to what there is (`capture`); what is left is refused, all of it at
once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..arch.errors import HeddleError
from .graph import Graph, Node
from .ir import as_number
from .rules import Builder


def legalise(graph: Graph) -> Graph:
    """The same graph of the operators of `ir` alone. Raises HeddleError that lists all calls that have no rule, and
    those that were refused before; they are then in `problems` of the graph."""
    builder = Builder(graph)
    found: dict[Node, Any] = {}
    problems = graph.problems
    for node in [*problems]:  # what nobody reads may be as it likes
        if node not in graph.nodes:
            del problems[node]
    for node in graph:
        if node.op == "refused":
            found[node] = builder.unknown(node)
            continue
        if node.op == "constant" and node.value.is_floating_point():
            node.attributes["value"] = as_number(node.value)
        if node.op in ("input", "constant"):
            builder.nodes.append(node)
            found[node] = node
            continue
        try:
            found[node] = builder.lower(node, found)
            node.host = isinstance(found[node], Node) and found[node].host
        except HeddleError as error:
            problems[node] = error
            found[node] = builder.unknown(node)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            problems[node] = node.refuse(f"it has a form for which there is no rule ({error})")
            found[node] = builder.unknown(node)
    graph.require_possible()
    outputs = [builder.number(found[each]) if not _is_integer(found[each]) else found[each] for each in graph.outputs]
    return replace(graph, nodes=builder.nodes, outputs=outputs).without_dead()


def _is_integer(value: Any) -> bool:
    return isinstance(value, Node) and value.integer

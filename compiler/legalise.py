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


def legalise(graph: Graph, reasons: dict[Node, str] | None = None) -> Graph:
    """The same graph of the operators of `ir` alone. Raises HeddleError that lists all calls that have no rule; with
    `reasons`, these get there instead, and the graph is of no use where there are any."""
    builder = Builder(graph)
    found: dict[Node, Any] = {}
    problems: dict[Node, str] = {} if reasons is None else reasons
    for node in graph:
        if node.op == "constant" and node.value.is_floating_point():
            node.attributes["value"] = as_number(node.value)
        if node.op in ("input", "constant"):
            builder.nodes.append(node)
            found[node] = node
            continue
        try:
            found[node] = builder.lower(node, found)
        except HeddleError as error:
            problems[node] = str(error)
            found[node] = builder.unknown(node)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            problems[node] = str(node.refuse(f"it has a form for which there is no rule ({error})"))
            found[node] = builder.unknown(node)
    if problems and reasons is None:
        raise HeddleError("\n".join(dict.fromkeys(problems.values())))
    if problems:
        return graph
    outputs = [builder.number(found[each]) if not _is_integer(found[each]) else found[each] for each in graph.outputs]
    return replace(graph, nodes=builder.nodes, outputs=outputs).without_dead()


def _is_integer(value: Any) -> bool:
    return isinstance(value, Node) and value.integer

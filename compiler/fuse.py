"""From the closed set to the operators of `ops/`: what is made of several first, then each by itself.

The first step only makes models faster: without it (`fused` False) an attention is products and a softmax, and each
function an instruction of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..arch.errors import HeddleError
from .graph import Graph, Node, constant
from .idioms import find_idioms
from .ir import PRODUCTS
from .operands import known, require_finite
from .ops import ENCODER, FUSING, OPS, SINGLE
from .precision import PrecisionRule
from .rearrange import drop_views
from .rules import Builder
from .tokens import POSITIONS


def fuse(
    graph: Graph, ops: Sequence[str] = ENCODER, fused: bool = True, rule: PrecisionRule | None = None
) -> Graph:
    """Only inputs, constants and operators of `ops/` remain, of those that are made of several the ones named by `ops`.
    Raises HeddleError naming all nodes that are left, and inputs that nothing reads.

    rule  which precision a layer has: those with WHOLE_CODES are not looked for where it says codes of two digits, and
          an attention takes in projections of its own precision only
    """
    graph = under(graph, rule or graph.rule)
    return to_operators(take_patterns(graph, ops) if fused else graph, fused)


def under(graph: Graph, rule: PrecisionRule) -> Graph:
    """A graph of the closed set whose layers have the precisions of a rule. Raises HeddleError for a pattern that fits
    none of them."""
    rule.require_layers([node.layer for node in graph if node.op in PRODUCTS and not node.host])
    return replace(graph, rule=rule)


def take_patterns(graph: Graph, ops: Sequence[str]) -> Graph:
    """What is made of several operators of the closed set, by those of `ops/` that are named."""
    return expand(find_patterns(find_idioms(graph), ops), "rotary")


def find_patterns(graph: Graph, ops: Sequence[str]) -> Graph:
    """The same in a graph whose idioms are found; rotary embeddings that nothing has taken in stay what they are."""
    for name in ops:
        graph = _matched(graph, name)
    return graph


def to_operators(graph: Graph, fused: bool = True) -> Graph:
    """What is left of the closed set, each by an operator of its own; these take in neighbours, if `fused`."""
    graph = expand(graph, "ir.attention")
    for name in SINGLE:
        graph = _matched(graph, name)
    graph = drop_views(graph).without_dead()
    for name in FUSING if fused else ():
        for node in graph:
            if node in graph.nodes and OPS[name].fuse(graph, node):
                graph = graph.without_dead()
    _require_lowered(graph)
    return graph


def _matched(graph: Graph, name: str) -> Graph:
    whole = getattr(OPS[name], "WHOLE_CODES", False)
    for node in graph:
        if node not in graph.nodes or (whole and graph.rule.of(node.layer).planes):
            continue
        try:
            if OPS[name].match(graph, node):
                graph = graph.without_dead()
        except HeddleError as error:
            graph.problems[node] = error
    graph.require_possible()
    return graph


def expand(graph: Graph, op: str) -> Graph:
    """Attentions, or rotary embeddings, that no operator has taken in become what they are made of."""
    builder = Builder(graph)
    lowered = {"ir.attention": builder.attention, "rotary": builder.rotary}[op]
    found: dict[Node, Node] = {}
    for node in graph:
        node.inputs = [found[each] for each in node.inputs]
        if node.op == op:
            found[node] = lowered(node)
        else:
            found[node] = node
            builder.nodes.append(node)
    return replace(graph, nodes=builder.nodes, outputs=[found[each] for each in graph.outputs]).without_dead()


def _require_lowered(graph: Graph) -> None:
    for node in graph:
        if node.op not in OPS and node.op not in ("input", "constant"):
            graph.problems[node] = node.refuse("no operator takes it here")
    graph.require_possible()
    read = {each for node in graph for each in node.inputs}
    for node in graph:
        for each in node.inputs if node.op != "rearrange" else ():
            if not each.integer and (found := known(each)) is not None:
                _require_masked_or_finite(node, found)
        if node.op == "input" and node not in read and node not in graph.outputs and node.name != POSITIONS:
            graph.problems[node] = node.refuse(
                f"what the model returns must depend on each of its inputs, but does not on {node.name}: leave it out "
                f"of forward and of the example inputs"
            )
    graph.require_possible()


def _require_masked_or_finite(node: Node, value: Node) -> None:
    """Raise HeddleError for a constant with NaN or more than float32 holds; −∞ hides, and is added or chosen only."""
    if node.op in ("elementwise", "choose", "cat"):
        value = constant(value.name, value.value.masked_fill(value.value.isneginf(), 0), value.made_of)
    require_finite(node, value)


"""From the closed set to the operators of `ops/`: what is made of several first, then each by itself.

The first step only makes models faster: without it (`fused` False) an attention is products and a softmax, and each
function an instruction of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .graph import Graph, Node, constant
from .idioms import find_idioms
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
    Those with WHOLE_CODES are not looked for where `rule` says codes of two digits. Raises HeddleError naming the first
    node that is left, or an input that nothing reads."""
    return to_operators(take_patterns(graph, ops, rule) if fused else graph, fused)


def take_patterns(graph: Graph, ops: Sequence[str], rule: PrecisionRule | None = None) -> Graph:
    """What is made of several operators of the closed set, by those of `ops/` that are named."""
    return expand(find_patterns(find_idioms(graph), ops, rule), "rotary")


def find_patterns(graph: Graph, ops: Sequence[str], rule: PrecisionRule | None = None) -> Graph:
    """The same in a graph whose idioms are found; rotary embeddings that nothing has taken in stay what they are."""
    for name in ops:
        graph = _matched(graph, name, rule if getattr(OPS[name], "WHOLE_CODES", False) else None)
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


def _matched(graph: Graph, name: str, rule: PrecisionRule | None = None) -> Graph:
    for node in graph:
        if rule and rule.of(node.layer).planes:
            continue
        if node in graph.nodes and OPS[name].match(graph, node):
            graph = graph.without_dead()
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
    left = [node for node in graph if node.op not in OPS and node.op not in ("input", "constant")]
    if left:
        raise left[0].refuse("no operator takes it here")
    read = {each for node in graph for each in node.inputs}
    for node in graph:
        for each in node.inputs if node.op != "rearrange" else ():
            if not each.integer and (found := known(each)) is not None:
                _require_masked_or_finite(node, found)
        if node.op == "input" and node not in read and node not in graph.outputs and node.name != POSITIONS:
            raise node.refuse(f"what the model returns must depend on each of its inputs, but does not on {node.name}: "
                              f"leave it out of forward and of the example inputs")  # fmt: skip


def _require_masked_or_finite(node: Node, value: Node) -> None:
    """Raise HeddleError for a constant with NaN or more than float32 holds; −∞ hides, and is added or chosen only."""
    if node.op in ("elementwise", "choose", "cat"):
        value = constant(value.name, value.value.masked_fill(value.value.isneginf(), 0), value.made_of)
    require_finite(node, value)


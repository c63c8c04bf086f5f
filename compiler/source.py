"""A decoder that also reads a source, such as an encoder's input, in two: what is made of the source alone, once, and
what is made for each token.

Keys and values of the attention over a source depend on the source alone. Those who make them become writers of the
cache (ops/cache_writer.py), at the end of the graph of the source; the attention itself reads the cache, and then the
graph of the tokens has no other trace of the source.
"""

from __future__ import annotations

from dataclasses import replace

from ..arch.errors import HeddleError
from .graph import Graph, Node
from .ops import cached_attention

STATES = "states"  # the result of the program that takes the source


def take_source(graph: Graph, ids: str) -> tuple[Graph, Graph]:
    """(the graph of the source, that of the tokens) of one whose input `ids` has the tokens; all others are the source.
    The graph is of the closed set, its attentions are found. Raises HeddleError where more of the source than the keys
    and values of attentions reaches what is made of tokens, or nothing does."""
    of_tokens = _made_of(graph, [node for node in graph if node.op == "input" and node.name == ids])
    of_source = _made_of(graph, [node for node in graph if node.op == "input" and node.name != ids])
    carried: Node | None = None
    for node in graph:
        if node.op != "ir.attention" or node not in of_tokens:
            continue
        _, key, value, *_ = node.inputs
        if key in of_tokens or value in of_tokens or key not in of_source or value not in of_source:
            continue
        carried = cached_attention.take_apart(graph, node, carried)
    if carried is None:
        names = ", ".join(node.name for node in graph if node in of_source and node.op == "input")
        raise HeddleError(f"no attention of the decoder has keys and values that are made of {names} alone: without "
                          f"one, leave out `source`")  # fmt: skip
    source = replace(graph, outputs=[carried], names=[STATES]).without_dead()
    source = replace(source, nodes=[node for node in source if node.op != "input" or node.name != ids],
                     arguments=[each for each in graph.arguments if each.name != ids])  # fmt: skip
    tokens = replace(graph, nodes=list(graph.nodes)).without_dead()
    tokens = replace(tokens, nodes=[node for node in tokens if node.op != "input" or node.name == ids])
    alone = of_source - of_tokens
    for node in tokens:
        for each in node.inputs if node not in alone else ():
            if each in alone:
                raise node.refuse(f"it reads {each.name}, which is made of the source: only keys and values of "
                                  f"attention without a mask of the source may be")  # fmt: skip
    return source, tokens


def _made_of(graph: Graph, inputs: list[Node]) -> set[Node]:
    """The nodes that depend on one of these."""
    found = set(inputs)
    for node in graph:
        if any(each in found for each in node.inputs):
            found.add(node)
    return found

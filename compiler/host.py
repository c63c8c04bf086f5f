"""What of a graph the host computes before a launch: all that depends on whole numbers and truth alone.

The accelerator then gets its results as inputs. `arch/host.py` has the operators.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Any

from ..arch.host import Argument, Step
from .graph import Graph, Node
from .layout import Layout


def split_host(graph: Graph) -> Graph:
    """The graph without what the host computes, of which what is read becomes inputs; `host` and `arguments` have the
    rest."""
    read = {each for node in graph if not node.host for each in node.inputs if each.host and each.op != "input"}
    read |= {node for node in graph.outputs if node.host and node.op != "input"}
    if not read:
        return graph
    arguments = [Argument(node.name, sample(node.shape), _kind(node)) for node in graph if node.op == "input"]
    needed, stack = set(read), list(read)
    while stack:
        for each in stack.pop().inputs:
            if each not in needed:
                needed.add(each)
                stack.append(each)
    names: dict[Node, str] = {}
    for node in graph:
        if node in needed:
            name = node.name
            while name in names.values():
                name += "_"
            names[node] = name
    steps = [_step(node, names) for node in graph if node in needed]
    nodes, made = [], {}
    for node in graph:
        node.inputs = [made.get(each, each) for each in node.inputs]
        if node in read:
            made[node] = Node(names[node], "input", [], node.shape, node.source, node.layer, {"made": True},
                              node.integer, node.truth)  # fmt: skip
            nodes.append(made[node])
        elif not node.host or node.op == "input":
            nodes.append(node)
    outputs = [made.get(each, each) for each in graph.outputs]
    for_host = {node for node in needed if node.op == "input"}
    found = replace(graph, nodes=nodes, outputs=outputs, host=steps, arguments=arguments).without_dead()
    used = {each for node in found.nodes for each in node.inputs} | set(found.outputs)
    return replace(found, nodes=[node for node in found.nodes if node not in for_host or node in used])


def sample(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an input or result to those outside: without a batch dimension of 1."""
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


def _kind(node: Node) -> str:
    return "integer" if node.integer else "truth" if node.truth else "number"


def _step(node: Node, names: dict[Node, str]) -> Step:
    operands = tuple(names[each] for each in node.inputs)
    if node.op == "input":
        return Step(names[node], "argument", (), {"shape": list(node.shape)})
    if node.op == "constant":
        kind = "integer" if node.integer else "number"
        numbers = node.value.long() if node.integer else node.value.float()
        given = {"values": numbers.flatten().tolist(), "shape": list(node.shape), "type": kind}
        return Step(names[node], "constant", (), given)
    given = {key: value for key, value in node.attributes.items() if key != "call"}
    if node.op == "rearrange":
        layout: Layout = given["layout"]
        digits = [digit for dim in layout.dims for digit in dim]
        given = {"sizes": [size for size, _ in digits], "strides": [stride for _, stride in digits],
                 "offset": layout.offset, "shape": list(node.shape)}  # fmt: skip
    return Step(names[node], node.op.removeprefix("ir."), operands, {key: _plain(each) for key, each in given.items()})


def _plain(value: Any) -> Any:
    return value.name.lower() if isinstance(value, Enum) else value


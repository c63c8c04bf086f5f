"""What a decoder makes of each of its ids by itself becomes tables with a row for each id.

A model may put other ids in the place of some, such as those of an image, or ask whether an id is one of padding. That
is a function of an id, so all its results are known: a table that is read at f(id) is, with its rows in that order,
read at the id, and a number f(id) is a row of a table. So nothing is left for the host, which a program for any few
tokens could not tell what to make of.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .graph import Graph, Node, constant
from .ir import OPERATORS, as_number
from .layout import Layout
from .operands import known, scalar

_OF_NUMBERS = ("rearrange", "ir.combine", "ir.choose")  # what the accelerator can do as well as the host
_BY_ITSELF = ("ir.combine", "ir.choose", "ir.integer", "ir.number", "ir.quotient", "ir.remainder")


def tabulate(graph: Graph, ids: str) -> Graph:
    """The same graph, where functions of single ids are gathered from tables. `ids` is the name of the input."""
    source = next((node for node in graph if node.op == "input" and node.name == ids), None)
    tables = [node.inputs[0] for node in graph if node.op == "ir.gather" and known(node.inputs[0]) is not None]
    if source is None or not source.integer or not tables:
        return graph
    every = torch.arange(max(each.shape[0] for each in tables))
    values: dict[Node, Tensor] = {source: every}  # of each function of an id, what it makes of all ids
    nodes: list[Node] = []
    made: dict[Node, Node] = {}
    for node in graph:
        if (found := _of_each(node, values)) is not None:
            values[node] = found
            nodes.append(node)
            continue
        table = known(node.inputs[0]) if node.op == "ir.gather" else None
        if table is not None and node.inputs[1] in values and node.inputs[1] is not source:
            rows = values[node.inputs[1]]
            wrong = ((rows < 0) | (rows >= table.shape[0])).nonzero()
            rows = rows[: int(wrong[0])] if len(wrong) else rows  # ids from there on are no ids of this model
            if not len(rows):
                raise node.refuse(f"what it makes of id 0 chooses no row of {table.shape[0]}")
            at = _rearranged(node, source, node.inputs[1].shape, nodes)
            chosen = constant(f"{node.name}_table", table.value[rows.to(table.value.device)], table.made_of)
            nodes.append(chosen)
            node.inputs = [chosen, at]
        elif not node.host or node.op in _OF_NUMBERS:
            node.inputs = [_looked_up(each, source, values, nodes, made) for each in node.inputs]
            node.host = node.host and all(each.host or each.op == "constant" for each in node.inputs)
        nodes.append(node)
    outputs = [_looked_up(each, source, values, nodes, made) for each in graph.outputs]
    return replace(graph, nodes=nodes, outputs=outputs).without_dead()


def _of_each(node: Node, values: dict[Node, Tensor]) -> Tensor | None:
    """What a node makes of all ids; None if it is no function of single ids."""
    if not any(each in values for each in node.inputs):
        return None
    if node.op == "rearrange":
        in_order = node.layout.same_order(Layout.of(node.inputs[0].shape))
        return values[node.inputs[0]] if in_order else None
    if node.op not in _BY_ITSELF:
        return None
    operands = []
    for each in node.inputs:
        if each in values:
            operands.append(values[each])
        elif (number := scalar(each)) is not None:
            operands.append(torch.tensor(int(number) if each.integer else number))
        else:
            return None
    return as_number(OPERATORS[node.op].meaning(node, *operands))


def _looked_up(
    operand: Node, source: Node, values: dict[Node, Tensor], nodes: list[Node], made: dict[Node, Node]
) -> Node:
    """Numbers that are functions of ids as rows of a table; anything else as it is."""
    if operand not in values or operand.integer:
        return operand
    if operand not in made:
        table = constant(f"{operand.name}_table", values[operand].float()[:, None])
        rows = Node(f"{operand.name}_row", "ir.gather", [table, source], (*source.shape, 1), operand.source,
                    operand.layer)  # fmt: skip
        nodes += [table, rows]
        made[operand] = _rearranged(operand, rows, operand.shape, nodes)
    return made[operand]


def _rearranged(like: Node, x: Node, shape: tuple[int, ...], nodes: list[Node]) -> Node:
    """x in another shape."""
    if x.shape == shape:
        return x
    view = Node(f"{like.name}_shaped", "rearrange", [x], shape, like.source, like.layer,
                {"layout": Layout.of(shape)}, x.integer)  # fmt: skip
    nodes.append(view)
    return view

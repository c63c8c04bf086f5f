"""What is left of sums, products and functions when the linear layers have taken theirs: VALUE → VALUE."""

from __future__ import annotations

import torch

from ...arch.isa import Combine, Map, Source
from ..builder import Tiles
from ..calls import factors, function_of, is_function
from ..graph import Graph, Node, constant
from ..operands import require_finite, require_number
from .linear import COMBINES


def match(graph: Graph, node: Node) -> bool:
    """A function of a tensor, or the sum or product of two tensors; a constant one may be broadcast."""
    if factors(node):
        new = _product(graph, node, factors(node))
    elif is_function(node):
        new = node.turned_into("elementwise", node.inputs, function=function_of(node), combine=Combine.NONE)
    elif node.op in COMBINES and not node.kwargs:
        first, second = (_spread(graph, node, each) for each in node.args)
        if first.op == "constant":
            first, second = second, first
        new = node.turned_into("elementwise", [first, second], function="", combine=COMBINES[node.op])
    else:
        return False
    graph.replace(node, new)
    return True


def _product(graph: Graph, node: Node, count: int) -> Node:
    """A value times itself, so many factors."""
    (x,) = node.inputs
    other = x if count == 2 else _product(graph, node, count - 1)
    if other is not x:
        other.name = f"{node.name}_power_{count - 1}"
        graph.nodes.insert(graph.nodes.index(node), other)
    return node.turned_into("elementwise", [x, other], function="", combine=Combine.MULTIPLY)


def _spread(graph: Graph, node: Node, operand: Node | float) -> Node:
    """The operand in the shape of the result; numbers and smaller constants become constants of that shape."""
    if isinstance(operand, Node) and operand.shape and node.same_rows(operand):
        return operand
    if isinstance(operand, Node) and operand.op != "constant":
        raise node.refuse(f"{operand.name} of shape {operand.shape} would have to be broadcast; only constants can be")
    if isinstance(operand, Node):
        require_finite(node, operand)
        value = operand.value
    else:
        value = torch.tensor(require_number(node, "operand", float(operand)))
    spread = constant(f"{node.name}_operand", value.float().expand(node.shape).contiguous())
    graph.nodes.insert(graph.nodes.index(node), spread)
    return spread


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel."""
    x, out = tiles.plain_values(node.inputs[0]), tiles.new_values(node)
    operand = tiles.plain_values(node.inputs[1]) if node.combine is not Combine.NONE else None
    verb = node.combine.name.lower() if operand else node.function
    for start, count in tiles.panels(node):
        source, source_stride = x.place(start, count)
        second, second_stride = operand.place(start, count) if operand else (0, 0)
        address, stride = out.place(start, count)
        tiles.emit(
            Map(
                rows=count, columns=node.columns,
                source=Source.VALUE, source_address=source, source_stride=source_stride,
                function=tiles.function(node.function), combine=node.combine, operand_address=second,
                operand_stride=second_stride, address=address, stride=stride,
            ), verb,
        )  # fmt: skip

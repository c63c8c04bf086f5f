"""LayerNorm and RMSNorm of each row."""

from __future__ import annotations

import numpy as np
import torch

from ...arch.isa import Norm
from ..builder import Tiles
from ..graph import Graph, Node
from ..matrix import pairs_of_columns
from ..operands import constant_operand


def match(graph: Graph, node: Node) -> bool:
    """A norm of the last dimension."""
    if node.op != "ir.norm":
        return False
    x, *given = node.inputs
    parameters = [constant_operand(node, each, "γ and β must be constants") for each in given]
    gamma, beta = [*parameters, *[torch.ones(node.columns), torch.zeros(node.columns)][len(parameters) :]]
    graph.replace(node, node.turned_into("norm", [x], kind=node.kind, epsilon=node.epsilon, gamma=gamma, beta=beta))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel."""
    x, out = tiles.plain_values(node.inputs[0]), tiles.new_values(node)
    pairs = tiles.load_pairs(f"{tiles.label}.weight", pairs_of_columns(node.gamma, node.beta, tiles.config))
    for start, count in tiles.panels(node):
        source, source_stride = x.place(start, count)
        address, stride = out.place(start, count)
        tiles.emit(
            Norm(
                rows=count, columns=node.columns, kind=node.kind, source_address=source, source_stride=source_stride,
                param_address=pairs.at(0), address=address, stride=stride,
                reciprocal=float(np.float32(1 / node.columns)), epsilon=float(np.float32(node.epsilon)),
            ), "norm",
        )  # fmt: skip

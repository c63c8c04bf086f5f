"""LayerNorm and RMSNorm of each row."""

from __future__ import annotations

import numpy as np
import torch

from ...arch.isa import Norm, NormKind
from ..builder import Tiles
from ..graph import Graph, Node
from ..matrix import pairs_of_columns
from ..operands import constant_operand, require_number

KINDS = {"aten.layer_norm": NormKind.LAYER, "aten.rms_norm": NormKind.RMS}


def match(graph: Graph, node: Node) -> bool:
    """layer_norm(x, shape, γ, β, ε) and rms_norm(x, shape, γ, ε) over the last dimension."""
    if node.op not in KINDS:
        return False
    x, shape, *rest = node.args
    if node.op == "aten.layer_norm":
        gamma, beta, epsilon = [*rest, *[None, None, 1e-5][len(rest) :]][:3]
    else:
        gamma, epsilon = [*rest, *[None, None][len(rest) :]][:2]
        beta, epsilon = None, torch.finfo(torch.float32).eps if epsilon is None else epsilon
    if tuple(shape) != node.shape[-1:]:
        raise node.refuse(f"it normalises over {tuple(shape)}; only the last dimension can be normalised")
    if require_number(node, "ε", float(epsilon)) < 0:
        raise node.refuse(f"its ε must be at least 0, not {epsilon}")
    rule = "γ and β must be constants"
    graph.replace(
        node,
        node.turned_into(
            "norm", [x], kind=KINDS[node.op], epsilon=float(epsilon),
            gamma=torch.ones(node.columns) if gamma is None else constant_operand(node, gamma, rule),
            beta=torch.zeros(node.columns) if beta is None else constant_operand(node, beta, rule),
        ),
    )  # fmt: skip
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

"""Outlier channels at 16 bits: a linear layer is computed without the few channels that are far greater than the
others, in 8 bits, and these by themselves, in 16 (as LLM.int8(), Dettmers et al., 2022).

    x·Wᵀ  =  (x · keep)·W_restᵀ  +  (x·choiceᵀ)·W_outliersᵀ

`keep` is 0 at the outliers, so that they do not take the bits of their row; `choice` has a row for each of them, with a
single 1. Both small products take w16a16, over at most OUTLIERS channels. Which channels these are was measured
(`smooth.calibrate`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..arch.errors import PrecisionError
from ..arch.isa import Combine
from .graph import Graph, Node, constant
from .layout import Layout
from .operands import known
from .precision import SMALL, SPLIT, PrecisionRule
from .rearrange import origin
from .smooth import READS, Ranges
from .weightless import has_bytes

OUTLIERS = 16  # channels of a layer, at most


def split_outliers(graph: Graph, rule: PrecisionRule, ranges: Ranges | None) -> Graph:
    """The linear layers for which a rule says so, in two. Those that read a norm are left to SmoothQuant. Raises
    HeddleError where nothing was measured, or none of the layers can be split."""
    if not ranges:
        raise PrecisionError(f"{SPLIT} needs ranges, those of heddle.calibrate: they say which channels are outliers")
    nodes: list[Node] = []
    made: dict[Node, Node] = {}
    for node in graph:
        node.inputs = [made.get(each, each) for each in node.inputs]
        channels = outlier_channels(node, ranges) if rule.splits(node.layer) else None
        if channels is None:
            nodes.append(node)
            continue
        nodes += _parts(node, channels)
        made[node] = nodes[-1]
    if not made:
        layers = ", ".join(sorted(rule.split))
        raise PrecisionError(f"no layer of {layers} can have {SPLIT}: it must be a linear layer in the ranges, of more "
                             f"than {2 * OUTLIERS} features, that reads no norm")  # fmt: skip
    return replace(graph, nodes=nodes, outputs=[made.get(each, each) for each in graph.outputs])


def outlier_channels(node: Node, ranges: Ranges) -> Tensor | None:
    """The channels of what a linear layer reads that are to have more bits; None where it is left as it is."""
    if node.op != "ir.linear":
        return None
    weight, greatest = known(node.inputs[1]), ranges.get(node.layer + READS)
    if weight is None or greatest is None or len(greatest) != weight.shape[-1] or not has_bytes(weight.value):
        return None
    if origin(node.inputs[0])[0].op == "ir.norm" or weight.shape[-1] <= 2 * OUTLIERS:
        return None
    return greatest.topk(OUTLIERS)[1].sort()[0]


def _parts(node: Node, channels: Tensor) -> list[Node]:
    """The nodes in place of a linear layer, of which the last gives its result."""
    x, weight_node, *bias = node.inputs
    weight = known(weight_node)
    assert weight is not None, "its channels are known"
    keep = torch.ones(weight.shape[-1])
    keep[channels] = 0
    choice = torch.zeros(OUTLIERS, weight.shape[-1])
    choice[torch.arange(OUTLIERS), channels] = 1

    def fixed(name: str, value: Tensor) -> Node:
        return constant(f"{node.name}_{name}", value, weight.made_of)

    def make(name: str, op: str, inputs: list[Node], shape: tuple[int, ...], layer: str, **given: object) -> Node:
        attributes = {"call": node.attributes.get("call", node.op), **given}
        return Node(f"{node.name}_{name}", op, inputs, shape, node.source, layer, attributes)

    row, rest, of_outliers, ones = (
        fixed("keep", keep), fixed("weight", weight.value * keep), fixed("few", weight.value[:, channels]),
        fixed("choice", choice),
    )  # fmt: skip
    layout = Layout.of_digits([*(((size, 0),) for size in x.shape[:-1]), ((x.shape[-1], 1),)])
    whole = make("keeps", "rearrange", [row], x.shape, node.layer, layout=layout)
    kept = make("kept", "ir.combine", [x, whole], x.shape, node.layer, kind=Combine.MULTIPLY)
    most = make("most", "ir.linear", [kept, rest, *bias], node.shape, node.layer)
    chosen = make("chosen", "ir.linear", [x, ones], (*x.shape[:-1], OUTLIERS), node.layer + SMALL)
    few = make("outliers", "ir.linear", [chosen, of_outliers], node.shape, node.layer + SMALL)
    total = make("sum", "ir.combine", [most, few], node.shape, node.layer, kind=Combine.ADD)
    total.name = node.name
    return [row, rest, of_outliers, ones, whole, kept, most, chosen, few, total]

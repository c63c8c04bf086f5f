"""Divides a model into parts that compile and operators that have no rule, for who can run the latter elsewhere.

The parts are as large as can be: of torch.fx's partitioner, by what the rules of the closed set say of each call.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase
from torch.utils.flop_counter import flop_registry

from ..arch.errors import HeddleError
from .capture import calls, export
from .fold import fold_constants
from .graph import Graph, Node, map_nodes
from .legalise import legalise
from .rearrange import follow_views


@dataclass(frozen=True)
class Unsupported:
    """An operator that does not compile: why, in the words of the compiler, and its share of the model's operations."""

    name: str  # of its node
    operator: str
    reason: str
    share: float


@dataclass(frozen=True)
class Division:
    """`whole` computes the model: it calls its submodules `parts`, which compile, and the unsupported operators."""

    whole: fx.GraphModule
    parts: dict[str, float]  # name → share of the model's operations
    unsupported: list[Unsupported]


def divide(model: nn.Module, inputs: tuple[Tensor, ...]) -> Division:
    """The parts of a model for inputs of these shapes. Raises HeddleError for one that torch.export cannot trace."""
    program = export(model, inputs)
    reasons, work = _unsupported(program)
    whole = program.module(check_guards=False)
    assert isinstance(whole, fx.GraphModule)
    total = sum(work.values()) or 1
    found = [Unsupported(node.name, _operator(node), reasons[node.name], work.get(node.name, 0) / total)
             for node in whole.graph.nodes if node.name in reasons]  # fmt: skip
    partitioner = CapabilityBasedPartitioner(
        whole, _Supported(set(reasons)), allows_single_node_partition=True,
        non_compute_ops=["torch.ops.aten.view", "_operator.getitem"],
    )  # fmt: skip
    divided = partitioner.partition_and_fuse()
    parts = {}
    for node in divided.graph.nodes:
        if node.op == "call_module" and isinstance(part := divided.get_submodule(node.target), fx.GraphModule):
            names = [each.name for each in part.graph.nodes if each.op == "call_function"]
            parts[node.target] = sum(work.get(name, 0) for name in names) / total
    return Division(divided, parts, found)


def _unsupported(program: ExportedProgram) -> tuple[dict[str, str], dict[str, int]]:
    """Name of a call → reason, of those that have no rule; and the operations of each call."""
    nodes, problems = calls(program)
    work = {node.name: operations(node) for node in nodes.values()}
    everything = list(nodes.values())
    graph = Graph(everything, [*everything], [None] * len(nodes), problems=problems)
    with suppress(HeddleError):
        legalise(follow_views(fold_constants(graph)))
    reasons = {node.name: node.refuse("what it reads cannot be lowered") for node in everything if node.op == "refused"}
    reasons |= {node.name: error for node, error in problems.items()}
    return {name: str(error) for name, error in reasons.items()}, work


class _Supported(OperatorSupportBase):
    """What is not named."""

    def __init__(self, unsupported: set[str]) -> None:
        self.unsupported = unsupported

    def is_node_supported(self, submodules: Any, node: fx.Node) -> bool:
        return node.op == "call_function" and node.name not in self.unsupported


def _operator(node: fx.Node) -> str:
    return str(node.target).removesuffix(".default")


def operations(node: Node) -> int:
    """Operations of a call: those that torch counts of products, or one for each number of the result."""
    if "target" not in node.attributes:
        return 0
    count = flop_registry.get(getattr(node.target, "overloadpacket", node.target))
    if count is None or "results" in node.attributes:
        return node.size
    args, kwargs = map_nodes([node.args, node.kwargs], lambda each: torch.empty(each.shape, device="meta"))
    return int(count(*args, **kwargs, out_val=torch.empty(node.shape, device="meta")))

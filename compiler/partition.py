"""Divides a model into parts that compile and operators that have no rule, for who can run the latter elsewhere.

The parts are as large as can be: of torch.fx's partitioner, by what the rules of the closed set say of each call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.fx.node import map_arg
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase
from torch.utils.flop_counter import flop_registry

from ..arch.errors import HeddleError
from .capture import call, export, placeholder
from .fold import fold_constants
from .graph import Graph, Node
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
    reasons = _unsupported(program)
    whole = program.module(check_guards=False)
    assert isinstance(whole, fx.GraphModule)
    work = {node.name: _operations(node) for node in whole.graph.nodes}
    total = sum(work.values()) or 1
    found = [Unsupported(node.name, _operator(node), reasons[node.name], work[node.name] / total)
             for node in whole.graph.nodes if node.name in reasons]  # fmt: skip
    partitioner = CapabilityBasedPartitioner(
        whole, _Supported(set(reasons)), allows_single_node_partition=True,
        non_compute_ops=["torch.ops.aten.view", "_operator.getitem"],
    )  # fmt: skip
    divided = partitioner.partition_and_fuse()
    parts = {}
    for node in divided.graph.nodes:
        if node.op == "call_module" and isinstance(part := divided.get_submodule(node.target), fx.GraphModule):
            parts[node.target] = sum(work[each.name] for each in part.graph.nodes if each.op == "call_function") / total
    return Division(divided, parts, found)


def _unsupported(program: ExportedProgram) -> dict[str, str]:
    """Name of a call → reason, of those that have no rule."""
    kinds = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    nodes: dict[fx.Node, Node] = {}
    reasons: dict[Node, str] = {}
    for each in program.graph.nodes:
        if each.op == "placeholder":
            nodes[each] = placeholder(each, kinds[each.name], program)
        elif each.op == "call_function":
            try:
                nodes[each] = call(each, nodes)
            except HeddleError as error:
                nodes[each] = Node(each.name, "input", [], tuple(each.meta["val"].shape))
                reasons[nodes[each]] = str(error)
    graph = Graph(list(nodes.values()), list(nodes.values()), [None] * len(nodes))
    legalise(follow_views(fold_constants(graph)), reasons)
    return {node.name: reason for node, reason in reasons.items()}


class _Supported(OperatorSupportBase):
    """What is not named."""

    def __init__(self, unsupported: set[str]) -> None:
        self.unsupported = unsupported

    def is_node_supported(self, submodules: Any, node: fx.Node) -> bool:
        return node.op == "call_function" and node.name not in self.unsupported


def _operator(node: fx.Node) -> str:
    return str(node.target).removesuffix(".default")


def _operations(node: fx.Node) -> int:
    """Operations of a call: those that torch counts of products, or one for each number of the result."""
    value = node.meta.get("val")
    if node.op != "call_function" or not isinstance(value, Tensor):
        return 0
    count = flop_registry.get(getattr(node.target, "overloadpacket", node.target))
    if count is None:
        return value.numel()
    arguments = map_arg((node.args, node.kwargs), lambda each: each.meta.get("val"))
    return int(count(*arguments[0], **arguments[1], out_val=value))



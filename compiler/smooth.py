"""SmoothQuant (Xiao et al., 2023): takes the outliers out of what matrices read, and puts them into their weights.

Some channels of a normalised activation are tens of times larger than the others, which costs these their bits. Channel
j is divided by s[j] = max|x[j]|^α / max|w[:, j]|^(1 − α), in the norm that makes it, and the weights that read it are
multiplied. max|x[j]| is measured on sample inputs.

Where others read a norm too, as the residual stream of a post-norm layer does, it is computed twice: as it is for them,
and divided for the matrices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..arch.errors import require_type
from .capture import evaluating, require_model
from .graph import Graph, Node
from .ops.attention import ROLES
from .weightless import has_bytes

if TYPE_CHECKING:
    from .flash import Part

Ranges = dict[str, Tensor]  # path of a module in the model → greatest magnitude of each channel of its output
READS = " reads"  # behind the path of a module: of what it reads, rather than of its output
_LEAST = 1e-5
_ALPHA = 0.65  # of those tried, about the best for a trained encoder (MiniLM)


@torch.no_grad()
def calibrate(model: nn.Module, inputs: Iterable[Sequence[Tensor]]) -> Ranges:
    """The ranges of the outputs of all modules without parts of their own, norms of any class among them, and of what
    they read (`READS`), over calls of the model, in evaluation mode, with `inputs`."""
    require_model(model)
    ranges: Ranges = {}

    def watch(path: str):
        def hook(module: nn.Module, args: tuple, output: object) -> None:
            if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 2:
                return
            keep(path, output)
            if len(args) == 1 and isinstance(args[0], Tensor) and args[0].is_floating_point() and args[0].ndim > 1:
                keep(path + READS, args[0])

        return hook

    def keep(name: str, values: Tensor) -> None:
        greatest = values.reshape(-1, values.shape[-1]).abs().amax(0)
        known = ranges.get(name)
        ranges[name] = greatest if known is None or len(known) != len(greatest) else torch.maximum(known, greatest)

    leaves = [(path, each) for path, each in model.named_modules() if not any(each.children())]
    handles = [each.register_forward_hook(watch(path)) for path, each in leaves]
    try:
        with evaluating(model):
            for arguments in inputs:
                require_type("each set of inputs", arguments, (tuple, list), "a tuple of tensors")
                model(*arguments)
    finally:
        for handle in handles:
            handle.remove()
    return ranges


def smooth(graph: Graph, ranges: Ranges, alpha: float = _ALPHA) -> Graph:
    """Divide the output of each norm with known ranges for the matrices that read it, and multiply their weights."""
    for node in graph:
        if node.op != "norm" or node.layer not in ranges or len(ranges[node.layer]) != node.columns:
            continue
        readers = [reader for reader in graph.users(node) if _reads_by_weights(reader, node)]
        weights = [weight for reader in readers for weight in _weights(reader, node)]
        if not weights:
            continue
        if not has_bytes(node.gamma, node.beta, *weights):  # the figures would change, nothing else
            continue
        scale = channel_scale(ranges[node.layer], weights, alpha)
        divided = _for(graph, node, readers)
        divided.attributes["gamma"] = (node.gamma.double() / scale).float()
        divided.attributes["beta"] = (node.beta.double() / scale).float()
        for reader in readers:
            _multiply(reader, divided, scale)
    return graph


def channel_scale(greatest: Tensor, weights: Sequence[Tensor], alpha: float = _ALPHA) -> Tensor:
    """s of each channel of what these weights (N, K) multiply, whose greatest magnitudes are known."""
    of_weights = torch.stack([weight.abs().amax(0) for weight in weights]).amax(0).double()
    return greatest.double().clamp(min=_LEAST) ** alpha / of_weights.clamp(min=_LEAST) ** (1 - alpha)


def _for(graph: Graph, node: Node, readers: list[Node]) -> Node:
    """A norm that these read alone: the same, or where it has other readers one beside it."""
    if len(readers) == len(graph.users(node)) and node not in graph.outputs:
        return node
    beside = replace(node, name=f"{node.name}_divided", attributes=dict(node.attributes), inputs=list(node.inputs))
    graph.insert_after(node, beside)
    for reader in readers:
        reader.inputs = [beside if each is node else each for each in reader.inputs]
    return beside


def _parts(reader: Node, x: Node) -> list[tuple[list[Part], int]]:
    """(parts of a head, place there) of those of a cached attention that are made from x by a weight."""
    at = reader.inputs.index(x)
    heads = [parts for role in reader.roles.values() for parts in role]
    found = [(parts, i) for parts in heads for i, part in enumerate(parts) if part.source == at]
    return [(parts, i) for parts, i in found if parts[i].weight is not None]


def _reads_by_weights(reader: Node, x: Node) -> bool:
    if reader.op == "linear":
        return reader.inputs[0] is x and x not in reader.inputs[1:]
    if reader.op == "attention":
        return True
    if reader.op != "cached_attention":
        return False
    at = reader.inputs.index(x)
    return all(
        part.weight is not None
        for role in reader.roles.values()
        for parts in role
        for part in parts
        if part.source == at
    )


def _weights(reader: Node, x: Node) -> list[Tensor]:
    if not _reads_by_weights(reader, x):
        return []
    if reader.op == "linear":
        return [reader.weight]
    if reader.op == "attention":
        return [weight for role in _roles(reader, x) for weight, _ in reader.weights[role]]
    return [parts[i].weight for parts, i in _parts(reader, x)]  # type: ignore[misc]


def _multiply(reader: Node, x: Node, scale: Tensor) -> None:
    if reader.op == "linear":
        reader.attributes["weight"] = reader.weight.double() * scale
        return
    if reader.op == "attention":
        for role in _roles(reader, x):
            reader.weights[role] = [(weight.double() * scale, bias) for weight, bias in reader.weights[role]]
        return
    for parts, i in _parts(reader, x):
        part = parts[i]
        assert part.weight is not None
        parts[i] = replace(part, weight=part.weight.double() * scale)


def _roles(reader: Node, x: Node) -> list[str]:
    """Which of an attention's queries, keys and values are made from x."""
    return [role for role, each in zip(ROLES, reader.inputs, strict=True) if each is x]

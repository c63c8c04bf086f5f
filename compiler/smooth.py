"""SmoothQuant (Xiao et al., 2023): takes the outliers out of what matrices read, and puts them into their weights.

Some channels of a normalised activation are tens of times larger than the others, which costs these their bits. Channel
j is divided by s[j] = max|x[j]|^α / max|w[:, j]|^(1 − α), in the norm that makes it, and the weights that read it are
multiplied. max|x[j]| is measured on sample inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from .capture import evaluating
from .flash import Part
from .graph import Graph, Node
from .weightless import has_bytes

Ranges = dict[str, Tensor]  # path of a norm in the model → greatest magnitude of each channel of its output
_LEAST = 1e-5


@torch.no_grad()
def calibrate(model: nn.Module, inputs: Iterable[Sequence[Tensor]]) -> Ranges:
    """The ranges of the outputs of all LayerNorms and RMSNorms, over calls of the model, in evaluation mode, with
    `inputs`."""
    ranges: Ranges = {}

    def watch(path: str):
        def hook(module: nn.Module, args: tuple, output: Tensor) -> None:
            greatest = output.reshape(-1, output.shape[-1]).abs().amax(0)
            ranges[path] = torch.maximum(ranges[path], greatest) if path in ranges else greatest

        return hook

    norms = [(path, each) for path, each in model.named_modules() if isinstance(each, (nn.LayerNorm, nn.RMSNorm))]
    handles = [each.register_forward_hook(watch(path)) for path, each in norms]
    try:
        with evaluating(model):
            for arguments in inputs:
                model(*arguments)
    finally:
        for handle in handles:
            handle.remove()
    return ranges


def smooth(graph: Graph, ranges: Ranges, alpha: float = 0.5) -> Graph:
    """Divide the output of each norm with known ranges, if only matrices read it, and multiply their weights."""
    for node in graph:
        if node.op != "norm" or node.layer not in ranges or node is graph.output:
            continue
        readers = graph.users(node)
        weights = [weight for reader in readers for weight in _weights(reader, node)]
        if not weights or not all(_reads_by_weights(reader, node) for reader in readers):
            continue
        if not has_bytes(node.gamma, node.beta, *weights):  # the figures would change, nothing else
            continue
        greatest = torch.stack([weight.abs().amax(0) for weight in weights]).amax(0).double()
        scale = ranges[node.layer].double().clamp(min=_LEAST) ** alpha / greatest.clamp(min=_LEAST) ** (1 - alpha)
        node.attributes["gamma"] = (node.gamma.double() / scale).float()
        node.attributes["beta"] = (node.beta.double() / scale).float()
        for reader in readers:
            _multiply(reader, node, scale)
    return graph


def _parts(reader: Node, x: Node) -> list[tuple[list[Part], int]]:
    """(parts of a head, place there) of those of a cached attention that are made from x by a weight."""
    at = reader.inputs.index(x)
    heads = [parts for role in reader.roles.values() for parts in role]
    found = [(parts, i) for parts in heads for i, part in enumerate(parts) if part.source == at]
    return [(parts, i) for parts, i in found if parts[i].weight is not None]


def _reads_by_weights(reader: Node, x: Node) -> bool:
    if reader.op == "linear":
        return reader.inputs[0] is x and x not in reader.inputs[1:]
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
    return [parts[i].weight for parts, i in _parts(reader, x)]  # type: ignore[misc]


def _multiply(reader: Node, x: Node, scale: Tensor) -> None:
    if reader.op == "linear":
        reader.attributes["weight"] = reader.weight.double() * scale
        return
    for parts, i in _parts(reader, x):
        part = parts[i]
        assert part.weight is not None
        parts[i] = Part(part.source, part.weight.double() * scale, part.bias, part.width, part.rotated)

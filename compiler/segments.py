"""Cuts a graph into segments, so that layers that are equal are compiled once.

A cut goes where a single value is alive, such as the residual stream between two layers; it rests in DRAM there. Of all
such cuts those are kept that make the longest run of equal segments.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .graph import Graph, Node

_FREE = ("constant", "input")  # operators whose values are at hand everywhere
# Attributes whose numbers count: tables that all segments share, and masks, of which it depends what is computed.
_CONTENT = ("rotary", "sight")


@dataclass
class Segment:
    """Part of a graph: what it reads of the segment before is its node "stored"."""

    graph: Graph
    signature: tuple
    last: bool  # its output is that of the model

    @property
    def attentions(self) -> list[Node]:
        """Those whose keys and values are cached, and writers."""
        return [node for node in self.graph if node.op in ("cached_attention", "cache_writer")]


def segments(graph: Graph, finest: bool = False) -> list[Segment]:
    """All of the graph, cut wherever that can be if `finest`. Its nodes are changed: they read "stored" nodes across
    cuts."""
    work = [node for node in graph if node.op not in _FREE]
    if not work:  # the model returns constants
        return [Segment(graph, (), True)]
    results = list(zip(graph.outputs, graph.names, strict=True))
    inside = set(work)
    pieces, start = [], 0
    for cut in [*_cuts(graph, work), len(work) - 1]:
        pieces.append(work[start : cut + 1])
        start = cut + 1
    merged = pieces if finest else _layers(pieces)
    signatures = [(*_signature(piece), *_results_of(piece, results)) for piece in merged]
    free = [(node, name) for node, name in results if node not in inside]
    found = []
    for piece, signature in zip(merged, signatures, strict=True):
        last = piece is merged[-1]
        ends = [(node, name) for node, name in results if node in piece]
        ends += free if last else [(piece[-1], None)]
        found.append(Segment(_graph_of(piece, ends), signature, last))
    return found


def _results_of(piece: list[Node], results: list[tuple[Node, str | None]]) -> tuple:
    """Which results of the model a piece has, and where: each has a place of its own in DRAM."""
    return tuple((piece.index(node), name) for node, name in results if node in piece)


def _layers(pieces: list[list[Node]]) -> list[list[Node]]:
    """The longest run of equal stretches, and what is before and behind it."""
    kinds: dict[tuple, int] = {}
    first, length, count = _longest_run([kinds.setdefault(_signature(piece), len(kinds)) for piece in pieces])
    edges = [first + length * i for i in range(count + 1)]
    return [
        *_merged(pieces[:first]),
        *([sum(pieces[a:b], []) for a, b in zip(edges, edges[1:], strict=False)]),
        *_merged(pieces[first + length * count :]),
    ]


def _cuts(graph: Graph, work: list[Node]) -> list[int]:
    """Places in `work` behind which nothing but the value just computed is alive, and that as plain values."""
    last_use = dict.fromkeys(work, -1)
    for index, node in enumerate(work):
        for each in node.inputs:
            if each in last_use:
                last_use[each] = index
    cuts, reach = [], -1  # the last use of what came before
    for index, node in enumerate(work[:-1]):
        if reach <= index and _is_plain(node):
            cuts.append(index)
        reach = max(reach, last_use[node])
    return cuts


def _is_plain(node: Node) -> bool:
    """Whether its value is in VALUE, a column to a feature."""
    special = ("quantise", "cached_attention", "attention", "position_rows")
    return node.op not in special and "codes" not in node.attributes


def _longest_run(kinds: list[int]) -> tuple[int, int, int]:
    """(first, length, count) of the run of equal stretches that covers most; of those the first and shortest."""
    best, covered = (0, 0, 0), 0
    for length in range(1, len(kinds) // 2 + 1):
        for first in range(len(kinds) - 2 * length + 1):
            body, count = kinds[first : first + length], 1
            while kinds[first + count * length : first + (count + 1) * length] == body:
                count += 1
            if count > 1 and count * length > covered:
                best, covered = (first, length, count), count * length
    return best


def _merged(pieces: list[list[Node]]) -> list[list[Node]]:
    """Neighbours with as many rows become one, of which at most one has an attention: what leads to a second one would
    have to be computed again."""
    found: list[list[Node]] = []
    for piece in pieces:
        alike = bool(found) and {node.rows for node in found[-1]} == {node.rows for node in piece}
        if alike and not (_attends(found[-1]) and _attends(piece)):
            found[-1] += piece
        else:
            found.append(list(piece))
    return found


def _attends(piece: list[Node]) -> bool:
    return any("attention" in node.op for node in piece)


def _graph_of(piece: list[Node], ends: list[tuple[Node, str | None]]) -> Graph:
    """A graph of its own: inputs and constants that the piece reads, then its nodes; what it leaves at its ends, under
    these names, or for the next piece."""
    inside, before, stored = set(piece), {}, {}
    for node in piece:
        for number, each in enumerate(node.inputs):
            if each in inside:
                continue
            if each.op not in _FREE:
                if each not in stored:
                    stored[each] = Node(each.name, "stored", [], each.shape, each.source, each.layer)
                node.inputs[number] = stored[each]
            before[node.inputs[number]] = None
    before.update({node: None for node, _ in ends if node not in inside})
    return Graph([*before, *piece], [node for node, _ in ends], [name for _, name in ends])


def _signature(piece: list[Node]) -> tuple:
    """What must be equal for two pieces to have the same instructions."""
    numbers = {node: number for number, node in enumerate(piece)}
    outside: dict[Node, int] = {}  # what is read from elsewhere, by first appearance
    return tuple(
        (
            node.op, node.shape, tuple(_reference(each, numbers, outside) for each in node.inputs),
            tuple((key, _canonical(value, key in _CONTENT)) for key, value in sorted(node.attributes.items())),
        )
        for node in piece
    )  # fmt: skip


def _reference(node: Node, numbers: dict[Node, int], outside: dict[Node, int]) -> object:
    if node in numbers:
        return numbers[node]
    if node.op == "input":
        return node.op, node.name
    place = outside.setdefault(node, len(outside))
    return "constant" if node.op == "constant" else "stored", node.shape, place


def _canonical(value: Any, content: bool = False) -> object:
    """A value that can be compared: of arrays the shape (with `content`, all numbers), of objects type and parts."""
    if isinstance(value, (Tensor, np.ndarray)):
        if content and isinstance(value, Tensor) and value.device.type != "meta":
            numbers = torch.as_tensor(value).contiguous().numpy()
            return tuple(value.shape), hashlib.sha256(numbers.tobytes()).hexdigest()
        return "array", tuple(value.shape), str(value.dtype)
    if isinstance(value, (list, tuple)):
        return tuple(_canonical(each, content) for each in value)
    if isinstance(value, dict):
        return tuple((key, _canonical(each, content)) for key, each in value.items())
    if is_dataclass(value) and not isinstance(value, (Enum, type)):
        parts = ((each.name, _canonical(getattr(value, each.name), content)) for each in fields(value))
        return type(value).__name__, *parts
    return value if isinstance(value, (int, float, str, Enum, type(None))) else repr(value)

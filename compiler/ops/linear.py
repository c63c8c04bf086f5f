"""y = x·Wᵀ + b, with the function of one number and the residual (or gate) that follow it taken in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from ...arch.config import HardwareConfig, Memory
from ...arch.isa import Combine, Map, Quantise, Reduce, Reduction, Source
from ..builder import Rows, Tiles, Tiling, Weights
from ..coder import Coder
from ..graph import Graph, Node
from ..matrix import Matrix
from ..operands import constant_operand
from ..tasks import Buffer
from ..weightless import has_bytes
from .quantise import quantise_rows

_Part = tuple[int, int]  # of rows or of words: the first, and how many
STAGGERED = 4  # the part of WEIGHT that the first chunks of a layer take, or the last, where panels begin one by one
PLAIN = {"function": "", "combine": Combine.NONE}  # attributes of a layer with nothing taken in


def match(graph: Graph, node: Node) -> bool:
    """A linear layer."""
    if node.op != "ir.linear":
        return False
    x, weight, bias = parameters(node)
    graph.replace(node, node.turned_into("linear", [x], weight=weight, bias=bias, **PLAIN))
    return True


def fuse(graph: Graph, node: Node) -> bool:
    """A function of a linear layer, an addition to one, a multiplication by one, if nobody else reads it."""
    if node.op != "elementwise":
        return False
    return _take_operand(graph, node) if len(node.inputs) == 2 else _take_function(graph, node)


def parameters(node: Node) -> tuple[Node, Tensor, Tensor | None]:
    """(x, weight (N, K), bias) of a linear layer. Raises HeddleError if they are not finite."""
    x, weight, *bias = node.inputs
    rule = "weights and biases must be constants"
    value = constant_operand(node, weight, rule)
    return x, value, constant_operand(node, bias[0], rule) if bias else None


def projection_macs(views: Iterable[tuple[Node, Tensor]]) -> int:
    """Useful multiply-accumulates of linear layers of which an operator reads some columns: each counted once."""
    columns: dict[Node, list[Tensor]] = {}
    for layer, some in views:
        columns.setdefault(layer, []).append(some.flatten())
    return sum(layer.rows * parameters(layer)[0].columns * len(torch.cat(some).unique())
               for layer, some in columns.items())  # fmt: skip


def _take_function(graph: Graph, node: Node) -> bool:
    source = node.inputs[0]
    if source.op != "linear" or source.function or source.combine is not Combine.NONE:
        return False
    if graph.only_user(source) is not node:
        return False
    attributes = {**source.attributes, "function": node.function}
    if node.scale is not None:
        attributes |= _scaled(source, node.scale, node.offset)
    graph.replace(node, source.turned_into("linear", source.inputs, node.shape, **attributes))
    return True


def _scaled(source: Node, scale: Tensor, offset: Tensor) -> dict[str, Tensor]:
    """Weight and bias of a layer whose outputs are scaled and shifted."""
    weight, bias = source.weight.double(), source.bias
    if not has_bytes(weight, scale):
        return {"bias": torch.empty(len(weight), device="meta")}
    before = torch.zeros(len(weight)) if bias is None else bias
    return {"weight": weight * scale[:, None], "bias": before.double() * scale + offset}


def _take_operand(graph: Graph, node: Node) -> bool:
    if node.combine not in (Combine.ADD, Combine.MULTIPLY) or node.inputs[0] is node.inputs[1]:
        return False
    candidates = [
        each
        for each in node.inputs
        if each.op == "linear" and each.combine is Combine.NONE and graph.only_user(each) is node
    ]
    if not candidates:
        return False
    source = max(candidates, key=graph.nodes.index)  # the other operand is then there in time
    operand = next(each for each in node.inputs if each is not source)
    if operand.op == "rearrange":  # broadcast: for an operator that can
        return False
    attributes = {**source.attributes, "combine": node.combine}
    graph.replace(node, source.turned_into("linear", [*source.inputs, operand], node.shape, **attributes))
    return True


def quantise(node: Node, coder: Coder) -> None:
    """The weight becomes a matrix of codes; x is read as codes."""
    node.attributes["matrix"] = coder.matrix(node, node.attributes.pop("weight"), node.attributes.pop("bias"))
    node.inputs[0] = coder.codes(node, node.inputs[0])


def macs(node: Node) -> int:
    """Those of all rows."""
    return node.rows * node.matrix.outputs * node.matrix.depth


def tile(node: Node, tiles: Tiles) -> None:
    """Panels of rows times chunks of columns."""
    x = tiles.codes(node.inputs[0])
    matrix = node.matrix.spread(x.segment, tiles.config.columns)
    codes, argmax = node.attributes.get("codes"), "argmax" in node.attributes
    from_sums = codes is not None and needs_whole_rows(node, tiles.tiling)
    out = tiles.new_codes(node, node.columns, digits=codes or 1) if from_sums else _room(node, tiles)
    size, count = (node.columns, 1) if from_sums else column_groups(node, tiles.config)
    winners = tiles.winners(node, count) if argmax else None
    for group in range(count):
        part = matrix.part(group * size, min((group + 1) * size, node.columns))
        _tile_group(node, tiles, part, _Epilogue(node, tiles, x, out, winners, group * size, group))
    if codes and not from_sums:
        rows = tiles.new_codes(node, node.columns, digits=codes)
        for start, some in tiles.panels(node):
            quantise_rows(tiles, out, rows, start, some)


def _room(node: Node, tiles: Tiles) -> Rows:
    """Where values go: where the operand was, if nobody else reads that later."""
    return tiles.take_place(node, node.inputs[1]) if node.attributes.get("in_place") else tiles.new_values(node)


def column_groups(node: Node, config: HardwareConfig) -> tuple[int, int]:
    """(columns of a group, groups): the outputs are cut, if PARAM does not hold the parameters of all or the greatest
    is looked for, so that it holds those of two groups; and, for the greatest, ACC the sums of two rows."""
    words, most = -(-node.columns // config.columns), config.words(Memory.PARAM)
    if "argmax" in node.attributes:
        most = min(most // 2, max(1, config.words(Memory.ACC) // (2 + 2 * node.precision.planes)))
    elif words > most:
        most //= 2
    groups = -(-words // most)
    return -(-words // groups) * config.columns, groups


def _tile_group(node: Node, tiles: Tiles, matrix: Matrix, epilogue: _Epilogue) -> None:
    """Some of the outputs. Codes and the greatest need whole rows, so they are taken when the last chunk of a row is
    there; values are mapped to VALUE chunk by chunk."""
    config, x = tiles.config, epilogue.x
    chunks, words = tiles.chunks(matrix), -(-matrix.outputs // config.columns)
    weights = Weights(tiles, matrix, f"{tiles.label}.weight")
    epilogue.pairs = tiles.load_pairs(f"{tiles.label}.bias", matrix.pairs(config))
    planes = 1 + node.precision.planes
    resident: dict[tuple[int, int], list[Buffer]] = {}
    sums: dict[int, Buffer] = {}  # first row of a panel → its accumulators, where whole rows are needed
    panels, depth = tiles.panels(node), weights.depth * len(matrix.digits)
    stay, once = _fits(tiles, words * depth), _sums_stay(node, tiles, words)
    order = streamed(panels, chunks, depth, tiles.config) if once and not stay else product(panels, chunks)
    for (start, count), chunk in order:
        if chunk not in resident:
            resident = resident if once or stay else {}
            resident[chunk] = weights.load(*chunk)
        first, some = chunk
        if not epilogue.whole_rows:
            acc = tiles.buffer(Memory.ACC, planes * count * some, "sums")
            tiles.product(node.precision, x, start, count, resident[chunk], x.columns, some, acc.at(0), some)
            epilogue.map(start, count, first, some, acc)
            continue
        if first == 0:
            sums[start] = tiles.buffer(Memory.ACC, planes * count * words, "sums")
        tiles.product(node.precision, x, start, count, resident[chunk], x.columns, some, sums[start].at(first), words)
        if chunk == chunks[-1]:
            epilogue.finish(start, count, words, sums[start])


def needs_whole_rows(node: Node, tiling: Tiling) -> bool:
    """Whether something is taken from whole rows of the sums: the scale of codes, or the place of the greatest."""
    return ("codes" in node.attributes and not tiling.through_value) or "argmax" in node.attributes


def _fits(tiles: Tiles, weight_words: int) -> bool:
    """Whether all weights of the layer may stay on chip while its panels pass, and leave room for those of the next."""
    return weight_words <= tiles.config.words(Memory.WEIGHT) // 2


def _sums_stay(node: Node, tiles: Tiles, words: int) -> bool:
    """Whether the sums of all panels can, if whole rows of them are needed."""
    sums = tiles.rows_of(node) * words * (1 + node.precision.planes)
    return not needs_whole_rows(node, tiles.tiling) or sums <= tiles.config.words(Memory.ACC) // 2


def streamed(
    panels: list[_Part], chunks: list[_Part], depth: int, config: HardwareConfig
) -> Iterator[tuple[_Part, _Part]]:  # fmt: skip
    """(panel, chunk) pairs where weights cannot stay: all panels of a chunk, so that it is loaded once. But of the
    first chunks some are taken together, all of them for a panel, and of the last: so panels begin and end one after
    the other, and what is before and behind, such as a norm, goes on beside the products of the others."""
    some = config.words(Memory.WEIGHT) // STAGGERED // (depth * max(words for _, words in chunks))
    some = min(some, len(chunks) // 2)
    edges = [0, *range(some, len(chunks) - some + 1), len(chunks)] if some > 1 else range(len(chunks) + 1)
    for start, stop in pairwise(edges):
        yield from product(panels, chunks[start:stop])


class _Epilogue:
    """What becomes of the sums: codes in ACT, or values in VALUE with the operand added or multiplied."""

    pairs: Buffer

    def __init__(
        self, node: Node, tiles: Tiles, x: Rows, out: Rows, winners: Buffer | None, column: int, group: int
    ) -> None:
        self.node, self.tiles, self.x, self.out, self.winners = node, tiles, x, out, winners
        self.column, self.group = column, group  # of all outputs, the first one here
        self.whole_rows = needs_whole_rows(node, tiles.tiling)
        self.codes = self.whole_rows and "codes" in node.attributes
        self.operand = tiles.plain_values(node.inputs[1]) if node.combine is not Combine.NONE else None

    def finish(self, start: int, count: int, words: int, sums: Buffer) -> None:
        """What is made of whole rows of a panel."""
        if self.codes:
            self.quantise(start, count, words, sums)
            return
        assert self.winners is not None, "whole rows are needed for codes or the greatest"
        first = self.winners.start * self.tiles.config.word_elements(Memory.INDEX) + self.group * self.node.rows
        columns = min(words * self.tiles.config.columns, self.node.columns - self.column)
        self.tiles.emit(
            Reduce(**self._front(start, count, 0, sums, words), columns=columns, kind=Reduction.MAXIMUM, placed=1,
                   index_address=first + start), "argmax",
        )  # fmt: skip
        self.map(start, count, 0, words, sums)

    def quantise(self, start: int, count: int, words: int, sums: Buffer) -> None:
        """Whole rows of a panel."""
        for digit, codes in self.out.digits():
            address, stride = codes.place(start, count)
            self.tiles.emit(
                Quantise(
                    **self._front(start, count, 0, sums, words), columns=self.node.columns, address=address,
                    stride=stride, scales_address=self.out.scale_place(start), digit=digit,
                ), self._what("quantise"),
            )  # fmt: skip

    def map(self, start: int, count: int, first: int, words: int, sums: Buffer) -> None:
        """Some words of the rows of a panel."""
        address, stride = self.out.place(start, count)
        per_word = self.tiles.config.columns
        at = first + self.column // per_word
        columns = min(words * per_word, self.node.columns - at * per_word)
        front = self._front(start, count, first, sums, words)
        self.tiles.emit(Map(**front, columns=columns, address=address + at, stride=stride), self._what("map"))

    def _front(self, start: int, count: int, first: int, sums: Buffer, sums_stride: int) -> dict[str, Any]:
        operand, operand_stride = self.operand.place(start, count) if self.operand else (0, 0)
        operand += first + self.column // self.tiles.config.columns if self.operand else 0
        return {
            "rows": count, "source": Source.ACC, "source_address": sums.at(0), "source_stride": sums_stride,
            "scaled": 1, "param_address": self.pairs.at(first), "row_scaled": 1,
            "row_address": self.x.scale_place(start), "function": self.tiles.function(self.node.function),
            "combine": self.node.combine,
            "operand_address": operand, "operand_stride": operand_stride,
            "planes": self.node.precision.planes,
        }  # fmt: skip

    def _what(self, verb: str) -> str:
        return f"{self.node.function} {verb}".lstrip()

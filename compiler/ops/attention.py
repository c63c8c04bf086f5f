"""Multi-head attention with the projections of its queries, keys and values.

Queries become the moving operand, keys and values the stationary one, straight from the accumulators. Probabilities
stay un-normalised until after P·V (Softmax in arch/isa); log2(e)/√d is folded into the scale and bias of the
queries. The result has one head after the other, each on words of its own, for the output projection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...arch.config import Memory
from ...arch.isa import Codes, Map, Quantise, Scales, Source
from ...sim.units import cycles
from ..builder import Rows, Tiles, Weights, split_rows
from ..coder import Coder
from ..graph import Graph, Node
from ..layout import Layout
from ..live import Codes as LiveCodes
from ..live import Keys, Live
from ..masks import added_to_scores
from ..matrix import Matrix, joined
from ..operands import known, require_number
from ..rearrange import origin, split_heads, view_of
from ..sight import Panel, Sight, cost_of, stretches
from ..tasks import Buffer
from .linear import parameters, projection_macs

ROLES = ("query", "key", "value")
WHOLE_CODES = True  # no codes of two digits


# -- match -------------------------------------------------------------------------------------------------------------


def match(graph: Graph, node: Node) -> bool:
    """Attention of three linear layers' outputs split into heads, its own output merged again, under a known mask."""
    if node.op != "ir.attention":
        return False
    call = arguments(node)
    queries, width = node.shape[-2:]
    heads = node.rows // queries
    readers = graph.users(node)
    if call is None or heads > 1 and (node in graph.outputs or not all(merges_heads(each, node) for each in readers)):
        return False
    sources, weights, views = [], {}, []
    for role, each in zip(ROLES, call.operands, strict=True):
        projection = _projection(graph, node, each, heads, views)
        if projection is None:
            return False
        sources.append(projection[0])
        weights[role] = projection[1]
    sight = sight_of(node, call)
    merged = node.turned_into(
        "attention", sources, readers[0].shape if heads > 1 else node.shape,
        heads=heads, scale=call.scale, sight=sight, weights=weights, seen=sight.pairs(heads),
        pair_width=call.operands[1].shape[-1] + call.operands[2].shape[-1], projected=projection_macs(views),
    )  # fmt: skip
    replace_readers(graph, node, merged, readers if heads > 1 else [])
    return True


def replace_readers(graph: Graph, node: Node, merged: Node, readers: list[Node]) -> None:
    """`merged` for those that merge heads; for the node itself, if there are none to merge."""
    if not readers:
        graph.replace(node, merged)
        return
    first, *others = readers
    graph.replace(first, merged)
    for each in others:
        graph.replace(each, view_of(each, merged, Layout.of(each.shape)))


class Arguments(NamedTuple):
    """Those of an attention."""

    operands: tuple[Node, Node, Node]  # queries, keys, values (…, H, T, D)
    mask: Node | None
    causal: bool
    scale: float

    @property
    def keys(self) -> int:
        """Tokens that can be attended to."""
        return self.operands[1].shape[-2]


def arguments(node: Node) -> Arguments | None:
    """None where the mask is computed."""
    query, key, value, *masks = node.inputs
    mask = known(masks[0]) if masks else None
    if masks and mask is None:
        return None
    return Arguments((query, key, value), mask, node.causal, require_number(node, "scale", node.scale))


def same_precision(graph: Graph, *nodes: Node) -> bool:
    """Whether one operator can do the work of all, by which precision their layers have."""
    return len({graph.rule.of(each.layer) for each in nodes}) == 1


def _projection(
    graph: Graph, node: Node, operand: Node, heads: int, views: list[tuple[Node, Tensor]]
) -> tuple[Node, list[tuple[Tensor, Tensor | None]]] | None:
    """(x, for each head its weight (D, K) and bias (D)) of an operand (…, H, T, D) that is a view of a linear layer.
    That layer and the columns that are read of it are added to `views`. None if it is anything else."""
    linear, layout = origin(operand)
    if linear.op != "ir.linear" or not same_precision(graph, linear, node):
        return None
    x, weight, bias = parameters(linear)
    columns = split_heads(layout, linear.rows, linear.columns)
    if columns is None or heads % len(columns):
        return None
    views.append((linear, columns))
    columns = columns.repeat_interleave(heads // len(columns), dim=0)  # enable_gqa: a key head serves several queries
    weights = weight[columns].unbind()  # of each head
    return x, list(zip(weights, [None] * heads if bias is None else bias[columns].unbind(), strict=True))


def sight_of(node: Node, call: Arguments) -> Sight:
    """What queries see under a mask: none, causal, or any other, which is added."""
    queries = node.shape[-2]
    if call.mask is None:
        return Sight(queries, call.keys, call.causal)
    added = added_to_scores(node, call.mask, call.keys, call.causal)
    if not added.any():
        return Sight(queries, call.keys)
    triangle = torch.full(added.shape[-2:], -math.inf).triu(1)
    if len(added) == 1 and torch.equal(added[0], triangle):
        return Sight(queries, call.keys, causal=True)
    return Sight(queries, call.keys, added=added * math.log2(math.e))


def merges_heads(reader: Node, node: Node) -> bool:
    tokens, features = node.shape[-2:]
    heads = node.rows // tokens
    merged = Layout.of((heads, tokens, features)).transposed(0, 1)
    return reader.op == "rearrange" and reader.columns == heads * features and reader.layout.same_order(merged)


def quantise(node: Node, coder: Coder) -> None:
    """A matrix of codes for each role and head."""
    if node.precision.planes:
        raise node.refuse(f"an encoder's attention is computed in w8a8 or bf16, not in {node.precision.value}")
    factors = {"query": node.scale * math.log2(math.e), "key": 1.0, "value": 1.0}
    weights = node.attributes.pop("weights")
    node.attributes["matrices"] = {
        role: [coder.matrix(node, weight, bias, factors[role]) for weight, bias in weights[role]] for role in ROLES
    }
    node.inputs = [coder.codes(node, each) for each in node.inputs]


def macs(node: Node) -> int:
    """Those of the projections."""
    return node.projected


# -- tile --------------------------------------------------------------------------------------------------------------


def tile(node: Node, tiles: Tiles) -> None:
    """Head by head: all rows are projected; then each panel of queries runs through scores, softmax and P·V."""
    _Attention(node, tiles).tile()


@dataclass
class _Sums:
    """The accumulators of one role of one head, and what turns them into numbers."""

    columns: int
    buffer: Buffer
    first: int  # word of the first column in a row
    stride: int
    pairs: int  # virtual address of the parameters
    x: Rows


class _Group:
    """The roles that read the same x: one multiplication for each head projects them all."""

    def __init__(self, tiles: Tiles, node: Node, x: Node, roles: list[str]) -> None:
        self.tiles, self.roles, self.rows, self.x = tiles, roles, x.rows, tiles.codes(x)
        self.panels = tiles.panels(x)
        self.matrices = node.matrices
        config = tiles.config
        by_head = [joined([node.matrices[role][head] for role in roles], config) for head in range(node.heads)]
        everything = joined(by_head, config).spread(self.x.segment, config.columns)
        self.words = by_head[0].outputs // config.columns  # of a head
        self.role_words = {role: -(-node.matrices[role][0].outputs // config.columns) for role in roles}
        # Sums that come in several pieces are apart: while some are read, others are still written.
        whole = len(tiles.chunks(self._matrix(0, roles))) == 1
        self.together = [roles] if whole else [[role] for role in roles]
        self.weights = Weights(tiles, everything, f"{tiles.label}.{'_'.join(roles)}.weight")
        self.all_pairs = everything.pairs(config)
        self.pairs = None if tiles.tiling.thrifty else self._load_pairs(self.all_pairs)

    def _matrix(self, head: int, roles: list[str]) -> Matrix:
        joint = joined([self.matrices[role][head] for role in roles], self.tiles.config)
        return joint.spread(self.x.segment, self.tiles.config.columns)

    def _load_pairs(self, pairs: NDArray[np.float32]) -> Buffer:
        return self.tiles.load_pairs(f"{self.tiles.label}.{'_'.join(self.roles)}.bias", pairs)

    def _multiply(self, head: int, first: int, words: int, sums: Buffer, at: int, stride: int) -> None:
        """All panels times some words of a head, from its word `first` on; the sums begin at word `at` of a row."""
        weights = self.weights.load(head * self.words + first, words)[0]
        for start, count in self.panels:
            acc = sums.at(start * stride + at)
            self.tiles.matmul(self.x, start, count, weights, self.x.columns, words, acc, stride, f"project {head}")

    def project(self, head: int) -> dict[str, _Sums]:
        """The sums of each role, for all rows of x."""
        tiles, words = self.tiles, self.words
        if self.pairs:
            pairs = self.pairs.at(head * words)
        else:
            pairs = self._load_pairs(self.all_pairs[head * words : (head + 1) * words]).at(0)
        sums: dict[str, _Sums] = {}
        for roles in self.together:
            first = sum(self.role_words[role] for role in sums)
            stride = sum(self.role_words[role] for role in roles)
            buffer = tiles.buffer(Memory.ACC, self.rows * stride, "projections")
            for start, some in tiles.chunks(self._matrix(head, roles)):
                self._multiply(head, first + start, some, buffer, start, stride)
            at = 0
            for role in roles:
                columns = self.matrices[role][head].outputs
                sums[role] = _Sums(columns, buffer, at, stride, pairs + first + at, self.x)
                at += self.role_words[role]
        return sums


class _Attention:
    """Emits one attention."""

    def __init__(self, node: Node, tiles: Tiles) -> None:
        self.node, self.tiles, self.config = node, tiles, tiles.config
        self.queries, self.keys = node.inputs[0].rows, node.inputs[1].rows
        self.depth = node.matrices["query"][0].outputs
        self.features = node.matrices["value"][0].outputs
        self.unit = math.lcm(self.config.rows, self.config.columns)
        self.live = Live(tiles, node.sight, self.unit)
        # Codes of a panel become columns of words: panels start at whole words.
        longest = self.config.panel_rows // self.config.columns * self.config.columns
        if tiles.tiling.thrifty:
            longest = min(longest, self.config.columns)
        if not longest:
            raise node.refuse(f"panel_rows of {self.config.title} must be at least its columns ({self.config.columns})")
        self.longest = longest
        self.query_panels = split_rows(self.queries, 1, longest, self.config.columns)
        self.key_panels = split_rows(self.keys, 1, longest, self.config.columns)
        self.out = tiles.new_values(node, [(0, self.queries)], segment=self.features)

    def tile(self) -> None:
        """All heads."""
        node, tiles = self.node, self.tiles
        roles_of: dict[Node, list[str]] = {}
        for role, each in zip(ROLES, node.inputs, strict=True):
            roles_of.setdefault(each, []).append(role)
        groups = [_Group(tiles, node, each, roles) for each, roles in roles_of.items()]
        for head in range(node.heads):
            sums: dict[str, _Sums] = {}
            for group in groups:
                sums |= group.project(head)
            self._attend(head, sums)

    def _attend(self, head: int, sums: dict[str, _Sums]) -> None:
        tiles, config = self.tiles, self.config
        queries = Rows(self.depth, -(-self.depth // config.rows))
        queries.scales = tiles.buffer(Memory.ROW, self.queries, "q scales")
        queries.pieces.append((0, self.queries, tiles.buffer(Memory.ACT, self.queries * queries.words, "q"), 0))
        key_words = -(-self.keys // config.columns)
        key_stride = queries.words * config.rows
        keys = tiles.buffer(Memory.WEIGHT, key_words * key_stride, "k")
        value_stride = -(-self.keys // config.rows) * config.rows
        value_words = -(-self.features // config.columns)
        values = tiles.buffer(Memory.WEIGHT, value_words * value_stride, "v")
        panels = self._panels(head)
        scales = _Scales(self, any(len(stretches(panel.tiles)) > 1 for panel in panels))
        for start, count in self.key_panels:
            word = start // config.columns
            self._quantise(sums["key"], start, count, Codes.WEIGHT_TRANSPOSED, keys.at(word * key_stride), key_stride,
                           *scales.target("key", start), f"key {head}")  # fmt: skip
        for start, count in self.query_panels:
            address, stride = queries.place(start, count)
            self._quantise(sums["query"], start, count, Codes.ACT, address, stride, Scales.ROW,
                           queries.scale_place(start), f"query {head}")  # fmt: skip
        for start, count in self.key_panels:
            self._quantise(sums["value"], start, count, Codes.WEIGHT, values.at(start), value_stride,
                           *scales.target("value", start), f"value {head}")  # fmt: skip
        every = range(-(-self.keys // self.unit))
        on_chip = _OnChip(Keys(every, keys, key_stride), Keys(every, values, value_stride), scales)
        for panel in panels:
            self._panel(head, panel, queries, on_chip, value_words)

    def _panels(self, head: int) -> list[Panel]:
        """Panels of queries, cut so that they see little that only some of them want."""
        sight, every = self.node.sight, tuple(range(-(-self.keys // self.unit)))
        if sight.everything:
            return [Panel(start, count, every) for start, count in self.query_panels]
        scales = Quantise(rows=self.unit, columns=1, source=Source.VALUE, row_scaled=1)
        gather = 2 * cycles(scales, self.config) if self.config.pe == "int8" else 0  # of keys and values
        cost = cost_of(self.config, self.unit, self.depth, self.features, at_once=True, gather=gather)
        return sight.panels(head, (0, self.queries), self.longest, self.unit, self.config.columns, cost)

    def _panel(self, head: int, panel: Panel, queries: Rows, on_chip: _OnChip, value_words: int) -> None:
        """Scores, softmax and P·V of a panel of queries with what it sees."""
        tiles, live, start, count = self.tiles, self.live, panel.start, panel.count
        words, act_words = live.words(panel.tiles), -(-live.tokens(panel.tiles) // self.config.rows)
        scores = tiles.buffer(Memory.ACC, count * words, "scores")
        codes = LiveCodes(queries.words, queries.place(start, count)[0], queries.scale_place(start))
        live.scores(codes, count, on_chip.keys, panel.tiles, scores.at(0), words, f"head {head}")
        probabilities = tiles.buffer(Memory.ACT, count * act_words, "p")
        scales = tiles.buffer(Memory.ROW, count, "p scales")
        front = {
            "columns": live.tokens(panel.tiles), "source_address": scores.at(0), "source_stride": words,
            "param_address": on_chip.scales.of(panel.tiles), "row_address": codes.scales,
            "address": probabilities.at(0), "stride": act_words, "scales_address": scales.at(0),
        }  # fmt: skip
        live.softmax(panel, self.node.sight.hidden(head, panel, self.unit), front, f"head {head}")
        acc = tiles.buffer(Memory.ACC, count * value_words, "p·v")
        live.weighted(probabilities.at(0), act_words, count, on_chip.values, panel.tiles, acc.at(0), value_words,
                      f"head {head}")  # fmt: skip
        address, stride = self.out.place(start, count)
        tiles.emit(
            Map(
                rows=count, columns=self.features, source=Source.ACC, source_address=acc.at(0),
                source_stride=value_words, row_scaled=1, row_address=scales.at(0),
                address=address + head * value_words, stride=stride,
            ), f"head {head} p·v map",
        )  # fmt: skip

    def _quantise(
        self, source: _Sums, start: int, count: int, codes: Codes, address: int, stride: int, scales: Scales,
        scales_address: int, what: str,
    ) -> None:  # fmt: skip
        self.tiles.emit(
            Quantise(
                rows=count, columns=source.columns, source=Source.ACC,
                source_address=source.buffer.at(start * source.stride + source.first), source_stride=source.stride,
                scaled=1, param_address=source.pairs, row_scaled=1, row_address=source.x.scale_place(start),
                codes=codes, address=address, stride=stride, scales=scales, scales_address=scales_address,
            ), f"{what} quantise",
        )  # fmt: skip


@dataclass(frozen=True)
class _OnChip:
    """All keys and values of a head."""

    keys: Keys
    values: Keys
    scales: _Scales


class _Scales:
    """Scales of the keys and values of a head, side by side in PARAM as softmax wants them.

    Where a panel sees tiles that are not neighbours, theirs are gathered: the scales are in ROW then, and Quantise,
    which alone writes scales to PARAM, makes them again of rows of one number, 127 times the scale.
    """

    def __init__(self, attention: _Attention, apart: bool) -> None:
        self.attention, self.tiles, self.config = attention, attention.tiles, attention.tiles.config
        self.apart = apart and self.config.pe == "int8"  # those of bf16 codes are all 1
        self.rows: dict[str, Buffer] = {}
        self.whole: Buffer | None = None
        if self.apart:
            self.rows = {role: self.tiles.buffer(Memory.ROW, attention.keys, f"{role} scales") for role in ROLES[1:]}
            self.one = self.tiles.load_rows("127", np.full((1, 1), 127, np.float32), [(0, 1)]).place(0, 1)[0]
        else:
            words = -(-attention.keys // self.config.columns)
            self.whole = self.tiles.buffer(Memory.PARAM, words, "k and v scales")

    def target(self, role: str, start: int) -> tuple[Scales, int]:
        """Where the scales of tokens from `start` on go."""
        if self.whole is None:
            return Scales.ROW, self.rows[role].at(start)
        half = Scales.PARAM_SCALE if role == "key" else Scales.PARAM_OFFSET
        return half, self.whole.at(start // self.config.columns)

    def of(self, chosen: Sequence[int]) -> int:
        """Where in PARAM those of some tiles are."""
        unit, columns, live = self.attention.unit, self.config.columns, self.attention.live
        if self.whole is not None:
            return self.whole.at(chosen[0] * unit // columns if len(stretches(chosen)) == 1 else 0)
        pairs = self.tiles.buffer(Memory.PARAM, live.words(chosen), "k and v scales")
        for at, first, count in stretches(chosen):
            for start, some in split_rows(live.tokens(chosen[at : at + count]), 1, self.config.panel_rows, columns):
                place = pairs.at((at * unit + start) // columns)
                self._gather(first * unit + start, some, place)
        return pairs.at(0)

    def _gather(self, token: int, count: int, place: int) -> None:
        for role, half in (("key", Scales.PARAM_SCALE), ("value", Scales.PARAM_OFFSET)):
            unread = self.tiles.buffer(Memory.ACT, count, "codes that nobody reads")
            self.tiles.emit(
                Quantise(rows=count, columns=1, source=Source.VALUE, source_address=self.one, row_scaled=1,
                         row_address=self.rows[role].at(token), address=unread.at(0), stride=1, scales=half,
                         scales_address=place), f"{role} scales",
            )  # fmt: skip

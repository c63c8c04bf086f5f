"""Emits one cached attention: projections, tokens into the cache, blocks of keys and values back, online softmax.

The rows of an instruction are either the tokens of one sequence (a prompt), head by head, or the heads of one token
that share a kv-head (decoding), sequence by sequence. In VALUE the heads of a token lie side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import NoRoomError
from ..arch.isa import (
    Append,
    Codes,
    Combine,
    Map,
    Matmul,
    OnlineSoftmax,
    Quantise,
    Reduce,
    Reduction,
    Results,
    Scales,
    Source,
    Stream,
)
from ..arch.isa import Part as CachePart
from ..arch.scalars import ScalarKind
from .builder import Rows, Tiles, Weights
from .graph import Node
from .matrix import Matrix, joined
from .ops import linear, position_rows, rearrange
from .tasks import Buffer, Condition
from .weightless import to_numpy

# A block of keys or values takes at most so small a part of WEIGHT, its scores of ACC; the others, if no block fits.
_SHARES = (8, 4, 2, 1)


@dataclass(frozen=True)
class Part:
    """Some features of a head's queries, keys or values: outputs of a linear layer of input number `source` of the
    node, or columns of that input itself; rotated or not."""

    source: int
    weight: Tensor | None  # (D, K); None: the input itself
    bias: Tensor | None
    width: int  # D
    rotated: bool = False
    column: int = 0  # of the input itself: the first

    def words(self, config: HardwareConfig) -> int:
        """Words of VALUE or WEIGHT that it takes."""
        pieces = 2 if self.rotated and position_rows.halves_apart(self.width, config) else 1
        return pieces * -(-self.width // pieces // config.columns)


Heads = list[list[Part]]  # for each head its parts, side by side
_HeadsOf = dict[str, list[tuple[int, list[Part]]]]  # for each role some heads: (number, parts)


@dataclass(frozen=True)
class Place:
    """Rows of numbers in VALUE: of row r and head h at address + r·stride + h·head_stride, `words` words."""

    rows: Rows
    offset: int  # of head 0, words from the start of a row
    head_stride: int
    words: int

    def at(self, row: int, count: int, head: int) -> tuple[int, int]:
        """(virtual address, stride) of one head of `count` rows."""
        address, stride = self.rows.place(row, count)
        return address + self.offset + head * self.head_stride, stride


@dataclass(frozen=True)
class QueryPanel:
    """Queries that one instruction works on: `count` rows that share a kv-head."""

    sequence: int
    kv_head: int
    head: int  # the first, or only one
    start: int  # first row of x
    count: int
    together: bool  # rows are heads of one token, not tokens

    @property
    def last(self) -> int:
        """Tokens of this run up to the last one of the panel."""
        return 1 if self.together else self.start + self.count


class CachedAttention:
    """Emits the instructions of one layer."""

    def __init__(self, node: Node, tiles: Tiles) -> None:
        self.node, self.tiles, self.config = node, tiles, tiles.config
        assert tiles.decoder is not None, "tile is told of the cache"
        self.decoder = tiles.decoder
        self.layout = tiles.decoder.layout
        self.index = tiles.decoder.layers.index(node)
        self.place = tiles.decoder.place(self.index)
        self.shape = self.layout.layers[self.place]
        self.over_source = self.shape.tokens > 0  # whose rows are all there, at places that are known
        self.fixed = tiles.decoder.fixed or self.over_source
        self.together = tiles.decoder.tokens == 1 and not tiles.decoder.fixed
        self.rows = tiles.rows_of(node)  # that are computed now, the first of them:
        self.first = tiles.group[0] if tiles.group else 0
        self.tokens = self.shape.tokens or (node.rows if self.fixed else self.layout.plan.tokens)  # most in sight
        self.unit = math.lcm(self.config.rows, self.config.columns)
        self.cached: dict[str, Heads] = node.attributes.get("cached", node.roles)
        self.heads, self.kv_heads = node.heads, self.shape.heads
        self.group = self.heads // self.kv_heads
        self.value_words = self.shape.value_words or self._latent_words()
        positions = tiles.decoder.positions
        tables = node.rotary
        if "bias" in node.attributes:  # no positions have chosen its rows
            raise node.refuse("rows in groups are not supported for scores with a bias")
        if self.fixed and (tables or node.values):  # no positions choose the rows of tables
            raise node.refuse("rows in groups are not supported for rotated or latent heads: use compile_decoder")
        self.sinks: Rows | None = None  # a row for each head, and one of 1
        self.given: dict[tuple[str, int], Place] = {}  # (role, part) → columns of an input
        self.rotary = None
        if tables:
            assert positions is not None, "positions choose the rows of the tables"
            self.rotary = position_rows.rotary_rows(tiles, positions, to_numpy(tables[0]), to_numpy(tables[1]))

    def _latent_words(self) -> int:
        return -(-self.cached["key"][0][0].width // self.config.columns)

    def emit(self) -> None:
        """All of it: what is appended comes before what is attended to."""
        self._begin()
        for kv_heads in self._kv_groups():
            places = self._project(list(self.node.roles), kv_heads)
            self._append(places, kv_heads)
            self._attend_with(places, kv_heads)
        self._finish()

    def append(self) -> None:
        """Keys and values of the present rows into the cache."""
        every = [range(self.kv_heads)]
        for kv_heads in self._kv_groups() if self.tiles.tiling.thrifty else every:
            self._append(self._project(["key", "value"], kv_heads), kv_heads)

    def attend(self) -> None:
        """The present rows attend to all that is in the cache."""
        self._begin()
        for kv_heads in self._kv_groups():
            self._attend_with(self._project(["query"], kv_heads), kv_heads)
        self._finish()

    def _kv_groups(self) -> list[range]:
        """The kv-heads that are projected together. Of a prompt one by one, so that the array has the projections of
        the next while SOFTMAX works on those before; all, where rows are heads or heads have parts to put together."""
        simple = all(len(heads[0]) == 1 for heads in self.node.roles.values() if heads)
        if self.together or self.node.values or not simple:
            return [range(self.kv_heads)]
        return [range(each, each + 1) for each in range(self.kv_heads)]

    def _queries_with(self, kv_heads: range) -> range:
        return range(kv_heads.start * self.group, kv_heads.stop * self.group)

    def _begin(self) -> None:
        node, tiles = self.node, self.tiles
        if (sinks := node.attributes.get("sinks")) is not None:
            numbers = np.append(to_numpy(sinks).astype(np.float32), np.float32(1))[:, None]
            self.sinks = tiles.load_rows(f"{tiles.label}.sinks", numbers, [(0, len(numbers))])
        columns = [h[0] for h in self.cached["value"]] or node.values
        width = columns[0].width
        self.out = tiles.new_values(node, [(self.first, self.rows)], segment=width)
        self.out_words = -(-width // self.config.columns)
        self.attended = self.out
        if node.values:
            words = self.value_words
            self.attended = tiles.free_rows(self.rows, self.heads * words * self.config.columns, "attended")
        self.queries: dict[tuple[int, int], tuple[Buffer, Buffer]] = {}  # (row, head) → codes, scales

    def _attend_with(self, places: dict[str, Place], kv_heads: range) -> None:
        self._quantise_queries(places["query"], self._queries_with(kv_heads))
        for sequence in range(self.decoder.sequences):
            for kv_head in kv_heads:
                self._attend(sequence, kv_head)

    def _finish(self) -> None:
        if self.node.values:
            self._values_of_latents()

    # -- projections ---------------------------------------------------------------------------------------------------

    def _project(self, wanted: list[str], kv_heads: range) -> dict[str, Place]:
        """The queries, keys and values of this run's tokens that belong to some kv-heads, in VALUE, still to be rotated
        where they have one part."""
        node, config = self.node, self.config
        of_role = {role: self._queries_with(kv_heads) if role == "query" else kv_heads for role in wanted}
        roles = {
            role: [(head, node.roles[role][head]) for head in of_role[role] if node.roles[role]] for role in wanted
        }
        pieces: dict[int, list[Matrix]] = {}
        offsets: dict[tuple[str, int, int], tuple[int, int]] = {}  # (role, head, part) → (input, first word)
        ends: dict[int, int] = {}
        for role, heads in roles.items():
            for head, parts in heads:
                for number, part in enumerate(parts):
                    matrix = node.matrices[role][head][number]
                    if matrix is None:
                        continue
                    offsets[role, head, number] = part.source, ends.get(part.source, 0)
                    ends[part.source] = ends.get(part.source, 0) + part.words(config)
                    pieces.setdefault(part.source, []).append(_halves(matrix, config) if part.rotated else matrix)
        projected = {source: self._linear(source, matrices, roles) for source, matrices in pieces.items()}
        places = {}
        for role, heads in roles.items():
            if not heads:
                continue
            first, parts = heads[0]
            words = sum(part.words(config) for part in parts)
            if len(parts) == 1 and (role, first, 0) in offsets:
                source, offset = offsets[role, first, 0]
                places[role] = Place(projected[source], offset - first * words, words, words)
            elif len(parts) == 1:
                places[role] = self._given(role, 0)
            else:
                places[role] = self._assemble(role, words, offsets, projected)
        return places

    def _linear(self, source: int, matrices: list[Matrix], roles: _HeadsOf) -> Rows:
        """x times the matrices side by side, in VALUE."""
        node, tiles = self.node, self.tiles
        x = node.inputs[source]
        whole = joined(matrices, self.config)
        attributes = {"matrix": whole, "precision": node.precision, **linear.PLAIN}
        first = next(heads[0][0] for heads in roles.values() if heads)
        name = "_".join([node.name, *roles, str(first), str(source)])
        projection = Node(name, "linear", [x], (1, node.rows, whole.outputs), attributes=attributes)
        linear.tile(projection, tiles)
        return tiles.values(projection)

    def _assemble(self, role: str, words: int, offsets: dict, projected: dict[int, Rows]) -> Place:
        """Rows of a role whose heads have several parts: each part is copied, or rotated, to its place."""
        node, tiles = self.node, self.tiles
        heads = node.roles[role]
        whole = tiles.free_rows(self.rows, len(heads) * words * self.config.columns, role)
        place = Place(whole, 0, words, words)
        first = 0
        for number, part in enumerate(heads[0]):
            size = part.words(self.config)
            if (role, 0, number) in offsets:
                source, start = offsets[role, 0, number]
                step = offsets[role, 1, number][1] - start if len(heads) > 1 else 0
                origin = Place(projected[source], start, step, size)
            else:
                origin = self._given(role, number)
            target = Place(whole, first, words, size)
            for row, count, head, together in self._row_groups(range(len(heads))):
                self._copy(origin, target, part, row, count, head, together, role)
            first += size
        return place

    def _given(self, role: str, number: int) -> Place:
        """A part of a role that is columns of an input: where it is, or a copy in which each head begins a word."""
        if (role, number) in self.given:
            return self.given[role, number]
        node, tiles, columns = self.node, self.tiles, self.config.columns
        parts = [head[number] for head in node.roles[role]]
        width, words = parts[0].width, parts[0].words(self.config)
        x = tiles.plain_values(node.inputs[parts[0].source])
        pieces = 2 if parts[0].rotated and position_rows.halves_apart(width, self.config) else 1
        if pieces == 1 and width % columns == 0 and parts[0].column % columns == 0:
            place = Place(x, parts[0].column // columns, words, words)
        else:
            copy = tiles.free_rows(self.rows, len(parts) * words * columns, f"{role} heads")
            if width // pieces % columns:
                self._clear(copy)
            rows = np.arange(self.first, self.first + self.rows)
            for piece in range(len(parts) * pieces):
                head, half = divmod(piece, pieces)
                features = parts[head].column + half * (width // pieces) + np.arange(width // pieces)
                rearrange.copy(tiles, x, x.columns, rows * x.columns, features, copy, first=self.first,
                               place=piece * (words // pieces) * columns)  # fmt: skip
            place = Place(copy, 0, words, words)
        self.given[role, number] = place
        return place

    def _clear(self, rows: Rows) -> None:
        """Zeros, which stay behind the features of a head: all of its words are quantised."""
        tiles = self.tiles
        ones = tiles.ones(rows.columns)
        for start in range(self.first, self.first + self.rows, tiles.longest_panel):
            count = min(tiles.longest_panel, self.first + self.rows - start)
            address, stride = rows.place(start, count)
            tiles.emit(
                Map(rows=count, columns=rows.columns, source=Source.VALUE, source_address=ones, source_stride=0,
                    combine=Combine.SUBTRACT, operand_address=ones, operand_stride=0, address=address, stride=stride),
                "clear",
            )  # fmt: skip

    def _row_groups(self, heads: range) -> Iterator[tuple[int, int, int, bool]]:
        """(first row, rows, first head, rows are heads): what one instruction takes."""
        if self.together:
            for row in range(self.decoder.sequences):
                yield row, len(heads), heads.start, True
            return
        for head in heads:
            for start, count in self._panels():
                yield start, count, head, False

    def _copy(
        self, origin: Place, target: Place, part: Part, row: int, count: int, head: int, together: bool, role: str
    ) -> None:  # fmt: skip
        source, source_stride = self._rows_at(origin, row, count, head, together)
        address, stride = self._rows_at(target, row, count, head, together)
        front = self._rotation(row, count, together) if part.rotated else {}
        self.tiles.emit(
            Map(rows=count, columns=origin.words * self.config.columns, source=Source.VALUE, source_address=source,
                source_stride=source_stride, address=address, stride=stride, **front),
            f"{role} {'rotate' if front else 'copy'}",
        )  # fmt: skip

    def _rows_at(self, place: Place, row: int, count: int, head: int, together: bool) -> tuple[int, int]:
        """(address, stride) of the rows of one instruction."""
        if together:
            return place.at(row, 1, head)[0], place.head_stride
        return place.at(row, count, head)

    def _rotation(self, row: int, count: int, together: bool) -> dict[str, Any]:
        assert self.rotary is not None, "a part is rotated only where there are tables"
        address, stride = self.rotary.place(row, 1 if together else count)
        return {"combine": Combine.ROTATE, "operand_address": address, "operand_stride": 0 if together else stride}

    def _panels(self) -> list[tuple[int, int]]:
        """Panels of a prompt's tokens."""
        return self.tiles.panels(self.node)

    # -- codes ---------------------------------------------------------------------------------------------------------

    def _front(self, place: Place, role: str, row: int, count: int, head: int, together: bool) -> dict[str, Any]:
        """The operands of a Quantise of one role."""
        parts = self.node.roles[role][0]
        rotated = len(parts) == 1 and parts[0].rotated
        source, stride = self._rows_at(place, row, count, head, together)
        return {
            "rows": count, "columns": place.words * self.config.columns, "source": Source.VALUE,
            "source_address": source, "source_stride": stride,
            **(self._rotation(row, count, together) if rotated else {}),
        }  # fmt: skip

    def _quantise_queries(self, place: Place, heads: range) -> None:
        """Codes in ACT: rows of a panel one after the other, panel after panel."""
        tiles = self.tiles
        self.query_words = -(-place.words * self.config.columns // self.config.rows)
        for row, count, head, together in self._row_groups(heads):
            codes = tiles.buffer(Memory.ACT, count * self.query_words, "q")
            scales = tiles.buffer(Memory.ROW, count, "q scales")
            tiles.emit(
                Quantise(**self._front(place, "query", row, count, head, together), address=codes.at(0),
                         stride=self.query_words, scales_address=scales.at(0)), f"query {head} quantise",
            )  # fmt: skip
            self.queries[row, head] = codes, scales

    def _append(self, places: dict[str, Place], kv_heads: range) -> None:
        """Keys, values and their scales of this run's tokens into the cache."""
        for row, count, head, together in self._row_groups(kv_heads):
            pairs = self._new_pairs(-(-count // self.config.columns))
            for role in ("key", "value") if "value" in places else ("key",):
                self._append_codes(places[role], role, row, count, head, together, "value" not in places,
                                   pairs[-1] if role == "value" else pairs[0])  # fmt: skip
            for number, each in enumerate(pairs):
                self._append_items(CachePart.PAIRS, each.at(0) * self.config.columns, 0, 1, row, count, head, together,
                                   second=number > 0)  # fmt: skip

    def _new_pairs(self, words: int) -> list[Buffer]:
        """Where the scales of keys and values are put together."""
        return [self.tiles.buffer(Memory.PARAM, words, "new scales")]

    def _append_codes(
        self, place: Place, role: str, row: int, count: int, head: int, together: bool, alone: bool, pairs: Buffer
    ) -> None:  # fmt: skip
        codes = self.tiles.buffer(Memory.WEIGHT, count * place.words, f"new {role}s")
        half = Scales.PARAM_SCALE if role == "key" or self.shape.pairs > 1 else Scales.PARAM_OFFSET
        self.tiles.emit(
            Quantise(**self._front(place, role, row, count, head, together), codes=Codes.WEIGHT, address=codes.at(0),
                     stride=count, scales=Scales.PARAM_PAIR if alone else half, scales_address=pairs.at(0)),
            f"{role} {head} quantise",
        )  # fmt: skip
        part = CachePart.KEYS if role == "key" else CachePart.VALUES
        self._append_items(part, codes.at(0), count, place.words, row, count, head, together)

    def _append_items(
        self, part: CachePart, address: int, stride: int, words: int, row: int, count: int, head: int, together: bool,
        second: bool = False,
    ) -> None:  # fmt: skip
        layout = self.layout
        sequence, first = (row, 0) if together else (0, row)
        if first % self.config.columns:
            raise self.node.refuse(
                f"its tokens are computed in panels that are no multiple of {self.config.columns} on "
                f"{self.config.title}: compile for fewer tokens at a time", NoRoomError
            )  # fmt: skip
        self.tiles.emit(
            Append(
                part=CachePart.PAIRS if part is CachePart.PAIRS else CachePart.VALUES, token_words=words,
                address=address, stride=stride, tokens=1 if together else count, heads=count if together else 1,
                head_step=1 if together else 0, head_bytes=layout.head_bytes(self.shape) if together else 0,
                block=first // self.config.columns,
                block_register=self._register(ScalarKind.BLOCK, sequence, 0),
                slot_register=self._register(ScalarKind.SLOT, sequence, 0),
                **self._cached(part, sequence, head, second),
            ), f"{part.name.lower()} {head} append", cache=self.index,
        )  # fmt: skip

    def _cached(self, part: CachePart, sequence: int, head: int, second: bool = False) -> dict[str, Any]:
        layout = self.layout
        return {
            "dram_address": layout.address(self.place, head, part, second), "page_bytes": layout.page_bytes(self.shape),
            "table": self.decoder.page_table(-1 if self.over_source else sequence),
            "pages": layout.table_pages(self.shape),
            "page_blocks": layout.page_blocks,
        }  # fmt: skip

    # -- attention -----------------------------------------------------------------------------------------------------

    def _block_tokens(self, rows: int) -> int:
        """Tokens of a block: as many as the memories hold comfortably, and the cache can have."""
        unit = self.unit
        shares = _SHARES if self.tiles.tiling.thrifty else _SHARES[:1]
        most = next((most for most in (self._most_tokens(rows, share) for share in shares) if most >= unit), 0)
        if not most:
            raise self.node.refuse(f"a block of {unit} tokens of its cache does not fit {self.config.title}: choose a "
                                   f"larger configuration or fewer tokens at a time", NoRoomError)  # fmt: skip
        needed = self.tokens if not self.shape.window else self._window_tokens()
        return min(most // unit, -(-needed // unit)) * unit

    def _most_tokens(self, rows: int, share: int) -> int:
        """Most tokens of a block that takes at most a part of each memory."""
        config = self.config
        return min(
            config.words(Memory.WEIGHT) // share // max(self.shape.key_words, self.value_words),
            config.words(Memory.ACC) // share // rows * config.columns,
            config.words(Memory.ACT) // share // rows * config.rows,
            config.words(Memory.PARAM) // share * config.columns,
        )

    def _window_tokens(self) -> int:
        """Most tokens from the first block in sight to the last new token."""
        return min(self.tokens, self.shape.window + self.decoder.tokens + self.config.columns)

    def _attend(self, sequence: int, kv_head: int) -> None:
        """All queries that share a kv-head, over all blocks of its tokens."""
        panels = self._queries_of(sequence, kv_head)
        size = self._block_tokens(max(panel.count for panel in panels))
        needed = self._window_tokens() if self.shape.window else self.tokens
        states = {panel: self._first_state(panel) for panel in panels}
        if not self.fixed:
            reach = {panel: self._reach(panel, needed) for panel in panels}
            for start in range(0, max(reach.values()), size):
                buffers = self._stream(sequence, kv_head, start, size)
                for panel in panels:
                    if reach[panel] > start:
                        self._block(panel, start, size, *buffers, states[panel])
            return
        for start in range(0, needed, size):
            count = min(size, needed - start)
            buffers = self._stream(sequence, kv_head, start, count)
            for panel in panels:
                self._block(panel, start, count, *buffers, states[panel])

    def _first_state(self, panel: QueryPanel) -> Buffer:
        """The running maximum and sum of each query. A sink is a score that is there before all others, and has no
        value: it is the first maximum, and its power, 1, the first sum."""
        tiles = self.tiles
        state = tiles.buffer(Memory.ROW, 2 * panel.count, "running maximum and sum")
        if self.sinks is not None:
            first, ones = self.sinks.place(panel.head, 1)[0], self.sinks.place(self.heads, 1)[0]
            step = self.sinks.words if panel.together else 0
            for place, (address, stride) in enumerate([(first, step), (ones, 0)]):
                tiles.emit(
                    Reduce(rows=panel.count, columns=1, source=Source.VALUE, source_address=address,
                           source_stride=stride, kind=Reduction.MAXIMUM, results=Results.ROW,
                           address=state.at(place * panel.count)), f"head {panel.head} sink",
                )  # fmt: skip
        return state

    def _reach(self, panel: QueryPanel, needed: int) -> int:
        """One past the last token that a panel can see wherever the run begins: others of the run come after it."""
        return needed - (self.decoder.tokens - panel.last)

    def _queries_of(self, sequence: int, kv_head: int) -> list[QueryPanel]:
        first = kv_head * self.group
        if self.together:
            return [QueryPanel(sequence, kv_head, first, sequence, self.group, True)]
        return [
            QueryPanel(sequence, kv_head, first + head, start, count, False)
            for head in range(self.group)
            for start, count in self._panels()
        ]

    def _register(self, kind: ScalarKind, sequence: int, rows: int) -> int:
        """The number of a register; 0, which always reads as 0, where all is known beforehand."""
        if self.fixed:
            return 0
        return self.decoder.registers.get(kind, sequence, rows, self.shape.window)

    def _count(self, kind: ScalarKind, sequence: int, rows: int, start: int) -> tuple[int, int]:
        """(register, what is subtracted from it): the BLOCKS or TILES from column `start` on to the last of `rows` new
        tokens. The most tokens that leave the same rest share a register, so that few serve any number of panels."""
        if self.fixed:
            return 0, 0
        unit = self.config.columns if kind is ScalarKind.BLOCKS else self.config.rows
        more = (self.decoder.tokens - rows) // unit
        return self._register(kind, sequence, rows + more * unit), start // unit + more

    def _guard(self, sequence: int, rows: int, start: int) -> Condition | None:
        """A block after the first is void unless a token of it can be seen."""
        if not start or self.fixed:
            return None
        return Condition(*self._count(ScalarKind.BLOCKS, sequence, rows, start))

    def _stream(self, sequence: int, kv_head: int, start: int, size: int) -> tuple[Buffer, Buffer, Buffer]:
        """A block of keys, values and pairs of scales."""
        tiles, shape = self.tiles, self.shape
        blocks = -(-size // self.config.columns)
        key_stride = self.query_words * self.config.rows
        keys = tiles.buffer(Memory.WEIGHT, blocks * key_stride, "k")
        value_stride = -(-size // self.unit) * self.unit
        values = tiles.buffer(Memory.WEIGHT, self.value_words * value_stride, "v")
        pairs = tiles.buffer(Memory.PARAM, blocks, "k and v scales")
        of_part = self._stream_of(sequence, kv_head, start, blocks)
        of_part(CachePart.KEYS, keys, key_stride, shape.key_words, shape.key_words)
        of_part(CachePart.PAIRS, pairs, 0, 1, 1)
        of_part(CachePart.VALUES, values, value_stride, self.value_words, shape.value_words or shape.key_words)
        return keys, values, pairs

    def _stream_of(self, sequence: int, kv_head: int, start: int, blocks: int) -> Callable[..., None]:
        """What streams one part of a block into a buffer."""
        rows = self.first + self.rows if not self.together else 1
        count, offset = self._blocks_there(sequence, rows, start)
        guard = self._guard(sequence, rows, start)

        def stream(part: CachePart, buffer: Buffer, stride: int, words: int, token_words: int,
                   second: bool = False) -> None:  # fmt: skip
            cached = CachePart.KEYS if part is CachePart.VALUES and not self.shape.value_words else part
            self.tiles.emit(
                Stream(
                    part=part, token_words=token_words, words=words, blocks=blocks, address=buffer.at(0), stride=stride,
                    first=start // self.config.columns,
                    first_register=self._register(ScalarKind.FIRST, sequence, 0) if self.shape.window else 0,
                    count_register=count, count_offset=offset,
                    **self._cached(cached, sequence, kv_head, second),
                ), f"{part.name.lower()} {kv_head} stream", guard=guard, cache=self.index,
            )  # fmt: skip

        return stream

    def _blocks_there(self, sequence: int, rows: int, start: int) -> tuple[int, int]:
        """(register, what is subtracted from it): how many blocks from column `start` on are read."""
        return self._count(ScalarKind.BLOCKS, sequence, rows, start)

    def _block(
        self, panel: QueryPanel, start: int, size: int, keys: Buffer, values: Buffer, pairs: Buffer, state: Buffer
    ) -> None:  # fmt: skip
        """Scores, softmax and P·V of one block of tokens, added to what the blocks before gave."""
        tiles, config = self.tiles, self.config
        guard = self._guard(panel.sequence, panel.last, start)
        what = f"head {panel.head} block {start}"
        blocks, act_words = -(-size // config.columns), -(-size // config.rows)
        codes, query_scales, at = self._query(panel)
        seen, before_it = self._count(ScalarKind.BLOCKS, panel.sequence, panel.last, start)
        tiled, tiles_before = self._count(ScalarKind.TILES, panel.sequence, panel.last, start)
        scores = tiles.buffer(Memory.ACC, panel.count * blocks, "scores")
        tiles.emit(
            Matmul(rows=panel.count, k_tiles=self.query_words, n_tiles=blocks,
                   act_address=codes.at(at * self.query_words), act_stride=self.query_words, weight_address=keys.at(0),
                   weight_stride=self.query_words * config.rows, acc_address=scores.at(0), acc_stride=blocks,
                   n_register=seen, n_offset=before_it),
            f"{what} scores", guard=guard,
        )  # fmt: skip
        probabilities = tiles.buffer(Memory.ACT, panel.count * act_words, "p")
        scales = tiles.buffer(Memory.ROW, 2 * panel.count, "p scales")
        causal = not self.over_source
        tiles.emit(
            OnlineSoftmax(
                rows=panel.count, columns=size, source_address=scores.at(0), source_stride=blocks,
                param_address=pairs.at(0), row_address=query_scales.at(at), causal=int(causal),
                together=int(panel.together), offset=((0 if panel.together else panel.start) - start) * causal,
                window=self.shape.window, first=int(start == 0 and self.sinks is None),
                state_address=state.at(0), address=probabilities.at(0), stride=act_words, scales_address=scales.at(0),
                register=self._register(ScalarKind.RELATIVE, panel.sequence, 0),
            ), f"{what} softmax", guard=guard,
        )  # fmt: skip
        sums = tiles.buffer(Memory.ACC, panel.count * self.value_words, "p·v")
        tiles.emit(
            Matmul(rows=panel.count, k_tiles=act_words, n_tiles=self.value_words, act_address=probabilities.at(0),
                   act_stride=act_words, weight_address=values.at(0), weight_stride=values.words // self.value_words,
                   acc_address=sums.at(0), acc_stride=self.value_words,
                   k_register=tiled, k_offset=tiles_before), f"{what} p·v", guard=guard,
        )  # fmt: skip
        out = Place(self.attended, 0, self.value_words, self.value_words)
        address, stride = self._rows_at(out, panel.start, panel.count, panel.head, panel.together)
        before = {} if not start else {
            "combine": Combine.ADD, "operand_address": address, "operand_stride": stride, "operand_scaled": 1,
            "operand_row_address": scales.at(panel.count),
        }  # fmt: skip
        tiles.emit(
            Map(rows=panel.count, columns=self.value_words * config.columns, source=Source.ACC,
                source_address=sums.at(0), source_stride=self.value_words, row_scaled=1, row_address=scales.at(0),
                address=address, stride=stride, **before), f"{what} output", guard=guard,
        )  # fmt: skip

    def _query(self, panel: QueryPanel) -> tuple[Buffer, Buffer, int]:
        """(codes, scales, first row there) of a panel of queries."""
        if panel.together:
            return *self.queries[panel.start, 0], panel.head
        return *self.queries[panel.start, panel.head], 0

    def _values_of_latents(self) -> None:
        """Latent attention: each head's values from the latents that it attended to."""
        node, tiles, config = self.node, self.tiles, self.config
        matrices: list[Matrix] = node.value_matrices
        whole = joined(matrices, config)
        per_head = -(-matrices[0].outputs // config.columns)
        weights = Weights(tiles, whole, f"{tiles.label}.value.weight")
        params = tiles.load_pairs(f"{tiles.label}.value.bias", whole.pairs(config))
        attended = Place(self.attended, 0, self.value_words, self.value_words)
        out = Place(self.out, 0, per_head, per_head)
        planes = 1 + node.precision.planes
        loaded = {head: weights.load(head * per_head, per_head) for head in range(self.heads)}
        for row, count, first, together in self._row_groups(range(self.heads)):
            columns = self.value_words * config.columns
            codes = tiles.free_codes([(0, count)], columns, "attended", node.precision.activation_digits)
            source, stride = self._rows_at(attended, row, count, first, together)
            for digit, digits in codes.digits():
                tiles.emit(
                    Quantise(rows=count, columns=columns, source=Source.VALUE, source_address=source,
                             source_stride=stride, address=digits.place(0, count)[0], stride=digits.words,
                             scales_address=codes.scale_place(0), digit=digit), "attended quantise",
                )  # fmt: skip
            for head in range(self.heads) if together else (first,):
                rows, at = (1, head) if together else (count, 0)
                acc = tiles.buffer(Memory.ACC, planes * rows * per_head, "values")
                tiles.product(node.precision, codes, at, rows, loaded[head], columns, per_head, acc.at(0), per_head,
                              f"head {head} values")  # fmt: skip
                address, out_stride = out.at(row, rows, head)
                tiles.emit(
                    Map(rows=rows, columns=per_head * config.columns, source=Source.ACC, source_address=acc.at(0),
                        source_stride=per_head, scaled=1, param_address=params.at(head * per_head), row_scaled=1,
                        row_address=codes.scale_place(at), address=address, stride=out_stride, planes=planes - 1),
                    f"head {head} values map",
                )  # fmt: skip


def _halves(matrix: Matrix, config: HardwareConfig) -> Matrix:
    """The outputs of a rotated part."""
    if not position_rows.halves_apart(matrix.outputs, config):
        return matrix
    half = matrix.outputs // 2
    return joined([matrix.part(0, half), matrix.part(half, matrix.outputs)], config)

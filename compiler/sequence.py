"""Cached attention among all tokens of one sequence, whose rows go in groups: only live tiles of keys come back.

Panels of queries that see much the same share what is streamed. A panel works through what it sees in one step, if
that fits; else step by step (online softmax), or, where numbers are added to its scores, which only the softmax of
whole rows does, with all its scores kept on chip while keys, and then values, go by.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..arch.config import Memory
from ..arch.errors import NoRoomError
from ..arch.isa import Combine, Map, Source, Stream
from ..arch.isa import Part as CachePart
from .builder import Tiles
from .flash import CachedAttention
from .graph import Node
from .live import Codes, Keys, Live
from .sight import Hidden, Panel, cost_of, stretches
from .tasks import Buffer

_STREAM_CYCLES = 16  # of a Stream of one tile, besides the latency of DRAM, roughly


@dataclass(frozen=True)
class _View:
    """A panel of queries of one head, and its codes."""

    head: int
    panel: Panel
    queries: Codes

    @property
    def label(self) -> str:
        """What its tasks are called."""
        return f"head {self.head}"

    def seen_of(self, chunk: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Those of its tiles that are in a chunk of the tiles that several panels see, and those before."""
        first, end = bisect_left(self.panel.tiles, chunk[0]), bisect_right(self.panel.tiles, chunk[-1])
        return self.panel.tiles[first:end], self.panel.tiles[:first]


class SequenceAttention(CachedAttention):
    """Emits the instructions of one layer for the present group of rows."""

    def __init__(self, node: Node, tiles: Tiles) -> None:
        super().__init__(node, tiles)
        self.live = Live(tiles, node.sight, self.unit)

    def _attend(self, sequence: int, kv_head: int) -> None:
        """All queries that share a kv-head."""
        views = self._views(kv_head)
        size = self._block_tokens(max(view.panel.count for view in views)) // self.unit
        for some in _together(views, size):
            seen = sorted({tile for view in some for tile in view.panel.tiles})
            hidden = {view: self.node.sight.hidden(view.head, view.panel, self.unit) for view in some}
            whole = [view for view in some if len(seen) > size and hidden[view][1] is not None]
            for views in self._rows_at_once(whole) if whole else ():
                self._whole_rows(kv_head, views, size)
            some = [view for view in some if view not in whole]
            states = {view: self._state(view) for view in some if len(seen) > size or hidden[view][1] is None}
            for chunk in _chunks(seen, size) if some else ():
                keys, pairs = self._keys(kv_head, chunk), self._pairs(kv_head, chunk)
                values = self._values(kv_head, chunk)
                for view in some:
                    chosen, before = view.seen_of(chunk)
                    if chosen:
                        self._step(kv_head, view, chosen, len(before), hidden[view], states.get(view), keys, pairs,
                                   values)  # fmt: skip

    def _views(self, kv_head: int) -> list[_View]:
        """Each head's panels, cut so that they see little that only some of their queries want."""
        sight, config = self.node.sight, self.config
        depth, features = self.query_words * config.rows, self.value_words * config.columns
        gather = 3 * (config.dram.latency_cycles + _STREAM_CYCLES)  # keys, values and scales
        cost = cost_of(config, self.unit, depth, features, at_once=sight.added is not None, gather=gather)
        found = []
        for head in self._queries_with(range(kv_head, kv_head + 1)):
            for start, count in self._panels():
                codes, scales = self.queries[start, head]
                every = tuple(range(-(-sight.keys // self.unit)))
                panels = [Panel(start, count, every)]
                if not sight.everything:
                    panels = sight.panels(head, (start, count), count, self.unit, config.columns, cost)
                found += [
                    _View(head, each, Codes(self.query_words, codes.at((each.start - start) * self.query_words),
                                            scales.at(each.start - start)))
                    for each in panels
                ]  # fmt: skip
        return found

    def _state(self, view: _View) -> Buffer:
        return self.tiles.buffer(Memory.ROW, 2 * view.panel.count, "running maximum and sum")

    # -- what comes back from the cache --------------------------------------------------------------------------------

    def _keys(self, kv_head: int, chosen: Sequence[int]) -> Keys:
        stride = self.query_words * self.config.rows
        keys = self.tiles.buffer(Memory.WEIGHT, self.live.words(chosen) * stride, "k")
        per_tile = self.unit // self.config.columns
        for at, first, count in stretches(chosen):
            self._blocks(kv_head, CachePart.KEYS, keys.at(at * per_tile * stride), stride, first,
                         self.live.words(chosen[at : at + count]))  # fmt: skip
        return Keys(chosen, keys, stride)

    def _pairs(self, kv_head: int, chosen: Sequence[int]) -> Buffer:
        pairs = self.tiles.buffer(Memory.PARAM, self.live.words(chosen), "k and v scales")
        for at, first, count in stretches(chosen):
            self._blocks(kv_head, CachePart.PAIRS, pairs.at(at * self.unit // self.config.columns), 0, first,
                         self.live.words(chosen[at : at + count]))  # fmt: skip
        return pairs

    def _pairs_of(self, kv_head: int, chosen: Sequence[int], keys: Keys, pairs: Buffer) -> int:
        """Where in PARAM the scales of some of the tiles on chip are side by side."""
        runs = self.live.stretches(keys, chosen)
        if len(runs) > 1:
            return self._pairs(kv_head, chosen).at(0)
        return pairs.at(runs[0][1] * self.unit // self.config.columns)

    def _values(self, kv_head: int, chosen: Sequence[int]) -> Keys:
        stride = len(chosen) * self.unit
        values = self.tiles.buffer(Memory.WEIGHT, self.value_words * stride, "v")
        for at, first, count in stretches(chosen):
            self._blocks(kv_head, CachePart.VALUES, values.at(at * self.unit), stride, first,
                         self.live.words(chosen[at : at + count]))  # fmt: skip
        return Keys(chosen, values, stride)

    def _blocks(self, kv_head: int, part: CachePart, address: int, stride: int, first: int, blocks: int) -> None:
        """So many blocks from a tile on."""
        shape = self.shape
        words, token_words, source = shape.key_words, shape.key_words, part
        if part is CachePart.PAIRS:
            words = token_words = 1
        elif part is CachePart.VALUES:
            words, token_words = self.value_words, shape.value_words or shape.key_words
            source = part if shape.value_words else CachePart.KEYS
        self.tiles.emit(
            Stream(part=part, token_words=token_words, words=words, blocks=blocks, address=address, stride=stride,
                   first=first * self.unit // self.config.columns, **self._cached(source, 0, kv_head)),
            f"{part.name.lower()} {kv_head} stream", cache=self.index,
        )  # fmt: skip

    # -- panels --------------------------------------------------------------------------------------------------------

    def _step(
        self, kv_head: int, view: _View, chosen: Sequence[int], before: int, hidden: Hidden, state: Buffer | None,
        keys: Keys, pairs: Buffer, values: Keys,
    ) -> None:  # fmt: skip
        """What one panel does with tiles that it sees, after some before; without a state, with all of them."""
        live, panel = self.live, view.panel
        what = f"{view.label} block {chosen[0] * self.unit}"
        words, act_words = live.words(chosen), -(-live.tokens(chosen) // self.config.rows)
        scores = self.tiles.buffer(Memory.ACC, panel.count * words, "scores")
        live.scores(view.queries, panel.count, keys, chosen, scores.at(0), words, what)
        probabilities = self.tiles.buffer(Memory.ACT, panel.count * act_words, "p")
        scales = self.tiles.buffer(Memory.ROW, (2 if state else 1) * panel.count, "p scales")
        front = {
            "columns": live.tokens(chosen), "source_address": scores.at(0), "source_stride": words,
            "param_address": self._pairs_of(kv_head, chosen, keys, pairs),
            "row_address": view.queries.scales, "address": probabilities.at(0), "stride": act_words,
            "scales_address": scales.at(0),
        }  # fmt: skip
        if state:
            live.online(panel, hidden[0].behind(before * self.unit), state, not before, front, what)
        else:
            live.softmax(panel, hidden, front, what)
        sums = self.tiles.buffer(Memory.ACC, panel.count * self.value_words, "p·v")
        live.weighted(probabilities.at(0), act_words, panel.count, values, chosen, sums.at(0), self.value_words, what)
        self._output(view, panel, sums, scales, what, before > 0)

    def _rows_at_once(self, views: Sequence[_View]) -> Iterator[list[_View]]:
        """Panels whose scores have room beside each other, cut into fewer rows where those of one have none."""
        config, live = self.config, self.live
        some: list[_View] = []
        words = act_words = 0
        for view in views:
            width = live.words(view.panel.tiles)
            depth = -(-live.tokens(view.panel.tiles) // config.rows)
            most = min(config.words(Memory.ACC) // (2 * width), config.words(Memory.ACT) // (2 * depth),
                       config.words(Memory.VALUE) // (4 * width))  # fmt: skip
            if not most or width > config.words(Memory.PARAM):
                raise self.node.refuse(
                    f"a query sees {live.tokens(view.panel.tiles)} tokens, more than {config.title} has room for where "
                    f"a mask is added to all their scores", NoRoomError
                )  # fmt: skip
            for piece in _pieces(view, most):
                rows = piece.panel.count
                if some and (2 * (words + rows * width) > config.words(Memory.ACC)
                             or 2 * (act_words + rows * depth) > config.words(Memory.ACT)):  # fmt: skip
                    yield some
                    some, words, act_words = [], 0, 0
                some.append(piece)
                words, act_words = words + rows * width, act_words + rows * depth
        yield some

    def _whole_rows(self, kv_head: int, views: Sequence[_View], size: int) -> None:
        """Panels whose scores are kept until all keys have gone by, and then all values."""
        live, tiles = self.live, self.tiles
        seen = sorted({tile for view in views for tile in view.panel.tiles})
        scores = [tiles.buffer(Memory.ACC, view.panel.count * live.words(view.panel.tiles), "scores") for view in views]
        for chunk in _chunks(seen, size):
            keys = self._keys(kv_head, chunk)
            for view, buffer in zip(views, scores, strict=True):
                chosen, before = view.seen_of(chunk)
                if chosen:
                    live.scores(view.queries, view.panel.count, keys, chosen, buffer.at(live.words(before)),
                                live.words(view.panel.tiles), view.label)  # fmt: skip
        found = [self._probabilities(kv_head, view, buffer) for view, buffer in zip(views, scores, strict=True)]
        sums = [tiles.buffer(Memory.ACC, view.panel.count * self.value_words, "p·v") for view in views]
        for chunk in _chunks(seen, size):
            values = self._values(kv_head, chunk)
            for view, (probabilities, _), buffer in zip(views, found, sums, strict=True):
                chosen, before = view.seen_of(chunk)
                if chosen:
                    stride = probabilities.words // view.panel.count
                    at = probabilities.at(live.tokens(before) // self.config.rows)
                    live.weighted(at, stride, view.panel.count, values, chosen, buffer.at(0), self.value_words,
                                  view.label, accumulate=bool(before))  # fmt: skip
        for view, (_, scales), buffer in zip(views, found, sums, strict=True):
            self._output(view, view.panel, buffer, scales, view.label, False)

    def _probabilities(self, kv_head: int, view: _View, scores: Buffer) -> tuple[Buffer, Buffer]:
        """(codes, scales) of all that a panel sees."""
        panel, live = view.panel, self.live
        act_words = -(-live.tokens(panel.tiles) // self.config.rows)
        codes = self.tiles.buffer(Memory.ACT, panel.count * act_words, "p")
        scales = self.tiles.buffer(Memory.ROW, panel.count, "p scales")
        front = {
            "columns": live.tokens(panel.tiles), "source_address": scores.at(0),
            "source_stride": live.words(panel.tiles), "param_address": self._pairs(kv_head, panel.tiles).at(0),
            "row_address": view.queries.scales, "address": codes.at(0), "stride": act_words,
            "scales_address": scales.at(0),
        }  # fmt: skip
        live.softmax(panel, self.node.sight.hidden(view.head, panel, self.unit), front, view.label)
        return codes, scales

    def _output(self, view: _View, panel: Panel, sums: Buffer, scales: Buffer, what: str, added: bool) -> None:
        """Sums to VALUE, normalised, added to what the steps before gave."""
        address, stride = self.attended.place(panel.start, panel.count)
        address += view.head * self.value_words
        before = {} if not added else {
            "combine": Combine.ADD, "operand_address": address, "operand_stride": stride, "operand_scaled": 1,
            "operand_row_address": scales.at(panel.count),
        }  # fmt: skip
        self.tiles.emit(
            Map(rows=panel.count, columns=self.value_words * self.config.columns, source=Source.ACC,
                source_address=sums.at(0), source_stride=self.value_words, row_scaled=1, row_address=scales.at(0),
                address=address, stride=stride, **before), f"{what} output",
        )  # fmt: skip


def _pieces(view: _View, most: int) -> list[_View]:
    """A panel in pieces of at most so many queries."""
    panel, codes = view.panel, view.queries
    return [
        _View(view.head, Panel(panel.start + start, min(most, panel.count - start), panel.tiles),
              Codes(codes.words, codes.address + start * codes.words, codes.scales + start))
        for start in range(0, panel.count, most)
    ]  # fmt: skip


def _together(views: Sequence[_View], size: int) -> list[list[_View]]:
    """Views that share what is streamed: neighbours whose tiles are at most `size` in all; those that see more go with
    others of that kind."""
    found: list[list[_View]] = []
    union: set[int] = set()
    for view in sorted(views, key=lambda view: view.panel.start) if _differ(views) else views:
        tiles = set(view.panel.tiles)
        long = len(tiles) > size
        if found and (len(union | tiles) <= size or long and len(union) > size):
            found[-1].append(view)
            union |= tiles
        else:
            found.append([view])
            union = tiles
    return found


def _differ(views: Sequence[_View]) -> bool:
    return any(view.panel.tiles != views[0].panel.tiles for view in views)


def _chunks(tiles: Sequence[int], size: int) -> list[Sequence[int]]:
    return [tiles[start : start + size] for start in range(0, len(tiles), size)]

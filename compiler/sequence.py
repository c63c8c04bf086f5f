"""Cached attention among all tokens of one sequence, whose rows go in groups: only live tiles of keys come back.

Panels of queries that see much the same share what is streamed. A panel works through what it sees in one step, if that
fits; else step by step (online softmax), or, where numbers are added to its scores, which only the softmax of whole rows
does, with all its scores kept on chip while keys, and then values, go by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..arch.config import Memory
from ..arch.errors import NoRoomError
from ..arch.isa import Combine, Map, Source, Stream
from ..arch.isa import Part as CachePart
from .builder import Tiles
from .flash import CachedAttention
from .graph import Node
from .live import Codes, Keys, Live
from .sight import Panel, cost_of, stretches
from .tasks import Buffer


@dataclass(frozen=True)
class _View:
    """A panel of queries of one head, and its codes."""

    head: int
    panel: Panel
    queries: Codes

    @property
    def label(self) -> str:
        return f"head {self.head}"


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
            for view in [view for view in some if len(seen) > size and hidden[view][1] is not None]:
                self._whole_rows(kv_head, view, size)
                some.remove(view)
            states = {view: self._state(view) for view in some if len(seen) > size or hidden[view][1] is None}
            for chunk in _chunks(seen, size) if some else ():
                keys, pairs = self._keys(kv_head, chunk)
                values = self._values(kv_head, chunk)
                for view in some:
                    chosen = [tile for tile in view.panel.tiles if chunk[0] <= tile <= chunk[-1]]
                    if chosen:
                        self._step(kv_head, view, chosen, hidden[view], states.get(view), keys, pairs, values)

    def _views(self, kv_head: int) -> list[_View]:
        """Each head's panels, cut so that they see little that only some of their queries want."""
        sight, config = self.node.sight, self.config
        depth, features = self.query_words * config.rows, self.value_words * config.columns
        cost = cost_of(config, self.unit, depth, features)
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

    def _keys(self, kv_head: int, chosen: Sequence[int]) -> tuple[Keys, Buffer]:
        stride = self.query_words * self.config.rows
        keys = self.tiles.buffer(Memory.WEIGHT, self.live.words(chosen) * stride, "k")
        per_tile = self.unit // self.config.columns
        for at, first, count in stretches(chosen):
            self._blocks(kv_head, CachePart.KEYS, keys.at(at * per_tile * stride), stride, first,
                         self.live.words(chosen[at : at + count]))  # fmt: skip
        return Keys(chosen, keys, stride), self._pairs(kv_head, chosen)

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

    def _step(self, kv_head, view, chosen, hidden, state, keys, pairs, values) -> None:
        """What one panel does with tiles that it sees; without a state, all of them."""
        live, panel = self.live, view.panel
        before = panel.tiles.index(chosen[0])
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

    def _whole_rows(self, kv_head: int, view: _View, size: int) -> None:
        """A panel whose scores are kept until all its keys have gone by; of so many rows as there is room for."""
        live, panel = self.live, view.panel
        words, act_words = live.words(panel.tiles), -(-live.tokens(panel.tiles) // self.config.rows)
        most = min(self.config.words(Memory.ACC) // words, self.config.words(Memory.ACT) // act_words,
                   self.config.words(Memory.VALUE) // (2 * words)) // 2  # fmt: skip
        if not most or words > self.config.words(Memory.PARAM):
            raise self.node.refuse(f"a query sees {live.tokens(panel.tiles)} tokens, more than {self.config.title} has "
                                   f"room for beside numbers that are added to their scores", NoRoomError)  # fmt: skip
        if most < panel.count:
            for start in range(0, panel.count, most):
                some = Panel(panel.start + start, min(most, panel.count - start), panel.tiles)
                at = view.queries.address + start * self.query_words
                self._whole_rows(kv_head, _View(view.head, some, Codes(self.query_words, at, view.queries.scales + start)),
                                 size)  # fmt: skip
            return
        what, tiles = f"{view.label} whole rows", self.tiles
        scores = tiles.buffer(Memory.ACC, panel.count * words, "scores")
        at = 0
        for chunk in _chunks(panel.tiles, size):
            keys, _ = self._keys(kv_head, chunk)
            live.scores(view.queries, panel.count, keys, chunk, scores.at(at), words, what)
            at += live.words(chunk)
        probabilities = tiles.buffer(Memory.ACT, panel.count * act_words, "p")
        scales = tiles.buffer(Memory.ROW, panel.count, "p scales")
        front = {
            "columns": live.tokens(panel.tiles), "source_address": scores.at(0), "source_stride": words,
            "param_address": self._pairs(kv_head, panel.tiles).at(0), "row_address": view.queries.scales,
            "address": probabilities.at(0), "stride": act_words, "scales_address": scales.at(0),
        }  # fmt: skip
        live.softmax(panel, self.node.sight.hidden(view.head, panel, self.unit), front, what)
        sums, at = tiles.buffer(Memory.ACC, panel.count * self.value_words, "p·v"), 0
        for chunk in _chunks(panel.tiles, size):
            values = self._values(kv_head, chunk)
            live.weighted(probabilities.at(at * self.unit // self.config.rows), act_words, panel.count, values, chunk,
                          sums.at(0), self.value_words, what, accumulate=at > 0)  # fmt: skip
            at += len(chunk)
        self._output(view, panel, sums, scales, what, False)

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

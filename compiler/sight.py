"""What the queries of an attention see: which tiles of keys each panel of queries must work through, and what is hidden
within them.

A tile of keys is as many tokens as whole words of keys and whole tiles of values have. It is live for a panel if one of
its queries sees one of its tokens; the others are neither loaded nor computed. Live tiles lie side by side ("packed"),
and what is then left to hide is mostly a band, which SOFTMAX knows without a mask: causal, with an offset, or a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..arch.config import HardwareConfig, Memory
from ..arch.isa import Map, Matmul, Softmax
from ..sim.units import cycles, occupied

_LONGEST_WINDOW, _FARTHEST = (1 << 15) - 1, 1 << 16  # what the fields of SOFTMAX hold

Cost = Callable[[int, int, int], float]  # of so many queries, and so many tiles of keys in so many stretches
Hidden = tuple["Band", NDArray[np.float32] | None]  # what softmax needs to know of packed columns


class Band(NamedTuple):
    """Of packed columns, query m sees n with n <= m + offset, if causal, and n > m + offset - window, if window."""

    causal: bool = False
    offset: int = 0
    window: int = 0

    def behind(self, columns: int) -> Band:
        """The same, where so many columns before are left out."""
        return self._replace(offset=self.offset - columns) if self.causal or self.window else self


@dataclass(frozen=True)
class Panel:
    """Queries [start, start + count) and the tiles of keys that one of them sees, in order."""

    start: int
    count: int
    tiles: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Sight:
    """Which keys queries see, and what is added to their scores."""

    queries: int
    keys: int
    causal: bool = False
    window: int = 0  # tokens up to the query's own, if causal; 0: all
    added: Tensor | None = None  # (heads or 1, queries, keys) in units of log2; −∞ hides

    @cached_property
    def _live(self) -> dict[tuple[int, int], NDArray[np.bool_]]:
        """What `live` has found."""
        return {}

    @property
    def everything(self) -> bool:
        """Whether each query sees every key as it is."""
        return not self.causal and self.added is None

    def pairs(self, heads: int) -> int:
        """How many pairs of a query and a key are seen, in all heads: those that nothing hides."""
        if self.added is not None:
            return int((~self.added.isneginf()).expand(heads, -1, -1).sum())
        if not self.causal:
            return heads * self.queries * self.keys
        return heads * sum(min(query + 1, self.keys, self.window or self.keys) for query in range(self.queries))

    def of_head(self, head: int) -> int:
        """The first head that sees the same."""
        return head if self.added is not None and len(self.added) > 1 else 0

    def live(self, head: int, unit: int) -> NDArray[np.bool_]:
        """(queries, tiles of keys): which have something in sight."""
        key = self.of_head(head), unit
        if key not in self._live:
            row, start = np.arange(self.queries)[:, None], np.arange(0, self.keys, unit)
            live = np.ones((self.queries, len(start)), bool)
            if self.causal:
                live &= start <= row
                if self.window:
                    live &= start + unit > row - self.window + 1
            if self.added is not None:
                live &= np.logical_or.reduceat(~np.isneginf(self.added[key[0]].numpy()), start, axis=1)
            self._live[key] = live
        return self._live[key]

    def panels(
        self, head: int, rows: tuple[int, int], longest: int, unit: int, aligned: int, cost: Cost
    ) -> list[Panel]:  # fmt: skip
        """Queries [first, first + count), cut between multiples of `aligned` into panels of at most `longest`, so that
        all together cost least. `unit`: tokens of a tile. A query that sees nothing has a tile of which all is hidden.
        """
        first, count = rows
        live = self.live(head, unit)[first : first + count]
        edges = [*range(0, count, aligned), count]
        blocks = [live[a:b].any(0) for a, b in pairwise(edges)]
        best = [(0.0, 0)]  # for each edge: what the panels before it cost at least, and where the last of them begins
        for end in range(1, len(edges)):
            together, found = np.zeros_like(blocks[0]), (np.inf, end - 1)
            for begin in range(end - 1, -1, -1):
                if edges[end] - edges[begin] > max(longest, aligned):
                    break
                together = together | blocks[begin]
                runs = int(together[0]) + int((together[1:] > together[:-1]).sum())
                here = cost(edges[end] - edges[begin], int(together.sum()), runs)
                found = min(found, (best[begin][0] + here, begin))
            best.append(found)
        found, end = [], len(edges) - 1
        while end:
            begin = best[end][1]
            tiles = np.flatnonzero(live[edges[begin] : edges[end]].any(0)).tolist()
            found.append(Panel(first + edges[begin], edges[end] - edges[begin], tuple(tiles) or (0,)))
            end = begin
        return found[::-1]

    def hidden(self, head: int, panel: Panel, unit: int) -> Hidden:
        """What softmax needs to know of a panel's packed columns: a band, or else numbers to add (queries, columns)."""
        columns = columns_of(panel.tiles, unit, self.keys)
        row = np.arange(panel.start, panel.start + panel.count)[:, None]
        seen = np.ones((panel.count, len(columns)), bool)
        added = None
        if self.causal:
            seen &= columns <= row
            if self.window:
                seen &= columns > row - self.window
        if self.added is not None:
            added = self.added[self.of_head(head), panel.start : panel.start + panel.count].numpy()[:, columns]
            seen &= ~np.isneginf(added)
        if added is None or not added[seen].any():
            band = _band(seen)
            if band is not None:
                return band, None
        numbers = np.where(seen, 0.0 if added is None else added, -np.inf)
        return Band(), numbers.astype(np.float32)


def columns_of(tiles: Sequence[int], unit: int, keys: int) -> NDArray[np.int64]:
    """The tokens of some tiles."""
    found = (np.array(tiles)[:, None] * unit + np.arange(unit)).reshape(-1)
    return found[found < keys]


def stretches(numbers: Sequence[int]) -> list[tuple[int, int, int]]:
    """(where in `numbers`, first, count) of the longest stretches of numbers that follow each other."""
    found: list[tuple[int, int, int]] = []
    for place, number in enumerate(numbers):
        if found and number == found[-1][1] + found[-1][2]:
            found[-1] = (*found[-1][:2], found[-1][2] + 1)
        else:
            found.append((place, number, 1))
    return found


def cost_of(config: HardwareConfig, unit: int, depth: int, features: int, at_once: bool, gather: int) -> Cost:
    """The cycles of the unit that is longest at a panel, and as the price of one more panel what the array takes for a
    tile of the least. Infinite, if all its scores are wanted `at_once`, for more than the least where ACC does not hold
    them twice.

    gather  cycles in which some unit puts what belongs to one of several stretches in its place
    """

    @cache
    def cost(rows: int, tiles: int, runs: int) -> float:
        tokens = max(tiles, 1) * unit
        words, value_words = tokens // config.columns, -(-features // config.columns)
        if at_once and rows > config.columns and rows * words > config.words(Memory.ACC) // 2:
            return np.inf
        products = [Matmul(rows=rows, k_tiles=-(-depth // config.rows), n_tiles=words),
                    Matmul(rows=rows, k_tiles=tokens // config.rows, n_tiles=value_words)]  # fmt: skip
        softmax, output = Softmax(rows=rows, columns=tokens), Map(rows=rows, columns=features, row_scaled=1)
        array = sum(occupied(each, config) for each in products)
        price = array / max(tiles, 1) * min(1.0, config.columns / rows)
        return max(array, cycles(softmax, config), cycles(output, config), gather * runs * (runs > 1)) + price

    return cost


def _band(seen: NDArray[np.bool_]) -> Band | None:
    """The band that is seen, if it is one and no row sees nothing."""
    rows, columns = seen.shape
    first, last = seen.argmax(1), columns - 1 - seen[:, ::-1].argmax(1)
    if not seen.any(1).all() or (seen.sum(1) != last - first + 1).any():
        return None
    row, cut, left = np.arange(rows), last < columns - 1, first > 0
    offset = int((last - row)[cut][0]) if cut.any() else columns - 1
    lowest = int((first - row)[left][0]) if left.any() else offset + 1
    window = offset - lowest + 1
    ends = np.array_equal(last, np.minimum(row + offset, columns - 1))
    begins = not window or np.array_equal(first, np.maximum(row + lowest, 0))
    if not (ends and begins) or window > _LONGEST_WINDOW or abs(offset) >= _FARTHEST:
        return None
    return Band(bool(cut.any()), offset if cut.any() or window else 0, window)

"""Products of two values: x·yᵀ for each pair of matrices. VALUE → VALUE.

x is quantised to codes of ACT, y to codes of WEIGHT with a scale for each of its rows, which are columns of the
product: both as a linear layer has them, only that neither is known.
"""

from __future__ import annotations

import numpy as np

from ...arch.config import Memory
from ...arch.errors import NoRoomError
from ...arch.isa import Codes, Digit, Map, Quantise, Scales, Source
from ..builder import Rows, Tiles, split_rows
from ..coder import MOST_COLUMNS, Coder
from ..graph import Graph, Node
from ..reading import Run, panels, runs
from ..tasks import Buffer


def match(graph: Graph, node: Node) -> bool:
    """x (…, M, K) and y (…, N, K)."""
    if node.op != "ir.matmul":
        return False
    x, y = node.inputs
    batch = x.rows // x.shape[-2]
    graph.replace(node, node.turned_into("matmul", [x, y], batch=batch, depth=x.columns))
    return True


def quantise(node: Node, coder: Coder) -> None:
    """Nothing is known of the two. Raises HeddleError for longer rows than an instruction takes."""
    if node.depth > MOST_COLUMNS:
        raise node.refuse(f"K = {node.depth} is too large: an instruction takes rows of at most {MOST_COLUMNS} numbers")


def macs(node: Node) -> int:
    """All products."""
    return node.rows * node.columns * node.depth


def tile(node: Node, tiles: Tiles) -> None:
    """Matrix by matrix; chunks of y as they fit into WEIGHT, panels of x as their sums fit into ACC."""
    x, y = (runs(tiles, each) for each in node.inputs)
    tiles.whole_values(node)
    out = runs(tiles, node)
    rows, columns = node.rows // node.batch, node.columns
    for batch in range(node.batch):
        _Product(node, tiles, _cut(x, batch * rows, rows), _cut(y, batch * columns, columns),
                 _cut(out, batch * rows, rows)).tile()  # fmt: skip


def _cut(all_runs: list[Run], first: int, count: int) -> list[Run]:
    """Rows [first, first + count), counted from 0 again."""
    found = []
    for run in all_runs:
        start, stop = max(run.first, first), min(run.first + run.count, first + count)
        if start < stop:
            found.append(Run(start - first, stop - start, run.at(start), run.stride))
    return found


class _Product:
    """Emits one product of two matrices."""

    def __init__(self, node: Node, tiles: Tiles, x: list[Run], y: list[Run], out: list[Run]) -> None:
        self.node, self.tiles, self.config = node, tiles, tiles.config
        self.x, self.y, self.out = x, y, out
        self.depth, self.precision = node.depth, node.precision
        self.planes = 1 + node.precision.planes
        self.stride = -(-self.depth // self.config.rows) * self.config.rows  # words of WEIGHT for a word of columns

    def tile(self) -> None:
        """All of it."""
        config = self.config
        codes = self._codes_of_x()
        words = -(-self.node.columns // config.columns)
        digits = len(self._digits(self.precision.weight_digits))
        limits = (
            config.words(Memory.WEIGHT) // (2 * self.stride * digits), config.words(Memory.PARAM) // 2,
            config.words(Memory.ACC) // self.planes,
        )  # fmt: skip
        most = max(min(limits), 1)
        for first in range(0, words, most):
            self._chunk(codes, first, min(most, words - first))

    @staticmethod
    def _digits(count: int) -> list[Digit]:
        return [Digit.WHOLE] if count == 1 else [Digit.HIGH, Digit.LOW]

    def _codes_of_x(self) -> Rows:
        edges = [(start, count) for start, count, _ in panels(self.tiles, self.x)]
        codes = self.tiles.free_codes(edges, self.depth, "x", self.precision.activation_digits)
        for start, count, ((source, stride),) in panels(self.tiles, self.x):
            for digit, rows in codes.digits():
                address, step = rows.place(start, count)
                self.tiles.emit(
                    Quantise(
                        rows=count, columns=self.depth, source=Source.VALUE, source_address=source,
                        source_stride=stride, address=address, stride=step, scales_address=codes.scale_place(start),
                        digit=digit,
                    ), "quantise x",
                )  # fmt: skip
        return codes

    def _chunk(self, codes: Rows, first: int, words: int) -> None:
        """Some words of the columns."""
        tiles, config, per_word = self.tiles, self.config, self.config.columns
        columns = min(words * per_word, self.node.columns - first * per_word)
        pairs = tiles.load_pairs("no offset", np.zeros((words, per_word, 2), np.float32))
        weights = [tiles.buffer(Memory.WEIGHT, words * self.stride, "y")
                   for _ in self._digits(self.precision.weight_digits)]  # fmt: skip
        self._codes_of_y(_cut(self.y, first * per_word, columns), weights, pairs)
        for start, count, _ in panels(tiles, self.x):
            most = max(1, config.words(Memory.ACC) // (2 * words * self.planes))
            for at, some in ((start + each, size) for each, size in split_rows(count, 1, most, 1)):
                acc = tiles.buffer(Memory.ACC, self.planes * some * words, "sums")
                tiles.product(self.precision, codes, at, some, weights, self.depth, words, acc.at(0), words)
                for inside, rows, ((address, stride),) in panels(tiles, _cut(self.out, at, some)):
                    tiles.emit(
                        Map(
                            rows=rows, columns=columns, source=Source.ACC, source_address=acc.at(inside * words),
                            source_stride=words, scaled=1, param_address=pairs.at(0), row_scaled=1,
                            row_address=codes.scale_place(at + inside), planes=self.planes - 1,
                            address=address + first, stride=stride,
                        ), "map",
                    )  # fmt: skip

    def _codes_of_y(self, y: list[Run], weights: list[Buffer], pairs: Buffer) -> None:
        per_word = self.config.columns
        y = _from_words(self.tiles, y, self.node.inputs[1], per_word)
        for start, count, ((source, stride),) in panels(self.tiles, y, aligned=per_word):
            for digit, buffer in zip(self._digits(len(weights)), weights, strict=True):
                self.tiles.emit(
                    Quantise(
                        rows=count, columns=self.depth, source=Source.VALUE, source_address=source,
                        source_stride=stride, codes=Codes.WEIGHT_TRANSPOSED,
                        address=buffer.at(start // per_word * self.stride), stride=self.stride,
                        scales=Scales.PARAM_SCALE, scales_address=pairs.at(start // per_word), digit=digit,
                    ), "quantise y",
                )  # fmt: skip


def _from_words(tiles: Tiles, y: list[Run], node: Node, per_word: int) -> list[Run]:
    """The same rows, in runs that begin at whole words of columns: copied one behind the other, if they do not."""
    longest = tiles.longest_panel
    if longest < per_word <= tiles.config.panel_rows:
        raise node.refuse(f"layers that are computed together with it leave room in ACC for panels of {longest} rows, "
                          f"but it needs {per_word}", NoRoomError)  # fmt: skip
    if longest < per_word:
        raise node.refuse(f"panel_rows of {tiles.config.title} must be at least its columns ({per_word})")
    if all(run.first % per_word == 0 for run in y):
        return y
    rows = sum(run.count for run in y)
    whole = tiles.free_whole(rows, node.columns, "rows of y")
    target = [Run(0, rows, whole.place(0, 1)[0], whole.words)]
    for _, count, ((source, stride), (address, step)) in panels(tiles, y, target):
        tiles.emit(Map(rows=count, columns=node.columns, source=Source.VALUE, source_address=source,
                       source_stride=stride, address=address, stride=step), "gather rows")  # fmt: skip
    return target

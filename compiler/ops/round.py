"""The whole numbers nearest to numbers from 0 on, of two the even one: VALUE → VALUE.

With p bits in a significand of VECTOR, all numbers from 2^(p − 1) on are whole, and a sum with 2^(p − 1) rounds smaller
ones to whole numbers, as the adder rounds. It is taken away in the same instruction, before VALUE's format can matter.
"""

from __future__ import annotations

import numpy as np
import torch

from ...arch.config import Memory
from ...arch.isa import Combine, Function, Map, Source
from ..builder import Tiles
from ..functions import ROUND
from ..graph import Graph, Node
from ..matrix import pairs_of_columns
from ..reading import Run, panels, runs


def match(graph: Graph, node: Node) -> bool:
    """The function of that name."""
    if node.op != "ir.function" or node.function != ROUND:
        return False
    graph.replace(node, node.turned_into("round", node.inputs))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """2^(p − 1) is added and taken away; where x was larger, it is x."""
    x, out = runs(tiles, node.inputs[0]), tiles.new_values(node)
    target = [Run(start, count, buffer.at(word), out.words) for start, count, buffer, word in out.pieces]
    words = -(-node.columns // tiles.config.columns)
    step = min(words, max(1, tiles.config.words(Memory.PARAM) // 4))
    for first in range(0, words, step):
        columns = min(step * tiles.config.columns, node.columns - first * tiles.config.columns)
        add, subtract, most = _constants(tiles, columns)
        for _, count, ((source, source_stride), (address, stride)) in panels(tiles, x, target):
            choice, choice_stride = tiles.free_whole(count, columns, "larger").place(0, count)
            size = Map(rows=count, columns=columns, source=Source.VALUE, source_address=source + first,
                       source_stride=source_stride, address=address + first, stride=stride)  # fmt: skip
            tiles.emit(size.changed(scaled=1, param_address=add, combine=Combine.SUBTRACT, operand_address=most),
                       "round")  # fmt: skip
            tiles.emit(size.changed(scaled=1, param_address=subtract, function=Function.RELU, address=choice,
                                    stride=choice_stride), "larger")  # fmt: skip
            tiles.emit(size.changed(combine=Combine.SELECT, operand_address=choice, operand_stride=choice_stride),
                       "where")  # fmt: skip


def _constants(tiles: Tiles, columns: int) -> tuple[int, int, int]:
    """Where PARAM has scales of 1 and offsets of 2^(p − 1) and −2^(p − 1), and VALUE a row of 2^(p − 1)."""
    ones, most = torch.ones(columns, dtype=torch.double), 2.0 ** (tiles.config.precision - 1)
    pairs = (pairs_of_columns(ones, ones * offset, tiles.config) for offset in (most, -most))
    add, subtract = (tiles.load_pairs(f"{tiles.label}.{i}", each).at(0) for i, each in enumerate(pairs))
    row = tiles.load_rows(f"{tiles.label}.most", np.full((1, columns), most, np.float32), [(0, 1)])
    return add, subtract, row.place(0, 1)[0]

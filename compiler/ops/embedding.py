"""Rows of a table, chosen by an integer input: a gathering LOAD."""

from __future__ import annotations

from numpy.typing import NDArray

from ...arch.config import Memory
from ...arch.isa import Load
from ..builder import Rows, Tiles
from ..graph import Graph, Node
from ..layout import Layout
from ..operands import constant_operand
from ..rearrange import origin
from ..weightless import to_numpy


def match(graph: Graph, node: Node) -> bool:
    """Rows of a constant table, chosen by an input."""
    if node.op != "ir.gather" or node.inputs[0].op != "constant" or len(node.inputs[0].shape) != 2:
        return False
    table, ids = node.inputs
    source, layout = origin(ids)
    if source.op != "input" or not layout.same_order(Layout.of(source.shape)):
        return False
    rows = constant_operand(node, table, "the table must be a constant")
    graph.replace(node, node.turned_into("embedding", [source], table=rows))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """One gather per panel."""
    gather_rows(tiles, tiles.new_values(node), to_numpy(node.table), node.inputs[0], f"{tiles.label}.weight")


def gather_rows(tiles: Tiles, out: Rows, table_rows: NDArray, ids: Node, name: str, key: object = None) -> None:
    """Rows of a constant, chosen by an integer input, into `out`; see Tiles.constant_rows for `key`. A row of the table
    takes whole bursts, so that its timing does not depend on the ids."""
    config, size = tiles.config, tiles.config.burst_bytes
    row_bytes = -(-out.words * config.dram_word_bytes(Memory.VALUE) // size) * size
    table = tiles.constant_rows(name, table_rows, row_bytes=row_bytes, key=key)
    if key is None:
        tiles.gathered[table.name] = table.rows * row_bytes
    for start, count, buffer, word in out.pieces:
        address, stride = buffer.at(word), out.words
        index = tiles.load_index(ids, start, count, len(table_rows))
        tiles.emit(
            Load(
                memory=Memory.VALUE, dram_address=table.address, dram_stride=row_bytes, segments=count, words=out.words,
                address=address, stride=stride, gather=1,
                index_address=index,
            ), "gather",
        )  # fmt: skip

"""Rows of a table, chosen by numbers that a run finds, or of a table that it makes: VALUE → DRAM → VALUE."""

from __future__ import annotations

from ...arch.config import Memory
from ...arch.isa import Load, Store
from ...arch.program import Tensor
from ..builder import Tiles
from ..graph import Graph, Node
from ..layout import Layout
from ..operands import constant_operand
from ..reading import panels, runs
from ..rearrange import origin
from ..weightless import to_numpy


def match(graph: Graph, node: Node) -> bool:
    """Rows of a matrix. Raises HeddleError for numbers that are not where an instruction can read them."""
    if node.op != "ir.gather":
        return False
    table, ids = node.inputs
    source, layout = origin(ids)
    if len(table.shape) != 2 or source.op not in ("input", "topk", "ir.topk_places"):
        raise node.refuse(f"its rows are chosen by {source.op}; they must be chosen by an input, or by places of topk")
    if not layout.same_order(Layout.of(source.shape)):
        raise node.refuse(f"the numbers {ids.name} must be all of {source.name}, in their order")
    graph.replace(node, node.turned_into("gather", [table, source]))
    return True


def tile(node: Node, tiles: Tiles) -> None:
    """The table goes to DRAM, if it is not there; then its rows are loaded."""
    table, ids = node.inputs
    config = tiles.config
    out = tiles.whole_values(node)
    burst, words = config.burst_bytes, out.words
    row_bytes = -(-words * config.dram_word_bytes(Memory.VALUE) // burst) * burst
    if table.op == "constant":
        rows = to_numpy(constant_operand(node, table, "it must be known"))
        place = tiles.constant_rows(f"{tiles.label}.table", rows, row_bytes=row_bytes)
    else:
        place = _stored(tiles, table, row_bytes, words)
    index = tiles.index_of(ids, table.rows)
    for start, count, buffer, word in out.pieces:
        tiles.emit(
            Load(memory=Memory.VALUE, dram_address=place.address, dram_stride=row_bytes, segments=count, words=words,
                 address=buffer.at(word), stride=words, gather=1, index_address=index + start), "gather",
        )  # fmt: skip


def _stored(tiles: Tiles, table: Node, row_bytes: int, words: int) -> Tensor:
    """A table that a run makes, in DRAM."""
    tensor = tiles.tensor(f"{table.name} table", "scratch", Memory.VALUE, table.rows, table.columns,
                          (table.rows, table.columns), row_bytes=row_bytes)  # fmt: skip
    for start, count, ((source, stride),) in panels(tiles, runs(tiles, table)):
        tiles.emit(
            Store(memory=Memory.VALUE, dram_address=tensor.address + start * row_bytes, dram_stride=row_bytes,
                  segments=count, words=words, address=source, stride=stride), "table",
        )  # fmt: skip
    return tensor

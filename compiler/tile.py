"""From operators to instructions on panels and chunks, with virtual addresses (compiler/tasks.py)."""

from __future__ import annotations

from ..arch.config import HardwareConfig, Memory
from ..arch.isa import Store
from .builder import Decoder, Rows, Tiles, Tiling
from .graph import Graph, Node
from .ops import OPS
from .ops.linear import argmax_groups, needs_whole_rows


def tile(
    graph: Graph, config: HardwareConfig, tiling: Tiling, output_name: str = "output", decoder: Decoder | None = None
) -> Tiles:
    """All tasks of the model, in an order in which they could be executed one by one."""
    tiles = Tiles(config, tiling, longest_panel(graph, config), decoder)
    if decoder:
        _load_page_tables(decoder, tiles)
    for node in graph:
        tiles.node = node
        if node.op == "input" and not node.integer and any(user.op != "patch_embedding" for user in graph.users(node)):
            _load_input(node, tiles)
        elif node.op in OPS:
            OPS[node.op].tile(node, tiles)
    tiles.node = None
    _store_output(graph.output, tiles, output_name)
    if "argmax" in graph.output.attributes:
        _store_winners(graph.output, tiles)
    return tiles


def longest_panel(graph: Graph, config: HardwareConfig) -> int:
    """Most rows of a panel: the sums of the widest layer that needs whole rows fit into ACC, twice if possible."""
    words = max((_row_words(node, config) for node in graph if needs_whole_rows(node)), default=1)
    twice, once = config.words(Memory.ACC) // (2 * words), config.words(Memory.ACC) // words
    aligned = twice // config.columns
    if any(node.op == "cached_attention" for node in graph):  # it appends whole blocks of tokens
        aligned = aligned or once // config.columns
    return min(aligned * config.columns or twice or once or 1, config.panel_rows)


def _row_words(node: Node, config: HardwareConfig) -> int:
    """Words of ACC that a row takes, of all outputs that must be there at once."""
    columns = argmax_groups(node, config)[0] if "argmax" in node.attributes else node.columns
    return -(-columns // config.columns) * (1 + node.precision.planes)


def _load_input(node: Node, tiles: Tiles) -> None:
    """An input of numbers, rows × features."""
    tensor = tiles.tensor(node.name, "input", Memory.VALUE, node.rows, node.columns, node.shape[1:])
    rows = tiles.new_values(node)
    for start, count in tiles.panels(node.rows):
        tiles.load_tensor(tensor, start, count, rows.place(start, count)[0], "input")


def _store_output(node: Node, tiles: Tiles, name: str) -> None:
    """The result, without the batch dimension."""
    if node.shape[0] != 1:
        raise node.refuse("the result must have the batch dimension of 1 in front")
    rows: Rows = tiles.values(node)
    tensor = tiles.tensor(name, "output", Memory.VALUE, node.rows, node.columns, node.shape[1:], segment=rows.segment)
    for first, count, buffer, word in rows.pieces:
        tiles.emit(
            Store(memory=Memory.VALUE, dram_address=tensor.address + first * tensor.row_bytes, words=count * rows.words,
                  address=buffer.at(word)), "store",
        )  # fmt: skip


def _load_page_tables(decoder: Decoder, tiles: Tiles) -> None:
    """The input `pages`: for each sequence the numbers of its pages."""
    layout, config = decoder.layout, tiles.config
    entries = decoder.sequences * layout.sequence_pages
    row_bytes = -(-entries * 4 // config.axi_bytes) * config.axi_bytes
    shape = (decoder.sequences, layout.sequence_pages)
    tensor = tiles.tensor("pages", "input", Memory.PAGE, 1, entries, shape, row_bytes=row_bytes)
    decoder.table = tiles.buffer(Memory.PAGE, row_bytes // config.axi_bytes, "pages")
    tiles.load_tensor(tensor, 0, 1, decoder.table.at(0), "page tables")


def _store_winners(node: Node, tiles: Tiles) -> None:
    """The place of the greatest of each row of the result, as the output `next`: (groups, rows), each counted from the
    start of its group of columns."""
    config, buffer = tiles.config, tiles.index(node)
    groups = argmax_groups(node, config)[1]
    row_bytes = buffer.words * config.axi_bytes
    shape = (groups, node.rows)
    tensor = tiles.tensor("next", "output", Memory.INDEX, 1, groups * node.rows, shape, row_bytes=row_bytes)
    tiles.emit(
        Store(memory=Memory.INDEX, dram_address=tensor.address, words=buffer.words, address=buffer.at(0)),
        "store the greatest",
    )

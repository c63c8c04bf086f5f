"""From operators to instructions on panels and chunks, with virtual addresses (compiler/tasks.py)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.isa import Store
from ..arch.program import Tensor
from .builder import Decoder, Rows, SharedDram, Tiles, Tiling, split_rows
from .evaluators import Evaluators
from .graph import Graph, Node
from .host import sample
from .layout import Layout
from .ops import OPS, cached_attention, rearrange
from .ops.linear import column_groups, needs_whole_rows
from .rearrange import origin
from .slices import edges, mlps, tile_mlp


def tile(
    graph: Graph, config: HardwareConfig, tiling: Tiling, decoder: Decoder | None = None,
    shared: SharedDram | None = None, evaluators: Evaluators | None = None,
) -> Tiles:  # fmt: skip
    """All tasks of a graph, in an order in which they could be executed one by one.

    evaluators   what they hold at the start
    With `tiling.group_rows` rows go through the graph in groups. Attention needs the keys and values of all groups:
    these are computed first, and what leads to them is computed once more for each group that attends.
    """
    tiles = Tiles(config, tiling, longest_panel(graph, config, tiling), decoder, shared, evaluators)
    tiles.make_view, tiles.without_pads = rearrange.make, rearrange.without_pads
    tiles.mlps = {each.down: each for each in mlps(graph)} if tiling.slices > 1 else {}
    cached = [node for node in graph if node.op in ("cached_attention", "cache_writer")]
    if decoder and any("keys" not in node.attributes for node in cached):
        _load_page_tables(decoder, tiles)
    if decoder and any("keys" in node.attributes for node in cached):
        _load_source_table(decoder, tiles)
    rows = {node.rows for node in graph if node.op not in ("constant", "input")}
    if not tiling.group_rows or (max(rows, default=0) <= tiling.group_rows and not tiling.thrifty):
        _tile_rows(graph, list(graph), tiles)
        return tiles
    if len(rows) > 1:
        raise HeddleError(f"a segment in groups of rows has nodes of {sorted(rows)} rows: they must be the same")
    attentions = [node for node in cached if "keys" not in node.attributes]
    if tiling.thrifty:  # whole blocks of a cache, if there is one
        groups = split_rows(rows.pop(), 1, tiling.group_rows, config.columns if cached else 1)
    else:
        groups = groups_of(rows.pop(), tiling.group_rows, config)
    for attention in attentions:
        for group in groups:
            tiles.open_group(*group, phase=f"to {attention.name}")
            _tile_nodes(graph, _leading_to(attention, graph), tiles)
            tiles.node = attention
            cached_attention.append(attention, tiles)
    for group in groups:
        tiles.open_group(*group)
        _tile_rows(graph, list(graph), tiles)
    return tiles


def groups_of(rows: int, about: int, config: HardwareConfig) -> list[tuple[int, int]]:
    """(first, rows) of the groups that rows go in. A rest that would not fill the array joins the group before it."""
    return split_rows(rows, 1, about + config.columns - 1, config.columns)


def _tile_rows(graph: Graph, nodes: list[Node], tiles: Tiles) -> None:
    """The present rows from the first to the last node, and the results to DRAM."""
    _tile_nodes(graph, nodes, tiles)
    tiles.node = None
    for node, name in zip(graph.outputs, graph.names, strict=True):
        if node.integer:
            _store_numbers(node, tiles, name)
        else:
            _store_output(node, tiles, name)
    last = tiles.group is None or sum(tiles.group) == graph.output.rows
    if "argmax" in graph.output.attributes and last:
        _store_winners(graph.output, tiles)


def _tile_nodes(graph: Graph, nodes: list[Node], tiles: Tiles) -> None:
    hidden = {each.up for each in tiles.mlps.values()}
    for node in nodes:
        tiles.node = node
        if node in hidden:
            continue  # with the layer that reads it
        if node in tiles.mlps:
            tile_mlp(tiles.mlps[node], tiles)
        elif node.op == "input" and _is_loaded(node, graph):
            _load_input(node, tiles)
        elif node.op == "stored":
            _load_stored(node, tiles)
        elif node.op in OPS:
            OPS[node.op].tile(node, tiles)


def _is_loaded(node: Node, graph: Graph) -> bool:
    """Whether an input is wanted in VALUE: numbers that are not gathered patch by patch."""
    read = node in graph.outputs or any(user.op != "patch_embedding" for user in graph.users(node))
    return not node.integer and read


def _leading_to(target: Node, graph: Graph) -> list[Node]:
    """What `target` reads, and what that reads, in order."""
    needed, stack = set(), list(target.inputs)
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            stack += node.inputs
    return [node for node in graph if node in needed]


def longest_panel(graph: Graph, config: HardwareConfig, tiling: Tiling) -> int:
    """Most rows of a panel: the sums of the widest layer that needs whole rows fit into ACC, twice if possible."""
    hidden = {each.up for each in mlps(graph)} if tiling.slices > 1 else ()
    words = max((_row_words(node, config, tiling.slices if node in hidden else 1) for node in graph
                 if needs_whole_rows(node, tiling)), default=1)  # fmt: skip
    twice, once = config.words(Memory.ACC) // (2 * words), config.words(Memory.ACC) // words
    aligned = twice // config.columns
    if any(node.op in ("cached_attention", "cache_writer") for node in graph):  # it appends whole blocks of tokens
        aligned = aligned or once // config.columns
    return min(aligned * config.columns or twice or once or 1, config.panel_rows)


def _row_words(node: Node, config: HardwareConfig, slices: int) -> int:
    """Words of ACC that a row takes, of all outputs that must be there at once."""
    columns = column_groups(node, config)[0] if "argmax" in node.attributes else node.columns
    columns = max(b - a for a, b in pairwise(edges(columns, slices, config))) if slices > 1 else columns
    return -(-columns // config.columns) * (1 + node.precision.planes)


def _load_input(node: Node, tiles: Tiles) -> None:
    """An input of numbers, rows × features."""
    tensor = tiles.tensor(
        node.name, "input", Memory.VALUE, node.rows, node.columns, sample(node.shape),
        made=node.attributes.get("made", False), key=("input", node.name),
    )
    _load_panels(node, tensor, tiles, "input")


def _load_stored(node: Node, tiles: Tiles) -> None:
    """What the segment before left in DRAM."""
    _load_panels(node, _stored(node, tiles), tiles, "load x")


def _load_panels(node: Node, tensor: Tensor, tiles: Tiles, what: str) -> None:
    rows = tiles.new_values(node)
    for start, count in tiles.panels(node):
        tiles.load_tensor(tensor, start, count, rows.place(start, count)[0], what)


def _stored(node: Node, tiles: Tiles) -> Tensor:
    """Where a value of this shape rests between two segments: each overwrites what it has read."""
    return tiles.tensor(
        "x", "scratch", Memory.VALUE, node.rows, node.columns, (node.rows, node.columns),
        key=("stored", node.rows, node.columns),
    )  # fmt: skip


def _store_numbers(node: Node, tiles: Tiles, name: str | None) -> None:
    """A result of whole numbers, from INDEX."""
    source, layout = origin(node)
    if source.op != "topk" or not layout.same_order(Layout.of(source.shape)):
        raise node.refuse("whole numbers can only be a result as topk finds them, in their order")
    buffer = tiles.index_buffer(source)
    row_bytes = buffer.words * tiles.config.axi_bytes
    tensor = tiles.tensor(name or "", "output", Memory.INDEX, 1, node.size, sample(node.shape), row_bytes=row_bytes,
                          key=("output", name))  # fmt: skip
    tiles.emit(
        Store(memory=Memory.INDEX, dram_address=tensor.address, words=buffer.words, address=buffer.at(0)), "store"
    )


def _store_output(node: Node, tiles: Tiles, name: str | None) -> None:
    """The result, without a batch dimension of 1."""
    rows: Rows = tiles.values(node)
    if name is None:
        tensor = _stored(node, tiles)
    else:
        tensor = tiles.tensor(
            name, "output", Memory.VALUE, node.rows, node.columns, sample(node.shape), segment=rows.segment,
            key=("output", name),
        )  # fmt: skip
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
    if decoder.fixed:
        table = np.arange(entries).reshape(shape)
        tensor = tiles.tensor("pages", "constant", Memory.PAGE, 1, entries, shape, row_bytes=row_bytes, key="pages")
        if not tiles.shared.data_at(tensor.address):
            tiles.shared.data.append((tensor.address, lambda: tensor.pack(table, config)))
    else:
        tensor = tiles.tensor("pages", "input", Memory.PAGE, 1, entries, shape, row_bytes=row_bytes, key="pages")
        tiles.shared.narrow("pages", layout.pages)
    decoder.table = tiles.buffer(Memory.PAGE, row_bytes // config.axi_bytes, "pages")
    tiles.load_tensor(tensor, 0, 1, decoder.table.at(0), "page tables")


def _load_source_table(decoder: Decoder, tiles: Tiles) -> None:
    """The pages of the source, which are in order."""
    config, entries = tiles.config, decoder.layout.source_pages
    row_bytes = -(-entries * 4 // config.axi_bytes) * config.axi_bytes
    tensor = tiles.tensor("source pages", "constant", Memory.PAGE, 1, entries, (1, entries), row_bytes=row_bytes,
                          key="source pages")  # fmt: skip
    if not tiles.shared.data_at(tensor.address):
        tiles.shared.data.append((tensor.address, lambda: tensor.pack(np.arange(entries)[None], config)))
    decoder.source_table = tiles.buffer(Memory.PAGE, row_bytes // config.axi_bytes, "source pages")
    tiles.load_tensor(tensor, 0, 1, decoder.source_table.at(0), "page table of the source")


def _store_winners(node: Node, tiles: Tiles) -> None:
    """The place of the greatest of each row of the result, as the output `next`: (groups, rows), each counted from the
    start of its group of columns."""
    config, buffer = tiles.config, tiles.winners(node)
    groups = column_groups(node, config)[1]
    row_bytes = buffer.words * config.axi_bytes
    shape = (groups, node.rows)
    tensor = tiles.tensor(
        "next", "output", Memory.INDEX, 1, groups * node.rows, shape, row_bytes=row_bytes, key=("output", "next")
    )
    tiles.emit(
        Store(memory=Memory.INDEX, dram_address=tensor.address, words=buffer.words, address=buffer.at(0)),
        "store the greatest",
    )

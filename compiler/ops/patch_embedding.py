"""A convolution whose stride is its kernel: a linear layer over patches, with [CLS] rows and positions around it.

The host writes the image patch by patch (`Tensor.patch` in arch/program.py): a rearrangement, no arithmetic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...arch.config import Memory
from ...arch.isa import Combine, Map, Source
from ..builder import Rows, Tiles, Weights
from ..coder import Coder
from ..graph import Graph, Node
from ..layout import Layout
from ..operands import known, require_finite
from ..weightless import on_one_device, to_numpy
from .linear import parameters
from .quantise import quantise_rows

WHOLE_CODES = True  # no codes of two digits


def match(graph: Graph, node: Node) -> bool:
    """A linear layer of the patches of an image that nobody else reads; then any concatenations with constant tokens
    and additions of constants."""
    if node.op != "ir.linear" or graph.only_user(node.inputs[0]) is not node:
        return False
    if (found := _patches(graph, node.inputs[0])) is None:
        return False
    image, size = found
    _, weight, bias = parameters(node)
    patches, width = node.rows, node.columns
    before, after, offsets = torch.zeros(0, width), torch.zeros(0, width), torch.zeros(patches, width)
    last = node
    while (user := graph.only_user(last)) is not None:
        if user.op == "rearrange" and user.columns == width and user.layout.same_order(Layout.of(last.shape)):
            pass
        elif user.op == "ir.cat" and (around := _around(user, last)) is not None:
            before, after = _joined(around[0], before), _joined(after, around[1])
        elif user.op == "ir.combine" and user.kind is Combine.ADD and (added := _addend(user, last)) is not None:
            first, second, third = added.split([len(before), patches, len(after)])
            before, offsets, after = _sum(before, first), _sum(offsets, second), _sum(after, third)
        else:
            break
        last = user
    constants = _joined(before, offsets, after)
    graph.replace(
        last,
        node.turned_into("patch_embedding", [image], last.shape, weight=weight, bias=bias, patch=size,
                         constants=constants, first=len(before), patches=patches),
    )  # fmt: skip
    return True


def _patches(graph: Graph, x: Node) -> tuple[Node, int]  | None:
    """(image, pixels of a side) if x has the square patches of an input image as rows, next to each other, in reading
    order, and nobody else reads it."""
    if x.op != "rearrange" or x.inputs[0].op != "input" or graph.only_user(x.inputs[0]) is not x:
        return None
    image = x.inputs[0]
    if len(image.shape) != 4 or image.shape[0] != 1:
        return None
    size = math.isqrt(x.columns // image.shape[1])
    if size < 1 or image.shape[1] * size * size != x.columns or image.shape[2] % size or image.shape[3] % size:
        return None
    cut = torch.empty(image.shape, device="meta").unfold(2, size, size).unfold(3, size, size)
    expected = Layout.of(image.shape).viewed(cut.permute(0, 2, 3, 1, 4, 5))
    return (image, size) if expected is not None and x.layout.same_order(expected) else None


def _around(cat: Node, tokens: Node) -> tuple[Tensor, Tensor] | None:
    """Constant rows before and after `tokens` in a concatenation along the tokens."""
    found = [each if each is tokens else known(each) for each in cat.inputs]
    parts = [each for each in found if each is not None]
    whole = len(parts) == len(found) and parts.count(tokens) == 1
    if cat.dim != len(cat.shape) - 2 or cat.rows != cat.shape[-2] or not whole:
        return None
    for each in parts:
        if each is not tokens:
            require_finite(cat, each)
    place = parts.index(tokens)
    rows = [torch.zeros(0, cat.columns) if p is tokens else p.value.reshape(-1, cat.columns) for p in parts]
    return _joined(*rows[: place + 1]), _joined(*rows[place:])


def _joined(*rows: Tensor) -> Tensor:
    return torch.cat(on_one_device(rows))


def _sum(first: Tensor, second: Tensor) -> Tensor:
    return torch.add(*on_one_device([first, second]))


def _addend(add: Node, tokens: Node) -> Tensor | None:
    """The constant that is added, in the shape of the sum."""
    other = [known(each) for each in add.inputs if each is not tokens]
    if len(other) != 1 or other[0] is None:
        return None
    require_finite(add, other[0])
    return other[0].value.reshape(-1, add.columns)


def quantise(node: Node, coder: Coder) -> None:
    """The weight becomes a matrix of codes. The patches are quantised in `tile`."""
    if node.precision.planes:
        raise node.refuse(f"patches are embedded in w8a8 or bf16, not in {node.precision.value}")
    node.attributes["matrix"] = coder.matrix(node, node.attributes.pop("weight"), node.attributes.pop("bias"))


def macs(node: Node) -> int:
    """Those of the patches."""
    return node.patches * node.matrix.outputs * node.matrix.depth


def tile(node: Node, tiles: Tiles) -> None:
    """Each panel is loaded with the constants (tokens that are not patches, positions); the products of the patches are
    added in place."""
    config, matrix = tiles.config, node.matrix
    name = tiles.label
    panels = [(panel, _patches_in(panel, node)) for panel in tiles.panels(node)]
    codes = _load_pixels(node, tiles, [patches for _, patches in panels if patches[1]])
    out = tiles.new_values(node)
    constants = tiles.constant_rows(f"{name}.constants", to_numpy(node.constants))
    for (row, rows), _ in panels:
        tiles.load_tensor(constants, row, rows, out.place(row, rows)[0], "positions")
    weights = Weights(tiles, matrix, f"{name}.weight")
    pairs = tiles.load_pairs(f"{name}.bias", matrix.pairs(config))
    for first, some in tiles.chunks(matrix):
        buffer = weights.load(first, some)[0]
        for _, (start, count) in (panel for panel in panels if panel[1][1]):
            acc = tiles.buffer(Memory.ACC, count * some, "sums")
            tiles.matmul(codes, start, count, buffer, matrix.depth, some, acc.at(0), some)
            address, stride = out.place(node.first + start, count)
            columns = min(some * config.columns, node.columns - first * config.columns)
            tiles.emit(
                Map(
                    rows=count, columns=columns, source=Source.ACC, source_address=acc.at(0), source_stride=some,
                    scaled=1, param_address=pairs.at(first), row_scaled=1, row_address=codes.scale_place(start),
                    combine=Combine.ADD, operand_address=address + first, operand_stride=stride,
                    address=address + first, stride=stride,
                ), "map",
            )  # fmt: skip


def _load_pixels(node: Node, tiles: Tiles, pieces: list[tuple[int, int]]) -> Rows:
    """The codes of the patches, each piece in buffers of its own."""
    config, image, depth = tiles.config, node.inputs[0], node.matrix.depth
    shape = image.shape[1:]
    pixels = tiles.tensor(
        image.name, "input", Memory.VALUE, node.patches, depth, shape, patch=node.patch, key=("input", image.name)
    )
    x = Rows(depth, -(-depth // config.columns))
    codes = Rows(depth, -(-depth // config.rows), scales=tiles.buffer(Memory.ROW, node.patches, "scales"))
    for start, count in pieces:
        x.pieces.append((start, count, tiles.buffer(Memory.VALUE, count * x.words, "pixels"), 0))
        codes.pieces.append((start, count, tiles.buffer(Memory.ACT, count * codes.words, "pixel codes"), 0))
        tiles.load_tensor(pixels, start, count, x.place(start, count)[0], "pixels")
        quantise_rows(tiles, x, codes, start, count)
    return codes


def _patches_in(panel: tuple[int, int], node: Node) -> tuple[int, int]:
    """(first, count) of the patches whose tokens are in a panel of rows."""
    start, stop = panel[0] - node.first, panel[0] + panel[1] - node.first
    start, stop = max(start, 0), min(stop, node.patches)
    return start, max(stop - start, 0)

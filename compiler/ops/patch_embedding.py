"""A convolution whose stride is its kernel: a linear layer over patches, with [CLS] rows and positions around it.

The host writes the image patch by patch (`Tensor.patch` in arch/program.py): a rearrangement, no arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...arch.config import Memory
from ...arch.isa import Combine, Map, Source
from ..builder import Rows, Tiles, Weights
from ..coder import Coder
from ..graph import Graph, Node
from ..layout import Layout
from ..operands import constant_operand, require_finite
from ..weightless import on_one_device, to_numpy
from .quantise import quantise_rows


def match(graph: Graph, node: Node) -> bool:
    """conv2d(image) seen as tokens × width; then any concatenations with constant tokens and additions of constants."""
    if node.op != "aten.conv2d":
        return False
    image, weight, bias, size = _convolution(node)
    if graph.only_user(image) is not node:
        raise node.refuse(f"it cuts {image.name} into patches, so nothing else can read that input")
    tokens = graph.only_user(node)
    patches, width = node.shape[-2] * node.shape[-1], node.shape[-3]
    if tokens is None or tokens.op != "rearrange" or tokens.shape[-2:] != (patches, width):
        raise node.refuse("its result must be flattened and transposed to tokens × width")
    if not tokens.layout.same_order(Layout.of((width, patches)).transposed(0, 1)):
        raise node.refuse("its patches must become tokens in reading order")
    before, after, offsets = torch.zeros(0, width), torch.zeros(0, width), torch.zeros(patches, width)
    last = tokens
    while (user := graph.only_user(last)) is not None:
        if user.op == "aten.cat" and (around := _around(user, last)) is not None:
            before, after = _joined(around[0], before), _joined(after, around[1])
        elif user.op == "aten.add.Tensor" and (added := _addend(user, last)) is not None:
            first, second, third = added.split([len(before), patches, len(after)])
            before, offsets, after = _sum(before, first), _sum(offsets, second), _sum(after, third)
        else:
            break
        last = user
    constants = _joined(before, offsets, after)
    graph.replace(
        last,
        node.turned_into("patch_embedding", [image], last.shape, weight=weight.flatten(1), bias=bias, patch=size,
                         constants=constants, first=len(before), patches=patches),
    )  # fmt: skip
    return True


def _convolution(node: Node) -> tuple[Node, Tensor, Tensor | None, int]:
    """(image, weight, bias, patch size). Raises HeddleError for any other convolution."""
    defaults = [None, [1, 1], [0, 0], [1, 1], 1]  # bias, stride, padding, dilation, groups
    image, weight, *given = node.args
    bias, stride, padding, dilation, groups = [*given, *defaults[len(given) :]]
    if image.op != "input":
        raise node.refuse("only an input image can be cut into patches")
    rule = "weights and biases must be constants"
    kernel, size = constant_operand(node, weight, rule), weight.shape[2]
    if weight.shape[2] != weight.shape[3]:
        raise node.refuse(f"its kernel is {weight.shape[2]} × {weight.shape[3]}; only square patches can be cut")
    if (list(stride), list(padding), list(dilation), groups) != ([size, size], [0, 0], [1, 1], 1):
        raise node.refuse(f"a convolution must have its kernel {tuple(weight.shape[2:])} as its stride, no padding, no "
                          f"dilation, no groups")  # fmt: skip
    if image.shape[2] % size or image.shape[3] % size:
        raise node.refuse(f"patches of {size} × {size} must fill the image of {image.shape[2]} × {image.shape[3]}")
    return image, kernel, None if bias is None else constant_operand(node, bias, rule), size


def _around(cat: Node, tokens: Node) -> tuple[Tensor, Tensor] | None:
    """Constant rows before and after `tokens` in a concatenation along the tokens."""
    parts, dim = [*cat.args, 0][:2]
    if dim % len(cat.shape) != len(cat.shape) - 2 or any(p is not tokens and p.op != "constant" for p in parts):
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
    other = [each for each in add.args if each is not tokens]
    if len(other) != 1 or not isinstance(other[0], Node) or other[0].op != "constant" or add.kwargs:
        return None
    require_finite(add, other[0])
    return other[0].value.expand(add.shape).reshape(-1, add.columns)


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

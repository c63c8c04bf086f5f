"""MLPs whose hidden features go in slices, so that more rows can go at once and weights are loaded less often.

    y = Σ_s down_s(f(up_s(x))) + residual

The codes of a whole hidden row are what ACT has least room for: four times as many as those of x. A slice of them is
quantised by itself, multiplied, and added in VALUE to what the slices before it gave, in the place of the residual. A
slice has a scale of its own, which fits it at least as well as that of the whole row; in exchange sums are rounded to a
value once a slice. So only w8a8 layers are sliced, whose codes are coarser than that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ..arch.config import HardwareConfig, Memory
from ..arch.isa import Combine
from .graph import Graph, Node
from .ops import linear
from .precision import Precision

if TYPE_CHECKING:
    from .builder import Tiles


# Each slice is another rounding: of many, as much noise as that of all codes. More than a few only where that must be.
FEW_SLICES, MOST_SLICES = 4, 8


@dataclass(frozen=True)
class Mlp:
    """Two linear layers, of which the second alone reads the codes of the first."""

    up: Node
    down: Node
    in_place: bool  # whether nobody reads the residual after it has been added


def mlps(graph: Graph) -> Iterator[Mlp]:
    """Those that can be sliced."""
    for down in graph:
        if down.op != "linear" or down.function or down.combine is Combine.MULTIPLY:
            continue
        up, plain = down.inputs[0], not {"codes", "argmax"} & {*down.attributes}
        if plain and _gives_codes(up) and graph.only_user(up) is down and down.precision is Precision.W8A8:
            residual = down.inputs[1] if down.combine is Combine.ADD else None
            yield Mlp(up, down, residual is not None and _is_last(graph, residual, down))


def _gives_codes(up: Node) -> bool:
    return up.op == "linear" and "codes" in up.attributes and up.combine is Combine.NONE and (
        up.precision is Precision.W8A8
    )  # fmt: skip


def _is_last(graph: Graph, value: Node, user: Node) -> bool:
    """Whether nobody reads a value after one of its users."""
    if value.op == "constant" or value is graph.output:
        return False
    return max(graph.nodes.index(each) for each in graph.users(value)) == graph.nodes.index(user)


def slices_of(mlp: Mlp, rows: int, config: HardwareConfig) -> int:
    """The fewest slices with which ACT holds the codes of so many rows of x and of a slice; more than there could be
    where it does not hold those of x."""
    words, hidden = (-(-each // config.rows) for each in (mlp.up.matrix.depth, mlp.up.columns))
    left = config.words(Memory.ACT) // rows - words
    return -(-hidden // left) if left > 0 else hidden + 1


def edges(columns: int, slices: int, config: HardwareConfig) -> list[int]:
    """Where about so many slices of columns begin, and the last ends: at whole words of ACT and of VALUE."""
    unit = math.lcm(config.rows, config.columns)
    units = -(-columns // unit)
    count = min(slices, units)
    return [min(units * i // count * unit, columns) for i in range(count + 1)]


def tile_mlp(mlp: Mlp, tiles: Tiles) -> None:
    """Slice by slice, each added to those before."""
    up, down = mlp.up, mlp.down
    before, in_place = down.inputs[1:], mlp.in_place
    bounds = edges(up.columns, tiles.tiling.slices, tiles.config)
    for start, stop in pairwise(bounds):
        hidden = _changed(up, (*up.shape[:-1], stop - start), up.inputs, matrix=up.matrix.part(start, stop))
        part = _changed(
            down, down.shape, [hidden, *before], matrix=down.matrix.deep_part(start, stop),
            combine=Combine.ADD if before else Combine.NONE, in_place=in_place,
        )  # fmt: skip
        for node, origin in ((hidden, up), (part, down)):
            tiles.node = origin
            linear.tile(node, tiles)
        before, in_place = [part], True
    tiles.set_values(down, tiles.values(before[0]))


def _changed(node: Node, shape: tuple[int, ...], inputs: list[Node], **attributes: object) -> Node:
    return Node(node.name, node.op, inputs, shape, node.source, node.layer, {**node.attributes, **attributes})

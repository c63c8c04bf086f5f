"""Functions, sums, products and comparisons, number by number: VALUE → VALUE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...arch.config import Memory
from ...arch.isa import Combine, Map, SecondOperand, Source
from ..builder import Tiles
from ..graph import Graph, Node
from ..matrix import pairs_of_columns
from ..operands import known
from ..reading import Run, panels, row_starts, runs
from .rearrange import copy, to_row

_EXCHANGED = {
    **{kind: kind for kind in (Combine.ADD, Combine.MULTIPLY, Combine.MAXIMUM, Combine.MINIMUM, Combine.EQUAL)},
    Combine.SUBTRACT: Combine.SUBTRACT_FROM,
}  # y kind x for x kind y
_INDIFFERENT = (Combine.ADD, Combine.MULTIPLY, Combine.MAXIMUM, Combine.MINIMUM)


def match(graph: Graph, node: Node) -> bool:
    """A function of each number, or two numbers combined. A known row that is added or multiplied becomes a scale and
    an offset of each column."""
    if node.op == "ir.function":
        graph.replace(node, _elementwise(node, node.inputs, function=node.function))
        return True
    if node.op != "ir.combine":
        return False
    kind, (x, y) = node.kind, node.inputs
    if kind in _EXCHANGED and _simplicity(x) > _simplicity(y):
        kind, x, y = _EXCHANGED[kind], y, x
    row = None if known(x) is not None else _known_row(y)
    if row is not None and (affine := _affine(kind, row)) is not None:
        graph.replace(node, _elementwise(node, [x], scale=affine[0], offset=affine[1]))
    else:
        graph.replace(node, combined := _elementwise(node, [x, y], combine=kind))
        _take_column(graph, combined)
    return True


def _elementwise(node: Node, inputs: list[Node], **given: object) -> Node:
    attributes = {"function": "", "combine": Combine.NONE, "scale": None, "offset": None, **given}
    return node.turned_into("elementwise", inputs, **attributes)


def _simplicity(node: Node) -> int:
    """How much rather it should be the second operand: one row of numbers, a number for each row, any constant."""
    if known(node) is not None:
        return 3 if _known_row(node) is not None else 1
    return 2 if is_column(node) else 0


def is_column(node: Node) -> bool:
    """Whether it is one number for each row, for all columns."""
    return node.op == "rearrange" and node.columns > 1 and all(not stride for _, stride in node.layout.dims[-1])


def _known_row(node: Node) -> Tensor | None:
    """The row that all rows of a constant are, if there is one and it is finite."""
    found = known(node)
    if found is None or node.rows > 1 and (node.op != "rearrange" or row_starts(node.layout).any()):
        return None
    row = found.value.reshape(-1, node.columns)[0].double()
    return row if row.is_meta or bool(row.isfinite().all()) else None


def _affine(kind: Combine, row: Tensor) -> tuple[Tensor, Tensor] | None:
    """(scale, offset) of each column."""
    ones, zeros = torch.ones_like(row), torch.zeros_like(row)
    return {
        Combine.ADD: (ones, row), Combine.SUBTRACT: (ones, -row), Combine.SUBTRACT_FROM: (-ones, row),
        Combine.MULTIPLY: (row, zeros),
    }.get(kind)  # fmt: skip


def fuse(graph: Graph, node: Node) -> bool:
    """A function of a scaled value, a combination of a scaled value's function, if nobody else reads that: one
    instruction does both. What is compared, or subtracted, has been rounded as any other value: equal ones are equal.
    """
    if node.op != "elementwise" or node.scale is not None:
        return False
    if node.combine is Combine.NONE:
        orders = [node.inputs] if node.function else []
    else:
        orders = [node.inputs, node.inputs[::-1]] if node.combine in _INDIFFERENT and not node.function else []
    for source, *others in orders:
        if not takes(graph, node, source) or source.combine is not Combine.NONE or node.function and source.function:
            continue
        if others and others[0] is not node.inputs[1] and is_column(node.inputs[1]):
            continue  # a column is the second operand
        front = {key: source.attributes[key] for key in ("scale", "offset")}
        graph.replace(node, _elementwise(node, [*source.inputs, *others], combine=node.combine,
                                         column_function=node.attributes.get("column_function", ""),
                                         function=node.function or source.function, **front))  # fmt: skip
        return True
    return False


def _take_column(graph: Graph, node: Node) -> None:
    """A function of one number of each row, of which only a view for all columns is read, and by this node alone: it is
    computed where VALUE becomes ROW, which has float32, so that it is rounded no more."""
    view = node.inputs[-1]
    if node.combine not in _INDIFFERENT or not is_column(view) or graph.only_user(view) is not node:
        return
    source = view.inputs[0]
    if takes(graph, view, source) and source.columns == 1 and source.function and (
        source.combine is Combine.NONE and source.scale is None
    ):  # fmt: skip
        graph.replace(view, view.turned_into(view.op, source.inputs, **view.attributes))
        node.attributes["column_function"] = source.function


def takes(graph: Graph, node: Node, source: Node) -> bool:
    """Whether what an elementwise operator gives could be computed by the instruction of its one reader."""
    return source.op == "elementwise" and graph.only_user(source) is node and node.inputs.count(source) == 1


def take_in(graph: Graph, node: Node) -> bool:
    """Let an operator of one input do what is done to it before, but for scales, for which PARAM may be too small."""
    (source,) = node.inputs if len(node.inputs) == 1 else (node,)
    if not takes(graph, node, source) or source.scale is not None:
        return False
    front = {key: source.attributes.get(key, "") for key in ("function", "combine", "column_function")}
    graph.replace(node, node.turned_into(node.op, source.inputs, **{**node.attributes, **front}))
    return True


class Front(NamedTuple):
    """Some rows, and columns from a word on, of what an instruction of VECTOR computes before it goes on with it."""

    first: int
    word: int
    fields: dict[str, Any]
    targets: tuple[tuple[int, int], ...]  # (address, stride) of these rows of each target


def fronts(node: Node, tiles: Tiles, *targets: Sequence[Run]) -> Iterator[Front]:
    """All rows and columns of an operator that has the attributes of an elementwise one, in panels that no run of a
    target cuts."""
    x, *others = node.inputs
    column = bool(others) and is_column(others[0])
    operands = [runs(tiles, x), *(column_runs(tiles, y) if column else runs(tiles, y) for y in others), *targets]
    scale, offset = node.attributes.get("scale"), node.attributes.get("offset")
    words = -(-x.columns // tiles.config.columns)
    step = words if scale is None else min(words, max(1, tiles.config.words(Memory.PARAM) // 2))
    for word in range(0, words, step):
        first = word * tiles.config.columns
        columns = min(step * tiles.config.columns, x.columns - first)
        fields = {"columns": columns, "combine": node.attributes.get("combine", Combine.NONE)}
        if scale is not None and offset is not None:
            some = slice(first, first + columns)
            pairs = pairs_of_columns(scale[some], offset[some], tiles.config)
            fields |= {"scaled": 1, "param_address": tiles.load_pairs(f"{tiles.label}.scale", pairs).at(0)}
        for start, count, ((source, stride), *places) in panels(tiles, *operands):
            if column:
                numbers = to_row(tiles, places.pop(0), count, node.attributes.get("column_function", ""))
                fields |= {"operand": SecondOperand.COLUMN, "operand_address": numbers}
            elif others:
                address, operand_stride = places.pop(0)
                fields |= {"operand_address": address + word, "operand_stride": operand_stride}
            fields |= {"function": tiles.function(node.attributes.get("function", ""))}
            panel = {"rows": count, "source": Source.VALUE, "source_address": source + word, "source_stride": stride}
            yield Front(start, word, {**fields, **panel}, tuple(places))


def tile(node: Node, tiles: Tiles) -> None:
    """One instruction per panel, or for as many columns as PARAM holds scales of."""
    out = tiles.new_values(node)
    target = [Run(start, count, buffer.at(word), out.words) for start, count, buffer, word in out.pieces]
    what = node.function or (node.combine.name.lower() if len(node.inputs) == 2 else "scale")
    for front in fronts(node, tiles, target):
        ((address, stride),) = front.targets
        tiles.emit(Map(address=address + front.word, stride=stride, **front.fields), what)


def column_runs(tiles: Tiles, node: Node) -> list[Run]:
    """Rows of one number each: those of a view that has the same number in all columns."""
    source, starts = node.inputs[0], row_starts(node.layout)
    if source.columns == 1 and len(starts) == source.rows and (starts == np.arange(len(starts))).all():
        return runs(tiles, source)
    tiles.require_all_rows(node)
    narrow = tiles.free_whole(len(starts), 1, "one of each row")
    copy(tiles, tiles.plain_values(source), source.columns, starts, np.zeros(1, np.int64), narrow)
    return [Run(0, len(starts), narrow.place(0, 1)[0], narrow.words)]

"""What the rules build with: nodes of the closed set, broadcast and numbered."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...arch.errors import HeddleError
from ...arch.isa import Combine, NormKind, Reduction
from .. import ir
from ..graph import Graph, Node, constant, map_nodes
from ..layout import Layout
from ..masks import shifted_by_row
from ..operands import require_number
from ..rearrange import origin
from ..weightless import has_bytes, on_one_device

Value = Node | float | int | bool
Rule = Callable[..., Any]

_EXACT = 256  # up to here all whole numbers are bf16
ON_HOST = (
    "rearrange", "ir.cat", "ir.combine", "ir.choose", "ir.reduce", "ir.integer", "ir.number", "ir.cumsum", "ir.gather",
    "ir.quotient", "ir.remainder",
)  # fmt: skip
RULES: dict[str, Rule] = {}  # by the name of a call without its overload


def name_of_call(node: Node) -> str:
    """The name of a rule for a call: `add` of aten.add.Tensor."""
    return node.op.split(".")[1] if node.op.startswith("aten.") else node.op


class Builder:
    """Makes nodes, in order. All that it makes for a call has the place of that in the user's model."""

    def __init__(self, graph: Graph) -> None:
        self.nodes: list[Node] = []
        self.call = graph.outputs[0]
        self._count = 0

    def lower(self, node: Node, found: dict[Node, Any]) -> Any:
        """What a call becomes."""
        self.call, self._count = node, 0
        if node.op == "rearrange":
            x = found[node.inputs[0]]
            if isinstance(x, tuple):  # real and imaginary parts
                return tuple(self.rearranged(each, node.layout) for each in x)
            return self.rearranged(x, node.layout)
        if node.attributes.get("target") is operator.getitem:
            result = found[node.inputs[0]][node.args[1]]
            if result is None:
                raise node.inputs[0].refuse(f"result {node.args[1]} of it cannot be lowered")
            return result
        rule = RULES.get(name_of_call(node))
        if rule is None:
            raise node.refuse("there is no rule for it")
        args, kwargs = map_nodes([node.args, node.kwargs], lambda each: found[each])
        result = rule(self, *args, **kwargs)
        if node.truth and isinstance(result, Node):
            result.truth = True
        elif isinstance(result, Node) and result.truth and not node.integer:
            # It is a number from here on, though nothing was done to it.
            result = self.make("rearrange", [result], result.shape, layout=Layout.of(result.shape))
            result.truth = False
        return result

    def unknown(self, node: Node) -> Any:
        """In place of a call that was refused, so that others can be looked at too."""
        count = node.attributes.get("results")
        one = Node(node.name, "unknown", [], node.shape, node.source, node.layer)
        return one if count is None else tuple([one] * count)

    def refuse(self, reason: str) -> HeddleError:
        """The error for the call."""
        return self.call.refuse(reason)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def make(self, op: str, inputs: Sequence[Node], shape: Sequence[int], integer: bool = False, **given: Any) -> Node:
        """A node of the closed set; a constant, if all that it reads is known."""
        name = self.call.name + (f"_{self._count}" if self._count else "")
        self._count += 1
        attributes = {"call": self.call.attributes.get("call", self.call.op), **given}
        node = Node(name, op, list(inputs), tuple(shape), self.call.source, self.call.layer, attributes, integer)
        node.truth = op == "rearrange" and inputs[0].truth
        free = all(each.host or origin(each)[0].op == "constant" for each in inputs)
        node.host = free and any(each.host for each in inputs) and op in ON_HOST and (op != "ir.gather" or integer)
        known = all(each.op == "constant" for each in inputs)
        if known and node.size <= sum(each.size for each in inputs):
            values = on_one_device([ir.as_number(each.value) for each in inputs])
            made_of = list(dict.fromkeys(name for each in inputs for name in each.made_of))
            folded = self.constant(ir.OPERATORS[op].meaning(node, *values), made_of)
            folded.truth = op == "rearrange" and inputs[0].truth
            return folded
        self.nodes.append(node)
        return node

    def constant(self, value: Tensor, made_of: Sequence[str] = ()) -> Node:
        """A known value."""
        name = f"{self.call.name}_{self._count}"
        self._count += 1
        node = constant(name, value, made_of)
        node.source, node.layer = self.call.source, self.call.layer
        self.nodes.append(node)
        return node

    def number(self, x: Value) -> Node:
        """As a tensor of numbers."""
        if not isinstance(x, Node):
            return self.constant(torch.tensor(float(x)))
        if not x.integer:
            return x
        if x.host:
            return self.make("ir.number", [x], x.shape)
        source, layout = origin(x)
        if source.op == "constant":
            return self.rearranged(self.constant(source.value.float(), source.made_of), layout)
        if x.op != "constant":
            raise self.refuse(f"{x.name} has whole numbers, which can only choose rows and be compared")
        return self.constant(x.value.float(), x.made_of)

    def number_of_places(self, x: Node) -> Node:
        """Places that topk found as numbers, if all formats have those: looked up in a table. (Others as they are.)"""
        source = origin(x)[0]
        if not x.integer or source.op != "ir.topk_places" or source.inputs[0].shape[-1] > _EXACT:
            return x
        table = self.constant(torch.arange(float(source.inputs[0].shape[-1]))[:, None])
        return self.view(self.gather(table, x), lambda t: t.squeeze(-1))

    def places_of_number(self, x: Node, count: int) -> Node:
        """Whole numbers below `count` as places, which choose rows. Raises HeddleError if some formats lack them."""
        if count > _EXACT:
            raise self.refuse(f"{x.name} can be {count - 1}; only up to {_EXACT - 1} do all formats have whole numbers")
        every = self.constant(torch.arange(float(count)))
        here = self.combine(Combine.EQUAL, self.view(x, lambda t: t.unsqueeze(-1)), every)  # (…, count)
        return self.view(self.topk(here, 1, -1, True)[1], lambda t: t.squeeze(-1))

    def rearranged(self, x: Node, layout: Layout) -> Node:
        """The elements of x that a layout says; x itself, if these are its own."""
        source, inner = origin(x)
        if source is not x and source.truth == x.truth and (whole := inner.through(layout)) is not None:
            x, layout = source, whole
        if layout == Layout.of(x.shape) and layout.shape == x.shape:
            return x
        return self.make("rearrange", [x], layout.shape, x.integer, layout=layout)

    def view(self, x: Node, function: Callable[[Tensor], Tensor]) -> Node:
        """A view of x, as `function` makes it of a tensor."""
        data = torch.empty(x.shape, device="meta")
        view = function(data)
        if view.untyped_storage()._cdata != data.untyped_storage()._cdata:
            raise AssertionError(f"{self.call.op}: this is no view")
        found = Layout.of(x.shape).viewed(view)
        if found is None:
            raise self.refuse("this view cannot be told by strides")
        return self.rearranged(x, found)

    def expanded(self, x: Value, shape: Sequence[int]) -> Node:
        """Broadcast to a shape; a number of Python as a tensor."""
        x = x if isinstance(x, Node) else self.number(x)
        return x if x.shape == tuple(shape) else self.view(x, lambda t: t.expand(*shape))

    def combine(self, kind: Combine, x: Value, y: Value) -> Node:
        """`kind` of each pair, both broadcast. Raises HeddleError for a number that float32 does not hold."""
        for each in (x, y):
            if not isinstance(each, Node):
                require_number(self.call, "operand", float(each))
        shape = torch.broadcast_shapes(*(each.shape if isinstance(each, Node) else () for each in (x, y)))
        compared = kind in (Combine.LESS, Combine.LESS_EQUAL, Combine.EQUAL)
        if compared:
            x, y = (self.number_of_places(each) if isinstance(each, Node) else each for each in (x, y))
        x, y = self.alike(x, y)
        integer = x.integer and not compared
        return self.make("ir.combine", [self.expanded(x, shape), self.expanded(y, shape)], shape, integer, kind=kind)

    def alike(self, *values: Value) -> list[Node]:
        """As whole numbers, if the host has them and all are, or are truth; else as numbers. It is how PyTorch has
        it."""
        nodes = [each for each in values if isinstance(each, Node)]
        whole = all(each.integer or each.truth for each in nodes) and any(each.integer and each.host for each in nodes)
        if whole and all(isinstance(each, int) for each in values if not isinstance(each, Node)):
            return [self.whole(each) for each in values]
        return [self.number(each) for each in values]

    def truth(self, x: Value) -> Node:
        """1 where x is not 0, else 0."""
        x = self.number(x) if not isinstance(x, Node) else x
        if x.truth:
            return x
        found = self.subtract(1, self.combine(Combine.EQUAL, x, 0))
        found.truth = True
        return found

    def whole(self, x: Value) -> Node:
        """As a tensor of whole numbers, which truth is too."""
        if not isinstance(x, Node):
            return self.constant(torch.tensor(int(x)))
        if x.integer:
            return x
        return self.make("ir.integer", [x], x.shape, integer=True)

    def add(self, x: Value, y: Value) -> Node:
        """x + y"""
        return self.combine(Combine.ADD, x, y)

    def subtract(self, x: Value, y: Value) -> Node:
        """x − y"""
        return self.combine(Combine.SUBTRACT, x, y)

    def multiply(self, x: Value, y: Value) -> Node:
        """x · y; x, if y is 1."""
        if isinstance(x, Node) and not isinstance(y, Node) and y == 1:
            return x if x.host else self.number(x)
        return self.combine(Combine.MULTIPLY, x, y)

    def divide(self, x: Value, y: Value) -> Node:
        """x / y"""
        if isinstance(y, Node) and y.op == "constant" and has_bytes(y.value):
            return self.multiply(x, self.constant(1 / y.value.double(), y.made_of))
        if not isinstance(y, Node):
            if y == 0:
                raise self.refuse("it divides by 0")
            return self.multiply(x, 1 / y)
        inverse = self.function("reciprocal", y)
        return inverse if not isinstance(x, Node) and x == 1 else self.multiply(x, inverse)

    def function(self, name: str, x: Value) -> Node:
        """A function of each number: of what a view repeats once, before that."""
        x = self.number(x)
        source, layout = origin(x)
        if source.size < x.size and source.op != "constant" and not source.integer:
            return self.rearranged(self.function(name, source), layout)
        return self.make("ir.function", [x], x.shape, function=name)

    def choose(self, condition: Node, x: Value, y: Value) -> Node:
        """x where the condition is true, else y; all broadcast."""
        shapes = [each.shape if isinstance(each, Node) else () for each in (condition, x, y)]
        shape = torch.broadcast_shapes(*shapes)
        x, y = self.alike(x, y)
        operands = [self.expanded(each, shape) for each in (self.number(condition), x, y)]
        return self.make("ir.choose", operands, shape, x.integer)

    def reduce(self, kind: Reduction, x: Node, dims: int | Sequence[int] | None = None, keepdim: bool = False) -> Node:
        """Along some dimensions; all, if None or empty."""
        x, rank = x if x.host else self.number(x), len(x.shape)
        dims = [dims] if isinstance(dims, int) else list(dims or range(rank))
        dims = sorted({dim % rank for dim in dims}) if rank else []
        for dim in dims:
            shape = (*x.shape[:dim], 1, *x.shape[dim + 1 :])
            x = self.make("ir.reduce", [x], shape, x.integer, kind=kind, dim=dim) if x.shape[dim] > 1 else x
        if keepdim or not dims:
            return x
        return self.view(x, lambda t: t.squeeze(dims))

    def count_of(self, x: Node, dims: int | Sequence[int] | None) -> int:
        """How many numbers a reduction makes one of."""
        dims = [dims] if isinstance(dims, int) else list(dims or range(len(x.shape)))
        return math.prod(x.shape[dim] for dim in dims)

    def mean(self, x: Node, dims: int | Sequence[int] | None = None, keepdim: bool = False) -> Node:
        """Σ x / n"""
        return self.multiply(self.reduce(Reduction.SUM, self.number(x), dims, keepdim), 1 / self.count_of(x, dims))

    def matmul(self, x: Node, y: Node) -> Node:
        """x·y of matrices (…, M, K) and (…, K, N), dimensions before the last two broadcast; vectors as in PyTorch."""
        x, y = self.number(x), self.number(y)
        vectors = len(x.shape) == 1, len(y.shape) == 1
        x = self.view(x, lambda t: t.unsqueeze(0)) if vectors[0] else x
        y = self.view(y, lambda t: t.unsqueeze(1)) if vectors[1] else y
        weight = origin(y)[0]
        if weight.op == "constant" and len(y.shape) == 2:
            found = self.linear(x, self.view(y, lambda t: t.mT))
        else:
            batch = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
            x = self.expanded(x, (*batch, *x.shape[-2:]))
            turned = self.view(y, lambda t: t.mT.expand(*batch, y.shape[-1], y.shape[-2]))
            found = self.by_choice(x, turned)
            if found is None:
                found = self.make("ir.matmul", [x, turned], (*batch, x.shape[-2], y.shape[-1]))
        if any(vectors):
            dims = [dim for dim, vector in zip((-2, -1), vectors, strict=True) if vector]
            found = self.view(found, lambda t: t.squeeze(dims))
        return found

    def linear(self, x: Node, weight: Node, bias: Node | None = None) -> Node:
        """x·weightᵀ + bias; weights that are computed are multiplied as values are."""
        x = self.number(x)
        if len(weight.shape) == 1:
            product = self.matmul(x, weight)
            return product if bias is None else self.add(product, bias)
        parameters = [self.made_whole(self.number(each)) for each in (weight, bias) if each is not None]
        if any(each.op != "constant" for each in parameters) or len(weight.shape) != 2:
            product = self.matmul(x, self.view(weight, lambda t: t.mT))
            return product if bias is None else self.add(product, bias)
        return self.make("ir.linear", [x, *parameters], (*x.shape[:-1], weight.shape[0]))

    def made_whole(self, x: Node) -> Node:
        """A view of a constant as a constant of its own."""
        source = origin(x)[0]
        if x.op != "rearrange" or source.op != "constant":
            return x
        value = ir.OPERATORS["rearrange"].meaning(x, source.value if x.integer else ir.as_number(source.value))
        found = self.constant(value, source.made_of)
        found.truth = x.truth
        return found

    def softmax(self, x: Node, dim: int) -> Node:
        """Along a dimension."""
        return self.along_last(self.number(x), dim, lambda t: self.make("ir.softmax", [t], t.shape))

    def by_choice(self, x: Node, y: Node) -> Node | None:
        """x·yᵀ where the matrices of x or of y are rows of a known table that a run chooses: the product with each row,
        of which the one that was chosen is taken. None where there is no such table.

        The table is then weights, which are streamed; gathered, all matrices chosen would have to fit in VALUE."""
        for chosen, other, turned in ((y, x, False), (x, y, True)):
            source, layout = origin(chosen)
            rows = self._rows_chosen(source)
            if rows is None or len(chosen.shape) != 3 or origin(rows[0])[0].op != "constant":
                continue
            table, ids = rows
            count, width = table.shape
            first = ((chosen.shape[0], width),) if chosen.shape[0] > 1 else ()
            inside = layout.offset + sum((size - 1) * stride for dim in layout.dims[1:] for size, stride in dim) < width
            if ids.size != chosen.shape[0] or layout.dims[0] != first or not inside or ids.host:
                continue
            found, ones = None, self.view(self.one_hot(ids, count), lambda t: t.reshape(-1, t.shape[-1]))
            for place in range(count):
                weight = self.rearranged(table, Layout(layout.dims[1:], layout.offset + place * width))
                product = self.linear(other, weight)
                is_chosen = self.view(ones, lambda t, at=place: t.narrow(1, at, 1).unsqueeze(-1))
                found = product if found is None else self.choose(is_chosen, product, found)
            return self.view(found, lambda t: t.mT) if turned else found  # type: ignore[arg-type]
        return None

    def _rows_chosen(self, x: Node) -> tuple[Node, Node] | None:
        """(table, numbers) of which x has the rows, or the rows that its parts have; None if it has none."""
        if x.op == "ir.gather":
            return x.inputs[0], x.inputs[1]
        if x.op != "ir.cat" or x.dim == len(x.shape) - 1:
            return None
        parts = [self._rows_chosen(each) for each in x.inputs]
        if any(part is None or part[0] is not parts[0][0] for part in parts):  # type: ignore[index]
            return None
        return parts[0][0], self.cat([part[1] for part in parts], x.dim)  # type: ignore[index]

    def narrow(self, x: Node, dim: int, start: int, count: int) -> Node:
        """So many places of a dimension. Of a cat only the parts that have them are read."""
        if x.op != "ir.cat" or x.dim != dim:
            return self.view(x, lambda t: t.narrow(dim, start, count))
        parts, at = [], 0
        for part in x.inputs:
            first, end = max(start - at, 0), min(start + count - at, part.shape[dim])
            if first < end:
                parts.append(self.narrow(part, dim, first, end - first))
            at += part.shape[dim]
        return self.cat(parts, dim)

    def attention(self, node: Node) -> Node:
        """softmax(q·kᵀ·scale + mask)·v, in the place of an attention. Rows of a known mask that see nothing give 0."""
        self.call, self._count = node, 0
        q, k, v, *mask = node.inputs
        batch = node.shape[:-2]
        k, v = (self._for_all_heads(each, batch) for each in (k, v))
        q = self.expanded(q, (*batch, *q.shape[-2:]))
        scores = self.make("ir.matmul", [q, k], (*batch, q.shape[-2], k.shape[-2]))
        scores = self.multiply(scores, node.scale)
        blind = None
        if mask or node.causal:
            added, blind = self._added(scores, mask[0] if mask else None, node.causal)
            scores = self.add(scores, added)
        found = self.matmul(self.softmax(scores, -1), v)
        return found if blind is None else self.multiply(found, blind)

    def rotary(self, node: Node) -> Node:
        """cat(x₁·cos − x₂·sin, x₂·cos + x₁·sin) of the halves of x, in the place of a rotary embedding."""
        self.call, self._count = node, 0
        (x,), half = node.inputs, node.shape[-1] // 2
        first, second = self.view(x, lambda t: t[..., :half]), self.view(x, lambda t: t[..., half:])
        cos, sin = self.constant(node.cos), self.constant(node.sin)
        turned = self.combine(Combine.SUBTRACT, self.multiply(first, cos), self.multiply(second, sin))
        return self.cat([turned, self.add(self.multiply(second, cos), self.multiply(first, sin))], -1)

    def _for_all_heads(self, x: Node, batch: Sequence[int]) -> Node:
        """Keys or values (…, G, S, D), of which each serves several query heads, for each head."""
        if x.shape[:-2] == tuple(batch):
            return x
        if len(batch) and x.shape[:-3] == tuple(batch[:-1]) and x.shape[-3] > 1:
            groups, size = x.shape[-3], x.shape[-2:]
            wide = self.view(x, lambda t: t.unsqueeze(-3).expand(*batch[:-1], groups, batch[-1] // groups, *size))
            return self.view(wide, lambda t: t.reshape(*batch, *size))
        return self.expanded(x, (*batch, *x.shape[-2:]))

    def _added(self, scores: Node, mask: Node | None, causal: bool) -> tuple[Node, Node | None]:
        """(what is added to the scores, 0 for the rows of a known mask that see nothing and else 1)."""
        shape = scores.shape
        triangle = torch.zeros(shape[-2:]).masked_fill(torch.ones(shape[-2:], dtype=torch.bool).triu(1), -math.inf)
        if mask is None:
            return self.constant(triangle), None
        source = origin(mask)[0]
        if source.op != "constant":
            return (self.add(mask, self.constant(triangle)) if causal else mask), None
        value = ir.OPERATORS["rearrange"].meaning(mask, source.value) if mask is not source else source.value
        if not has_bytes(value):
            raise self.refuse(f"its mask {mask.name} is on the device meta; masks must have values")
        shifted = shifted_by_row(value.float() + triangle if causal else value.float())
        blind = shifted.isneginf().all(-1, keepdim=True)
        seen = self.constant((~blind).float()) if bool(blind.any()) else None
        return self.constant(shifted.masked_fill(blind, 0)), seen

    def along_last(self, x: Node, dim: int, function: Callable[[Node], Node]) -> Node:
        """`function` of x with a dimension for the last one, put back."""
        rank = len(x.shape)
        if dim % rank == rank - 1:
            return function(x)
        found = function(self.view(x, lambda t: t.transpose(dim, -1)))
        return self.view(found, lambda t: t.transpose(dim, -1))

    def norm(self, kind: NormKind, x: Node, shape: Sequence[int], gamma: Node | None, beta: Node | None,
             epsilon: float) -> Node:  # fmt: skip
        """Of the last dimensions, which have this shape."""
        if not 0 <= epsilon < math.inf:
            raise self.refuse(f"its ε must be at least 0, not {epsilon}")
        x, before = self.number(x), x.shape[: len(x.shape) - len(shape)]
        rows = self.view(x, lambda t: t.reshape(*before, -1))
        parameters = [self.number(each) for each in (gamma, beta) if each is not None]
        known = all(each.op == "constant" for each in parameters) and (gamma is not None or beta is None)
        taken = [self.view(each, lambda t: t.reshape(-1)) for each in parameters] if known else []
        found = self.make("ir.norm", [rows, *taken], rows.shape, kind=kind, epsilon=float(epsilon))
        found = self.view(found, lambda t: t.reshape(x.shape))
        if not known:
            found = found if gamma is None else self.multiply(found, gamma)
            found = found if beta is None else self.add(found, beta)
        return found

    def topk(self, x: Node, count: int, dim: int = -1, largest: bool = True) -> tuple[Node, Node]:
        """(values, places) along a dimension."""
        x = self.number(x)
        turned = self.view(x, lambda t: t.transpose(dim, -1))
        found = []
        for op, integer in (("ir.topk", False), ("ir.topk_places", True)):
            part = self.make(op, [turned], (*turned.shape[:-1], count), integer, count=count, largest=largest)
            found.append(self.view(part, lambda t: t.transpose(dim, -1)))
        return found[0], found[1]

    def gather(self, table: Node, ids: Node) -> Node:
        """Rows of a table."""
        if not ids.integer:
            raise self.refuse(f"{ids.name} must have whole numbers to choose rows")
        source, layout = origin(ids)
        rows = self.view(table, lambda t: t.reshape(table.shape[0], -1))
        width = rows.shape[1]
        found = self._rows(rows, source)
        if source is not ids:  # the same view of the rows
            dims = tuple(tuple((size, stride * width) for size, stride in digits) for digits in layout.dims)
            last = Layout.of((width,)).dims
            found = self.rearranged(found, Layout((*dims, *last), layout.offset * width))
        return self.view(found, lambda t: t.reshape(*ids.shape, *table.shape[1:]))

    def _rows(self, table: Node, ids: Node) -> Node:
        """(…, width): rows of a matrix. Of numbers that a run finds and puts together, for each part by itself."""
        if ids.op == "ir.cat" and not ids.host:
            return self.cat([self.gather(table, each) for each in ids.inputs], ids.dim)
        return self.make("ir.gather", [table, ids], (*ids.shape, table.shape[1]), table.integer)

    def one_hot(self, places: Node, count: int) -> Node:
        """(…, count): 1 at a place, 0 elsewhere."""
        places = self.made_whole(places)
        if places.op == "constant":
            return self.constant(torch.eye(count)[places.value.long()], places.made_of)
        return self.gather(self.constant(torch.eye(count)), places)

    def cat(self, parts: Sequence[Node], dim: int) -> Node:
        """One behind the other. (Empty vectors count for nothing, as in PyTorch.)"""
        parts = [each for each in parts if each.shape != (0,)]
        if all(origin(each)[0].op == "constant" for each in parts):
            parts = [self.made_whole(each) for each in parts]
        elif not all(each.integer for each in parts):
            parts = self.alike(*parts)
        if len(parts) == 1:
            return parts[0]
        dim %= len(parts[0].shape)
        size = sum(each.shape[dim] for each in parts)
        first = parts[0].shape
        return self.make("ir.cat", parts, (*first[:dim], size, *first[dim + 1 :]), parts[0].integer, dim=dim)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Says for which calls a rule is."""

    def known(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return known

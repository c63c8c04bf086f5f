"""From a decoder's forward pass over a whole sequence to that over a few of its tokens.

All operators but attention treat each token by itself, so the graph of a sequence is the graph of any of its tokens,
once attention reads the others from the KV cache. What differs from token to token by its position alone (learned
positions, rotary tables) becomes a table, of which the rows are gathered by the input `positions`.

Tokens are one digit of the place of an element: element i of a value belongs to token i // stride % tokens, whatever
dimensions the model has given it, and in whatever order. The pass follows this stride from the ids on, operator by
operator, and gives the digit another size. An operator for which it cannot be followed mixes tokens, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ..arch.errors import HeddleError
from .graph import Graph, Node
from .ir import as_number
from .layout import Digits, Layout
from .rearrange import origin

POSITIONS = "positions"


def take_tokens(graph: Graph, rows: int) -> Graph:
    """The graph for `rows` tokens at a time, whose places in their sequences are the integer input `positions`.

    The graph is of the closed set, but its attentions are cached (ops/cached_attention.py). Raises HeddleError for
    inputs that are not the ids of one sequence, and for an operator that mixes its tokens.
    """
    inputs = [node for node in graph if node.op == "input"]
    if graph.host:
        raise inputs[0].refuse("a decoder's ids must choose rows of tables and nothing else: what is computed of them "
                               "on the host is not known for a few tokens")  # fmt: skip
    if len(inputs) > 1 or not inputs[0].integer:
        raise inputs[0].refuse("a decoder must take one input, the ids of its tokens")
    return _Pass(inputs[0], rows).take(graph)


class _Pass:
    """What is known while the graph is followed."""

    def __init__(self, ids: Node, rows: int) -> None:
        self.ids, self.tokens, self.rows = ids, ids.size, rows
        self.positions = Node(POSITIONS, "input", [], (1, rows), integer=True)
        self.whole: dict[Node, tuple[int, ...]] = {}  # shapes for all tokens
        self.strides: dict[Node, int] = {}  # from a token to the next, of each value that depends on tokens
        self.nodes: list[Node] = [self.positions]

    def take(self, graph: Graph) -> Graph:
        """All of it."""
        for node in graph:
            self.whole[node] = node.shape
            if node is self.ids:
                self.strides[node] = 1
            elif any(each in self.strides for each in node.inputs):
                self.strides[node] = self._follow(node)
            if node in self.strides:
                node.shape = self._cut(node)
            self.nodes.append(node)
        for each in graph.outputs:
            if each not in self.strides:
                raise each.refuse("what a decoder returns must depend on its ids")
            if self.strides[each] != self.whole[each][-1]:
                raise each.refuse("what a decoder returns must have a row for each token")
        return Graph(self.nodes, graph.outputs, graph.names).without_dead()

    def _cut(self, node: Node) -> tuple[int, ...]:
        """The shape with `rows` in place of the tokens."""
        found, inner, stride = [], 1, self.strides[node]
        for size in reversed(node.shape):
            has_tokens = inner <= stride and stride * self.tokens <= inner * size
            found.append(size // self.tokens * self.rows if has_tokens else size)
            inner *= size
        return tuple(reversed(found))

    def _follow(self, node: Node) -> int:
        """The stride of a node's tokens; its operands are made to fit. Raises HeddleError where it mixes them."""
        rule = _RULES.get(node.op)
        if rule is None:
            raise self._mixes(node)
        return rule(self, node)

    def _mixes(self, node: Node) -> HeddleError:
        return node.refuse("it mixes the tokens of a sequence, which in a decoder is for causal attention alone")

    def _require(self, node: Node, holds: bool) -> None:
        if not holds:
            raise self._mixes(node)

    def _past(self, node: Node, x: Node, dim: int) -> int:
        """The stride of tokens, once dimension `dim` of x, which is not theirs, has the size that it has in `node`."""
        dim %= len(node.shape)
        stride, inner, size = self.strides[x], prod(node.shape[dim + 1 :]), self.whole[x][dim]
        if stride * self.tokens <= inner:
            return stride
        self._require(node, stride % (inner * size) == 0)
        return stride // size * node.shape[dim]

    # -- operators -----------------------------------------------------------------------------------------------------

    def alike(self, node: Node) -> int:
        """Operands of the shape of the result, element by element."""
        strides = {self.strides[each] for each in node.inputs if each in self.strides}
        self._require(node, len(strides) == 1)
        stride = strides.pop()
        node.inputs = [each if each in self.strides else self._for_tokens(node, each, stride) for each in node.inputs]
        return stride

    def row_by_row(self, node: Node) -> int:
        """What works on the last dimension of its first operand. All tokens share the others."""
        x, *others = node.inputs
        self._require(node, x in self.strides and not any(each in self.strides for each in others))
        return self._past(node, x, -1)

    def reduce(self, node: Node) -> int:
        """Along another dimension than that of the tokens."""
        return self._past(node, node.inputs[0], node.dim)

    def cat(self, node: Node) -> int:
        """Along another dimension than that of the tokens."""
        strides = {self._past(node, each, node.dim) for each in node.inputs if each in self.strides}
        self._require(node, len(strides) == 1)
        stride, dim = strides.pop(), node.dim % len(node.shape)
        inside = stride * self.tokens <= prod(node.shape[dim + 1 :])
        node.inputs = [
            each if each in self.strides
            else self._for_tokens(node, each, stride if inside else stride // node.shape[dim] * each.shape[dim])
            for each in node.inputs
        ]  # fmt: skip
        return stride

    def gather(self, node: Node) -> int:
        """Rows of a table that all tokens share, chosen by each."""
        table, ids = node.inputs
        self._require(node, table not in self.strides)
        return self.strides[ids] * prod(table.shape[1:])

    def matmul(self, node: Node) -> int:
        """Tokens are rows of one operand, or the matrices of both."""
        x, y = node.inputs
        (m, n), depth = node.shape[-2:], self.whole[x][-1]
        first, second = self.strides.get(x), self.strides.get(y)
        if second is None and first is not None and first * self.tokens <= m * depth:
            self._require(node, first % depth == 0)
            return first // depth * n
        if first is None and second is not None and second * self.tokens <= n * depth:
            self._require(node, second % depth == 0)
            return second // depth
        stride = self._past(node, x, -1) if first is not None else second // (n * depth) * m * n  # type: ignore[operator]
        self._require(node, stride % (m * n) == 0)
        matrices = stride // (m * n)
        sizes = (x, m * depth), (y, n * depth)
        node.inputs = [each if each in self.strides else self._for_tokens(node, each, matrices * size)
                       for each, size in sizes]  # fmt: skip
        for each, (_, size) in zip(node.inputs, sizes, strict=True):
            self._require(node, self.strides.get(each, matrices * size) == matrices * size)
        return stride

    def cached_attention(self, node: Node) -> int:
        """Its operands have a row for each token, and so has it."""
        self._require(node, all(self.strides.get(each) == self.whole[each][-1] for each in node.inputs))
        if "bias" in node.attributes:  # of each head a row for each token, in whole words
            bias = node.attributes.pop("bias")
            table = bias.transpose(0, 1).reshape(self.tokens, -1).contiguous()
            rows = Node(f"{node.name}_bias", "position_rows", [self.positions], (1, self.rows, table.shape[1]),
                        layer=node.layer, attributes={"table": table, "segment": self.tokens})  # fmt: skip
            self.nodes.append(rows)
            node.attributes["biases"] = len(bias)
            node.inputs = [*node.inputs, rows]
        return node.columns

    # -- views ---------------------------------------------------------------------------------------------------------

    def rearrange(self, node: Node) -> int:
        """All tokens must be there, once and in order."""
        stride = self.strides[node.inputs[0]]
        above = stride * self.tokens
        high, reach = divmod(node.layout.offset, above)
        rest = reach
        dims: list[list[tuple[int, int]]] = []
        inner, found = 1, []
        for digits in reversed(node.layout.dims):
            kept: list[tuple[int, int]] = []
            for size, step in reversed([part for digit in digits for part in _split(digit, stride, above)]):
                if stride <= step < above:
                    self._require(node, (size, step) == (self.tokens, stride))
                    found.append(inner)
                elif step < stride:
                    reach += step * (size - 1)
                self._require(node, step < above or step % above == 0)
                kept.append((self.rows if step == stride else size, step // above * stride * self.rows + step % above))
                inner *= size
            dims.append(kept[::-1])
        self._require(node, len(found) == 1 and reach < stride)
        node.attributes["layout"] = Layout.of_digits(dims[::-1], high * stride * self.rows + rest)
        return found[0]

    def _for_tokens(self, user: Node, operand: Node, stride: int) -> Node:
        """A constant, or a view of one, of the shape that it has for all tokens, for those at `positions`."""
        source, layout = origin(operand)
        if source.op != "constant":
            raise user.refuse(f"{operand.name} is not the same for all tokens, and no table of numbers")
        dims = _apart(layout, stride, self.tokens)
        places = [(place, number) for place, digits in enumerate(dims) for number in range(len(digits))]
        at, inner = {}, 1
        for place, number in reversed(places):
            at[place, number] = inner
            inner *= dims[place][number][0]
        of_tokens = [key for key in places if stride <= at[key] < stride * self.tokens]
        if not any(dims[place][number][1] for place, number in of_tokens):  # the same for all
            cut = [[(self.rows, 0) if (place, number) == of_tokens[0] else digit
                    for number, digit in enumerate(digits) if (place, number) not in of_tokens[1:]]
                   for place, digits in enumerate(dims)]  # fmt: skip
            return self._viewed(operand, source, Layout.of_digits(cut, layout.offset), stride)
        others = [key for key in places if key not in of_tokens and dims[key[0]][key[1]][1]]
        taken = [dims[place][number] for place, number in (*of_tokens, *others)]
        numbers = as_number(source.value).contiguous()
        table = numbers.as_strided([size for size, _ in taken], [step for _, step in taken],
                                   numbers.storage_offset() + layout.offset).reshape(self.tokens, -1)  # fmt: skip
        rows = Node(f"{operand.name}_rows", "position_rows", [self.positions], (1, self.rows, table.shape[1]),
                    attributes={"table": table})  # fmt: skip
        self.nodes.append(rows)
        steps, inner = dict.fromkeys(places, 0), 1
        for key in reversed(others):
            steps[key] = inner
            inner *= dims[key[0]][key[1]][0]
        cut = [[(self.rows, inner) if (place, number) == of_tokens[0] else (digit[0], steps[place, number])
                for number, digit in enumerate(digits) if (place, number) not in of_tokens[1:]]
               for place, digits in enumerate(dims)]  # fmt: skip
        return self._viewed(operand, rows, Layout.of_digits(cut), stride)

    def _viewed(self, operand: Node, source: Node, layout: Layout, stride: int) -> Node:
        view = operand.turned_into("rearrange", [source], layout.shape, layout=layout)
        view.name = f"{operand.name}_taken"
        self.whole[view], self.strides[view] = operand.shape, stride
        self.nodes.append(view)
        return view


def _split(digit: tuple[int, int], *edges: int) -> list[tuple[int, int]]:
    """A digit (size, stride) in parts, the slowest first, none of which reaches over an edge, where that can be."""
    size, step = digit
    parts: list[tuple[int, int]] = []
    for edge in edges:
        below = edge // step if step else 0
        if step and step < edge < step * size and edge % step == 0 and size % below == 0:
            parts.append((below, step))
            size, step = size // below, edge
    return [(size, step), *reversed(parts)]


def _apart(layout: Layout, stride: int, tokens: int) -> list[Digits]:
    """The digits of a layout, cut where in the order of its own elements those of the tokens begin and end."""
    dims, inner = [], 1
    for digits in reversed(layout.dims):
        found: list[tuple[int, int]] = []
        for size, step in reversed(digits):
            for part, unit in reversed(_split((size, inner), stride, stride * tokens)):
                found.append((part, unit // inner * step))
            inner *= size
        dims.append(tuple(reversed(found)))
    return dims[::-1]


_RULES: dict[str, Callable[[_Pass, Node], int]] = {
    "rearrange": _Pass.rearrange,
    "ir.cat": _Pass.cat,
    "ir.function": _Pass.alike,
    "ir.combine": _Pass.alike,
    "ir.choose": _Pass.alike,
    "ir.reduce": _Pass.reduce,
    "ir.topk": _Pass.row_by_row,
    "ir.topk_places": _Pass.row_by_row,
    "ir.matmul": _Pass.matmul,
    "ir.linear": _Pass.row_by_row,
    "ir.softmax": _Pass.row_by_row,
    "ir.norm": _Pass.row_by_row,
    "ir.gather": _Pass.gather,
    "cached_attention": _Pass.cached_attention,
}

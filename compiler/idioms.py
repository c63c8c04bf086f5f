"""Finds what models write out of simpler operators, and has an operator of its own: norms and functions of one number.

From the closed set to the closed set (ir.py), so the graph computes the same; it only gets shorter. A norm of a library
arrives as a square, a mean, a root and a product; its gain and its shift, known rows that it is multiplied by and that
are added, become its parameters. A function such as GELU arrives as products, sums and a tanh, all of one value: its
composition becomes one table, if a table can hold it.
"""

from __future__ import annotations

from ..arch.isa import Combine, NormKind, Reduction
from .functions import RELU, ROUND, simplest_name
from .graph import Graph, Node, constant
from .layout import Layout
from .operands import known, scalar
from .rearrange import origin
from .weightless import has_bytes

_MOST_WORDS = 40  # of the name of a composed function
_KINDS = {kind: kind.name.lower() for kind in
          (Combine.ADD, Combine.SUBTRACT, Combine.MULTIPLY, Combine.MAXIMUM, Combine.MINIMUM)}  # fmt: skip


def find_idioms(graph: Graph) -> Graph:
    """The same graph with norms and composed functions as operators of their own."""
    graph = _without_repeats(graph)
    for node in graph:
        if node.op == "ir.combine" and (found := _norm(node) or _scaled_norm(graph, node)):
            graph.replace(node, found)
        elif node.op == "ir.softmax" and (x := _less_its_maximum(node.inputs[0])):
            node.inputs = [x]  # softmax takes it off itself
    graph = graph.without_dead()
    return _compose(graph)


def _without_repeats(graph: Graph) -> Graph:
    """With what a module computes twice computed once. (What several layers compute stays with each: a value that all
    of them read would keep them in one piece.)"""
    first: dict[tuple, Node] = {}
    for node in graph:
        if node.op in ("input", "constant") or node in graph.outputs or origin(node)[0].op == "constant":
            continue
        attributes = tuple(sorted((name, value) for name, value in node.attributes.items() if name != "call"))
        operands = tuple(_identity(each) for each in node.inputs)
        before = first.setdefault((node.layer, node.op, node.shape, operands, attributes), node)
        if before is not node:
            graph.replace(node, before)
    return graph.without_dead()


def _identity(operand: Node) -> object:
    """What is equal for operands that are the same value, or the same number in the same shape."""
    source, layout = origin(operand)
    if source.op == "constant" and source.size == 1 and has_bytes(source.value):
        return str(source.value.dtype), source.value.item(), layout
    return (source, layout) if source.op == "constant" else operand


# -- norms -------------------------------------------------------------------------------------------------------------


def _norm(node: Node) -> Node | None:
    """RMSNorm or LayerNorm, without gain and shift, of a product x · 1/√(mean(x²) + ε)."""
    if node.kind is not Combine.MULTIPLY or not node.shape:
        return None
    for x, factor in (node.inputs, node.inputs[::-1]):
        root = _of_rows(factor, node)
        found = _inverse_root(root) if root is not None else None
        added = _with_number(found, Combine.ADD) if found is not None else None
        if added is None:
            continue
        squares = _mean(added[0])
        if squares is None or not _is(squares, Combine.MULTIPLY) or not all(_same(x, each) for each in squares.inputs):
            continue
        kind, source = NormKind.RMS, x
        if _is(x, Combine.SUBTRACT):
            first, second = x.inputs
            row = _of_rows(second, node)
            if row is not None and (centred := _mean(row)) is not None and _same(centred, first):
                kind, source = NormKind.LAYER, first
        return node.turned_into("ir.norm", [source], kind=kind, epsilon=added[1])
    return None


def _scaled_norm(graph: Graph, node: Node) -> Node | None:
    """A norm whose numbers are multiplied by a known row, or, with a gain already, to which one is added."""
    for norm, other in (node.inputs, node.inputs[::-1]):
        if norm.op != "ir.norm" or graph.only_user(norm) is not node:
            continue
        row = _known_row(other)
        if row is None:
            continue
        if node.kind is Combine.MULTIPLY and len(norm.inputs) == 1:
            return _norm_with(graph, node, norm, row)
        if node.kind is Combine.ADD and len(norm.inputs) == 2:
            return _norm_with(graph, node, norm, row)
    return None


def _norm_with(graph: Graph, node: Node, norm: Node, row: Node) -> Node:
    if row not in graph.nodes:
        graph.nodes.insert(0, row)
    return node.turned_into("ir.norm", [*norm.inputs, row], kind=norm.kind, epsilon=norm.epsilon)


def _known_row(operand: Node) -> Node | None:
    """The constant (N) that each row of an operand (…, N) is."""
    source, layout = origin(operand)
    if source.op != "constant" or source.integer or operand.op != "rearrange" or source.size != operand.columns:
        return None
    if any(stride for digits in layout.dims[:-1] for _, stride in digits):
        return None
    if layout.offset or layout.dims[-1:] != Layout.of((operand.columns,)).dims:
        return None
    if len(source.shape) == 1:
        return source
    return constant(f"{source.name}_row", source.value.reshape(-1), source.made_of)


def _is(node: Node, kind: Combine) -> bool:
    return node.op == "ir.combine" and node.kind is kind


def _same(a: Node, b: Node) -> bool:
    return a is b or origin(a) == origin(b)


def _of_rows(operand: Node, like: Node) -> Node | None:
    """The value (…, 1) of which an operand has the one number of each row in all its columns."""
    if operand.op != "rearrange" or operand.shape != like.shape:
        return None
    source, layout = operand.inputs[0], operand.layout
    if source.shape != (*like.shape[:-1], 1) or layout.offset:
        return None
    whole = Layout.of(source.shape)
    alike = layout.dims[:-1] == whole.dims[:-1] and not any(stride for _, stride in layout.dims[-1])
    return source if alike else None


def _inverse_root(node: Node) -> Node | None:
    """What a node is 1/√ of."""
    if node.op != "ir.function":
        return None
    if node.function in ("rsqrt", "x^-0.5"):
        return node.inputs[0]
    inner = node.inputs[0]
    roots = inner.op == "ir.function" and inner.function in ("sqrt", "x^0.5")
    return inner.inputs[0] if node.function == "reciprocal" and roots else None


def _with_number(node: Node, kind: Combine) -> tuple[Node, float] | None:
    """(x, number) of which a node is a sum or a product."""
    if not _is(node, kind):
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        number = scalar(other)
        if number is not None and known(x) is None:
            return x, number
    return None


def _mean(node: Node) -> Node | None:
    """What a node (…, 1) is the mean of, row by row."""
    found = _with_number(node, Combine.MULTIPLY)
    if found is None or found[0].op != "ir.reduce" or found[0].kind is not Reduction.SUM:
        return None
    total, (x,) = found[0], found[0].inputs
    last = total.dim % len(total.shape) == len(total.shape) - 1
    return x if last and abs(found[1] * x.columns - 1) < 1e-6 else None


# -- softmax -----------------------------------------------------------------------------------------------------------


def _less_its_maximum(node: Node) -> Node | None:
    """What a node is without the greatest of each row."""
    if not _is(node, Combine.SUBTRACT):
        return None
    x, row = node.inputs[0], _of_rows(node.inputs[1], node)
    if row is None or row.op != "ir.reduce" or row.kind is not Reduction.MAXIMUM or not _same(row.inputs[0], x):
        return None
    return x if row.dim % len(row.shape) == len(row.shape) - 1 else None


# -- functions of one number -------------------------------------------------------------------------------------------


def _compose(graph: Graph) -> Graph:
    """Each function of one value that is made of several operators becomes one, where a table can hold it."""
    forms: dict[Node, tuple[Node, str]] = {}  # node → (the value that it is a function of, the function)
    for node in graph:
        if form := _form(node, forms):
            forms[node] = form
    needed = set(graph.outputs)
    for node in reversed(list(graph)):
        if node not in needed:
            continue
        if node in forms and (name := _worthwhile(forms[node][1])):
            node_of_table = node.turned_into("ir.function", [forms[node][0]], function=name)
            graph.replace(node, node_of_table)
            node = node_of_table
        needed.update(node.inputs)
    return graph.without_dead()


def _worthwhile(name: str) -> str | None:
    """The name of a function that a table holds in place of several operators, one of them a function."""
    words = name.split()
    plain = ("x", RELU, *_KINDS.values())  # exact: a table of these alone would only lose bits
    functions = [word for word in words if word not in plain and not _is_number(word)]
    return simplest_name(name) if functions and len(words) > len(functions) + 1 - (len(functions) > 1) else None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _form(node: Node, forms: dict[Node, tuple[Node, str]]) -> tuple[Node, str] | None:
    """(source, name) of a function of one value that a node is."""
    if node.op == "ir.function" and node.function != ROUND:
        source, inner = forms.get(node.inputs[0], (node.inputs[0], "x"))
        return _short_enough(source, f"{node.function} {inner}")
    if node.op != "ir.combine" or node.kind not in _KINDS:
        return None
    computed = [each for each in node.inputs if _number(each) is None]
    sources = [source for each in computed for source in ((forms[each][0], each) if each in forms else (each,))]
    for source in sources:
        names = [_number(each) or _from(each, source, forms) for each in node.inputs]
        if all(names):
            return _short_enough(source, f"{_KINDS[node.kind]} {names[0]} {names[1]}")
    return None


def _short_enough(source: Node, name: str) -> tuple[Node, str] | None:
    return (source, name) if len(name.split()) <= _MOST_WORDS else None


def _from(node: Node, source: Node, forms: dict[Node, tuple[Node, str]]) -> str | None:
    """What a node is of `source`."""
    if node is source:
        return "x"
    return forms[node][1] if node in forms and forms[node][0] is source else None


def _number(operand: Node) -> str | None:
    """A known operand that is one number."""
    number = scalar(operand)
    return repr(number) if number is not None and has_bytes(origin(operand)[0].value) else None

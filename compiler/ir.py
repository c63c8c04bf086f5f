"""The closed set of operators that the graph of every model is brought to, each with its meaning in PyTorch.

Values are float32 numbers of any shape; truth is 1 or 0. Only what chooses rows (ids, places) is int64. Nothing is
broadcast but by a `rearrange`, whose strides may be 0, so both operands of an operator have the shape of its result.
`interpret` computes a graph, and `verify` holds it to this list: between them they are the definition of the set.

    operator    operands             what it gives
    rearrange   x                    the elements of x that `layout` says
    cat         x, …                 one behind the other along `dim`
    function    x                    `function` of each number, by the names of `functions.of_name`
    combine     x, y                 `kind` of each pair of numbers
    choose      c, x, y              x where c is not 0, else y
    reduce      x                    `kind` of the numbers along `dim`, which has size 1 in the result
    topk        x                    the `count` greatest (or least) of each row, the first first
    topk_places x                    where in the row these stand (int64); of equal ones the first comes first
    matmul      x (…, M, K), y (…, N, K)   x·yᵀ for each matrix
    linear      x (…, K), weight (N, K)[, bias (N)]   x·weightᵀ + bias
    softmax     x                    of each row
    norm        x[, γ, β]            LayerNorm or RMSNorm of each row, `epsilon` added to the variance or mean square
    gather      table (N, …), ids    the rows of the table that the ids choose
    attention   q, k, v[, mask]      softmax(q·kᵀ·scale + mask)·v; if `causal`, query i sees keys up to i

What depends on whole numbers and truth alone is for the host (compiler/host.py): there whole numbers are combined like
others, and five operators more make, count and divide them: `integer`, `number`, `cumsum` along `dim`, `quotient`
(rounded down) and `remainder`.

A row is what the last dimension has. Rows of an attention of which nothing is seen give 0. So do those of a softmax on
the accelerator, of which all numbers are minus infinity: there PyTorch gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..arch.errors import HeddleError
from ..arch.isa import Combine, NormKind, Reduction
from .functions import of_name
from .graph import Graph, Node
from .layout import Layout


@dataclass(frozen=True)
class Operator:
    """One of the set.

    meaning     of the node and the values of its inputs
    operands    how many inputs it has, at least and at most
    attributes  those that a node has, and the type of each
    integer     which inputs are int64
    """

    meaning: Callable[..., Tensor]
    operands: tuple[int, int] = (1, 1)
    attributes: Mapping[str, type] = field(default_factory=dict)
    integer: tuple[int, ...] = ()


_COMBINES: dict[Combine, Callable[[Tensor, Tensor], Tensor]] = {
    Combine.ADD: torch.add,
    Combine.SUBTRACT: torch.sub,
    Combine.MULTIPLY: torch.mul,
    Combine.MAXIMUM: torch.maximum,
    Combine.MINIMUM: torch.minimum,
    Combine.LESS: lambda x, y: (x < y).float(),
    Combine.LESS_EQUAL: lambda x, y: (x <= y).float(),
    Combine.EQUAL: lambda x, y: (x == y).float(),
}
_REDUCTIONS: dict[Reduction, Callable[..., Tensor]] = {
    Reduction.SUM: torch.sum,
    Reduction.MAXIMUM: torch.amax,
    Reduction.MINIMUM: torch.amin,
}


def _rearranged(node: Node, x: Tensor) -> Tensor:
    digits = [digit for digits in node.layout.dims for digit in digits]
    sizes, strides = [size for size, _ in digits], [stride for _, stride in digits]
    flat = x.contiguous().flatten()  # it may begin within a larger one
    return flat.as_strided(sizes, strides, flat.storage_offset() + node.layout.offset).reshape(node.shape)


def _gathered(node: Node, table: Tensor, ids: Tensor) -> Tensor:
    return table.index_select(0, ids.reshape(-1)).reshape(*ids.shape, *table.shape[1:])


def _sorted(node: Node, x: Tensor) -> tuple[Tensor, Tensor]:
    values, places = torch.sort(x, dim=-1, descending=node.largest, stable=True)
    return values[..., : node.count], places[..., : node.count]


def _normalised(node: Node, x: Tensor, *parameters: Tensor) -> Tensor:
    if node.kind is NormKind.RMS:
        return functional.rms_norm(x, x.shape[-1:], *parameters, eps=node.epsilon)
    return functional.layer_norm(x, x.shape[-1:], *parameters, eps=node.epsilon)


def _attended(node: Node, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if mask is not None and node.causal:
        mask = mask.masked_fill(torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1), -torch.inf)
    grouped = q.ndim > 2 and q.shape[-3] != k.shape[-3]
    return functional.scaled_dot_product_attention(
        q, k, v, mask, is_causal=node.causal and mask is None, scale=node.scale, enable_gqa=grouped
    )


OPERATORS: dict[str, Operator] = {
    "rearrange": Operator(_rearranged, attributes={"layout": Layout}),
    "ir.cat": Operator(lambda node, *xs: torch.cat(xs, node.dim), (1, 1 << 16), {"dim": int}),
    "ir.function": Operator(lambda node, x: of_name(node.function)(x), attributes={"function": str}),
    "ir.combine": Operator(lambda node, x, y: _COMBINES[node.kind](x, y), (2, 2), {"kind": Combine}),
    "ir.choose": Operator(lambda node, c, x, y: torch.where(c != 0, x, y), (3, 3)),
    "ir.reduce": Operator(
        lambda node, x: _REDUCTIONS[node.kind](x, node.dim, keepdim=True),
        attributes={"kind": Reduction, "dim": int},
    ),
    "ir.topk": Operator(lambda node, x: _sorted(node, x)[0], attributes={"count": int, "largest": bool}),
    "ir.topk_places": Operator(lambda node, x: _sorted(node, x)[1], attributes={"count": int, "largest": bool}),
    "ir.matmul": Operator(lambda node, x, y: x @ y.mT, (2, 2)),
    "ir.linear": Operator(lambda node, x, *parameters: functional.linear(x, *parameters), (2, 3)),
    "ir.softmax": Operator(lambda node, x: x.softmax(-1)),
    "ir.norm": Operator(_normalised, (1, 3), {"kind": NormKind, "epsilon": float}),
    "ir.gather": Operator(_gathered, (2, 2), integer=(1,)),
    "ir.integer": Operator(lambda node, x: x.long()),
    "ir.number": Operator(lambda node, x: x.float()),
    "ir.cumsum": Operator(lambda node, x: torch.cumsum(x, node.dim), attributes={"dim": int}),
    "ir.quotient": Operator(lambda node, x, y: torch.div(x, y, rounding_mode="floor"), (2, 2), integer=(0, 1)),
    "ir.remainder": Operator(lambda node, x, y: torch.remainder(x, y), (2, 2), integer=(0, 1)),
    "ir.attention": Operator(_attended, (3, 4), {"scale": float, "causal": bool}),
}  # fmt: skip
PRODUCTS = ("ir.linear", "ir.matmul", "ir.attention")  # of the array: those with a precision


def interpret(graph: Graph, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """The results of a graph of these operators for inputs by name, computed by PyTorch as `OPERATORS` says."""
    known: dict[Node, Tensor] = {}
    for node in graph:
        if node.op == "input":
            known[node] = as_number(inputs[node.name])
        elif node.op == "constant":
            known[node] = as_number(node.value)
        else:
            known[node] = OPERATORS[node.op].meaning(node, *(known[each] for each in node.inputs))
    return [known[each] for each in graph.outputs]


def as_number(value: Tensor) -> Tensor:
    """Floats of any kind and truth as float32, integers as int64."""
    return value.float() if value.is_floating_point() or value.dtype == torch.bool else value.long()


def verify(graph: Graph, stage: str) -> None:
    """Raise AssertionError, naming `stage`, unless every node is one of `OPERATORS`, comes behind what it reads, and
    has the attributes, shape and type that its meaning gives."""
    seen: set[Node] = set()
    for node in graph:
        where = f"after {stage}: {node}"
        if node.op in ("input", "constant"):
            seen.add(node)
            continue
        operator = OPERATORS.get(node.op)
        assert operator, f"{where}: no operator of the closed set"
        least, most = operator.operands
        assert least <= len(node.inputs) <= most, f"{where}: {len(node.inputs)} operands"
        assert seen.issuperset(node.inputs), f"{where}: comes before what it reads"
        given = {key: type(value) for key, value in node.attributes.items() if key != "call"}
        assert given == dict(operator.attributes), f"{where}: has attributes {given}"
        found = _of_meta(operator, node)
        assert tuple(found.shape) == node.shape, f"{where}: its meaning has shape {tuple(found.shape)}"
        assert found.is_floating_point() != node.integer, f"{where}: its meaning is of {found.dtype}"
        seen.add(node)
    assert seen.issuperset(graph.outputs), f"after {stage}: a result is not in the graph"


def _of_meta(operator: Operator, node: Node) -> Tensor:
    """The result without numbers, for its shape and type."""
    values = [torch.empty(each.shape, dtype=torch.int64 if each.integer else torch.float32, device="meta")
              for each in node.inputs]  # fmt: skip
    whole = operator.integer if node.op != "rearrange" else (0,) * node.integer
    for place, each in enumerate(node.inputs):
        assert node.host or each.integer == (place in whole), f"{node}: operand {place} is of the wrong type"
    try:
        return operator.meaning(node, *values)
    except (RuntimeError, IndexError, ValueError) as error:
        raise AssertionError(f"{node}: {error}") from error


def require_supported(name: str, node: Node) -> Any:
    """Raise HeddleError for a node that is not one of the set yet."""
    raise node.refuse(f"{name} is not one of the operators that there are", HeddleError)

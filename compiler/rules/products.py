"""Linear layers, products of matrices, convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...arch.isa import Reduction
from ..graph import Node
from .builder import Builder, rule


@rule("linear")
def linear(b: Builder, x: Node, weight: Node, bias: Node | None = None) -> Node:
    """x·weightᵀ + bias"""
    return b.linear(x, weight, bias)


@rule("addmm", "addbmm", "baddbmm")
def addmm(b: Builder, bias: Node, x: Node, weight: Node, *, beta: float = 1, alpha: float = 1) -> Node:
    """beta·bias + alpha·x·weight"""
    if b.call.op.split(".")[1] == "addbmm":
        raise b.refuse("there is no rule for it")
    if alpha == beta == 1 and weight.op == bias.op == "constant" and len(weight.shape) == 2 and bias.rows == 1:
        row = b.view(bias, lambda t: t.reshape(-1).expand(weight.shape[1]))
        return b.linear(x, b.view(weight, lambda t: t.mT), row)
    return b.add(b.multiply(bias, beta), b.multiply(b.matmul(x, weight), alpha))


@rule("matmul", "bmm", "mm", "mv", "dot")
def matmul(b: Builder, x: Node, y: Node) -> Node:
    """x·y"""
    return b.matmul(x, y)


@rule("einsum")
def einsum(b: Builder, equation: str, operands: list[Node], *path: object, **more: object) -> Node:
    """One or two operands: their letters become batch, rows, columns and what is summed over"""
    left, arrow, right = equation.replace(" ", "").partition("->")
    if "." in equation or not 1 <= len(operands) <= 2:
        raise b.refuse(f"of einsum {equation!r} one or two operands without ... can be lowered")
    terms = left.split(",")
    sizes = {letter: size for term, each in zip(terms, operands, strict=True)
             for letter, size in zip(term, each.shape, strict=True)}  # fmt: skip
    if any(len(set(term)) < len(term) for term in terms):
        raise b.refuse(f"of einsum {equation!r} no letter may come twice in an operand")
    given = [(letter, size) for term, each in zip(terms, operands, strict=True)
             for letter, size in zip(term, each.shape, strict=True)]  # fmt: skip
    if any(sizes[letter] != size for letter, size in given):
        raise b.refuse(f"of einsum {equation!r} a letter must have one size")
    right = right if arrow else "".join(sorted(letter for letter in sizes if left.count(letter) == 1))
    if len(operands) == 1:
        return _summed(b, operands[0], terms[0], right)
    first, second = (_without(b, each, term, {*right, *other}) for each, term, other in
                     zip(operands, terms, reversed(terms), strict=True))  # fmt: skip
    batch = [letter for letter in first[1] if letter in second[1] and letter in right]
    summed = [letter for letter in first[1] if letter in second[1] and letter not in right]
    rows = [letter for letter in first[1] if letter not in second[1]]
    columns = [letter for letter in second[1] if letter not in first[1]]

    def matrix(value: tuple[Node, str], one: list[str], other: list[str]) -> Node:
        node, term = value
        shape = [*(sizes[letter] for letter in batch), _product(sizes, one), _product(sizes, other)]
        order = [term.index(letter) for letter in (*batch, *one, *other)]
        turned = b.view(b.number(node), lambda t: t.permute(order))
        return b.view(turned, lambda t: t.reshape(shape))

    product = b.matmul(matrix(first, rows, summed), matrix(second, summed, columns))
    found = b.view(product, lambda t: t.reshape([sizes[letter] for letter in (*batch, *rows, *columns)]))
    order = [[*batch, *rows, *columns].index(letter) for letter in right]
    return b.view(found, lambda t: t.permute(order))


def _product(sizes: dict[str, int], letters: list[str]) -> int:
    return torch.Size([sizes[letter] for letter in letters]).numel()


def _without(b: Builder, node: Node, term: str, kept: set[str]) -> tuple[Node, str]:
    """Summed over the letters that nobody else has."""
    wanted = "".join(letter for letter in term if letter in kept)
    return _summed(b, node, term, wanted), wanted


def _summed(b: Builder, node: Node, term: str, wanted: str) -> Node:
    dims = [dim for dim, letter in enumerate(term) if letter not in wanted]
    node = b.reduce(Reduction.SUM, node, dims) if dims else b.number(node)
    left = [letter for letter in term if letter in wanted]
    return b.view(node, lambda t: t.permute([left.index(letter) for letter in wanted]))


@rule("conv1d", "conv2d", "conv3d", "convolution")
def convolution(
    b: Builder, x: Node, weight: Node, bias: Node | None = None, stride: Sequence[int] = (1,),
    padding: Sequence[int] | str = (0,), dilation: Sequence[int] = (1,), *rest: object,
) -> Node:  # fmt: skip
    """The patches of each output as rows, times the weights; with a kernel for each channel, sums of shifted rows"""
    dims = len(weight.shape) - 2
    transposed = b.call.op.endswith("convolution") and bool(rest[0])
    groups = int(rest[-1]) if rest else 1  # type: ignore[call-overload]
    if transposed:
        raise b.refuse("transposed convolutions cannot be lowered")
    kernel, step, apart = weight.shape[2:], _each(stride, dims), _each(dilation, dims)
    if len(x.shape) == dims + 1:
        raise b.refuse("its input must have a batch dimension")
    x = _padded(b, b.number(x), _padding(padding, kernel, apart, dims))
    sizes = [(size - a * (k - 1) - 1) // s + 1 for size, k, s, a in
             zip(x.shape[2:], kernel, step, apart, strict=True)]  # fmt: skip
    channels = x.shape[1]

    def taps(t: torch.Tensor) -> torch.Tensor:
        """(batch, outputs …, channels, kernel …)"""
        strides = t.stride()
        moves = [stride * s for stride, s in zip(strides[2:], step, strict=True)]
        inside = [stride * a for stride, a in zip(strides[2:], apart, strict=True)]
        return t.as_strided((t.shape[0], *sizes, channels, *kernel), (strides[0], *moves, strides[1], *inside))

    if groups == 1:
        rows = b.view(x, taps)
        rows = b.view(rows, lambda t: t.reshape(x.shape[0], *sizes, -1))
        found = b.linear(rows, b.view(weight, lambda t: t.reshape(weight.shape[0], -1)), bias)
    elif groups == channels == weight.shape[0]:
        found = _depthwise(b, x, weight, taps, kernel, len(sizes))
        found = found if bias is None else b.add(found, bias)
    else:
        size, outputs = channels // groups, weight.shape[0] // groups
        parts = []
        for group in range(groups):
            rows = b.view(x, lambda t, at=group * size: taps(t).narrow(dims + 1, at, size))
            rows = b.view(rows, lambda t: t.reshape(x.shape[0], *sizes, -1))
            some = b.view(weight, lambda t, at=group * outputs: t.narrow(0, at, outputs).reshape(outputs, -1))
            parts.append(b.linear(rows, some))
        found = b.cat(parts, -1)
        found = found if bias is None else b.add(found, bias)
    return b.view(found, lambda t: t.movedim(-1, 1))


def _depthwise(b: Builder, x: Node, weight: Node, taps, kernel: Sequence[int], dims: int) -> Node:
    """A sum over the places of the kernel, of the values there times a number for each channel."""
    found = None
    for place in range(torch.Size(kernel).numel()):
        at = [int(each) for each in torch.unravel_index(torch.tensor(place), tuple(kernel))]

        def some(t: torch.Tensor, at=at) -> torch.Tensor:
            t = taps(t)
            for index in at:
                t = t.select(dims + 2, index)
            return t

        factor = b.view(weight, lambda t, place=place: t.reshape(t.shape[0], -1).select(1, place))
        product = b.multiply(b.view(x, some), factor)
        found = product if found is None else b.add(found, product)
    assert found is not None
    return found


def _each(given: Sequence[int] | int, dims: int) -> list[int]:
    given = [given] if isinstance(given, int) else list(given)
    return given * dims if len(given) == 1 else given


def _padding(given: Sequence[int] | int | str, kernel, apart, dims: int) -> list[tuple[int, int]]:
    """(before, behind) of each dimension."""
    if given == "valid":
        given = [0]
    if given == "same":
        totals = [a * (k - 1) for a, k in zip(apart, kernel, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    assert not isinstance(given, str)
    return [(each, each) for each in _each(given, dims)]


def _padded(b: Builder, x: Node, sides: Sequence[tuple[int, int]], value: float = 0.0) -> Node:
    """Equal numbers around the last dimensions of x; cut where a side is negative."""
    for dim, (before, behind) in enumerate(sides, len(x.shape) - len(sides)):
        cut = [-min(side, 0) for side in (before, behind)]
        if any(cut):
            x = b.view(x, lambda t, d=dim, c=cut: t.narrow(d, c[0], t.shape[d] - sum(c)))
        shapes = [(*x.shape[:dim], size, *x.shape[dim + 1 :]) for size in (before, behind)]
        blocks = [[b.expanded(value, shape)] if shape[dim] > 0 else [] for shape in shapes]
        if any(blocks):
            x = b.cat([*blocks[0], x, *blocks[1]], dim)
    return x


@rule("constant_pad_nd", "pad")
def pad(b: Builder, x: Node, sides: Sequence[int], *rest: object, value: float | None = None) -> Node:
    """The last dimension first, as PyTorch counts them"""
    mode = next((each for each in rest if isinstance(each, str)), "constant")
    if mode != "constant":
        raise b.refuse(f"its mode must be constant, not {mode}")
    number = next((each for each in rest if isinstance(each, (int, float))), value)
    pairs = list(zip(sides[::2], sides[1::2], strict=True))[::-1]
    return _padded(b, b.number(x), pairs, float(number or 0))


@rule("avg_pool1d", "avg_pool2d", "max_pool1d", "max_pool2d", "max_pool2d_with_indices")
def pool(
    b: Builder, x: Node, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,), *rest: object
) -> Node:
    """The mean, or the greatest, of each window"""
    name = b.call.op.split(".")[1]
    dims = int(name[name.index("pool") + 4])
    size, step = _each(kernel, dims), _each(stride or kernel, dims)
    around = _each(padding, dims)
    greatest = name.startswith("max")
    usual = all(each is False or each is not True and each in (1, [1], [1, 1]) for each in rest)
    if any(rest) and not (greatest and usual):
        raise b.refuse("its windows must be whole, next to each other, and of equal weight")
    if any(around) and not greatest:
        raise b.refuse("its padding must be 0")
    x = _padded(b, b.number(x), [(each, each) for each in around], float("-inf"))
    counts = [(n - k) // s + 1 for n, k, s in zip(x.shape[-dims:], size, step, strict=True)]

    def windows(t: torch.Tensor) -> torch.Tensor:
        strides = t.stride()
        moves = [stride * s for stride, s in zip(strides[-dims:], step, strict=True)]
        return t.as_strided((*t.shape[:-dims], *counts, *size), (*strides[:-dims], *moves, *strides[-dims:]))

    rows = b.view(x, windows)
    last = list(range(len(rows.shape) - dims, len(rows.shape)))
    found = b.reduce(Reduction.MAXIMUM, rows, last) if greatest else b.mean(rows, last)
    return (found, None) if name.endswith("indices") else found  # type: ignore[return-value]


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def adaptive_pool(b: Builder, x: Node, size: Sequence[int]) -> Node:
    """Means of equal windows"""
    dims = len(size)
    inputs = x.shape[-dims:]
    if any(n % m for n, m in zip(inputs, size, strict=True)):
        raise b.refuse(f"its windows must be equal: {tuple(inputs)} into {tuple(size)}")
    window = [n // m for n, m in zip(inputs, size, strict=True)]
    split = [each for m, k in zip(size, window, strict=True) for each in (m, k)]
    rows = b.view(x, lambda t: t.reshape(*x.shape[:-dims], *split))
    return b.mean(rows, [len(x.shape) - dims + 1 + 2 * i for i in range(dims)])

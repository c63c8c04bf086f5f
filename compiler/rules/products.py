"""Linear layers, products of matrices, convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from ...arch.isa import Reduction
from ..graph import Node
from .builder import Builder, rule
from .choice import known_places


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


@rule("conv1d", "conv2d", "conv3d", "convolution")
def convolution(
    b: Builder, x: Node, weight: Node, bias: Node | None = None, stride: Sequence[int] = (1,),
    padding: Sequence[int] | str = (0,), dilation: Sequence[int] = (1,), *rest: object,
) -> Node:  # fmt: skip
    """The patches of each output as rows, times the weights; with a kernel for each channel, sums of shifted rows"""
    dims = len(weight.shape) - 2
    transposed = b.call.op.endswith("convolution") and bool(rest[0])
    groups = int(rest[-1]) if rest else 1  # type: ignore[call-overload]
    kernel, step, apart = weight.shape[2:], _each(stride, dims), _each(dilation, dims)
    if len(x.shape) == dims + 1:
        raise b.refuse("its input must have a batch dimension")
    if transposed:
        more = _each(rest[1], dims)  # type: ignore[arg-type]
        x, weight = _spread(b, b.number(x), step), _turned(b, weight, groups, dims)
        sides = [(a * (k - 1) - p, a * (k - 1) - p + m) for a, k, p, m in
                 zip(apart, kernel, _each(padding, dims), more, strict=True)]  # type: ignore[arg-type]  # fmt: skip
        x, step = _padded(b, x, sides), [1] * dims
    else:
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


def _spread(b: Builder, x: Node, steps: Sequence[int]) -> Node:
    """x with zeros between its places, so that they are `steps` apart in the last dimensions."""
    for dim, step in enumerate(steps, 2):
        if step > 1:
            shape = (*x.shape[: dim + 1], step - 1, *x.shape[dim + 1 :])
            wide = b.cat([b.view(x, lambda t, d=dim: t.unsqueeze(d + 1)), b.expanded(0.0, shape)], dim + 1)
            whole = b.view(wide, lambda t, d=dim: t.flatten(d, d + 1))
            x = b.view(whole, lambda t, d=dim, s=step: t.narrow(d, 0, t.shape[d] - s + 1))
    return x


def _turned(b: Builder, weight: Node, groups: int, dims: int) -> Node:
    """The weights (inputs, outputs / groups, kernel …) of a transposed convolution as those of a convolution."""
    for dim in range(2, 2 + dims):
        weight = known_places(b, weight, dim, torch.arange(weight.shape[dim]).flip(0))
    own = weight.shape[0] // groups
    weight = b.view(weight, lambda t: t.unflatten(0, (groups, own)).transpose(1, 2))
    return b.view(weight, lambda t: t.flatten(0, 1))


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
        return _padded_by_itself(b, x, sides, mode)
    number = next((each for each in rest if isinstance(each, (int, float))), value)
    pairs = list(zip(sides[::2], sides[1::2], strict=True))[::-1]
    return _padded(b, b.number(x), pairs, float(number or 0))


def _padded_by_itself(b: Builder, x: Node, sides: Sequence[int], mode: str) -> Node:
    """Each dimension goes on as `mode` says: what is there already, at places that are known."""
    for dim, pair in enumerate(zip(sides[::2], sides[1::2], strict=True), start=1):
        places = functional.pad(torch.arange(float(x.shape[-dim])).view(1, 1, -1), pair, mode)
        x = known_places(b, x, len(x.shape) - dim, places.view(-1).long())
    return x


@rule("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def reflection_pad(b: Builder, x: Node, sides: Sequence[int]) -> Node:
    """The same, mirrored at the ends"""
    return _padded_by_itself(b, x, sides, "reflect")


@rule("replication_pad1d", "replication_pad2d", "replication_pad3d")
def replication_pad(b: Builder, x: Node, sides: Sequence[int]) -> Node:
    """The same, with the number at each end"""
    return _padded_by_itself(b, x, sides, "replicate")


@rule("max_pool1d", "max_pool2d", "max_pool2d_with_indices", "max_pool3d")
def max_pool(
    b: Builder, x: Node, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,), ceil_mode: bool = False,
) -> Node | tuple[Node, None]:  # fmt: skip
    """The greatest of each window"""
    rows, last, _ = _windows(b, x, kernel, stride, padding, dilation, ceil_mode, float("-inf"))
    found = b.reduce(Reduction.MAXIMUM, rows, last)
    return (found, None) if b.call.op.endswith("indices") else found


@rule("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def adaptive_max_pool(b: Builder, x: Node, size: Sequence[int]) -> tuple[Node, None]:
    """The greatest of windows that fill each dimension; not its place"""
    x = b.number(x)
    for dim, count in zip(range(len(x.shape) - len(size), len(x.shape)), size, strict=True):
        n = x.shape[dim]
        parts = []
        for place in range(count):
            first, end = place * n // count, -(-(place + 1) * n // count)
            part = b.view(x, lambda t, d=dim, f=first, e=end: t.narrow(d, f, e - f))
            parts.append(b.reduce(Reduction.MAXIMUM, part, dim, keepdim=True))
        x = b.cat(parts, dim)
    return x, None


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def avg_pool(
    b: Builder, x: Node, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0,),
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Node:  # fmt: skip
    """The mean of each window"""
    rows, last, counted = _windows(b, x, kernel, stride, padding, (1,), ceil_mode, 0.0)
    if divisor_override:
        return b.multiply(b.reduce(Reduction.SUM, rows, last), 1 / divisor_override)
    counts = counted(count_include_pad).sum(last)
    if bool((counts == counts.flatten()[0]).all()):
        return b.multiply(b.reduce(Reduction.SUM, rows, last), 1 / int(counts.flatten()[0]))
    return b.multiply(b.reduce(Reduction.SUM, rows, last), b.constant(1 / counts))


def _windows(b: Builder, x: Node, kernel, stride, padding, dilation, ceil_mode: bool, around: float):
    """(windows in dimensions of their own, which these are, a function that gives 1 for what counts in each window)."""
    name = b.call.op.split(".")[1]
    dims = int(name[name.index("pool") + 4])
    size, apart, pads = _each(kernel, dims), _each(dilation, dims), _each(padding, dims)
    step = _each(stride, dims) if stride else size
    inputs = x.shape[-dims:]
    counts, sides = [], []
    for n, k, s, a, p in zip(inputs, size, step, apart, pads, strict=True):
        room = n + 2 * p - a * (k - 1) - 1
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= n + p:
            count -= 1  # a window must begin before the padding behind
        counts.append(count)
        sides.append((p, max((count - 1) * s + a * (k - 1) + 1 - n - p, p)))
    x = _padded(b, b.number(x), sides, around)

    def windows(t: torch.Tensor) -> torch.Tensor:
        strides = t.stride()
        moves = [stride * s for stride, s in zip(strides[-dims:], step, strict=True)]
        inside = [stride * a for stride, a in zip(strides[-dims:], apart, strict=True)]
        return t.as_strided((*t.shape[:-dims], *counts, *size), (*strides[:-dims], *moves, *inside))

    def counted(include_padding: bool) -> torch.Tensor:
        ones = torch.ones(*inputs)
        for dim, (n, p, (before, behind)) in enumerate(zip(inputs, pads, sides, strict=True)):
            marks = torch.zeros(before + n + behind)
            marks[(0 if include_padding else before) : before + n + (p if include_padding else 0)] = 1
            shape = [1] * dims
            shape[dim] = -1
            ones = marks.view(shape) if dim == 0 else ones * marks.view(shape)
        return windows(ones.contiguous())

    rows = b.view(x, windows)
    return rows, list(range(-dims, 0)), counted


@rule(
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool3d"
)
def adaptive_pool(b: Builder, x: Node, size: Sequence[int]) -> Node:
    """Means of windows: where they are unequal, products with known matrices along each dimension"""
    dims = len(size)
    for dim, count in zip(range(-dims, 0), size, strict=True):
        n = x.shape[dim]
        if n % count == 0:
            parts = b.view(x, lambda t, d=dim, c=count: t.unflatten(d, (c, -1)))
            x = b.mean(parts, dim)
        else:
            places = torch.arange(count)
            first, end = places * n // count, -(-(places + 1) * n // count)
            inside = (torch.arange(n) >= first[:, None]) & (torch.arange(n) < end[:, None])
            x = along(b, x, dim, inside / (end - first)[:, None])
    return x


def along(b: Builder, x: Node, dim: int, matrix: torch.Tensor) -> Node:
    """matrix·x along a dimension."""
    weight = b.constant(matrix.float())
    turned = b.view(b.number(x), lambda t: t.transpose(dim, -1))
    return b.view(b.linear(turned, weight), lambda t: t.transpose(dim, -1))


@rule(
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_trilinear3d",
    "upsample_bicubic2d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
)
def upsample(b: Builder, x: Node, size: Sequence[int] | None, align_corners: bool, *scales: object) -> Node:
    """What is between: a product with a known matrix along each dimension, which is what PyTorch makes of ones"""
    for place in range(len(x.shape) - 2):
        x = along(b, x, 2 + place, _between(b, x.shape[2:], place, size, align_corners, scales))
    return x


def _between(b: Builder, sizes: Sequence[int], place: int, size, align_corners: bool, scales) -> torch.Tensor:
    """(outputs, inputs) of one dimension. The others are 2, and stay so: PyTorch takes a size of 1 for channels."""
    by_list = b.call.target._overloadname == "vec"
    factors = scales[0] if by_list else list(scales) + [None] * (len(sizes) - len(scales))

    def at_place(value, other) -> list:
        return [value if each == place else other for each in range(len(sizes))]

    count = sizes[place]
    ones = torch.eye(count).view(1, count, *at_place(count, 1)).expand(1, count, *at_place(count, 2)).contiguous()
    wanted = None if size is None else at_place(size[place], 2)
    given = None if factors is None else at_place(factors[place], 1.0 if by_list else None)
    found = b.call.target(ones, wanted, align_corners, *([given] if by_list else given))  # type: ignore[misc]
    return found[0][(slice(None), *at_place(slice(None), 0))].mT

"""Which element of its source each element of a view is: strides, in the manner of the layouts of NVIDIA's CuTe.

A dimension may need several strides: after heads are merged, feature 37 of a token is feature 5 of head 1. Its place is
then split into digits of mixed radix, each with a stride of its own:

    element = offset + Σ digit · stride,    e.g. (2048 tokens) × (32 heads · 128 features) = ((2048, 128),
                                                 ((32, 262144), (128, 1)))

Neighbouring digits that one would do for are joined, so equal layouts are equal tuples. However large the tensor, a
layout is a few numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

Digits = tuple[tuple[int, int], ...]  # (size, stride), the slowest first


@dataclass(frozen=True)
class Layout:
    """For each dimension of a view its digits, in elements of the flattened source."""

    dims: tuple[Digits, ...]
    offset: int = 0

    @staticmethod
    def of(shape: Sequence[int]) -> Layout:
        """That of a whole tensor, element after element."""
        return Layout(tuple(_joined([(size, prod(shape[place + 1 :]))]) for place, size in enumerate(shape)))

    @staticmethod
    def of_digits(dims: Iterable[Sequence[tuple[int, int]]], offset: int = 0) -> Layout:
        """That of any digits (size, stride) for each dimension."""
        return Layout(tuple(_joined(digits) for digits in dims), offset)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the view."""
        return tuple(prod(size for size, _ in digits) for digits in self.dims)

    def __str__(self) -> str:
        return f"[{'×'.join(map(str, self.shape))}]"

    def same_order(self, other: Layout) -> bool:
        """Whether the two give the same elements one after the other, in whatever shape."""
        return (self._flat, self.offset) == (other._flat, other.offset)

    @property
    def _flat(self) -> Digits:
        return _joined([digit for digits in self.dims for digit in digits])

    def transposed(self, first: int, second: int) -> Layout:
        """With two dimensions exchanged."""
        dims = list(self.dims)
        dims[first], dims[second] = dims[second], dims[first]
        return replace(self, dims=tuple(dims))

    def without(self, dim: int) -> Layout:
        """The part at place 0 of a dimension."""
        dim %= len(self.dims)
        return replace(self, dims=self.dims[:dim] + self.dims[dim + 1 :])

    def merged(self, keep: int) -> Layout:
        """With all dimensions before the last `keep` made one."""
        split = len(self.dims) - keep
        return replace(self, dims=(_joined([d for digits in self.dims[:split] for d in digits]), *self.dims[split:]))

    def beside(self, other: Layout) -> Layout | None:
        """The two side by side along the last dimension; None if that is no layout."""
        if self.dims != other.dims:
            return None
        last = _joined([(2, other.offset - self.offset), *self.dims[-1]])
        return replace(self, dims=(*self.dims[:-1], last))

    def numbers(self) -> Tensor:
        """The elements as a table, int64 of the shape of the view: for small ones."""
        table = torch.tensor(self.offset)
        for digits in self.dims:
            places = torch.zeros(1, dtype=torch.int64)
            for size, stride in digits:
                places = (places[:, None] + torch.arange(size) * stride).flatten()
            table = table[..., None] + places
        return table

    def through(self, outer: Layout) -> Layout | None:
        """The layout of a view `outer` of this view; None if places carry from digit to digit."""
        digits = [digit for dim in outer.dims for digit in dim]
        sizes, strides = [size for size, _ in digits], [stride for _, stride in digits]
        found = self.viewed(torch.empty(self.shape, device="meta").as_strided(sizes, strides, outer.offset))
        if found is None:
            return None
        parts, dims = iter(found.dims), []
        for dim in outer.dims:
            dims.append(_joined([digit for _ in dim for digit in next(parts)]))
        return Layout(tuple(dims), found.offset)

    def viewed(self, view: Tensor) -> Layout | None:
        """The layout of a strided view of this one; None if places of the view carry from digit to digit."""
        digits = list(reversed(self._flat))  # the fastest first
        starts = [prod(size for size, _ in digits[:i]) for i in range(len(digits) + 1)]
        begin = int(view.storage_offset())
        used = [begin // start % size for start, (size, _) in zip(starts, digits, strict=False)]
        offset = self.offset + sum(digit * stride for digit, (_, stride) in zip(used, digits, strict=True))
        dims = []
        for size, step in zip(view.shape, view.stride(), strict=True):
            pieces: list[tuple[int, int]] = []
            while size > 1 and step:
                place = next((i for i in range(len(digits)) if step < starts[i + 1]), None)
                if place is None or step % starts[place]:
                    return None
                limit, stride = digits[place]
                factor = step // starts[place]
                count = size if factor * (size - 1) < limit else limit // factor
                if size % count or (count < size and limit % factor):
                    return None
                pieces.append((count, factor * stride))
                used[place] += factor * (count - 1)
                size, step = size // count, step * count
            dims.append(_joined([(size, 0), *reversed(pieces)]))
        if any(digit >= limit for digit, (limit, _) in zip(used, digits, strict=True)):
            return None
        return Layout(tuple(dims), offset)


def strides_of(table: Tensor) -> Layout | None:
    """The layout whose `numbers` are these; None if there is none, or one with strides below 0."""
    first = table.flatten()[0]
    dims = []
    for dim in range(table.ndim):
        line = table[tuple(slice(None) if each == dim else 0 for each in range(table.ndim))] - first
        digits: list[tuple[int, int]] = []
        while len(line) > 1:
            step = int(line[1])
            count = 2
            while count < len(line) and int(line[count]) == count * step:
                count += 1
            if step < 0 or len(line) % count:
                return None
            digits.insert(0, (count, step))
            line = line[::count]
        dims.append(_joined(digits))
    found = Layout(tuple(dims), int(first))
    return found if torch.equal(found.numbers().reshape(table.shape), table) else None


def _joined(digits: Sequence[tuple[int, int]]) -> Digits:
    """As few digits as will do. Those of size 1 are left out."""
    found: list[tuple[int, int]] = []
    for size, stride in digits:
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = found[-1][0] * size, stride
        else:
            found.append((size, stride))
    return tuple(found)

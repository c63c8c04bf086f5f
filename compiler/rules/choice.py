"""What chooses: rows by number, the greatest of a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...arch.isa import Combine, Reduction
from ..graph import Node
from ..layout import Layout, strides_of
from ..rearrange import origin
from .builder import Builder, rule

_MOST_CHOSEN = 1 << 15  # numbers that are looked at at once, of those that are gathered by ones


@rule("embedding")
def embedding(b: Builder, table: Node, ids: Node, *rest: object, **more: object) -> Node:
    """table[ids]"""
    return _chosen(b, b.number(table), 0, ids)


@rule("index_select")
def index_select(b: Builder, x: Node, dim: int, ids: Node) -> Node:
    """Places of a dimension"""
    return _chosen(b, x, dim, ids)


@rule("index")
def index(b: Builder, x: Node, indices: Sequence[Node | None]) -> Node:
    """x[…, ids, …] with one tensor of whole numbers, or several: of these one may be computed, if the sizes that the
    others choose from are 1, and all if the host computes them"""
    places = [place for place, each in enumerate(indices) if each is not None]
    given = [each for each in indices if each is not None]
    if any(not each.integer for each in given):
        raise b.refuse("what it chooses must be whole numbers, not truth")
    if len(places) == 1:
        return _chosen(b, x, places[0], given[0])
    shape = torch.broadcast_shapes(*(each.shape for each in given))
    number = _number(b, [x.shape[place] for place in places], given, shape)
    together = places == list(range(places[0], places[-1] + 1))
    at = places[0] if together else 0
    others = [place for place in range(len(x.shape)) if place not in places]
    order = [*others[:at], *places, *others[at:]]
    rows = b.view(x, lambda t: t.permute(order))
    rows = b.view(rows, lambda t: t.reshape(*rows.shape[:at], -1, *rows.shape[at + len(places) :]))
    return _chosen(b, rows, at, number)


def _number(b: Builder, sizes: Sequence[int], ids: Sequence[Node], shape: Sequence[int]) -> Node:
    """The places in dimensions of these sizes, as places in one that these are merged into."""
    if all(each.op == "constant" for each in ids):
        number = torch.zeros(tuple(shape), dtype=torch.int64)
        for size, each in zip(sizes, ids, strict=True):
            number = number * size + each.value % size
        return b.constant(number)
    chosen = [(size, each) for size, each in zip(sizes, ids, strict=True) if size > 1]
    if len(chosen) == 1:
        return b.expanded(chosen[0][1], shape)
    if not all(each.host or each.op == "constant" for _, each in chosen):
        raise b.refuse("of several indices all must be constants, or depend on whole numbers alone")
    number = None
    for size, each in chosen:
        number = each if number is None else b.add(b.multiply(number, size), each)
    return b.expanded(number, shape) if number is not None else b.constant(torch.zeros(tuple(shape), dtype=torch.int64))


def _chosen(b: Builder, x: Node, dim: int, ids: Node) -> Node:
    """Places of a dimension, of which the dimensions of `ids` take the place."""
    rank, dim = len(x.shape), dim % len(x.shape)
    if ids.op == "constant":
        return known_places(b, x, dim, ids.value)
    first = b.view(x, lambda t: t.movedim(dim, 0))
    found = b.gather(first, ids)
    if dim == 0:
        return found
    count = len(ids.shape)
    return b.view(found, lambda t: t.movedim(tuple(range(count)), tuple(range(dim, dim + count)))) if rank else found


def known_places(b: Builder, x: Node, dim: int, ids: torch.Tensor) -> Node:
    """Places that are known: a view, if they go by strides; else runs of them, each a view, one behind the other."""
    if (view := _by_strides(b, x, dim, ids)) is not None:
        return view
    flat = (ids.flatten() % x.shape[dim]).tolist()
    runs: list[tuple[int, int, int]] = []  # first, count, step
    for place in flat:
        if runs:
            first, count, step = runs[-1]
            if count == 1 and place > first or count > 1 and place == first + count * step:
                runs[-1] = first, count + 1, step if count > 1 else place - first
                continue
        runs.append((place, 1, 1))
    parts = [b.view(x, lambda t, f=first, c=count, s=step: _run(t, dim, f, c, s)) for first, count, step in runs]
    found = b.cat(parts, dim)
    return b.view(found, lambda t: t.reshape(*x.shape[:dim], *ids.shape, *x.shape[dim + 1 :]))


def _by_strides(b: Builder, x: Node, dim: int, ids: torch.Tensor) -> Node | None:
    """The places as a view; None if they go by no strides."""
    layout = strides_of(ids % x.shape[dim])
    if layout is None:
        return None
    own = Layout.of(x.shape)
    apart = torch.Size(x.shape[dim + 1 :]).numel()
    dims = [tuple((size, stride * apart) for size, stride in digits) for digits in layout.dims]
    return b.rearranged(x, Layout((*own.dims[:dim], *dims, *own.dims[dim + 1 :]), layout.offset * apart))


def _run(t: torch.Tensor, dim: int, first: int, count: int, step: int) -> torch.Tensor:
    return t.narrow(dim, first, (count - 1) * step + 1)[(slice(None),) * dim + (slice(None, None, step),)]


@rule("repeat")
def repeat(b: Builder, x: Node, times: Sequence[int]) -> Node:
    """x again and again along each dimension"""
    x = b.view(x, lambda t: t.reshape(*[1] * (len(times) - len(x.shape)), *x.shape))
    shape, spread = [], []
    for size, count in zip(x.shape, times, strict=True):
        shape += [1, size]
        spread += [count, size]
    wide = b.view(x, lambda t: t.reshape(shape).expand(spread))
    return b.view(wide, lambda t: t.reshape([size * count for size, count in zip(x.shape, times, strict=True)]))


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def upsample_nearest(b: Builder, x: Node, size: Sequence[int] | None, *scales: object) -> Node:
    """Each place so many times along the last dimensions, or some of them left out"""
    listed = next((each for each in reversed(scales) if isinstance(each, (list, tuple))), None)
    dims = len(x.shape) - 2
    wanted = size or [int(n * f) for n, f in zip(x.shape[2:], listed or [], strict=True)]
    for dim, new in zip(range(2, 2 + dims), wanted, strict=True):
        n = x.shape[dim]
        if new % n == 0:
            x = repeat_interleave(b, x, new // n, dim)
            continue
        given = [each if isinstance(each, float) else None for each in (listed or (*scales, *[None] * dims))]
        scale = given[dim - 2]
        places = torch.arange(float(n)).view(1, 1, n)
        x = known_places(b, x, dim, torch.ops.aten.upsample_nearest1d(places, [new], scale).view(-1).long())
    return x


@rule("repeat_interleave")
def repeat_interleave(b: Builder, x: Node, times: int, dim: int | None = None, **more: object) -> Node:
    """Each place so many times"""
    if not isinstance(times, int):
        raise b.refuse("how often must be a number")
    if dim is None:
        x, dim = b.view(x, lambda t: t.reshape(-1)), 0
    dim %= len(x.shape)
    wide = b.view(x, lambda t: t.unsqueeze(dim + 1).expand(*x.shape[: dim + 1], times, *x.shape[dim + 1 :]))
    return b.view(wide, lambda t: t.reshape(*x.shape[:dim], x.shape[dim] * times, *x.shape[dim + 1 :]))


@rule("flip")
def flip(b: Builder, x: Node, dims: Sequence[int]) -> Node:
    """Backwards along some dimensions"""
    for dim in dims:
        x = known_places(b, x, dim % len(x.shape), torch.arange(x.shape[dim]).flip(0))
    return x


@rule("roll")
def roll(b: Builder, x: Node, shifts: Sequence[int], dims: Sequence[int] = ()) -> Node:
    """What leaves at the end comes in at the front"""
    shape = x.shape
    shifts = [shifts] if isinstance(shifts, int) else list(shifts)
    dims = [dims] if isinstance(dims, int) else list(dims)
    if not dims:
        x, dims = b.view(x, lambda t: t.reshape(-1)), [0]
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[dim]
        at = -shift % size
        if at:
            parts = ((at, size - at), (0, at))
            x = b.cat([b.view(x, lambda t, d=dim, p=part: t.narrow(d, *p)) for part in parts], dim)
    return b.view(x, lambda t: t.reshape(shape))


@rule("cat", "concat")
def cat(b: Builder, parts: Sequence[Node], dim: int = 0) -> Node:
    """One behind the other"""
    return b.cat(parts, dim)


@rule("stack")
def stack(b: Builder, parts: Sequence[Node], dim: int = 0) -> Node:
    """Along a new dimension"""
    dim %= len(parts[0].shape) + 1
    return b.cat([b.view(each, lambda t: t.unsqueeze(dim)) for each in parts], dim)


@rule("gather")
def gather(b: Builder, x: Node, dim: int, ids: Node, **more: object) -> Node:
    """x at the places that ids say along a dimension: rows, where all features of a row have the same; else by ones"""
    dim %= len(x.shape)
    if x.integer and not x.host and x.op != "constant":
        found = gather(b, b.number(b.number_of_places(x)), dim, ids)
        return b.places_of_number(found, origin(x)[0].inputs[0].shape[-1])
    whole = (*x.shape[:dim], ids.shape[dim], *x.shape[dim + 1 :]) == ids.shape
    if ids.op == "constant" and whole and bool((ids.value == ids.value.flatten()[0]).all()):
        return known_places(b, x, dim, ids.value.flatten()[:1].expand(ids.shape[dim]))
    one = all(size == 1 for size in x.shape[:dim])
    if one and constant_behind(ids, dim) and ids.shape[dim + 1 :] == x.shape[dim + 1 :]:
        narrow = b.view(ids, lambda t: t[(slice(None),) * (dim + 1) + (0,) * (len(ids.shape) - dim - 1)])
        narrow = b.view(narrow, lambda t: t.reshape(-1))
        return b.view(_chosen(b, x, dim, narrow), lambda t: t.reshape(ids.shape))
    if dim != len(x.shape) - 1 or ids.shape[:-1] != x.shape[:-1]:
        raise b.refuse("it must gather whole rows of one sequence, or numbers of a row")
    if ids.op == "constant" and (view := _by_strides_of_all(b, x, ids.value)) is not None:
        return view
    step = max(1, _MOST_CHOSEN // x.size)
    parts = [b.view(ids, lambda t, f=first: t[..., f : f + step]) for first in range(0, ids.shape[-1], step)]
    return b.cat([_by_ones(b, b.number(x), each) for each in parts], -1)


def _by_strides_of_all(b: Builder, x: Node, ids: torch.Tensor) -> Node | None:
    """x[…, ids] as a view of x, or of x backwards; None if the places go by no strides. (A relative shift does.)"""
    rows, n = torch.arange(ids[..., 0].numel()).view(*ids.shape[:-1], 1), x.shape[-1]
    for places, backwards in ((ids % n, False), (n - 1 - ids % n, True)):
        if (layout := strides_of(rows * n + places)) is not None:
            return b.rearranged(flip(b, x, [-1]) if backwards else x, layout)
    return None


def _by_ones(b: Builder, x: Node, ids: Node) -> Node:
    """x[…, ids]: the sum of each row (…, N), but for places that are not chosen (…, K)."""
    ones = b.one_hot(ids, x.shape[-1])  # (…, K, N)
    return b.reduce(Reduction.SUM, b.choose(ones, b.view(x, lambda t: t.unsqueeze(-2).expand(ones.shape)), 0), -1)


def constant_behind(ids: Node, dim: int) -> bool:
    """Whether ids are the same for all features behind a dimension."""
    if ids.op == "rearrange":
        return all(all(stride == 0 for _, stride in digits) for digits in ids.layout.dims[dim + 1 :])
    return all(size == 1 for size in ids.shape[dim + 1 :])


@rule("topk")
def topk(b: Builder, x: Node, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Node, Node]:
    """(the k greatest, their places)"""
    return b.topk(x, k, dim, largest)


@rule("sort")
def sort(b: Builder, x: Node, *rest: object, **more: object) -> tuple[Node, Node]:
    """All of a row, in order"""
    given = {**dict(zip(("dim", "descending"), [each for each in rest], strict=False)), **more}
    dim = int(given.get("dim", -1))  # type: ignore[call-overload]
    return b.topk(x, x.shape[dim], dim, bool(given.get("descending", False)))


@rule("argsort")
def argsort(b: Builder, x: Node, *rest: object, **more: object) -> Node:
    """The places of all of a row, in order; also of up to 256 places that were sorted, which turns them back"""
    return sort(b, b.number_of_places(x), *rest, **more)[1]


@rule("one_hot")
def one_hot(b: Builder, ids: Node, count: int = -1) -> Node:
    """1 at a place, 0 elsewhere"""
    if count < 0:
        raise b.refuse("its number of classes must be given")
    return b.one_hot(ids, count)


@rule("bucketize", "searchsorted")
def bucketize(b: Builder, x: Node, y: Node, **more: object) -> Node:
    """How many boundaries are below each number; with `right`, or side="right", not above it"""
    values, boundaries = (x, y) if "bucketize" in b.call.op else (y, x)
    if len(boundaries.shape) != 1 or more.get("sorter") is not None:
        raise b.refuse("its boundaries must be one row, in order")
    right = bool(more.get("right")) or more.get("side") == "right"
    values = b.view(values, lambda t: t.unsqueeze(-1))
    kind = Combine.LESS_EQUAL if right else Combine.LESS
    below = b.combine(kind, boundaries, values)
    count = b.reduce(Reduction.SUM, b.whole(below) if below.host else b.number(below), -1)
    return count if count.integer else b.places_of_number(count, boundaries.size + 1)


_MEAN_OF_BAG, _GREATEST_OF_BAG = 1, 2


@rule("_embedding_bag_forward_only", "_embedding_bag")
def embedding_bag(
    b: Builder, table: Node, ids: Node, offsets: Node, by_frequency: bool = False, mode: int = 0, sparse: bool = False,
    weights: Node | None = None, last: bool = False, padding: int = -1,
) -> tuple[Node, None, None, None]:  # fmt: skip
    """Sums, means or extremes of the rows of each bag of ids, which begin at offsets that are known"""
    if offsets.op != "constant" or padding >= 0:
        raise b.refuse("where its bags begin must be known, and no id be padding")
    starts = offsets.value.tolist()
    ends = [*starts[1:], ids.size] if not last else starts[1:]
    rows = b.gather(b.number(table), ids)
    if weights is not None:
        rows = b.multiply(rows, b.view(weights, lambda t: t.unsqueeze(-1)))
    found = []
    for start, end in zip(starts, ends, strict=False):
        if start == end:
            found.append(b.expanded(0.0, (1, table.shape[1])))
            continue
        kind = Reduction.MAXIMUM if mode == _GREATEST_OF_BAG else Reduction.SUM
        bag = b.reduce(kind, b.narrow(rows, 0, start, end - start), 0, keepdim=True)
        found.append(b.multiply(bag, 1 / (end - start)) if mode == _MEAN_OF_BAG else bag)
    return b.cat(found, 0), None, None, None

"""What writes: numbers put at places, or added to what is there, as torch's scatter and index_put do it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...arch.isa import Combine, Reduction
from ..graph import Node
from ..layout import Layout
from ..rearrange import origin
from .builder import Builder, rule
from .choice import constant_behind, known_places

_IDENTITIES = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "amax": -torch.inf}
_KINDS = {"prod": Combine.MULTIPLY, "amax": Combine.MAXIMUM}


@rule("scatter")
def scatter(b: Builder, x: Node, dim: int, ids: Node, source: Node | float, **more: object) -> Node:
    """x with numbers put at places of each row"""
    dim %= len(x.shape)
    if more or ids.shape[:dim] + ids.shape[dim + 1 :] != x.shape[:dim] + x.shape[dim + 1 :]:
        raise b.refuse("it must put numbers at places of whole rows along one dimension")
    if dim < len(x.shape) - 1:
        x, ids = (b.view(each, lambda t: t.transpose(dim, -1)) for each in (x, ids))
        source = b.view(source, lambda t: t.transpose(dim, -1)) if isinstance(source, Node) else source
        return b.view(scatter(b, x, -1, ids, source), lambda t: t.transpose(dim, -1))
    if not isinstance(source, Node) and _all_places(ids, x.shape[-1]):
        return b.expanded(source, x.shape)
    if isinstance(source, Node):
        source = b.view(source, lambda t: t[tuple(slice(0, size) for size in ids.shape)])
    for place in range(ids.shape[-1]):
        ones = b.one_hot(b.view(ids, lambda t, p=place: t.select(-1, p)), x.shape[-1])
        new = b.view(source, lambda t, p=place: t.narrow(-1, p, 1)) if isinstance(source, Node) else source
        x = b.choose(ones, new, x)
    return x


def _all_places(ids: Node, count: int) -> bool:
    """Whether each row of places has all of so many, each once: those of all numbers of a row in their order."""
    source, layout = origin(ids)
    whole = source.op == "ir.topk_places" and source.columns == count == source.inputs[0].columns
    return whole and ids.columns == count and layout.same_order(Layout.of(source.shape))


@rule("scatter_add")
def scatter_add(b: Builder, x: Node, dim: int, ids: Node, source: Node) -> Node:
    """x with numbers added at places of each row"""
    return scatter_reduce(b, x, dim, ids, source, "sum")


@rule("embedding_dense_backward")
def embedding_backward(
    b: Builder, gradient: Node, ids: Node, count: int, padding: int, by_frequency: bool = False
) -> Node:
    """(count, width): the sum of the gradients of each row that ids chose"""
    if by_frequency:
        raise b.refuse("gradients scaled by frequency cannot be lowered")
    width = gradient.shape[-1]
    rows = b.view(b.number(gradient), lambda t: t.reshape(-1, width))
    places = b.view(ids, lambda t: t.reshape(-1, 1).expand(-1, width))
    found = scatter_add(b, b.expanded(0.0, (count, width)), 0, places, rows)
    if 0 <= padding < count:
        found = _with_part(b, found, b.expanded(0.0, (1, width)), 0, padding)
    return found


@rule("index_add")
def index_add(b: Builder, x: Node, dim: int, ids: Node, source: Node, *, alpha: float = 1) -> Node:
    """x with rows added at places of a dimension"""
    dim %= len(x.shape)
    spread = b.view(ids, lambda t: t.reshape(*[1] * dim, -1, *[1] * (len(x.shape) - dim - 1)).expand(source.shape))
    return scatter_add(b, x, dim, spread, b.multiply(source, alpha) if alpha != 1 else source)


@rule("scatter_reduce")
def scatter_reduce(
    b: Builder, x: Node, dim: int, ids: Node, source: Node, reduce: str, *, include_self: bool = True
) -> Node:
    """x with the sum (mean, product, maximum, minimum) of all numbers that go to a place, its own among them or not"""
    if reduce == "amin":
        x, source = b.multiply(x, -1), b.multiply(source, -1)
        return b.multiply(scatter_reduce(b, x, dim, ids, source, "amax", include_self=include_self), -1)
    dim %= len(x.shape)
    if ids.shape[:dim] + ids.shape[dim + 1 :] != x.shape[:dim] + x.shape[dim + 1 :]:
        raise b.refuse("it must put numbers at places of whole rows along one dimension")
    x, source = b.number(x), b.view(b.number(source), lambda t: t[tuple(slice(0, size) for size in ids.shape)])
    rows = dim < len(x.shape) - 1 and constant_behind(ids, dim)
    if rows:  # a place of all features: one number for a row
        ids = b.view(ids, lambda t: t[(..., *[slice(0, 1)] * (len(x.shape) - dim - 1))])
    x, ids, source = (b.view(each, lambda t: t.movedim(dim, -1)) for each in (x, ids, source))
    ones = b.one_hot(ids, x.shape[-1])  # (…, K, N): who goes where
    count = b.reduce(Reduction.SUM, ones, -2)  # (…, N)
    own = x if include_self else b.choose(count, _IDENTITIES[reduce], x)
    if kind := _KINDS.get(reduce):
        found = own
        for place in range(ids.shape[-1]):
            here = b.view(ones, lambda t, p=place: t.select(-2, p))
            new = b.view(source, lambda t, p=place: t.narrow(-1, p, 1))
            found = b.choose(here, b.combine(kind, found, new), found)
    else:
        found = b.add(own, _sums(b, ones, source, rows, dim))
    if reduce == "mean":
        parts = b.add(count, 1) if include_self else b.combine(Combine.MAXIMUM, count, 1)
        found = b.divide(found, parts)
    return b.view(found, lambda t: t.movedim(-1, dim))


def _sums(b: Builder, ones: Node, source: Node, rows: bool, dim: int) -> Node:
    """(…, N): what goes to each place, added up. If all features go the same way it is a product of matrices."""
    if not rows:
        spread = b.view(source, lambda t: t.unsqueeze(-1).expand(*t.shape, ones.shape[-1]))
        return b.reduce(Reduction.SUM, b.choose(ones, spread, 0), -2)
    features = source.shape[dim:-1]
    flat = b.view(source, lambda t: t.reshape(*t.shape[:dim], -1, t.shape[-1]))  # (…, C, K)
    ways = b.view(ones, lambda t: t.reshape(*t.shape[:dim], *t.shape[-2:]))  # (…, K, N)
    return b.view(b.matmul(flat, ways), lambda t: t.reshape(*t.shape[:-2], *features, t.shape[-1]))


@rule("slice_scatter")
def slice_scatter(
    b: Builder, x: Node, source: Node, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Node:
    """x, but other numbers at a slice of it"""
    dim %= len(x.shape)
    places = list(range(x.shape[dim]))[start:end:step]
    if step == 1:
        return _with_part(b, x, source, dim, places[0] if places else 0)
    inside = torch.zeros(x.shape[dim], dtype=torch.bool)
    inside[places] = True
    nearest = (torch.cumsum(inside, 0) - 1).clamp(min=0)
    mask = inside.view(-1, *[1] * (len(x.shape) - dim - 1))
    return b.choose(b.constant(mask), known_places(b, source, dim, nearest), x)


@rule("select_scatter")
def select_scatter(b: Builder, x: Node, source: Node, dim: int, place: int) -> Node:
    """x, but other numbers at one place of a dimension"""
    return _with_part(b, x, b.view(source, lambda t: t.unsqueeze(dim)), dim % len(x.shape), place % x.shape[dim])


def _with_part(b: Builder, x: Node, part: Node, dim: int, start: int) -> Node:
    """x with a part put in the place of what begins at `start`."""
    end = start + part.shape[dim]
    sides = [(0, start), (end, x.shape[dim] - end)]
    before, behind = ([b.narrow(x, dim, *side)] if side[1] else [] for side in sides)
    return b.cat([*before, part, *behind], dim)


@rule("index_put", "index_put_", "_unsafe_index_put")
def index_put(b: Builder, x: Node, indices: Sequence[Node | None], values: Node, accumulate: bool = False) -> Node:
    """x with other numbers where a mask is true (one number for all), or at places that are known; or with their sums
    added"""
    given = [each for each in indices if each is not None]
    if len(given) == 1 and given[0].truth and values.size == 1 and not accumulate:
        mask = given[0]
        at = next(place for place, each in enumerate(indices) if each is not None)
        mask = b.view(mask, lambda t: t.reshape(*t.shape, *[1] * (len(x.shape) - at - len(t.shape))))
        return b.choose(mask, b.view(values, lambda t: t.reshape([])), x)
    if any(each.op != "constant" for each in given):
        raise b.refuse("it must put a number where a mask is true, or numbers at places that are known")
    where = tuple(
        slice(None) if each is None else each.value != 0 if each.truth else each.value for each in indices
    )  # fmt: skip
    places = torch.arange(x.size).view(x.shape)[where]
    x, values = b.alike(x, values)
    values = b.view(b.expanded(values, places.shape), lambda t: t.reshape(-1))
    for source in _rounds(places.flatten(), x.size, accumulate):
        x = _put(b, x, values, source.view(x.shape), accumulate)
    return x


def _rounds(places: torch.Tensor, size: int, accumulate: bool) -> list[torch.Tensor]:
    """(size): which value goes to each place, −1 for none. Of several the last counts, or each has a
    round of its own."""
    if not accumulate:
        source = torch.full((size,), -1)
        source[places] = torch.arange(len(places))
        return [source]
    order = places.sort(stable=True)
    starts = torch.searchsorted(order.values, order.values)
    turn = torch.empty_like(places)
    turn[order.indices] = torch.arange(len(places)) - starts
    found = []
    for number in range(int(turn.max()) + 1):
        source = torch.full((size,), -1)
        chosen = (turn == number).nonzero().flatten()
        source[places[chosen]] = chosen
        found.append(source)
    return found


def _put(b: Builder, x: Node, values: Node, source: torch.Tensor, accumulate: bool) -> Node:
    """x with values, or with values added, at the places that have a source."""
    new = known_places(b, values, 0, source.clamp(min=0))
    written = source >= 0
    if not bool(written.all()):
        new = b.choose(b.constant(written), new, 0 if accumulate else x)
    return b.add(x, new) if accumulate else new


@rule("masked_scatter")
def masked_scatter(b: Builder, x: Node, mask: Node, source: Node) -> Node:
    """x with the next row of another wherever a mask is true, which whole numbers alone decide"""
    mask = b.expanded(mask, x.shape)
    width = x.shape[-1]
    if not mask.host or not constant_behind(mask, len(x.shape) - 2) or source.size % width:
        raise b.refuse("its mask must depend on whole numbers and truth alone, and be the same for a whole row")
    rows = b.view(mask, lambda t: t.select(-1, 0))
    rows = b.whole(b.view(rows, lambda t: t.reshape(-1)))
    places = b.subtract(b.make("ir.cumsum", [rows], rows.shape, True, dim=0), 1)
    places = b.combine(Combine.MAXIMUM, places, 0)
    found = b.gather(b.view(b.number(source), lambda t: t.reshape(-1, width)), places)
    return b.choose(mask, b.view(found, lambda t: t.reshape(x.shape)), x)

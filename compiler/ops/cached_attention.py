"""Self-attention with keys and values in a cache: tokens go there first, then attend to all that is there.

In a decoder it is causal; in an encoder whose rows are taken in groups (tile.py) all groups are cached before the first
attends.

The model states it for a whole sequence; `take_tokens` cuts it down to a few tokens, and the cache supplies the others.
Keys and values come back block by block (flash attention: Dao et al., 2022), so that scores never leave the chip and
any length fits; blocks beyond the newest token are void. Queries that share a kv-head share its stream.

Latent attention (DeepSeek-V2, 2024, section 2.1) caches one latent per token for all heads: the matrices that would
make keys of it are multiplied into those of the queries, and those that make values act on the attended latents.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from ...arch.config import HardwareConfig
from ...arch.isa import Combine
from ..builder import Tiles
from ..cache import LayerShape
from ..coder import Coder
from ..flash import CachedAttention, Heads, Part
from ..graph import Graph, Node, constant
from ..layout import Layout
from ..masks import hidden
from ..rearrange import origin, split_heads, view_of
from ..sequence import SequenceAttention
from ..sight import Sight
from ..weightless import same_values
from ..whole_cache import WholeCacheAttention
from .attention import ROLES, Arguments, arguments, merges_heads, replace_readers, same_precision, sight_of
from .linear import parameters, projection_macs

# -- match -------------------------------------------------------------------------------------------------------------


def match(graph: Graph, node: Node) -> bool:
    """scaled_dot_product_attention, of all tokens, causal or in a sliding window; its own output merged again. Linear
    layers before it are taken in, and rotations; of other queries, keys and values it reads the numbers."""
    if node.op != "ir.attention":
        return False
    call = arguments(node)
    if call is None:
        raise node.refuse(f"its mask {node.inputs[3].name} is computed; masks must be constants")
    if len(node.shape) < 3 or node.rows != node.shape[-2] * node.shape[-3]:
        raise node.refuse("it must attend to the tokens of one sequence")
    sight = _sight(node, call)
    found = _Found(graph, node, call)
    if {call.keys, *(each.rows for each in found.sources)} != {node.shape[-2]}:
        raise node.refuse("queries, keys and values must be made of the same tokens")
    attributes = {"sight": sight, "values": None, "window": sight.window, "seen": sight.pairs(node.shape[-3])}
    attributes["token_macs"] = projection_macs(found.views) // node.shape[-2]
    attributes |= _shaped(node)
    _absorb(node, found.roles, attributes)
    attributes["pair_width"] = _pair_width(found.roles)
    _replace(graph, node, found, found.sources, found.roles, **attributes)
    return True


def _shaped(node: Node) -> dict[str, Any]:
    """What an attention has besides: a `function` of its scores, and `sinks` (heads), in units of log2."""
    sinks = node.attributes.get("sinks")
    found = {"function": node.attributes.get("function", "")}
    return found if sinks is None else {**found, "sinks": sinks.double() * math.log2(math.e)}


def take_apart(graph: Graph, node: Node, carried: Node | None) -> Node:
    """Attention of tokens over a source that does not grow with them: in place of its keys and values a writer of the
    cache, whose value is `carried`, that of the writer before; None: the first. Returns the writer. Raises HeddleError
    for what is masked or rotated."""
    call = arguments(node)
    sight = None if call is None else sight_of(node, call)
    if call is None or sight is None or not sight.everything:
        raise node.refuse("its mask must be none: all of a source is seen")
    if len(node.shape) < 3 or node.rows != node.shape[-2] * node.shape[-3]:
        raise node.refuse("it must attend from the tokens of one sequence to one source")
    found = _Found(graph, node, call)
    if found.tables:
        raise node.refuse("queries of a source must not be rotated")
    written = {role: found.roles[role] for role in ("key", "value")}
    sources, written = _of(found.sources, written)
    queries, asked = _of(found.sources, {"query": found.roles["query"]})
    if any(each.rows != call.keys for each in sources) or any(each.rows != node.shape[-2] for each in queries):
        raise node.refuse("queries must be made of the tokens, and keys and values of the source, row by row")
    first = carried
    while first is not None and first.op == "cache_writer":
        first = first.inputs[-1]
    before = carried or sources[0]
    if before.rows != call.keys:
        raise node.refuse(f"it attends to {call.keys} rows, but attention before it to {before.rows} of the source")
    chained = [before if each is first else each for each in sources]
    cached = {role: [[replace(p, weight=None, bias=None) for p in parts] for parts in heads]
              for role, heads in written.items()}  # fmt: skip
    views = [(layer, columns) for layer, columns in found.views]
    of_queries = [view for view in views if parameters(view[0])[0] in queries]
    of_source = [view for view in views if parameters(view[0])[0] not in queries]
    writer = node.turned_into(
        "cache_writer", [*chained, before], before.shape, roles=written, cached=cached, keys=call.keys, values=None,
        window=0, rotary=None, heads=node.shape[-3], scale=call.scale,
        token_macs=projection_macs(of_source) // call.keys,
    )  # fmt: skip
    writer.name = f"{node.name}_writer"
    place = graph.nodes.index(node)
    graph.nodes[place:place] = [each for each in sources if each not in graph.nodes]
    graph.nodes.insert(graph.nodes.index(node), writer)
    _replace(graph, node, found, queries, asked, values=None, window=0, seen=sight.pairs(node.shape[-3]),
             token_macs=projection_macs(of_queries) // node.shape[-2], pair_width=_pair_width(found.roles),
             cached=cached, keys=call.keys)  # fmt: skip
    return writer


class _Found:
    """What an attention reads: inputs, and which parts of them are the queries, keys and values of each head."""

    def __init__(self, graph: Graph, node: Node, call: Arguments) -> None:
        self.node, self.call = node, call
        self.sources: list[Node] = []
        self.tables: list[tuple[Tensor, Tensor]] = []
        self.views: list[tuple[Node, Tensor]] = []
        query, *shared = call.operands
        key, value = _once(node, *shared)
        queries, keys = _without_order(node, _side_by_side(node, query), _side_by_side(node, key))
        self.roles: dict[str, Heads] = {}
        for role, operands in zip(ROLES, (queries, keys, [value]), strict=True):
            pieces = [_heads(graph, node, each, self.sources, self.tables, self.views) for each in operands]
            self.roles[role] = [[part for parts in heads for part in parts] for heads in zip(*pieces, strict=True)]
        _cut_alike(node, self.roles)


def _cut_alike(node: Node, roles: dict[str, Heads]) -> None:
    """Parts of queries and keys are multiplied one by one, each in words of its own: they must be as wide."""
    widths = [[part.width for part in roles[role][0]] for role in ("query", "key")]
    if widths[0] == widths[1]:
        return
    edges = sorted({edge for each in widths for edge in accumulate(each)})
    for role in ("query", "key"):
        starts = [0, *accumulate(part.width for part in roles[role][0])]
        roles[role] = [[cut for part, start in zip(parts, starts, strict=False)
                        for cut in _cut(node, part, [edge - start for edge in edges])]
                       for parts in roles[role]]  # fmt: skip


def _cut(node: Node, part: Part, edges: list[int]) -> list[Part]:
    """A part in pieces that end at those edges that lie within it."""
    ends = [edge for edge in edges if 0 < edge < part.width] + [part.width]
    if len(ends) > 1 and part.rotated:
        raise node.refuse("queries and keys must be put together of rotated features in the same way")
    return [
        replace(part, width=end - start, column=part.column + start,
                weight=None if part.weight is None else part.weight[start:end],
                bias=None if part.bias is None else part.bias[start:end])
        for start, end in pairwise([0, *ends])
    ]  # fmt: skip


def _of(sources: list[Node], roles: dict[str, Heads]) -> tuple[list[Node], dict[str, Heads]]:
    """The sources that some roles have parts of, and these parts with the numbers that they have there."""
    wanted = sorted({part.source for heads in roles.values() for parts in heads for part in parts})
    places = {number: place for place, number in enumerate(wanted)}
    moved = {role: [[replace(part, source=places[part.source]) for part in parts] for parts in heads]
             for role, heads in roles.items()}  # fmt: skip
    return [sources[number] for number in wanted], moved


def _replace(
    graph: Graph, node: Node, found: _Found, sources: list[Node], roles: dict[str, Heads], **attributes: Any
) -> None:
    """The cached attention in place of `node`."""
    heads, width = node.shape[-3], node.shape[-1]
    attributes |= {"heads": heads, "scale": found.call.scale, "rotary": found.tables[0] if found.tables else None}
    given = [each for each in sources if each not in graph.nodes]
    for number in {part.source for head in roles["query"] for part in head if part.weight is None}:
        given += _multiplied(sources[number], found.call.scale * _unit(node))
        sources[number] = given[-1]
    place = graph.nodes.index(node)
    graph.nodes[place:place] = given
    readers = graph.users(node) if heads > 1 else []
    together = heads == 1 or (node not in graph.outputs and all(merges_heads(reader, node) for reader in readers))
    shape = readers[0].shape if together and readers else (*node.shape[:-3], node.shape[-2], heads * width)
    merged = node.turned_into(
        "cached_attention", sources, node.shape if heads == 1 else shape, width=width, roles=roles, **attributes
    )
    if together:
        replace_readers(graph, node, merged, readers)
        return
    graph.nodes.insert(place + len(given), merged)
    apart = Layout.of((node.shape[-2], heads, width)).transposed(0, 1)
    graph.replace(node, view_of(node, merged, apart, f"{node.name}_heads"))


def _unit(node: Node) -> float:
    """What is folded into queries besides the scale, so that scores are in units of log2; before a function they are
    not."""
    return 1.0 if node.attributes.get("function") else math.log2(math.e)


def _multiplied(x: Node, factor: float) -> list[Node]:
    """Nodes of which the last is x times a number."""
    number = constant(f"{x.name}_factor", torch.tensor([factor], dtype=torch.float32))
    whole = x.turned_into("rearrange", [number], layout=Layout.of_digits([(size, 0)] for size in x.shape))
    product = x.turned_into("ir.combine", [x, whole], kind=Combine.MULTIPLY)
    whole.name, product.name = f"{x.name}_factors", f"{x.name}_scaled"
    return [number, whole, product]


def _once(node: Node, *operands: Node) -> list[Node]:
    """Keys and values (…, H, T, D) without the heads that repeat the one before, as they do for a group of queries."""
    layouts = [origin(each)[1].merged(2) for each in operands]
    repeats = math.gcd(*(each.dims[0][-1][0] if each.dims[0] and not each.dims[0][-1][1] else 1 for each in layouts))
    if repeats == 1:
        return list(operands)
    found = []
    for each, layout in zip(operands, layouts, strict=True):
        *slow, (size, _) = layout.dims[0]
        once = Layout.of_digits([(*slow, (size // repeats, 0)), *layout.dims[1:]], layout.offset)
        found.append(_view(node, origin(each)[0], once, each.name))
    return found


def _sight(node: Node, call: Arguments) -> Sight:
    """What queries see under a mask: causal or in a band below the diagonal, without numbers, or whatever is added."""
    found = sight_of(node, call)
    if found.added is None:
        return found
    distance = torch.arange(found.queries)[:, None] - torch.arange(found.keys)
    window = int((found.added[0, -1] == 0).sum())
    band = (distance >= 0) & (distance < window)
    if not window or not all(torch.equal(each, torch.zeros(()).where(band, -math.inf)) for each in found.added):
        return found
    return Sight(found.queries, found.keys, causal=True, window=0 if window == found.keys else window)


def take_sight(node: Node) -> None:
    """What the attention of a decoder can have of what is seen of a whole sequence, in its place: cached tokens are
    hidden by place, and numbers may be added to the scores of all before it, −∞ to any of them (`bias`). Raises
    HeddleError for any other mask."""
    sight: Sight = node.attributes.pop("sight")
    if node.function:
        _shape_whole(node, sight)
        return
    if sight.causal:
        return
    if sight.added is None:
        raise node.refuse("a decoder's attention must be causal")
    seen = ~hidden(sight.added)
    if (seen <= torch.ones(seen.shape[-2:], dtype=torch.bool).tril()).all() and seen.any(-1).all():
        node.attributes["bias"] = sight.added.masked_fill(~seen, -math.inf).float()
        return
    weak = seen & (sight.added != 0)
    if weak.any():
        value = sight.added[tuple(weak.nonzero()[0].tolist())].item() / math.log2(math.e)
        raise node.refuse(f"its mask must be causal, or a sliding window, and hide by False, minus infinity or a "
                          f"number as low as -1e9, not by {value:g}, which large scores outweigh")  # fmt: skip
    raise node.refuse("its mask must be causal, or a sliding window: each token sees itself and those just before")


def _shape_whole(node: Node, sight: Sight) -> None:
    """Of scores that go through a function all of the cache at once: what is not seen is hidden by numbers that are
    added, in units of the function's results."""
    band = torch.ones(sight.queries, sight.keys, dtype=torch.bool).tril()
    if sight.window:
        band = band.triu(1 - sight.window)
    added = torch.zeros((1, *band.shape)) if sight.added is None else sight.added / math.log2(math.e)
    seen = band if sight.causal else ~hidden(added)
    if not (seen <= band).all():
        raise node.refuse("its mask must be causal: a token of a decoder sees none of those behind it")
    if "sinks" in node.attributes or not node.roles["value"]:
        raise node.refuse("scores with a sink, or of latents, must not go through a function")
    node.attributes |= {"bias": added.masked_fill(~seen, -math.inf).float(), "window": 0}


def _heads(graph: Graph, node: Node, operand: Node, sources: list[Node], tables: list, views: list) -> Heads:
    """The parts of each head of an operand (1, H, T, D). Collects the inputs they come from, rotary
    tables, and the columns of linear layers."""
    source, layout = origin(operand)
    if source.op == "rotary" and source is not operand:  # a rotated key, expanded over the heads
        inner = _heads(graph, node, source, sources, tables, views)
        size = source.shape[-2] * source.shape[-1]
        starts = layout.merged(2).without(-1).without(-1).numbers().tolist()  # of each head
        if layout.dims[-2:] != Layout.of(source.shape).dims[-2:] or any(start % size for start in starts):
            return _numbers(node, operand, sources)
        return [inner[start // size] for start in starts]
    if operand.op == "rotary":
        tables.append((operand.cos, operand.sin))
        if not all(same_values(a, b) for a, b in zip(tables[0], tables[-1], strict=True)):
            raise node.refuse("queries and keys must be rotated by the same angles")
        return [[replace(p, rotated=True) for p in parts] for parts in
                _heads(graph, node, operand.inputs[0], sources, tables, views)]  # fmt: skip
    taken = source.op == "ir.linear" and same_precision(graph, source, node)
    columns = split_heads(layout, source.rows, source.columns) if taken else None
    if columns is None:
        return _numbers(node, operand, sources)
    x, weight, bias = parameters(source)
    if x not in sources:
        sources.append(x)
    views.append((source, columns))
    at = sources.index(x)
    weights = weight[columns].unbind()  # of each head
    biases = [None] * len(weights) if bias is None else bias[columns].unbind()
    return [[Part(at, *each, columns.shape[1])] for each in zip(weights, biases, strict=True)]


def _view(node: Node, source: Node, layout: Layout, name: str) -> Node:
    """A view, or the source itself where that is all of it."""
    heads, *size = source.shape[:-2], *source.shape[-2:]
    whole = Layout.of((torch.Size(heads).numel(), *size))
    return source if layout.merged(2) == whole and source.op != "rearrange" else view_of(node, source, layout, name)


def _side_by_side(node: Node, operand: Node) -> list[Node]:
    """What an operand (…, H, T, D) puts side by side in its features: views like it; itself, if it is nothing else."""
    source, layout = origin(operand)
    if source.op != "ir.cat" or source.dim != len(source.shape) - 1:
        return [operand]
    width, steps = source.shape[-1], [step for digits in layout.dims[:-1] for _, step in digits]
    if layout.dims[-1] != ((width, 1),) or any(step % width for step in (*steps, layout.offset)):
        return [operand]
    found = []
    for number, each in enumerate(source.inputs):
        part = each.shape[-1]
        dims = [[(size, step // width * part) for size, step in digits] for digits in layout.dims[:-1]]
        whole = Layout.of_digits([*dims, [(part, 1)]], layout.offset // width * part)
        found.append(_view(node, each, whole, f"{operand.name}_part_{number}"))
    return [part for each in found for part in _side_by_side(node, each)]


def _without_order(node: Node, query: list[Node], key: list[Node]) -> tuple[list[Node], list[Node]]:
    """Parts of queries and keys whose rotated features stand in another order than they are rotated in, the same in
    both: in that in which they are rotated, which leaves their products as they are."""
    if len(query) != len(key):
        return query, key
    pairs = [_straight(node, a, b) for a, b in zip(query, key, strict=True)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _straight(node: Node, query: Node, key: Node) -> tuple[Node, Node]:
    last = [origin(each)[1].dims[-1:] for each in (query, key)]
    if any(origin(each)[0].op != "rotary" for each in (query, key)) or last[0] != last[1]:
        return query, key
    half = query.shape[-1] // 2
    if last[0] != (((half, 1), (2, half)),):
        return query, key
    found = []
    for each in (query, key):
        rotary, layout = origin(each)
        straight = Layout.of_digits([*layout.dims[:-1], ((2 * half, 1),)], layout.offset)
        found.append(_view(node, rotary, straight, f"{each.name}_straight"))
    return found[0], found[1]


def _numbers(node: Node, operand: Node, sources: list[Node]) -> Heads:
    """The heads of an operand (…, H, T, D) that is computed: a row for each token becomes an input of its own."""
    heads, tokens, width = operand.shape[-3:]
    by_token = Layout.of((heads, tokens, width)).transposed(0, 1)
    features = Layout.of_digits([(), by_token.dims[0], (*by_token.dims[1], *by_token.dims[2])])
    sources.append(view_of(node, operand, features, f"{operand.name}_by_token"))
    return [[Part(len(sources) - 1, None, None, width, column=head * width)] for head in range(heads)]


def _absorb(node: Node, roles: dict[str, Heads], attributes: dict[str, Any]) -> None:
    """Latent attention: keys and values that are made from one input become that input, cached once for all heads."""
    first, value = roles["key"][0], roles["value"][0]
    if len(first) != 2 or first[0].source != value[0].source or len(roles["key"]) != node.shape[-3]:
        return
    plain = [head[0] for head in roles["key"]]
    if len(value) != 1 or any(p.rotated or p.bias is not None or p.weight is None for p in plain):
        return
    shared = first[1].weight
    weights = [head[1].weight for head in roles["key"]]
    if shared is None or any(parts[0].weight is None for parts in roles["query"]):
        return
    if any(each is None or not same_values(each, shared) for each in weights):
        return
    latent = plain[0].weight.shape[1]  # type: ignore[union-attr]
    for query, key in zip(roles["query"], plain, strict=True):
        assert query[0].weight is not None and key.weight is not None
        weight = key.weight.double().T @ query[0].weight.double()  # (latent, K)
        bias = None if query[0].bias is None else key.weight.double().T @ query[0].bias.double()
        query[0] = Part(query[0].source, weight, bias, latent)
    attributes["values"] = [head[0] for head in roles["value"]]
    queries = [part.weight for parts in roles["query"] for part in parts]
    made = [*queries, *(part.weight for part in (first[1], *attributes["values"]))]  # latents are keys as they are
    attributes["token_macs"] = sum(weight.numel() for weight in made if weight is not None)
    roles["key"] = [[Part(plain[0].source, None, None, latent), first[1]]]
    roles["value"] = []


def _pair_width(roles: dict[str, Heads]) -> int:
    """Features of a key and of a value: of a latent, which is both, twice."""
    key = sum(part.width for part in roles["key"][0])
    return key + (roles["value"] or roles["key"])[0][0].width


# -- quantise ----------------------------------------------------------------------------------------------------------


def quantise(node: Node, coder: Coder) -> None:
    """A matrix of codes for each part that has a weight. log2(e) and the scale are folded into those of the queries
    (where these are computed, `match` has multiplied them)."""
    factors = {"query": node.scale * _unit(node), "key": 1.0, "value": 1.0}
    node.attributes["matrices"] = {
        role: [
            [None if p.weight is None else coder.matrix(node, p.weight, p.bias, factors[role]) for p in parts]
            for parts in heads
        ]
        for role, heads in node.roles.items()
    }
    if node.values:
        node.attributes["value_matrices"] = [coder.matrix(node, p.weight, p.bias) for p in node.values]
        node.attributes["values"] = [replace(p, weight=None, bias=None) for p in node.values]
    for heads in node.roles.values():
        for parts in heads:
            parts[:] = [replace(p, weight=None, bias=None) for p in parts]
    weighted = {
        parts[i].source
        for role, heads in node.roles.items()
        for head, parts in enumerate(heads)
        for i in range(len(parts))
        if node.matrices[role][head][i] is not None
    }
    node.inputs = [coder.codes(node, each) if i in weighted else each for i, each in enumerate(node.inputs)]


def macs(node: Node) -> int:
    """Those of the projections of the tokens that are new."""
    return node.rows * node.token_macs


# -- tile --------------------------------------------------------------------------------------------------------------


def layer_shape(node: Node, config: HardwareConfig) -> LayerShape:
    """What the layer caches on this machine."""
    roles, keys = node.attributes.get("cached", node.roles), node.attributes.get("keys", 0)
    words = {role: sum(part.words(config) for part in heads[0]) if heads else 0 for role, heads in roles.items()}
    pairs = 2 if node.attributes.get("function") else 1
    return LayerShape(len(roles["key"]), words["key"], words["value"], node.window, keys, pairs)


def tile(node: Node, tiles: Tiles) -> None:
    """Project, append to the cache, attend block by block. In groups only the last; `append` came before."""
    attention = _emitter(node, tiles)
    attention.attend() if tiles.group or attention.over_source else attention.emit()


def append(node: Node, tiles: Tiles) -> None:
    """Keys and values of the present group of rows into the cache."""
    _emitter(node, tiles).append()


def _emitter(node: Node, tiles: Tiles) -> CachedAttention:
    assert tiles.decoder is not None, "tile is told of the cache"
    if "biases" in node.attributes:
        return WholeCacheAttention(node, tiles)
    return (SequenceAttention if tiles.decoder.fixed else CachedAttention)(node, tiles)

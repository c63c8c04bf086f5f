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
from typing import Any

import torch
from torch import Tensor

from ...arch.config import HardwareConfig
from ..builder import Tiles
from ..cache import LayerShape
from ..coder import Coder
from ..flash import CachedAttention, Heads, Part
from ..graph import Graph, Node
from ..layout import Layout
from ..masks import added_to_scores, hidden
from ..rearrange import origin, split_heads
from ..weightless import same_values
from .attention import ROLES, Arguments, arguments, merges_heads, replace_readers, seen_pairs
from .linear import parameters, projection_macs

# -- match -------------------------------------------------------------------------------------------------------------


def match(graph: Graph, node: Node) -> bool:
    """scaled_dot_product_attention, of all tokens, causal or in a sliding window, of linear layers' outputs split into
    heads, rotated or not; its own output merged again."""
    if node.op != "ir.attention":
        return False
    call = arguments(node)
    if call is None:
        raise node.refuse(f"its mask {node.inputs[3].name} is computed; masks must be constants")
    if len(node.shape) < 3 or node.rows != node.shape[-2] * node.shape[-3]:
        raise node.refuse("it must attend to the tokens of one sequence")
    causal, window = _sight(node, call)
    sources: list[Node] = []
    tables: list[tuple[Tensor, Tensor]] = []
    views: list[tuple[Node, Tensor]] = []
    operands = zip(ROLES, call.operands, strict=True)
    roles = {role: _heads(node, each, sources, tables, views) for role, each in operands}
    attributes = {"causal": causal, "values": None, "heads": node.shape[-3], "window": window, "scale": call.scale}
    attributes["rotary"] = tables[0] if tables else None
    if {call.keys, *(each.rows for each in sources)} != {node.shape[-2]}:
        raise node.refuse("queries, keys and values must be made of the same tokens")
    attributes["seen"] = seen_pairs((node.shape[-3], node.shape[-2], call.keys), causal, window)
    attributes["token_macs"] = projection_macs(views) // node.shape[-2]
    _absorb(node, roles, attributes)
    attributes["pair_width"] = _pair_width(roles)
    heads, width = node.shape[-3], node.shape[-1]
    merged = node.turned_into(
        "cached_attention", sources, (*node.shape[:-3], node.shape[-2], heads * width), width=width, roles=roles,
        **attributes,
    )  # fmt: skip
    readers = graph.users(node)
    if heads > 1 and (node in graph.outputs or not all(merges_heads(reader, node) for reader in readers)):
        raise node.refuse("its heads must be merged, one after the other, into the features of the tokens")
    replace_readers(graph, node, merged, readers if heads > 1 else [])
    return True


def _columns(node: Node, operand: Node) -> Tensor:
    """The outputs of a linear layer, (H, D), of which an operand (…, H, T, D) is a view. Raises HeddleError if it is
    not one of all rows."""
    linear, layout = origin(operand)
    columns = split_heads(layout, linear.rows, linear.columns)
    if columns is None:
        raise node.refuse(f"{operand.name} must be the features of {linear.name} split into heads, for all rows, and "
                          f"nothing else")  # fmt: skip
    return columns


def _sight(node: Node, call: Arguments) -> tuple[bool, int]:
    """(causal, tokens that a token sees; 0: all, or all before it) of a mask: none, causal, or a band below the
    diagonal."""
    if call.mask is None:
        return call.causal, 0
    added = added_to_scores(node, call.mask, call.keys, call.causal)
    if not added.any():
        return False, 0
    seen, tokens = added == 0, call.keys
    weak = ~(seen | hidden(added))
    if weak.any():
        value = added[tuple(weak.nonzero()[0].tolist())].item()
        raise node.refuse(f"its mask must be causal, or a sliding window, and hide by False, minus infinity or a "
                          f"number as low as -1e9, not by {value:g}, which large scores outweigh")  # fmt: skip
    distance = torch.arange(node.shape[-2])[:, None] - torch.arange(tokens)
    window = int(seen[0, -1].sum())
    band = (distance >= 0) & (distance < window)
    if not window or not all(torch.equal(each, band) for each in seen):
        raise node.refuse("its mask must be causal, or a sliding window: each token sees itself and those just before")
    return True, 0 if window == tokens else window


def _heads(node: Node, operand: Node, sources: list[Node], tables: list, views: list) -> Heads:
    """The parts of each head of an operand (1, H, T, D). Collects the inputs they come from, rotary
    tables, and the columns of linear layers."""
    if operand.op == "ir.cat":
        if operand.dim != len(operand.shape) - 1:
            raise node.refuse(f"{operand.name} must put parts of heads side by side, not tokens or heads")
        pieces = [_heads(node, each, sources, tables, views) for each in operand.inputs]
        return [[part for piece in pieces for part in piece[head]] for head in range(operand.shape[-3])]
    source, layout = origin(operand)
    if source.op == "rotary" and source is not operand:  # a rotated key, expanded over the heads
        inner = _heads(node, source, sources, tables, views)
        size = source.shape[-2] * source.shape[-1]
        starts = layout.merged(2).without(-1).without(-1).numbers().tolist()  # of each head
        if layout.dims[-2:] != Layout.of(source.shape).dims[-2:] or any(start % size for start in starts):
            raise node.refuse(f"{operand.name} must be whole heads of {source.name}")
        return [inner[start // size] for start in starts]
    if operand.op == "rotary":
        tables.append((operand.cos, operand.sin))
        if not all(same_values(a, b) for a, b in zip(tables[0], tables[-1], strict=True)):
            raise node.refuse("queries and keys must be rotated by the same angles")
        return [[replace(p, rotated=True) for p in parts] for parts in
                _heads(node, operand.inputs[0], sources, tables, views)]  # fmt: skip
    if source.op != "ir.linear":
        raise node.refuse(f"its operands must come from linear layers, not from {source.op}")
    x, weight, bias = parameters(source)
    if x not in sources:
        sources.append(x)
    columns = _columns(node, operand)
    views.append((source, columns))
    at = sources.index(x)
    weights = weight[columns].unbind()  # of each head
    biases = [None] * len(weights) if bias is None else bias[columns].unbind()
    return [[Part(at, *each, columns.shape[1])] for each in zip(weights, biases, strict=True)]


def _absorb(node: Node, roles: dict[str, Heads], attributes: dict[str, Any]) -> None:
    """Latent attention: keys and values that are made from one input become that input, cached once for all heads."""
    first, value = roles["key"][0], roles["value"][0]
    if len(first) != 2 or first[0].source != value[0].source or len(roles["key"]) != node.shape[-3]:
        return
    plain = [head[0] for head in roles["key"]]
    shared = all(same_values(head[1].weight, first[1].weight) for head in roles["key"])  # type: ignore[arg-type]
    if not shared or any(p.rotated or p.bias is not None for p in plain) or len(value) != 1:
        raise node.refuse("keys in two parts must be those of latent attention: one from a latent, one that is shared")
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
    """A matrix of codes for each part that has a weight. log2(e) and the scale are folded into those of the queries."""
    factors = {"query": node.scale * math.log2(math.e), "key": 1.0, "value": 1.0}
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
    words = {role: sum(part.words(config) for part in heads[0]) if heads else 0 for role, heads in node.roles.items()}
    return LayerShape(len(node.roles["key"]), words["key"], words["value"], node.window)


def tile(node: Node, tiles: Tiles) -> None:
    """Project, append to the cache, attend block by block. In groups only the last; `append` came before."""
    attention = CachedAttention(node, tiles)
    attention.attend() if tiles.group else attention.emit()


def append(node: Node, tiles: Tiles) -> None:
    """Keys and values of the present group of rows into the cache."""
    CachedAttention(node, tiles).append()

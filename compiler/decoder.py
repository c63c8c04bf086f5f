"""Compiles a decoder (a language model) into programs that keep its keys and values in a cache.

The model is written as a plain forward pass over a whole sequence, with no word of a cache; the passes are those of
`pipeline`, with three of their own:

    take_patterns   attention becomes cached attention (ops/cached_attention.py)
    take_tokens     the graph of a sequence becomes that of a few of its tokens, at any positions
    the cache       is laid out from the shapes of all layers: cache.py

One program serves every position: `program.at(position)` sets its scalar registers. A program for many tokens of one
sequence fills the cache from a prompt; one for a token each of several sequences decodes. Programs compiled from one
model for the same cache share it: what one run leaves there, the next begins with.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ..arch.config import Config, get_config
from ..arch.errors import HeddleError, NoRoomError, require_type
from ..arch.program import Program
from ..arch.ranges import require_range
from .builder import Decoder, SharedDram, Tiling
from .cache import MOST_TOKENS, CacheLayout, CachePlan
from .capture import built_part, require_model
from .emit import Step, emit
from .fuse import take_patterns, to_operators
from .graph import Graph
from .macs import count_macs
from .ops import DECODER, cached_attention
from .pipeline import SURELY_CUT, Show, check_options, closed_graph, exceeds, lower
from .precision import PrecisionChoice, PrecisionRule
from .quantise import precisions, quantise
from .search import Lowering
from .smooth import Ranges, smooth
from .tokens import POSITIONS, take_tokens
from .uncollected import uncollected

_MOST_TOKENS = 1 << 16  # of a cache: the offset of onlinesoftmax has 17 bits


@uncollected()
def compile_decoder(
    model: nn.Module,
    config: Config,
    plan: CachePlan,
    *,
    tokens: int = 1,
    sequences: int = 1,
    context: int | None = None,
    precision: PrecisionChoice | None = None,
    ranges: Ranges | None = None,
    head: bool = True,
    name: str = "decoder",
    tiling: Tiling | None = None,
    show: Show | None = None,
) -> Program:
    """A program for `tokens` new tokens of each of `sequences` sequences (one of the two is 1), at position 0.

    model    forward takes ids (1, T) and gives logits (1, T, vocabulary); T up to `context`
    config   a HardwareConfig, the name of a preset or the path of a .toml file
    plan     the cache; the same for all programs that share it
    context  longest sequence that the model's own tables allow (default: plan.tokens)
    precision  w8a8, w8a16, w16a16 or bf16, for all layers or by the names of layers (see precision.py)
    head     False: without the last linear layer; the output is what it would read
    ranges   those of `smooth.calibrate`, for SmoothQuant
    Inputs of the program: `ids` by the name of forward's parameter, `positions`, each (rows) int32, where row
    s·tokens + t is token t of sequence s; `pages` (sequences, pages of a sequence) int32. Outputs: `logits` (rows,
    vocabulary), `next` (groups, rows) int32, the place of the greatest logit: of each group of as many words, counted
    from its start, where the vocabulary is too large to be searched at once. See Program.with_cache and Result.cache.
    Raises HeddleError for what cannot be lowered, or a cache or memory too small.
    """
    config = get_config(config)
    require_model(model)
    require_type("plan", plan, CachePlan, "a CachePlan, such as CachePlan(tokens=256)")
    require_type("name", name, str, "text")
    check_options(tiling, show)
    shown, show = show is not None, show or (lambda name, result: None)
    context = plan.tokens if context is None else context
    _check(plan, tokens, sequences, context)
    if tiling and tiling.group_rows:
        raise HeddleError("a decoder's rows do not go in groups: compile for fewer tokens at a time")
    rule = PrecisionRule(precision, config)

    def lowered(thrifty: bool) -> tuple[Graph, Decoder, Lowering, list[Step]]:
        graph = decoder_graph(model, context, tokens * sequences, rule, ranges, head, show)
        attentions = [node for node in graph if node.op == "cached_attention"]
        layers = [cached_attention.layer_shape(node, config) for node in attentions]
        positions = next(node for node in graph if node.name == POSITIONS)
        decoder = Decoder(tokens, sequences, CacheLayout(config, plan, layers, sequences), attentions, positions)
        shared = SharedDram(config, [*graph.inputs, "pages", "logits", "next"])
        lowering = Lowering(config, shared, decoder, thrifty)
        cut = thrifty or exceeds(model, config, SURELY_CUT)
        return graph, decoder, lowering, lower(graph, lowering, tiling, cut, show, groups=False)

    try:
        graph, decoder, lowering, steps = lowered(thrifty=False)
    except NoRoomError:
        if tiling:
            raise
        graph, decoder, lowering, steps = lowered(thrifty=True)
    choices = [precisions(graph), *lowering.choices]
    macs = count_macs(graph, moving=True)
    program = emit(steps, config, name, lowering.shared, decoder, choices, macs, built_part(model))
    program = program.at(*[0] * sequences)
    program.check()
    if shown:
        show("emit", program.listing())
    return program


def decoder_graph(
    model: nn.Module, context: int, rows: int, rule: PrecisionRule, ranges: Ranges | None, head: bool, show: Show
) -> Graph:
    """The graph of quantised operators for `rows` tokens at a time."""
    graph = closed_graph(model, (torch.zeros((1, max(context, 2)), dtype=torch.int64),), show)
    graph = take_patterns(_of_logits(graph), DECODER)
    for node in graph:
        if node.op == "cached_attention":
            cached_attention.require_band(node)
            del node.attributes["sight"]  # of the whole sequence
    graph = take_tokens(graph, rows)
    show("take_tokens", graph)
    graph = to_operators(graph)
    show("fuse", graph)
    if graph.output.op == "linear" and not head:
        graph = replace(graph, outputs=[graph.output.inputs[0]]).without_dead()
    elif graph.output.op == "linear":
        graph.output.attributes["argmax"] = True
    if ranges:
        graph = smooth(graph, ranges)
        show("smooth", graph)
    graph = quantise(graph, rule)
    show("quantise", graph)
    return graph


def _of_logits(graph: Graph) -> Graph:
    """With one result, its logits: the only one, or that of this name. Raises HeddleError if there is none."""
    names = [name or "" for name in graph.names]
    if len(names) > 1 and "logits" not in names:
        raise HeddleError(f"a decoder must return its logits alone, or under the name logits, not {', '.join(names)}")
    place = names.index("logits") if len(names) > 1 else 0
    return replace(graph, outputs=[graph.outputs[place]], names=["logits"]).without_dead()


def _check(plan: CachePlan, tokens: int, sequences: int, context: int) -> None:
    for name, value in (("tokens", tokens), ("sequences", sequences), ("context", context)):
        require_range(name, value, 1, MOST_TOKENS)
    if tokens > 1 and sequences > 1:
        raise HeddleError(f"a program takes many tokens of one sequence or one token of many, not {tokens} of each of "
                          f"{sequences}: prefill the sequences one after the other")  # fmt: skip
    if plan.tokens > context:
        raise HeddleError(f"the cache is for {plan.tokens} tokens, but the model's context is {context}")
    if plan.tokens > _MOST_TOKENS:
        raise HeddleError(f"the cache is for {plan.tokens} tokens, but onlinesoftmax places a block of keys at most "
                          f"{_MOST_TOKENS} tokens from a query")  # fmt: skip
    if tokens > plan.tokens:
        raise HeddleError(f"{tokens} tokens at a time are more than the {plan.tokens} of the cache")

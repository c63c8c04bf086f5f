"""Compiles a decoder (a language model) into programs that keep its keys and values in a cache.

The model is written as a plain forward pass over a whole sequence, with no word of a cache; the passes are those of
`pipeline`, with some of their own:

    take_source     of an encoder–decoder: what is made of its source alone is apart (source.py)
    find_patterns   attention becomes cached attention (ops/cached_attention.py)
    take_tokens     the graph of a sequence becomes that of a few of its tokens, at any positions
    the cache       is laid out from the shapes of all layers: cache.py

One program serves every position: `program.at(position)` sets its scalar registers. A program for many tokens of one
sequence fills the cache from a prompt; one for a token each of several sequences decodes. Programs compiled from one
model for the same cache share it: what one run leaves there, the next begins with.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..arch.config import Config, HardwareConfig, get_config
from ..arch.errors import HeddleError, NoRoomError, require_type
from ..arch.program import Choice, Program
from ..arch.ranges import require_range
from .builder import Decoder, SharedDram, Tiling
from .cache import MOST_TOKENS, CacheLayout, CachePlan
from .capture import built_part, require_model
from .captures import Captures, graphs_of
from .emit import Step, emit
from .fuse import expand, find_patterns, to_operators, under
from .graph import Graph, Node
from .idioms import find_idioms
from .macs import count_macs
from .ops import ATTENTIONS, DECODER, ENCODER, cached_attention
from .outliers import split_outliers
from .pipeline import SURELY_CUT, THRIFTY, Show, check_options, closed_graph, exceeds, lower
from .precision import PrecisionChoice, PrecisionRule
from .quantise import precisions, quantise
from .search import Lowering
from .smooth import Ranges, smooth
from .source import take_source
from .tokens import POSITIONS, take_tokens
from .uncollected import uncollected

_WAYS = {False: "all at once", True: "in groups, layer by layer"}
_FEW_TOKENS = 32  # of a prompt that are tried first, about; then twice as many,
_WORTH_IT = 0.98  # as long as a token takes at most so much of the cycles before
_MOST_TOKENS = 1 << 16  # of a cache: the offset of onlinesoftmax has 17 bits


@uncollected()
def compile_decoder(
    model: nn.Module,
    config: Config,
    plan: CachePlan,
    *,
    tokens: int | None = 1,
    sequences: int = 1,
    context: int | None = None,
    source: Mapping[str, Tensor] | None = None,
    precision: PrecisionChoice | None = None,
    ranges: Ranges | None = None,
    head: bool = True,
    name: str = "decoder",
    tiling: Tiling | None = None,
    show: Show | None = None,
    captures: Captures | None = None,
) -> Program:
    """A program for `tokens` new tokens of each of `sequences` sequences (one of the two is 1), at position 0.

    tokens   as many as the cache holds; None: of one sequence as many as are quick, a chunk of a prompt:
             `program.tokens` says how many
    model    forward takes ids (1, T) and gives logits (1, T, vocabulary); T up to `context`
    config   a HardwareConfig, the name of a preset or the path of a .toml file
    plan     the cache; the same for all programs that share it
    context  longest sequence that the model's own tables allow (default: plan.tokens)
    source   of an encoder–decoder: example tensors of what forward takes beside the ids, by name, batch dimension 1 in
             front; `tokens=0` is then the program that takes it, once, and leaves in the cache what attention over it
             reads. Its inputs have these names, its output is `states`
    precision  w8a8, w8a8+outliers, w8a16, w16a16 or bf16, for all layers, or by patterns of the names of layers and
               modules (see precision.py)
    head     False: without the last linear layer; the output is what it would read
    ranges   those of `smooth.calibrate`, for SmoothQuant
    captures what compilations of this model share (without `show`, `ranges` and `source`)
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
    context = plan.tokens if context is None else context
    _check(plan, tokens, sequences, context, source)
    rule = PrecisionRule(precision, config)
    asked = _Asked(model, config, plan, context, sequences, rule, ranges, head, name, tiling, show, source,
                   captures)  # fmt: skip
    return _chunk(asked) if tokens is None else asked.program(tokens)[0]


@dataclass(frozen=True)
class _Asked:
    """The arguments of `compile_decoder`, but for the tokens of a run."""

    model: nn.Module
    config: HardwareConfig
    plan: CachePlan
    context: int
    sequences: int
    rule: PrecisionRule
    ranges: Ranges | None
    head: bool
    name: str
    tiling: Tiling | None
    show: Show | None
    source: Mapping[str, Tensor] | None
    captures: Captures | None

    def program(self, tokens: int) -> tuple[Program, int]:
        """The program for so many tokens, and its cycles by estimate. All rows of a layer at once if they fit, else
        in groups, else in the smallest pieces. Raises HeddleError if it fits in no way."""
        show = self.show or (lambda name, result: None)
        ways = [self.tiling.group_rows > 0] if self.tiling else [False, True][: 1 + (tokens > self.config.columns)]
        problem: NoRoomError | None = None
        refused: dict[str, int | str] = {}
        for grouped, thrifty in [(way, False) for way in ways] + [(way, True) for way in ways if not self.tiling]:
            way = _WAYS[grouped] + THRIFTY * thrifty
            try:
                graph, decoder, lowering, steps = self._lowered(tokens, grouped, thrifty, show)
            except NoRoomError as error:
                problem, refused[way] = error, str(error)
                continue
            cycles = sum(step.schedule.cycles for step in steps)
            rows = [Choice("rows", way, refused | {way: cycles})] if refused else []
            found = [*rows, precisions(graph), *lowering.choices]
            macs = count_macs(graph, moving=not decoder.fixed)
            program = emit(steps, self.config, self.name, lowering.shared, decoder, found, macs, built_part(self.model))
            program = replace(program, host=tuple(graph.host), arguments=tuple(graph.arguments))
            program = program.at(*[0] * self.sequences) if tokens else program
            program.check()
            if self.show:
                show("emit", program.listing())
            return program, cycles
        assert problem is not None, "each way gives a program or an error"
        raise problem

    def _lowered(
        self, tokens: int, grouped: bool, thrifty: bool, show: Show
    ) -> tuple[Graph, Decoder, Lowering, list[Step]]:
        config, sequences = self.config, self.sequences
        of_source, graph = self._graphs(tokens or 1, show)
        attentions = _cached(graph)
        layers = [cached_attention.layer_shape(node, config) for node in attentions]
        layout = CacheLayout(config, self.plan, layers, sequences)
        if tokens:
            positions = next(node for node in graph if node.name == POSITIONS)
            decoder = Decoder(tokens, sequences, layout, attentions, positions)
        else:
            assert of_source is not None, "only with a source no tokens are taken"
            graph, writers = of_source, _cached(of_source)
            places = [place for place, layer in enumerate(layers) if layer.tokens]
            decoder = Decoder(layers[places[0]].tokens, 1, layout, writers, None, fixed=True, places=places)
        shared = SharedDram(config, [*graph.inputs, "pages", "logits", "next"])
        lowering = Lowering(config, shared, decoder, thrifty)
        cut = grouped or thrifty or exceeds(self.model, config, SURELY_CUT)
        return graph, decoder, lowering, lower(graph, lowering, self.tiling, cut, show, groups=grouped)

    def _graphs(self, tokens: int, show: Show) -> tuple[Graph | None, Graph]:
        rows, alone = tokens * self.sequences, self.show or self.ranges or self.source
        of_source, graph = graphs_of(
            None if alone else self.captures, self.model,
            (self.context, rows, str(self.rule), self.rule.default, self.head),
            lambda: decoder_graphs(
                self.model, self.context, rows, self.rule, self.ranges, self.head, show, self.source
            ),
        )  # fmt: skip
        assert graph is not None, "a decoder always has a graph of its tokens"
        return of_source, graph


def decoder_graph(
    model: nn.Module, context: int, rows: int, rule: PrecisionRule, ranges: Ranges | None, head: bool, show: Show
) -> Graph:
    """The graph of quantised operators for `rows` tokens at a time."""
    return decoder_graphs(model, context, rows, rule, ranges, head, show)[1]


def decoder_graphs(
    model: nn.Module, context: int, rows: int, rule: PrecisionRule, ranges: Ranges | None, head: bool, show: Show,
    source: Mapping[str, Tensor] | None = None,
) -> tuple[Graph | None, Graph]:  # fmt: skip
    """(the graph of the source, if there is one, that for `rows` tokens at a time), of quantised operators."""
    ids = torch.zeros((1, max(context, 2)), dtype=torch.int64)
    of_source = None
    name = _name_of_ids(model, source) if source else next(iter(inspect.signature(model.forward).parameters), "")
    graph = _of_logits(closed_graph(model, {**source, name: ids} if source else (ids,), show, ids=name))
    if rule.split:
        graph = split_outliers(graph, rule, ranges)
        show("split_outliers", graph)
    graph = find_idioms(under(graph, rule))
    if source:
        of_source, graph = take_source(find_patterns(graph, ATTENTIONS), name)
        show("take_source", of_source)
        of_source = to_operators(expand(find_patterns(of_source, ENCODER), "rotary"))
        show("fuse", of_source)
        of_source = _quantised(of_source, rule, ranges, show)
        graph = replace(graph, host=[], arguments=[])
    graph = expand(find_patterns(graph, DECODER), "rotary")
    for node in graph:
        if node.op == "cached_attention" and "keys" not in node.attributes:
            cached_attention.take_sight(node)
    graph = take_tokens(graph, rows)
    show("take_tokens", graph)
    graph = to_operators(graph)
    show("fuse", graph)
    if graph.output.op == "linear" and not head:
        graph = replace(graph, outputs=[graph.output.inputs[0]]).without_dead()
    elif graph.output.op == "linear":
        graph.output.attributes["argmax"] = True
    return of_source, _quantised(graph, rule, ranges, show)


def _quantised(graph: Graph, rule: PrecisionRule, ranges: Ranges | None, show: Show) -> Graph:
    if ranges:
        graph = smooth(graph, ranges)
        show("smooth", graph)
    graph = quantise(graph, rule)
    show("quantise", graph)
    return graph


def _cached(graph: Graph) -> list[Node]:
    """What reads or writes the cache."""
    return [node for node in graph if node.op in ("cached_attention", "cache_writer")]


def _name_of_ids(model: nn.Module, source: Mapping[str, Tensor]) -> str:
    """The parameter of forward that is no part of the source. Raises HeddleError unless there is one."""
    parameters = inspect.signature(model.forward).parameters
    others = [name for name, each in parameters.items() if name not in source and each.default is each.empty]
    unknown = [name for name in source if name not in parameters]
    if len(others) != 1 or unknown:
        raise HeddleError(f"a decoder with a source must take that, here {', '.join(source)}, and one input more, the "
                          f"ids of its tokens; forward takes {', '.join(parameters)}")  # fmt: skip
    return others[0]


def _chunk(asked: _Asked) -> Program:
    """The program for as many tokens of a prompt at a time as are quick: from a few on, twice as many as long as they
    fit and a token takes noticeably fewer cycles; where those few do not fit, half of them."""
    longest, columns = asked.plan.tokens, asked.config.columns
    considered: dict[str, int | str] = {}
    sizes = [min(-(-_FEW_TOKENS // columns) * columns, longest)]
    while sizes[-1] * 2 <= longest:
        sizes.append(sizes[-1] * 2)
    best, least = _first_that_fits(asked, sizes[0], considered)
    for tokens in sizes[1:] if best.tokens == sizes[0] else ():
        try:
            program, cycles = asked.program(tokens)
        except NoRoomError as error:
            considered[str(tokens)] = str(error)
            break
        considered[str(tokens)] = found = round(cycles / tokens)
        if found > _WORTH_IT * least:
            break
        best, least = program, found
    choice = Choice("tokens of a prompt at a time", str(best.tokens), considered)
    return replace(best, choices=(choice, *best.choices)).at(0)


def _first_that_fits(asked: _Asked, tokens: int, considered: dict[str, int | str]) -> tuple[Program, int]:
    """Of so many tokens at a time, or of half of them, and so on; and its cycles for a token. Raises HeddleError if not
    even one fits."""
    while True:
        try:
            program, cycles = asked.program(tokens)
        except NoRoomError as error:
            considered[str(tokens)] = str(error)
            if tokens == 1:
                raise
            tokens = tokens // 2 // asked.config.columns * asked.config.columns or 1
        else:
            considered[str(tokens)] = found = round(cycles / tokens)
            return program, found


def _of_logits(graph: Graph) -> Graph:
    """With one result, its logits: the only one, or that of this name. Raises HeddleError if there is none."""
    names = [name or "" for name in graph.names]
    if len(names) > 1 and "logits" not in names:
        raise HeddleError(f"a decoder must return its logits alone, or under the name logits, not {', '.join(names)}")
    place = names.index("logits") if len(names) > 1 else 0
    return replace(graph, outputs=[graph.outputs[place]], names=["logits"]).without_dead()


def _check(plan: CachePlan, tokens: int | None, sequences: int, context: int, source: object) -> None:
    given = {} if tokens is None or (source and tokens == 0) else {"tokens": tokens}
    if source is not None:
        require_type("source", source, Mapping, "example tensors by the names of forward's parameters")
        for name, each in source.items():  # type: ignore[attr-defined]
            require_type(f"{name} of source", each, Tensor, "a tensor")
        if sequences > 1:
            raise HeddleError(f"a decoder with a source takes one sequence at a time, not {sequences}")
    for name, value in {**given, "sequences": sequences, "context": context}.items():
        require_range(name, value, 1, MOST_TOKENS)
    if tokens != 1 and sequences > 1:
        what = "as many as are quick" if tokens is None else tokens
        raise HeddleError(f"a program takes many tokens of one sequence or one token of many, not {what} of each of "
                          f"{sequences}: prefill the sequences one after the other")  # fmt: skip
    if plan.tokens > context:
        raise HeddleError(f"the cache is for {plan.tokens} tokens, but the model's context is {context}")
    if plan.tokens > _MOST_TOKENS:
        raise HeddleError(f"the cache is for {plan.tokens} tokens, but onlinesoftmax places a block of keys at most "
                          f"{_MOST_TOKENS} tokens from a query")  # fmt: skip
    if tokens is not None and tokens > plan.tokens:
        raise HeddleError(f"{tokens} tokens at a time are more than the {plan.tokens} of the cache")

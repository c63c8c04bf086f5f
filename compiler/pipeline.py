"""The compiler: from a PyTorch module to a Program, pass by pass.

    capture         torch.export, functionalised                                model → graph of PyTorch calls
    fold_constants  what depends on constants alone is computed now
    follow_views    reshapes and permutations become layouts
    legalise        calls become the closed set of ir.py, or are refused        → graph of ir
    split_host      what depends on whole numbers and truth alone is for the host
    split_outliers  where asked for: a few channels of a linear layer become one of 16 bits
    fuse            what one operator of ops/ can do is one                     → graph of operators
    smooth          where ranges are given: outliers go from activations to weights
    quantise        weights to codes; activations get dynamic scales (w8a8 unless asked otherwise)
    segments        large models are cut into layers; equal ones are lowered once
    tile            operators become instructions on panels and chunks          → tasks with virtual addresses
    schedule        order by estimated start, with the simulator's durations    → slots
    allocate        buffers get words, in banks where units do not meet
    emit            DRAM laid out, semaphores set (synchronise)                 → Program

The first nine depend on the model alone. For each segment the others are tried with several tilings, the best
schedules are run in the simulator, and the quickest is kept (search, rehearse).

A model whose activations fit on chip is one segment, and is computed all rows at once. Else its rows go through each
layer in groups, activations rest in DRAM between layers, and attention reads keys and values from a cache there. MLPs
are cut into slices of their hidden features where that makes larger groups possible (slices).

What fits in neither way is cut wherever a single value is alive, and its pieces go in fewer and fewer rows: at last in
single ones, the weights of a word of outputs after the other. So refused for want of room is only what has one operator
whose least piece does not fit: a row of what it reads or gives (VALUE, ACT; of an attention the rows that its cache
takes as a block, or where it has no cache all rows), a word of outputs of its weights (WEIGHT), its parameters (PARAM).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from ..arch.config import Config, HardwareConfig, Memory, get_config
from ..arch.errors import HeddleError, NoRoomError, all_of, require_type
from ..arch.errors import shown as in_words
from ..arch.program import Choice, Program
from .builder import Decoder, SharedDram, Tiling
from .cache import CacheLayout, CachePlan
from .capture import Inputs, built_part, capture, named, require_model
from .captures import Captures, graphs_of, shapes_of
from .emit import Step, emit, require_equal
from .evaluators import functions_of, together
from .fold import fold_constants, fold_known
from .fuse import fuse
from .graph import Graph, Node
from .host import split_host
from .ir import verify
from .legalise import legalise
from .macs import count_macs
from .ops import ENCODER, STREAMED, cached_attention
from .outliers import split_outliers
from .precision import PrecisionChoice, PrecisionRule
from .quantise import precisions, quantise
from .rearrange import follow_views
from .schedule import Schedule
from .search import Lowering
from .segments import Segment, segments
from .smooth import Ranges, smooth
from .tabulate import tabulate
from .uncollected import uncollected

Show = Callable[[str, object], None]

# A model of more weights than so many times WEIGHT is tried in groups of rows first, or in no other way.
_LIKELY_STREAMED, _SURELY_STREAMED = 8, 64
_WAYS = {False: "all at once, the model as one piece", True: "in groups, layer by layer, attention from a KV cache"}
THRIFTY = ", in the smallest pieces"
SURELY_CUT = 4  # a decoder of more weights than so many times WEIGHT is cut into its layers


@uncollected()
def compile(
    model: nn.Module,
    example_inputs: Inputs,
    config: Config,
    *,
    name: str = "program",
    output: str = "output",
    precision: PrecisionChoice | None = None,
    tiling: Tiling | None = None,
    show: Show | None = None,
    fused: bool = True,
    ranges: Ranges | None = None,
    captures: Captures | None = None,
) -> Program:
    """A program that computes `model.forward` for one input on the accelerator of `config`.

    example_inputs  tensors of the shapes to compile for, batch dimension 1 in front: a tuple, or a dict by the names of
                    forward's parameters
    config          a HardwareConfig, the name of a preset or the path of a .toml file
    name, output    what the program and its result are called; inputs have the names of forward's parameters
    precision       w8a8, w8a8+outliers, w8a16, w16a16 or bf16, for all layers, or by patterns of the names of layers
                    and modules (see precision.py)
    tiling          how to tile, instead of the quickest way found
    show            called with (pass, result) after each pass; the result prints itself
    fused           False: each operator by itself, as slow as that is
    ranges          those of `calibrate`, for SmoothQuant and outliers
    captures        what compilations of this model share (without `show` and `ranges`)
    A model with parameters on the device "meta" gives a program that can be timed, not run.
    Raises HeddleError for an operator that cannot be lowered (with the line of the model), or a memory too small.
    """
    config = get_config(config)
    _check(model, example_inputs, name, output)
    check_options(tiling, show)
    shown, show = show is not None, show or (lambda name, result: None)
    rule = PrecisionRule(precision, config)
    ways = [True, False] if exceeds(model, config, _LIKELY_STREAMED) else [False, True]
    if exceeds(model, config, _SURELY_STREAMED):
        ways = [True]
    if tiling:
        ways = [tiling.group_rows > 0]
    problems: dict[bool, HeddleError] = {}
    refused: dict[str, int | str] = {}
    for streamed, thrifty in [(way, False) for way in ways] + [(way, True) for way in ways if not tiling]:
        if thrifty and not isinstance(problems[streamed], NoRoomError):
            continue
        way = _WAYS[streamed] + THRIFTY * thrifty
        try:
            operators = STREAMED if streamed else ENCODER
            (graph,) = graphs_of(
                None if shown or ranges else captures, model,
                (shapes_of(example_inputs), str(rule), rule.default, tuple(operators), fused),
                lambda: (front_end(model, example_inputs, show, rule, operators, fused, ranges),),  # noqa: B023
            )  # fmt: skip
            assert graph is not None, "the front end gives one"
            graph = named(graph, output)
            cache = _whole_sequence(graph, config) if streamed else None
            shared = SharedDram(config, [*graph.inputs, *(name or "" for name in graph.names)])
            lowering = Lowering(config, shared, cache, thrifty)
            steps = lower(graph, lowering, tiling, streamed or thrifty, show, groups=streamed)
        except HeddleError as error:
            problems[streamed], refused[way] = error, str(error)
            continue
        considered = refused | {way: sum(step.schedule.cycles for step in steps)} if refused else {}
        choices = [Choice("rows", way, considered), precisions(graph), *_left_out(graph), *lowering.choices]
        program = emit(steps, config, name, lowering.shared, lowering.decoder, choices, count_macs(graph),
                       built_part(model))  # fmt: skip
        program = replace(program, host=tuple(graph.host), arguments=tuple(graph.arguments))
        program.check()
        if shown:
            show("emit", program.listing())
        return program
    raise _unmet([problems[streamed] for streamed in ways])


def _left_out(graph: Graph) -> list[Choice]:
    """What the model returns beside tensors, such as the object of a cache: a program has no place for it."""
    if not graph.left_out:
        return []
    found = ", ".join(f"{path or 'the result'} ({kind})" for path, kind in graph.left_out.items())
    return [Choice("results", f"tensors alone: without {found}")]


def _unmet(problems: Sequence[HeddleError]) -> HeddleError:
    """What to say of a model that can be lowered in no way. What is wrong with the first way is what a user can mend;
    where one lacks room and the other an operator, either may be."""
    room = [each for each in problems if isinstance(each, NoRoomError)]
    others = [each for each in problems if not isinstance(each, NoRoomError)]
    if room and others:
        error = NoRoomError(f"{room[0]}. In another way it might fit, but {others[0]}")
        error.parts = (*room[0].each(), *others[0].each())
        return error
    return problems[0]


def _check(model: object, example_inputs: object, name: object, output: object) -> None:
    require_model(model)
    require_type("example_inputs", example_inputs, (tuple, list, Mapping), "a tuple of tensors, one for each input of "
                 "forward, such as (x,), or a dict of them by name")  # fmt: skip
    given = example_inputs.values() if isinstance(example_inputs, Mapping) else example_inputs
    for each in given:  # type: ignore[attr-defined]
        require_type("each of example_inputs", each, Tensor, "a tensor")
    require_type("name", name, str, "text")
    require_type("output", output, str, "text")


def check_options(tiling: object, show: object) -> None:
    """Raise HeddleError for a tiling, or a function to be shown passes, that is none."""
    require_type("tiling", tiling, (Tiling, type(None)), "a Tiling, or None for the quickest found")
    if show is not None and not callable(show):
        raise HeddleError(f"show must be a function of (pass, result), not {in_words(show)}")


def exceeds(model: nn.Module, config: HardwareConfig, times: int) -> bool:
    """Whether a model has more weights than so many times the words of WEIGHT hold."""
    weights = sum(each.numel() for each in model.parameters())
    return weights > times * config.words(Memory.WEIGHT) * config.columns


def lower(
    graph: Graph, lowering: Lowering, tiling: Tiling | None, cut: bool, show: Show, groups: bool
) -> list[Step]:
    """The segments of a graph of operators, each with the quickest schedule found, or that of a given tiling.

    cut     into layers, of which equal ones share a schedule; else all is one segment
    groups  whether rows go through a segment in groups, though it has an attention
    """
    pieces = segments(graph, finest=lowering.thrifty) if cut else [Segment(graph, (), True)]
    show("segments", "\n".join(str(len(piece.graph.nodes)) + " nodes" for piece in pieces))
    found: dict[tuple, tuple[Schedule, Segment, int]] = {}
    steps, layer = [], 0
    problems: list[NoRoomError] = []
    held = together(functions_of(graph)) if len(pieces) > 1 else None  # one piece sets them where it uses them
    if held and held.held:
        setting = lowering.set_functions(held)
        steps.append(Step(setting, setting.tiles))
    for piece in pieces:
        key = piece.signature, piece.last
        if key not in found:
            try:
                best = lowering.lower(piece, tiling, groups)
            except NoRoomError as error:
                if not lowering.thrifty:  # there is another way to try
                    raise
                problems.append(error)
                continue
            found[key] = best, piece, layer
            for name_of_pass, result in (("tile", best.tiles), ("schedule", best), ("allocate", best.tiles.buffers)):
                show(name_of_pass, result)
            tiles, names = best.tiles, {}
        else:
            best, first, _ = found[key]
            names = {_label(a): _label(b) for a, b in zip(first.graph, piece.graph, strict=True)}
            if best.tiles.timing_only and not best.tiles.data:  # nothing but names tells them apart
                tiles = best.tiles
            else:
                tiles, names = lowering.tile(piece, best.tiles.tiling), {}
                require_equal(tiles, best.tiles)
        steps.append(Step(best, tiles, layer, found[key][2], names))
        layer += len(piece.attentions)
    if problems:
        raise all_of(problems)
    return steps


def _label(node: Node) -> str:
    """What tasks of a node are labelled with."""
    return node.layer or node.name


def _whole_sequence(graph: Graph, config: HardwareConfig) -> Decoder | None:
    """The cache for an encoder whose rows go in groups: all tokens of one sequence."""
    attentions = [node for node in graph if node.op == "cached_attention"]
    if not attentions:
        return None
    layers = [cached_attention.layer_shape(node, config) for node in attentions]
    tokens = max(node.rows for node in attentions)
    layout = CacheLayout(config, CachePlan(tokens), layers, 1)
    return Decoder(tokens, 1, layout, attentions, None, fixed=True)


def closed_graph(model: nn.Module, example_inputs: Inputs, show: Show, ids: str = "") -> Graph:
    """The graph of a model in the closed set (ir.py). What depends on each of the `ids` of a decoder alone is looked up
    in tables, so that the host has nothing to do with them."""
    graph = capture(model, example_inputs)
    show("capture", graph)
    for each in (fold_constants, follow_views, legalise, fold_known):
        graph = each(graph)
        show(each.__name__, graph)
    if ids:
        graph = tabulate(graph, ids)
        show("tabulate", graph)
    verify(graph, "legalise")
    graph = split_host(graph)
    show("split_host", graph)
    return graph


def front_end(
    model: nn.Module, example_inputs: Inputs, show: Show, rule: PrecisionRule | None = None,
    operators: Sequence[str] = ENCODER, fused: bool = True, ranges: Ranges | None = None,
) -> Graph:  # fmt: skip
    """The graph of quantised operators: all that does not depend on the accelerator but for the kind of its PEs."""
    graph = closed_graph(model, example_inputs, show)
    rule = rule or PrecisionRule()
    if rule.split:
        graph = split_outliers(graph, rule, ranges)
        show("split_outliers", graph)
        verify(graph, "split_outliers")
    graph = fuse(graph, operators, fused, rule)
    show("fuse", graph)
    if ranges:
        graph = smooth(graph, ranges)
        show("smooth", graph)
    graph = quantise(graph, rule)
    show("quantise", graph)
    return graph

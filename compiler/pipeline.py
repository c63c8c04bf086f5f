"""The compiler: from a PyTorch module to a Program, pass by pass.

    capture         torch.export, functionalised                                model → graph of PyTorch calls
    fold_constants  what depends on constants alone is computed now
    follow_views    reshapes and permutations become tables of element numbers
    fuse            calls become the operators of ops/, or are refused          → graph of operators
    quantise        weights to codes; activations get dynamic scales (w8a8 unless asked otherwise)
    tile            operators become instructions on panels and chunks          → tasks with virtual addresses
    schedule        order by estimated start, with the simulator's durations    → slots
    allocate        buffers get words, in banks where units do not meet
    emit            DRAM laid out, semaphores set (synchronise)                 → Program

The first five depend on the model alone. The others are tried for several tilings, and the quickest schedule is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor, nn

from ..arch.config import HardwareConfig
from ..arch.errors import HeddleError
from ..arch.program import Choice, Program
from .allocate import FragmentedError, allocate
from .builder import Decoder, Tiling, split_rows
from .capture import capture
from .emit import emit
from .fold import fold_constants
from .fuse import fuse
from .graph import Graph
from .precision import PrecisionChoice, PrecisionRule
from .quantise import quantise
from .rearrange import follow_views
from .schedule import Schedule, schedule
from .tile import longest_panel, tile
from .work import Work

Show = Callable[[str, object], None]

GRAPH_PASSES: list[Callable[[Graph], Graph]] = [fold_constants, follow_views, fuse]
PARTS = (1, 2, 3, 4)  # panels that rows are split into
WEIGHT_SHARES = (4, 8, 16)  # WEIGHT is loaded in chunks of at most one of so many parts
IN_ORDER = (0.35, 0.1, 1.0)  # how much the order of the program counts against the longest chain
MEMORY_SHARES = (1.0, 0.9, 0.75, 0.5, 0.0)  # how far memories are filled ahead; 0: one task after the other


def compile(
    model: nn.Module,
    example_inputs: Sequence[Tensor],
    config: HardwareConfig,
    *,
    name: str = "program",
    output: str = "output",
    precision: PrecisionChoice | None = None,
    tiling: Tiling | None = None,
    show: Show | None = None,
) -> Program:
    """A program that computes `model.forward` for one input on the accelerator of `config`.

    example_inputs  tensors of the shapes to compile for, batch dimension 1 in front
    name, output    what the program and its result are called; inputs have the names of forward's parameters
    precision       w8a8, w8a16, w16a16 or bf16, for all layers or by the names of layers (see precision.py)
    tiling          how to tile, instead of the quickest way found
    show            called with (pass, result) after each pass; the result prints itself
    Raises HeddleError for an operator that cannot be lowered (with the line of the model), or a memory too small.
    """
    show = show or (lambda name, result: None)
    graph = front_end(model, example_inputs, show, PrecisionRule(precision, config))
    best = lower(graph, config, output, tiling)
    for name_of_pass, result in (("tile", best.tiles), ("schedule", best), ("allocate", best.tiles.buffers)):
        show(name_of_pass, result)
    program = emit(best, config, name)
    program.check()
    show("emit", program.listing())
    return program


def lower(
    graph: Graph,
    config: HardwareConfig,
    output: str,
    tiling: Tiling | None = None,
    decoder: Callable[[], Decoder] | None = None,
) -> Schedule:
    """The quickest schedule found for a graph of operators, or that of a given tiling. `decoder` makes a new one."""
    if tiling:
        found = _fitting(graph, config, output, tiling, decoder=decoder)
        return replace(found, choices=(Choice("tiling", str(tiling), {str(tiling): found.cycles}),))
    return _quickest(graph, config, output, decoder)


def front_end(
    model: nn.Module, example_inputs: Sequence[Tensor], show: Show, rule: PrecisionRule | None = None
) -> Graph:
    """The graph of quantised operators: all that does not depend on the accelerator but for the kind of its PEs."""
    graph = capture(model, example_inputs)
    show("capture", graph)
    for each in GRAPH_PASSES:
        graph = each(graph)
        show(each.__name__, graph)
    graph = quantise(graph, rule or PrecisionRule())
    show("quantise", graph)
    return graph


def _quickest(
    graph: Graph, config: HardwareConfig, output: str, decoder: Callable[[], Decoder] | None
) -> Schedule:
    """The schedule with the fewest cycles, by estimate: first the best number of panels, then the best size of chunks,
    then the best weight of program order. If nothing fits, the error is that of the last try, the thriftiest."""
    tried = _Tried(graph, config, output, decoder)
    for parts in _useful_parts(graph, config):
        tried.take(Tiling(parts, WEIGHT_SHARES[0]))
    parts = tried.best.tiles.tiling.parts if tried.best else PARTS[-1]
    for share in WEIGHT_SHARES[1:]:
        tried.take(Tiling(parts, share))
    if tried.best is None:
        tried.take(Tiling(4 * PARTS[-1], WEIGHT_SHARES[-1]))
    if tried.best is None:
        assert tried.problem is not None, "each try gives a schedule or an error"
        raise tried.problem
    tiling = tried.best.tiles.tiling
    for in_order in IN_ORDER[1:]:
        tried.take(tiling, in_order)
    return replace(tried.best, choices=(Choice("tiling", tried.chosen, tried.considered),))


class _Tried:
    """The best schedule so far, and the latest error."""

    def __init__(
        self, graph: Graph, config: HardwareConfig, output: str, decoder: Callable[[], Decoder] | None
    ) -> None:
        self.graph, self.config, self.output, self.decoder = graph, config, output, decoder
        self.best: Schedule | None = None
        self.problem: HeddleError | None = None
        self.considered: dict[str, int | str] = {}  # cycles by estimate, or why it is not possible
        self.chosen = ""

    def take(self, tiling: Tiling, in_order: float = IN_ORDER[0]) -> None:
        """Try one way."""
        what = str(tiling) + ("" if in_order == IN_ORDER[0] else f", program order counting {in_order:g}")
        try:
            found = _fitting(self.graph, self.config, self.output, tiling, in_order, self.decoder)
        except HeddleError as error:
            self.problem, self.considered[what] = error, str(error)
            return
        self.considered[what] = found.cycles
        if self.best is None or found.cycles < self.best.cycles:
            self.best, self.chosen = found, what


def _useful_parts(graph: Graph, config: HardwareConfig) -> list[int]:
    """Those of PARTS that split the rows of this model differently."""
    longest = longest_panel(graph, config)
    rows = sorted({node.rows for node in graph if node.shape})
    splits = {parts: str([split_rows(each, parts, longest, config.columns) for each in rows]) for parts in PARTS}
    return [parts for parts in PARTS if splits[parts] not in [splits[fewer] for fewer in PARTS if fewer < parts]]


def _fitting(
    graph: Graph,
    config: HardwareConfig,
    output: str,
    tiling: Tiling,
    in_order: float = IN_ORDER[0],
    decoder: Callable[[], Decoder] | None = None,
) -> Schedule:
    """A schedule whose buffers find their places: memories are filled less far ahead until they do."""
    tiles = tile(graph, config, tiling, output, decoder() if decoder else None)
    problem, work = None, Work(tiles, config)
    for share in MEMORY_SHARES:
        try:
            return allocate(schedule(tiles, config, share, in_order, work), config)
        except FragmentedError as error:
            problem = error
    assert problem is not None, "there is at least one share"
    raise problem

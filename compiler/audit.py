"""What of a model compiles for a machine, and all that does not, at once: what each call would need instead; what the
host computes, and what of the results has no place in a program."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from ..arch.config import Config, HardwareConfig, get_config
from ..arch.errors import CaptureError, HeddleError, NoRoomError, PrecisionError, Refusal
from ..arch.program import Program
from .cache import CachePlan
from .capture import Inputs
from .decoder import compile_decoder
from .graph import Graph
from .instead import instead_of
from .partition import operations
from .pipeline import Show, compile
from .precision import PrecisionChoice

_KINDS = {NoRoomError: "room", CaptureError: "capture", PrecisionError: "precision"}


@dataclass(frozen=True)
class Finding:
    """Something that keeps a model from compiling, wherever it stands in it in the same way.

    kind     operator: a call that cannot be lowered; room: a memory of the machine is too small; capture: PyTorch
             cannot trace the model; precision: layers and machine do not allow it; model: anything else
    instead  the nearest form that compiles; empty: none is known
    """

    kind: str
    reason: str
    operator: str = ""
    shape: tuple = ()  # of its result
    operands: tuple[tuple, ...] = ()  # shapes of what it reads
    in_modules: tuple[str, ...] = ()  # their paths
    source: str = ""  # "file.py:12: code" of the model
    count: int = 1
    share: float | None = None  # of the operations of the model, 0 to 1; None: not known
    instead: str = ""

    def __str__(self) -> str:
        if self.kind != "operator":
            return f"{self.kind}: {self.reason}"
        where = "".join(f" {word} {what}" for word, what in (("in", ", ".join(filter(None, self.in_modules))),
                                                             ("at", self.source)) if what)  # fmt: skip
        instead = f"; instead: {self.instead}" if self.instead else ""
        return f"{self.count} × {self.operator} of shape {self.shape}{where}: {self.reason}{instead}"


@dataclass(frozen=True)
class HostWork:
    """Calls that the host computes before a launch: they depend on whole numbers and truth alone."""

    operator: str
    in_modules: tuple[str, ...]
    source: str
    count: int


@dataclass(frozen=True)
class Audit:
    """Of a model on a machine. `program` is what it compiles to, or None; then `findings` say why."""

    config: HardwareConfig
    program: Program | None
    findings: list[Finding] = field(default_factory=list)
    host: list[HostWork] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # what else the model returns: its path → its type

    @property
    def compiles(self) -> bool:
        """Whether all of it does."""
        return self.program is not None

    def to_dict(self) -> dict[str, Any]:
        """As --json has it."""
        return {
            "compiles": self.compiles,
            "findings": [asdict(each) for each in self.findings],
            "on_host": [asdict(each) for each in self.host],
            "dropped_results": self.left_out,
        }

    def __str__(self) -> str:
        head = f"all of it compiles for {self.config.title}" if self.compiles else "it does not compile"
        return "\n".join([head, *map(str, self.findings)])


def audit(
    model: nn.Module,
    example_inputs: Inputs | None,
    config: Config,
    *,
    plan: CachePlan | None = None,
    precision: PrecisionChoice | None = None,
    **options: Any,
) -> Audit:
    """What of `model` compiles for the accelerator of `config`, for inputs of these shapes.

    plan     the cache of a decoder, which is then compiled as `compile_decoder` does, without example inputs
    options  others of `compile`, or of `compile_decoder`
    Raises HeddleError for arguments that are none, as `compile` does; what is wrong with the model is in the result.
    """
    config = get_config(config)
    if plan is not None:
        return audit_of(
            lambda show: compile_decoder(model, config, plan, precision=precision, show=show, **options), config
        )
    inputs: Any = example_inputs
    return audit_of(lambda show: compile(model, inputs, config, precision=precision, show=show, **options), config)


def audit_of(compiled: Callable[[Show], Program], config: HardwareConfig) -> Audit:
    """What a compilation, which is given a function to be shown passes, meets. Raises what it raises before it has
    captured the model, unless it cannot be captured."""
    seen = _Seen()
    try:
        program = compiled(seen.show)
    except HeddleError as error:
        if not seen.work and not isinstance(error, CaptureError):
            raise
        return Audit(config, None, _findings(error.each(), seen.work), _host_work(seen.calls), seen.left_out)
    return Audit(config, program, [], _host_work(seen.calls), seen.left_out)


class _Seen:
    """What is to know of the graphs of a model that does or does not compile."""

    def __init__(self) -> None:
        self.work: dict[str, int] = {}  # name of a node → operations
        self.calls: Graph | None = None  # which legalise marks, if the host computes them
        self.left_out: dict[str, str] = {}

    def show(self, name: str, graph: Any) -> None:
        """A pass has this result."""
        if name == "capture":
            self.work = {node.name: operations(node) for node in graph}
            self.left_out = graph.left_out
        elif name == "follow_views":
            self.calls = graph


def _host_work(graph: Graph | None) -> list[HostWork]:
    found: dict[tuple, list[str]] = {}
    for node in graph or ():
        if node.host and node.op not in ("input", "rearrange"):
            found.setdefault((node.op, node.source), []).append(node.layer)
    return [HostWork(operator, _once(layers), source, len(layers)) for (operator, source), layers in found.items()]


def _findings(errors: Iterable[HeddleError], work: dict[str, int]) -> list[Finding]:
    """One for each kind of trouble, however often it is met; those that are the most work first."""
    total = sum(work.values()) or 1
    met: dict[object, list[Refusal]] = {}
    found: list[Finding] = []
    for error in errors:
        refusal = error.refusal
        if refusal is None or isinstance(error, NoRoomError):
            found.append(Finding(_KINDS.get(type(error), "model"), str(error)))
            continue
        same = re.sub(r"\d+", "#", refusal.reason), refusal.operator, refusal.shape, refusal.operands, refusal.source
        met.setdefault(same, []).append(refusal)
    for refusals in met.values():
        first = refusals[0]
        known = [work[name] for each in refusals if (name := _call_of(each.name, work)) is not None]
        found.append(Finding(
            "operator", first.reason, first.operator, first.shape, first.operands,
            _once(each.layer for each in refusals), first.source, len(refusals),
            sum(known) / total if known else None, instead_of(first.operator),
        ))  # fmt: skip
    return sorted(dict.fromkeys(found), key=lambda each: -(each.share or 0))


def _call_of(name: str, work: dict[str, int]) -> str | None:
    """The call that a node was made for."""
    short = re.sub(r"_\d+$", "", name)
    return name if name in work else short if short in work else None


def _once(layers: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layers))

"""torch.compile(model, backend="heddle"): PyTorch's own way to have a model run elsewhere.

    fast = torch.compile(model, backend="heddle", options={"config": "small", "precision": "bf16"})
    y = fast(x)                 # a tensor, computed by the simulator of the accelerator
    print(heddle.last_run())    # its cycles, and what ran in PyTorch instead

Each graph that PyTorch captures is divided: what the compiler knows becomes programs, compiled when they are first run
and again for other shapes or changed parameters; the rest runs in PyTorch, and is listed on standard error. Results
have no gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import heddle
import torch
from heddle.layers import require_type, unknown
from torch import Tensor, fx, nn

_OPTIONS = ("config", "precision", "fused")
_last: LastRun | None = None


@dataclass(frozen=True)
class PartRun:
    """One program of a run, or one that could not be compiled whole (`program` None, with the reason)."""

    name: str
    share: float  # of the operations of the graph
    program: Any = None
    result: Any = None  # what `heddle.simulate` gave
    reason: str = ""


@dataclass(frozen=True)
class LastRun:
    """What the last graph that ran took. `str` of it is a page to read."""

    config: heddle.HardwareConfig
    parts: list[PartRun]
    unsupported: list[Any]  # compiler/partition.py's Unsupported, which ran in PyTorch

    @property
    def cycles(self) -> int:
        """Cycles of all programs, one after the other."""
        return sum(part.result.cycles for part in self.parts if part.result)

    @property
    def share(self) -> float:
        """The part of the operations that the accelerator did, 0 to 1."""
        return sum(part.share for part in self.parts if part.result)

    def __str__(self) -> str:
        lines = [f"{self.cycles:,} cycles on {self.config.title}, which did {self.share:.1%} of the operations"]
        ran = [part for part in self.parts if part.result]
        lines += [f"  {part.name}: {part.result.cycles:,} cycles, {part.share:.1%}" for part in ran]
        return "\n".join(lines + self.fallbacks())

    def fallbacks(self) -> list[str]:
        """A line for each operator or part that ran in PyTorch."""
        found = [f"  in PyTorch, {each.share:.1%}: {each.reason}" for each in self.unsupported]
        return found + [f"  in PyTorch, {part.share:.1%}: {part.reason}" for part in self.parts if not part.result]


def last_run() -> LastRun:
    """What the last graph took that torch.compile ran with the backend "heddle". (Where PyTorch breaks a model into
    several graphs, the last of them.) Raises HeddleError before the first."""
    if _last is None:
        raise heddle.HeddleError('nothing has run yet: call a model of torch.compile(model, backend="heddle")')
    return _last


def backend(graph: fx.GraphModule, example_inputs: Sequence[Any], options: Mapping[str, Any] | None = None) -> Callable:
    """What torch.compile calls for each graph that it captures. `options` are those of `heddle.compile`: config
    (default "small"), precision, fused."""
    require_type("options", options, (Mapping, type(None)), 'a dict, such as {"config": "small"}')
    options = dict(options or {})
    for name in options:
        if name not in _OPTIONS:
            raise unknown("option", name, _OPTIONS, "options of the backend heddle")
    config = heddle.get_config(options.pop("config", "small"))
    heddle.PrecisionRule(options.get("precision"), config)  # a mistake in it is no part that falls back
    return _Region(graph, config, options)


class _Region:
    """One graph, compiled for each kind of inputs that it meets."""

    def __init__(self, graph: fx.GraphModule, config: heddle.HardwareConfig, options: dict[str, Any]) -> None:
        self.graph, self.config, self.options = graph, config, options
        self.places = [node for node in graph.graph.nodes if node.op == "placeholder"]
        self.found: dict[tuple, _Divided | None] = {}

    def __call__(self, *args: Any) -> Any:
        global _last
        held = [self._is_held(node, value) for node, value in zip(self.places, args, strict=True)]
        given = [value for value, fixed in zip(args, held, strict=True) if isinstance(value, Tensor) and not fixed]
        key = tuple(_kind(value, fixed) for value, fixed in zip(args, held, strict=True))
        if key not in self.found:
            self.found[key] = self._divide(args, held)
        divided = self.found[key]
        if divided is None or not given:
            return self.graph(*args)
        with torch.no_grad():
            results = divided(*given)
        _last = divided.last
        return results

    def _is_held(self, node: fx.Node, value: Any) -> bool:
        """Whether an argument is a parameter or buffer of the model."""
        static = node.meta.get("tensor_dict", {}).get("_dynamo_static_input_type")
        return isinstance(value, nn.Parameter) or (isinstance(value, Tensor) and static is not None)

    def _divide(self, args: Sequence[Any], held: Sequence[bool]) -> _Divided | None:
        given = [value for value, fixed in zip(args, held, strict=True) if isinstance(value, Tensor) and not fixed]
        try:
            division = import_module("heddle.compiler.partition").divide(_bound(self.graph, args, held), tuple(given))
        except heddle.HeddleError as error:
            _say([f"  in PyTorch, 100 %: {error}"])
            return None
        return _Divided(division, self.config, self.options)


def _kind(value: Any, fixed: bool) -> Any:
    """What may not change without another compilation: the kind of an input, the numbers of a parameter."""
    if not isinstance(value, Tensor):
        return value
    return (id(value), value._version) if fixed else (value.shape, value.dtype)


def _bound(graph: fx.GraphModule, args: Sequence[Any], held: Sequence[bool]) -> nn.Module:
    """The graph as a module whose inputs are tensors alone: parameters are its own, other arguments are fixed."""
    copy = fx.GraphModule(graph, fx.Graph())
    nodes: dict[fx.Node, Any] = {}
    values = iter(zip(args, held, strict=True))
    for number, node in enumerate(graph.graph.nodes):
        value, fixed = next(values) if node.op == "placeholder" else (None, False)
        if node.op != "placeholder" or isinstance(value, Tensor) and not fixed:
            nodes[node] = copy.graph.node_copy(node, lambda each: nodes[each])
        elif isinstance(value, Tensor):
            copy.register_buffer(f"held_{number}", value.detach())
            nodes[node] = copy.graph.get_attr(f"held_{number}")
        else:
            nodes[node] = value
    copy.recompile()
    return copy


def _say(lines: Sequence[str]) -> None:
    if lines:
        print("\n".join(["heddle: what the accelerator does not compute", *lines]), file=sys.stderr)


@dataclass
class _Divided:
    """A graph in parts, with the programs of those that have run."""

    division: Any
    config: heddle.HardwareConfig
    options: dict[str, Any]
    programs: dict[str, Any] = field(default_factory=dict)  # name → Program, or why there is none
    last: LastRun | None = None

    def __call__(self, *inputs: Tensor) -> Any:
        first = not self.last
        run = _Run(self)
        results = run.run(*inputs)
        self.last = LastRun(self.config, run.parts, self.division.unsupported)
        if first:
            _say(self.last.fallbacks())
        return results

    def program(self, name: str, part: nn.Module, inputs: Sequence[Tensor]) -> Any:
        """The program of a part, or the reason why there is none."""
        if name not in self.programs:
            try:
                self.programs[name] = heddle.compile(part, tuple(inputs), self.config, name=name, **self.options)
            except heddle.HeddleError as error:
                self.programs[name] = str(error)
        return self.programs[name]


class _Run(fx.Interpreter):
    """Runs the divided graph: parts on the accelerator, the rest in PyTorch."""

    def __init__(self, divided: _Divided) -> None:
        super().__init__(divided.division.whole)
        self.divided, self.parts = divided, []

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        share = self.divided.division.parts.get(target)
        if share is None:
            return super().call_module(target, args, kwargs)
        part = self.fetch_attr(target)
        program = self.divided.program(target, part, args)
        if isinstance(program, str):
            self.parts.append(PartRun(target, share, reason=program))
            return super().call_module(target, args, kwargs)
        names = list(program.takes().items())
        inputs = {name: each.numpy(force=True).reshape(shape) for (name, shape), each in zip(names, args, strict=True)}
        result = heddle.simulate(program, [inputs])
        self.parts.append(PartRun(target, share, program, result))
        return _as_tensors(part, list(result.outputs.values()))


def _as_tensors(part: fx.GraphModule, arrays: list[Any]) -> Any:
    """The results of a program, in the shapes and types that the part gives them."""
    (structure,) = part.graph.output_node().args
    single = isinstance(structure, fx.Node)
    nodes = [structure] if single else list(structure)  # type: ignore[arg-type]
    values = [each.meta["val"] for each in nodes]  # type: ignore[union-attr]
    tensors = [torch.from_numpy(array.copy()).reshape(value.shape).to(value.dtype)
               for array, value in zip(arrays, values, strict=True)]  # fmt: skip
    return tensors[0] if single else tuple(tensors)

"""What a point is timed on: a model by its name or the path of its config.json, without weights wherever it can be.

A process builds a model once, and compiles it for any number of machines from what it captured once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..arch.config import PRESETS, HardwareConfig
from ..arch.errors import HeddleError, require_type, unknown
from ..arch.program import Program
from ..arch.ranges import require_range

MOST_TOKENS = 1 << 24
KEPT = 8  # models with what was captured of them, in a process


@dataclass(frozen=True)
class Workload:
    """A model and how much of it is run.

    model      one that `heddle compile` knows: bert-base, gpt2-small, digits-vit, …, or the path of a config.json
    tokens     length of the sequence (default: the longest); of a decoder the tokens of one run: 1 decodes
    context    of a decoder: tokens that its cache has room for (default: what the model has, at most 4,096)
    position   of a decoder: tokens that are cached already (default: all but the last run's)
    batch      of a decoder with tokens = 1: sequences that take a token each
    layers     of a full-size model (default: all)
    precision  w8a8, w8a16, w16a16 or bf16 (default: that of the PEs)
    weight     how much it counts where several workloads are summed up
    """

    model: str
    name: str = ""
    tokens: int | None = None
    context: int | None = None
    position: int | None = None
    batch: int = 1
    layers: int | None = None
    precision: str | None = None
    weight: float = 1

    def __post_init__(self) -> None:
        require_type("model of a workload", self.model, str, "the name of a model, or the path of a config.json")
        for name in ("name", *(("precision",) if self.precision is not None else ())):
            require_type(f"{name} of a workload", getattr(self, name), str, "text")
        for name, least in (("tokens", 1), ("context", 1), ("position", 0), ("batch", 1), ("layers", 1)):
            if getattr(self, name) is not None:
                require_range(f"{name} of a workload", getattr(self, name), least, MOST_TOKENS)
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not 0 < self.weight < 1e12:
            raise HeddleError(f"weight of a workload must be a number above 0, not {self.weight!r}")
        if not self.name:
            object.__setattr__(self, "name", self.model)

    @classmethod
    def from_dict(cls, content: object) -> Workload:
        """From a table of fields, or the name of a model. Raises HeddleError for unknown ones."""
        if isinstance(content, Workload):
            return content
        if isinstance(content, str):
            return cls(content)
        require_type("a workload", content, Mapping, "the name of a model, or a table with model = …")
        known = [each.name for each in fields(cls)]
        for name in content:  # type: ignore[attr-defined]
            if name not in known:
                raise unknown("field of a workload", name, known, "fields")
        if "model" not in content:  # type: ignore[operator]
            raise HeddleError("a workload must say its model, such as model = 'bert-base'")
        return cls(**content)  # type: ignore[arg-type]

    def changed(self, values: Mapping[str, Any]) -> Workload:
        """The same with other values in some fields; its name stays. Raises HeddleError for a value that none can
        be."""
        return replace(self, **values) if values else self

    def identity(self) -> dict[str, Any]:
        """What decides its cycles, as plain values; of a file, its text."""
        content = {key: value for key, value in asdict(self).items() if key not in ("name", "weight")}
        path = _config_file(self.model)
        return content | ({"file": path.read_text()} if path else {})


FIELDS = tuple(each.name for each in fields(Workload) if each.name not in ("name", "weight"))


class _Model:
    """One model of this process."""

    def __init__(self, name: str, layers: int | None, context: int | None) -> None:
        from ..compiler.captures import Captures

        self.captures = Captures()
        self.output, self.decoder, self.context = "output", False, 0
        self.example_inputs: Any = None
        from ..models.registry import WORKLOADS
        from ..models.text import LANGUAGE_MODELS

        if name in WORKLOADS or name in LANGUAGE_MODELS:
            if layers is not None:
                raise HeddleError(f"layers is for full-size models, such as gpt2-xl; {name} is compiled whole")
            self.module = (WORKLOADS.get(name) or LANGUAGE_MODELS[name]).model()
            if name in LANGUAGE_MODELS:
                self.decoder, self.context = True, LANGUAGE_MODELS[name].context
            else:
                workload, self.output = WORKLOADS[name], WORKLOADS[name].output
                self.example_inputs = lambda tokens: workload.example_inputs()
            return
        shape = shape_of(name)
        self.context, self.decoder = shape.context, shape.decoder
        shape = shape.cut(min(self.context, 4096) if context is None else context)
        try:
            self.module = shape.build(layers)
        except ValueError as error:  # models stand alone, and do not know our errors
            raise HeddleError(str(error)) from None
        self.example_inputs = shape.example_inputs


_MODELS: OrderedDict[tuple, _Model] = OrderedDict()


def _model(workload: Workload) -> _Model:
    key = workload.model, workload.layers, workload.context
    if key not in _MODELS:
        _MODELS[key] = _Model(*key)
        while len(_MODELS) > KEPT:
            _MODELS.popitem(last=False)
    _MODELS.move_to_end(key)
    return _MODELS[key]


def compiled(workload: Workload, config: HardwareConfig) -> Program:
    """The program of a workload for a machine, of a decoder at its position. Raises HeddleError for what cannot be."""
    from ..compiler.cache import CachePlan
    from ..compiler.decoder import compile_decoder
    from ..compiler.pipeline import compile as compile_model

    model = _model(workload)
    if not model.decoder:
        for name, given, right in (("context", workload.context, None), ("position", workload.position, None),
                                   ("batch", workload.batch, 1)):  # fmt: skip
            if given != right:
                raise HeddleError(f"{name} is for decoders; {workload.model} has no cache")
        if workload.tokens is not None and workload.model in _fixed():
            raise HeddleError(f"tokens is for full-size and language models; {workload.model} has one size")
        try:
            inputs = model.example_inputs(workload.tokens)
        except ValueError as error:
            raise HeddleError(str(error)) from None
        return compile_model(model.module, inputs, config, name=workload.name, output=model.output,
                             precision=workload.precision, captures=model.captures)  # fmt: skip
    tokens = 1 if workload.tokens is None else workload.tokens
    context = min(model.context, 4096) if workload.context is None else workload.context
    require_range(f"context of {workload.model}", context, 1, model.context)
    require_range(f"tokens of {workload.model}", tokens, 1, context)
    if workload.batch > 1 and tokens > 1:
        raise HeddleError(f"batch is for tokens = 1: {workload.model} takes {tokens} tokens of one sequence at a time")
    last = context - tokens
    position = last if workload.position is None else workload.position
    require_range(f"position of {workload.model}", position, 0, last)
    program = compile_decoder(
        model.module, config, CachePlan(context), tokens=tokens, sequences=workload.batch, context=context,
        head=tokens == 1, name=workload.name, precision=workload.precision, captures=model.captures,
    )  # fmt: skip
    return program.at(*[position] * workload.batch)


def lacks_room(workload: Workload, config: HardwareConfig) -> str:
    """Why a machine surely has no room for a workload, in a line; empty if it may have, and where more than room is
    wrong: that is for `compiled` to say. Takes a second for a model and a precision, and then microseconds."""
    from ..compiler.room import lacking

    return lacking(_needs(workload, config.pe), config)


@lru_cache(maxsize=256)
def _needs(workload: Workload, pe: str) -> tuple[Any, ...]:
    from ..compiler.decoder import decoder_graph
    from ..compiler.ops import STREAMED
    from ..compiler.pipeline import front_end
    from ..compiler.precision import PrecisionRule
    from ..compiler.room import needs

    try:
        model = _model(workload)
        rule = PrecisionRule(workload.precision, replace(PRESETS["base"], pe=pe))
        if not model.decoder:
            graph = front_end(model.module, model.example_inputs(workload.tokens), _silent, rule, STREAMED)
        else:
            tokens = 1 if workload.tokens is None else workload.tokens
            context = min(model.context, 4096) if workload.context is None else workload.context
            graph = decoder_graph(model.module, context, tokens * workload.batch, rule, None, tokens == 1, _silent)
        return tuple(needs(graph))
    except (HeddleError, ValueError):
        return ()


def _silent(name: str, result: object) -> None:
    pass


def check(workload: Workload) -> None:
    """Raise HeddleError for a model that there is not. Builds nothing."""
    if workload.model not in _fixed():
        shape = shape_of(workload.model)
        try:
            shape.check_layers(workload.layers)
        except ValueError as error:
            raise HeddleError(str(error)) from None


def _fixed() -> list[str]:
    """Models of one size, with weights."""
    from ..models.registry import WORKLOADS
    from ..models.text import LANGUAGE_MODELS

    return [*WORKLOADS, *LANGUAGE_MODELS]


def shape_of(name: str) -> Any:
    """A full-size model without weights. Raises HeddleError if there is none of that name or at that path."""
    from ..models.shapes import SHAPES, find

    if name not in SHAPES and _config_file(name) is None:
        raise unknown("model", name, [*_fixed(), *SHAPES], "models", ", or the path of a config.json")
    try:
        return find(name)
    except ValueError as error:
        raise HeddleError(str(error)) from None


def _config_file(name: str) -> Path | None:
    path = Path(name) / "config.json" if name and Path(name).is_dir() else Path(name)
    return path if path.suffix == ".json" and path.is_file() else None

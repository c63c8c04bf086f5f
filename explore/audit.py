"""Points of a front on their own RTL: a tiny model of the same operators, in lock-step, every bit and every cycle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError, ToolError
from ..arch.files import write_whole
from ..arch.program import Program
from .figures import values_of
from .frame import on_fronts
from .space import Point
from .sweep import Sweep
from .workload import Workload, shape_of

# Fields of a model's configuration → what they are in a tiny one of the same kind.
TINY = {
    "depth": 1, "width": 32, "heads": 2, "hidden": 48, "vocabulary": 24, "context": 32, "positions": 16, "classes": 3,
    "head": 0, "image_size": 8, "patch_size": 4, "query_rank": 24, "kv_rank": 16, "plain_width": 8, "rotary_width": 8,
    "value_width": 8,
}  # fmt: skip
TOKENS = 8  # at most, of a run
SEED = 7
FILE = "audit.json"  # in the folder of a sweep


@dataclass(frozen=True)
class Audit:
    """One point and workload: what differed between simulator and RTL. It agrees if both are zero."""

    point: Point
    workload: str
    program: str
    cycles: int
    different_bytes: int
    different_cycles: int
    error: str = ""

    @property
    def agrees(self) -> bool:
        """Whether every bit and every cycle is the same."""
        return not (self.error or self.different_bytes or self.different_cycles)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def audit(
    sweep: Sweep, count: int, engine: str = "verilator", progress: Callable[[Audit], None] | None = None
) -> list[Audit]:  # fmt: skip
    """The first `count` points of the front, by the first objective, spread over it; each on its own RTL."""
    outcomes = sweep.outcomes
    front = [each for each, on in zip(outcomes, on_fronts(sweep, outcomes), strict=True) if on]
    front.sort(key=lambda each: values_of(sweep.space.objectives, each.figures))
    places = sorted({round(place) for place in np.linspace(0, len(front) - 1, min(count, len(front)))})
    found = []
    for place in places:
        point = front[place].point
        for workload in sweep.space.workloads:
            found.append(_audit(point, sweep.machine(point), sweep.workload(point, workload), engine))
            if progress:
                progress(found[-1])
    return found


def write(folder: Path, found: list[Audit]) -> None:
    """Keep them beside the rows."""
    write_whole(folder / FILE, json.dumps([each.to_dict() for each in found], indent=1))


def read(folder: Path | None) -> list[Audit]:
    """Those that a sweep has kept; none if there are none."""
    if folder is None or not (folder / FILE).is_file():
        return []
    return [Audit(**each) for each in json.loads((folder / FILE).read_text())]


def _audit(point: Point, config: HardwareConfig, workload: Workload, engine: str) -> Audit:
    from ..cosim.lockstep import lockstep

    try:
        program, inputs = tiny_program(workload, config)
        comparison = lockstep(program, inputs, engine)
    except (HeddleError, ToolError) as error:
        return Audit(point, workload.name, "", 0, 0, 0, str(error).partition("\n")[0])
    return Audit(point, workload.name, program.name, comparison.cycles, comparison.different_bytes,
                 comparison.different_cycles)  # fmt: skip


def tiny_program(workload: Workload, config: HardwareConfig) -> tuple[Program, dict[str, Any]]:
    """A program of a tiny model with the operators of a workload's, and inputs for it. The memory behind the port stays
    that of the machine."""
    import torch

    from ..compiler.cache import CachePlan
    from ..compiler.decoder import compile_decoder
    from ..compiler.pipeline import compile as compile_model
    from ..models.huggingface import architecture_of
    from ..models.registry import WORKLOADS

    random = np.random.RandomState(SEED)
    if workload.model in WORKLOADS:
        known = WORKLOADS[workload.model]
        program = compile_model(known.model(), known.example_inputs(), config, name=f"{known.name} (audit)",
                                output=known.output, precision=workload.precision)  # fmt: skip
        return program, {name: each[0] for name, each in known.load(1).inputs.items()}
    shape = replace(shape_of(workload.model), config=tiny_config(shape_of(workload.model).config))
    torch.manual_seed(SEED)
    module = architecture_of(shape.config)(shape.config).eval()
    with torch.no_grad():
        for each in module.parameters():
            each.copy_(torch.randn(each.shape) * 0.2 + (each.dim() == 1))
    name = f"{shape.name}, tiny (audit)"
    if not shape.decoder:
        program = compile_model(module, shape.example_inputs(), config, name=name, precision=workload.precision)
        return program, {each.name: _numbers(each, random) for each in program.inputs()}
    tokens = 1 if workload.tokens in (None, 1) else min(TOKENS, workload.tokens or 1)
    program = compile_decoder(module, config, CachePlan(shape.context), tokens=tokens, context=shape.context,
                              head=tokens == 1, name=name, precision=workload.precision)  # fmt: skip
    position = shape.context // 2
    inputs = {each.name: _numbers(each, random) for each in program.inputs()}
    inputs["positions"] = np.arange(position, position + tokens, dtype=np.int32).reshape(inputs["positions"].shape)
    inputs["pages"] = np.arange(inputs["pages"].size, dtype=np.int32).reshape(inputs["pages"].shape)
    return program.at(position), inputs


def tiny_config(config: Any) -> Any:
    """The configuration of a tiny model of the same kind: what makes it another architecture stays."""
    known = {each.name for each in fields(config)}
    changes = {name: value for name, value in TINY.items() if name in known}
    if "kv_heads" in known:
        changes["kv_heads"] = 1 if config.kv_heads < config.heads else changes["heads"]
    if "window" in known and config.window:
        changes["window"] = changes["context"] // 2
    return replace(config, **changes)


def _numbers(tensor: Any, random: np.random.RandomState) -> np.ndarray:
    """Ids that their tables have, or numbers."""
    if tensor.memory in (Memory.INDEX, Memory.PAGE):
        return random.randint(0, tensor.limit or 2, tensor.shape).astype(np.int32)
    return random.randn(*tensor.shape).astype(np.float32)

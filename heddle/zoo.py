"""Rows of the zoo (models/zoo.py), measured: compiled, simulated, compared with PyTorch and with the RTL.

Each tiny model is compiled for one machine, `small` with values in float32, at w16a16, and every result must reach
SQNR_DB against PyTorch in float32. The full shapes are timed without weights, on a machine that is made for them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import heddle
import numpy as np
import torch
from heddle.layers import unknown
from numpy.typing import NDArray
from torch import Tensor, nn

ZOO = import_module("heddle.models.zoo").ZOO
PRECISION = "w16a16"
SQNR_DB = 40.0  # that each result must reach: that of w16a16 among the golden thresholds
BEGIN, END = "<!-- zoo -->", "<!-- end of zoo -->"
_OPTIMISERS = {
    "sgd": (heddle.SGD(0.1, 0.9), lambda each: torch.optim.SGD(each, 0.1, momentum=0.9)),
    "adamw": (heddle.AdamW(1e-3), lambda each: torch.optim.AdamW(each, 1e-3)),
}


@dataclass(frozen=True)
class Row:
    """What was found of a system: `state` is ok, wrong, refused (then with the reason)."""

    name: str
    paper: str
    state: str
    reason: str = ""
    sqnr_db: float | None = None  # the least of the results; None where all are exact
    result_count: int = 0
    instructions: int = 0
    cycles: int = 0
    mac_utilisation: float | None = None


@dataclass(frozen=True)
class Trial:
    """A row, with the program and the inputs that it was found with, where there are any."""

    row: Row
    program: Any = None
    inputs: dict[str, NDArray[Any]] | None = None


def machine() -> heddle.HardwareConfig:
    """What the tiny models run on."""
    return replace(heddle.get_config("small"), name="small-float32", value_format="float32")


def systems(names: Sequence[str]) -> list[Any]:
    """The rows of these names, all if there are none. Raises HeddleError for one that is not there."""
    for name in names:
        if name not in ZOO:
            raise unknown("system", name, ZOO, "systems")
    return [ZOO[name] for name in dict.fromkeys(names)] or [*ZOO.values()]


def sqnr_db(theirs: NDArray[Any], ours: NDArray[Any]) -> float:
    """10·log10(Σ y² / Σ (y − ŷ)²); infinite where nothing differs."""
    theirs, ours = theirs.astype(np.float64), ours.astype(np.float64).reshape(theirs.shape)
    noise = float(((theirs - ours) ** 2).sum())
    if not noise:
        return float("inf")
    return float(10 * np.log10((theirs**2).sum() / noise)) if theirs.any() else float("-inf")


def argument_names(model: nn.Module, count: int) -> list[str]:
    """What a program calls the arguments of forward; those of *weights have numbers behind the name."""
    names: list[str] = []
    for name, each in inspect.signature(model.forward).parameters.items():
        several = each.kind is each.VAR_POSITIONAL
        names += [f"{name}_{place}" for place in range(count - len(names))] if several else [name]
    return names


def flat(results: Any) -> list[NDArray[Any]]:
    """The tensors of what a model returns, in the order of a program's outputs."""
    if isinstance(results, Tensor):
        return [results.detach().numpy()]
    parts = results.values() if isinstance(results, dict) else results
    return [each for part in parts for each in flat(part)]


def trial(system: Any, config: heddle.HardwareConfig | None = None, precision: str = PRECISION) -> Trial:
    """Compile a system, simulate it and compare every result with PyTorch."""
    config = config or machine()
    try:
        program, inputs, theirs = _trained(system, config) if system.optimiser else _called(system, config, precision)
    except heddle.HeddleError as error:
        return Trial(Row(system.name, system.paper, "refused", str(error).splitlines()[0][:200]))
    result = heddle.simulate(program, inputs)
    ours = list(result.outputs.values())
    least = min(sqnr_db(a, b) for a, b in zip(theirs, ours, strict=True))
    row = Row(
        system.name, system.paper, "ok" if least >= SQNR_DB else "wrong", "",
        least if np.isfinite(least) else None, len(theirs), len(program.instructions), result.cycles,
        result.mac_utilisation,
    )  # fmt: skip
    return Trial(row, program, inputs)


def _called(
    system: Any, config: heddle.HardwareConfig, precision: str
) -> tuple[Any, dict[str, NDArray], list[NDArray]]:
    """(program, inputs, what PyTorch gives) of one call."""
    model, arguments = system.build()
    program = heddle.compile(model, arguments, config, name=system.name, precision=precision)
    takes = program.takes()
    names = argument_names(model, len(arguments))
    inputs = {name: each.numpy().reshape(takes[name]) for name, each in zip(names, arguments, strict=True)
              if name in takes}  # fmt: skip
    with torch.no_grad():
        return program, inputs, flat(model(*arguments))


def _trained(system: Any, config: heddle.HardwareConfig) -> tuple[Any, dict[str, NDArray], list[NDArray]]:
    """The same of a step of training: its loss, and all weights after it as torch.optim has them."""
    model, batch = system.build()
    ours, theirs = _OPTIMISERS[system.optimiser]
    training = heddle.Training(model, batch, config, ours, precision=PRECISION)
    inputs = training.feed(*batch)
    optimiser = theirs(model.parameters())
    loss = model(*batch)
    loss.backward()
    optimiser.step()
    moments = {"velocity": "momentum_buffer", "mean": "exp_avg", "square": "exp_avg_sq"}
    after = [each.detach().numpy() for each in model.parameters()]
    for name in ours.moments:
        after += [optimiser.state[each][moments[name]].numpy() for each in model.parameters()]
    return training.program, inputs, [loss.detach().numpy(), *after]


@dataclass(frozen=True)
class Full:
    """The shape of the paper, timed without weights; refused: only the reason."""

    cycles: int | None = None
    mac_utilisation: float | None = None
    load_bytes: int | None = None
    reason: str = ""


def full(system: Any, config: heddle.HardwareConfig) -> Full | None:
    """None where a system has no such shape."""
    if system.full is None:
        return None
    model, arguments = system.full()
    try:
        program = heddle.compile(model, arguments, config, name=system.name)
    except heddle.HeddleError as error:
        return Full(reason=str(error).splitlines()[0][:200])
    result = heddle.simulate(program, values=False)
    return Full(result.cycles, result.mac_utilisation, result.bytes["load"])


def table(rows: Sequence[Row], comparisons: dict[str, Any]) -> str:
    """The part of docs/models.md that is between BEGIN and END, with both."""
    config = machine()
    lines = [
        BEGIN, "",
        f"The systems that Heddle is for, each a readable file in `models/` from its paper, small and with weights "
        f"from a seed, on `small` ({config.rows} × {config.columns} int8 PEs) with values in {config.value_format}, at "
        f"{PRECISION}: every result reaches {SQNR_DB:g} dB against PyTorch, loss and updated weights included. "
        f"`make zoo` makes it.", "",
        "| system | paper | results | least SQNR | instructions | cycles | utilisation | bytes, cycles that differ "
        "from the RTL |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        if row.state == "refused":
            reason = row.reason.replace("|", "\\|")
            lines.append(f"| {row.name} | {row.paper} | refused: {reason} | | | | | |")
            continue
        found = comparisons.get(row.name)
        differs = f"{found.different_bytes}, {found.different_cycles}" if found else ""
        level = "exact" if row.sqnr_db is None else f"{row.sqnr_db:.1f} dB"
        level += " (too little)" if row.state == "wrong" else ""
        use = "" if row.mac_utilisation is None else f"{row.mac_utilisation:.1%}"
        lines.append(f"| {row.name} | {row.paper} | {row.result_count} | {level} | {row.instructions:,} | "
                     f"{row.cycles:,} | {use} | {differs} |")  # fmt: skip
    return "\n".join([*lines, "", END])


def section(page: str) -> str:
    """The part of a page that `table` makes; empty where it has none."""
    found = re.search(f"{re.escape(BEGIN)}.*?{re.escape(END)}", page, re.S)
    return found.group() if found else ""

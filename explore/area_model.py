"""Gates of a machine that nobody has synthesised: a model by unit, fitted to those that were.

    python -m heddle.explore.area_model          prints what it is fitted to, and how far off it is

Gate equivalents of a unit are a sum of what it is made of, each with a price that is not below zero: a constant, and
what grows with the machine (PEs, lanes, banks, the port). Prices are fitted to `heddle synth --target generic` of a
few machines (gates.json, and base of area.json), so that relative errors are least. SRAM is apart: its bits are
counted, not fitted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from ..arch.config import PRESETS, HardwareConfig, Memory
from ..arch.errors import HeddleError
from .table import committed

FILE = Path(__file__).with_name("gates.json")
KINDS = ("pe", "vector_format", "value_format")  # fields whose values must have been measured
Terms = Callable[[HardwareConfig], Sequence[float]]


class Measured(NamedTuple):
    """Units of a machine and their gate equivalents."""

    config: HardwareConfig
    gates: dict[str, float]


def _memory(memory: Memory) -> Terms:
    """A port for each bank, and ways to them from several units."""
    return lambda config: (1, config.banks(memory) * config.word_bits(memory))


def _port(config: HardwareConfig) -> Sequence[float]:
    return 1, config.axi_bytes


# Unit → what it is made of; others are constant. Lanes are squared for trees and shuffles between lanes.
TERMS: dict[str, Terms] = {
    "matrix": lambda config: (1, config.rows * config.columns, config.rows + config.columns),
    "vector": lambda config: (1, config.vector_lanes),
    "softmax": lambda config: (1, config.vector_lanes),
    "norm": lambda config: (1, config.vector_lanes),
    "load": _port, "store": _port, "kv": lambda config: (1, config.vector_lanes, config.axi_bytes),
    "fetch": lambda config: (1, config.axi_bytes), "dispatch": lambda config: (1, config.queue_depth),
    **{f"{memory.name.lower()}_memory": _memory(memory)
       for memory in (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.ACC, Memory.ROW)},
}  # fmt: skip


@cache
def measurements() -> list[Measured]:
    """The machines whose units were synthesised, all or some."""
    base = {unit: each["gate_equivalents"] for unit, each in committed("base")["units"].items()}
    found = [Measured(PRESETS["base"], base)]
    for entry in json.loads(FILE.read_text())["machines"]:
        config = replace(PRESETS[entry["preset"]], **entry["changes"])
        found.append(Measured(config, entry["gate_equivalents"]))
    return found


def unmeasured(config: HardwareConfig) -> str:
    """Why the model says nothing of a machine, in words; empty if it does."""
    for name in KINDS:
        known = {getattr(each.config, name) for each in measurements()}
        if getattr(config, name) not in known:
            return (f"no machine with {name} = {getattr(config, name)} was synthesised: the area model knows "
                    f"{', '.join(sorted(known))}")  # fmt: skip
    return ""


def gates(config: HardwareConfig) -> dict[str, float]:
    """Gate equivalents by unit. Raises HeddleError for a kind of machine that was not measured."""
    if reason := unmeasured(config):
        raise HeddleError(reason)
    return _modelled(config, measurements())


def _modelled(config: HardwareConfig, known: Sequence[Measured]) -> dict[str, float]:
    units = {unit: None for each in known for unit in each.gates}
    return {unit: float(np.dot(_prices(unit, known), _terms(unit, config))) for unit in units}


def _prices(unit: str, known: Sequence[Measured]) -> np.ndarray:
    """Of each term, so that the sum of squares of relative errors is least. Of fewer machines than terms, the first
    terms are left out: of one, a unit is taken to grow with its last."""
    rows = [(np.array(_terms(unit, each.config), float), each.gates[unit]) for each in known if unit in each.gates]
    matrix = np.array([terms / gates for terms, gates in rows])
    matrix[:, : max(0, matrix.shape[1] - len(rows))] = 0
    scale = np.where(matrix.max(0) > 0, matrix.max(0), 1)
    return nnls(matrix / scale, np.ones(len(rows)))[0] / scale


def _terms(unit: str, config: HardwareConfig) -> Sequence[float]:
    return TERMS.get(unit, lambda _: (1,))(config)


@cache
def held_out() -> list[tuple[str, str, float, float]]:
    """(machine, unit, measured, modelled without that machine) of each unit that two others were measured of."""
    found = []
    for place, each in enumerate(measurements()):
        others = measurements()[:place] + measurements()[place + 1 :]
        for unit, value in each.gates.items():
            if sum(unit in other.gates for other in others) >= 2:
                model = float(np.dot(_prices(unit, others), _terms(unit, each.config)))
                found.append((each.config.title, unit, value, model))
    return found


@cache
def mean_error() -> float | None:
    """The mean of |modelled − measured| / measured over the machines held out, all their units summed up; None if there
    are none."""
    sums: dict[str, tuple[float, float]] = {}
    for machine, _, value, model in held_out():
        before = sums.get(machine, (0.0, 0.0))
        sums[machine] = before[0] + value, before[1] + model
    return float(np.mean([abs(model / value - 1) for value, model in sums.values()])) if sums else None


def main() -> None:
    """Print what it is fitted to, and the errors of units held out."""
    for each in measurements():
        total = sum(each.gates.values())
        model = sum(value for unit, value in _modelled(each.config, measurements()).items() if unit in each.gates)
        print(f"{each.config.title}, {len(each.gates)} units: {total:,.0f} GE measured, {model:,.0f} fitted")
    for machine, unit, value, model in held_out():
        print(f"held out: {machine} {unit}: {value:,.0f} GE measured, {model:,.0f} modelled ({model / value - 1:+.1%})")
    print("mean error of machines held out:", "unknown" if (error := mean_error()) is None else f"{error:.1%}")


if __name__ == "__main__":
    main()

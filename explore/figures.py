"""Figures of a row: what is worked out from what ran, a machine and tables, in microseconds; never kept with rows.

    seconds, cycles, mac_utilisation, …   of the run, at the machine's clock
    energy_j (energy_j_low, _high)        by an energy table (energy.py): joules, with their band
    edp, pj_per_mac                       joule-seconds; picojoules for each useful multiply-accumulate
    area_ge, sram_bits                    by the area model (area_model.py): gate equivalents; bits of SRAM
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError, unknown
from . import area_model
from .energy import Table, energy, total
from .expressions import Expression
from .space import Objective, Space

Figures = dict[str, Any]


def machine_figures(config: HardwareConfig) -> Figures:
    """What a machine has, whatever it runs."""
    return dict(_machine_figures(config))


@lru_cache(maxsize=1 << 14)
def _machine_figures(config: HardwareConfig) -> tuple[tuple[str, Any], ...]:
    bits = sum(config.words(memory) * config.word_bits(memory) for memory in Memory)
    area = () if area_model.unmeasured(config) else (("area_ge", round(sum(area_model.gates(config).values()))),)
    return (("sram_bits", bits), *area)


def run_figures(row: Mapping[str, Any], config: HardwareConfig, table: Table) -> Figures:
    """What a run of the machine gave, by a table of energies; nothing for a row without one."""
    if row["status"] != "ok":
        return {}
    cycles, macs = row["cycles"], row["useful_macs"]
    seconds = cycles / (config.clock_mhz * 1e6)
    events = row["events"]
    joules = total(energy(events, config, table))
    return {
        "cycles": cycles, "seconds": seconds, "useful_macs": macs, "instructions": row["instructions"],
        "mac_utilisation": macs / (config.rows * config.columns * cycles),
        "macs_per_second": macs / seconds,
        "port_bytes": events.get("port.read_bytes", 0) + events.get("port.written_bytes", 0),
        "energy_j": joules.value, "energy_j_low": joules.low, "energy_j_high": joules.high,
        "edp": joules.value * seconds, "pj_per_mac": joules.value * 1e12 / macs if macs else None,
        **{f"{unit}_busy": busy / cycles for unit, busy in row["busy_cycles"].items()},
    }  # fmt: skip


def summed(space: Space, of_workloads: Mapping[str, Figures], of_machine: Figures) -> Figures:
    """Figures of a machine over all workloads: sums by their weights, of what can be added; means of shares."""
    weights = sum(each.weight for each in space.workloads)
    found: Figures = dict(of_machine)
    names = [*next(iter(of_workloads.values()), {})]
    for name in names:
        values = [(each.weight, of_workloads[each.name][name]) for each in space.workloads]
        if any(value is None for _, value in values):
            continue
        added = sum(weight * value for weight, value in values)
        found[name] = added / weights if _is_share(name) else added
    return found


def _is_share(name: str) -> bool:
    return name.endswith(("_busy", "_utilisation", "_per_second", "_per_mac"))


def broken(require: Sequence[Expression], figures: Figures, point: Mapping[str, Any]) -> str:
    """Which of the conditions the figures break, in words; empty if none."""
    for each in require:
        names = {**point, **figures}
        if not each.value(names):
            shown = ", ".join(f"{name} is {_shown(names[name])}" for name in sorted(each.names))
            return f"requires {each.text}: {shown}"
    return ""


def excess(require: Sequence[Expression], figures: Figures, point: Mapping[str, Any]) -> list[float]:
    """For a sampler: how far each condition is from true; above 0 if it is false."""
    return [each.excess({**point, **figures}) for each in require]


def values_of(objectives: tuple[Objective, ...], figures: Figures) -> list[float]:
    """What is to be least, of each objective. Raises HeddleError for a figure that there is not."""
    found = []
    for each in objectives:
        if each.figure not in figures:
            raise unknown("figure", each.figure, sorted(figures), "figures")
        value = figures[each.figure]
        if not isinstance(value, int | float):
            raise HeddleError(f"{each.figure} must be a number to be an objective, not {value!r}")
        found.append(-float(value) if each.most else float(value))
    return found


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

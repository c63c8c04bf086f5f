"""What a page says of a sweep and of a run, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..arch.config import Unit
from ..sim.events import events, events_by
from ..sim.machine import simulate
from ..sim.profile import Profile
from ..sim.result import Result
from ..sim.roofline import roofline
from . import audit, pictures
from .energy import Table, energy, energy_of_kinds, total
from .figures import values_of
from .frame import on_fronts
from .page import Page, Section
from .pictures import NARROW, WIDE
from .space import Point
from .sweep import Outcome, Sweep
from .workload import compiled

BUCKETS = 120  # stretches of a run in the picture of its units
REASONS = 20  # that are listed
PARTS = 18  # operators that are drawn; the table has all


def sweep_page(sweep: Sweep, command: str, runs: bool = True) -> Page:
    """The front, what was refused, and the best point's run on each workload."""
    outcomes = sweep.outcomes
    good = [each for each in outcomes if each.status == "ok"]
    objectives = sweep.space.objectives
    sections = []
    best = min(good, key=lambda each: values_of(objectives, each.figures)[0], default=None)
    if best is not None:
        audits = audit.read(sweep.journal.folder)
        sections.append(_front(sweep, outcomes, command, [each.point for each in audits if each.agrees]))
        if audits:
            sections.append(_audits(audits, command))
    if len(good) < len(outcomes):
        sections.append(_refused(outcomes, command))
    if best is not None and runs:
        config = sweep.machine(best.point)
        for each in sweep.space.workloads:
            program = compiled(sweep.workload(best.point, each), config)
            sections += run_sections(simulate(program, values=False), sweep.table, command,
                                     f"{each.name} on the best by {objectives[0]}", each.name)  # fmt: skip
    states = {name: sum(each.status == name for each in outcomes) for name in ("ok", "infeasible", "invalid", "error")}
    names = ", ".join(each.name for each in sweep.space.workloads)
    figures = {"points": f"{len(outcomes):,}", **{name: f"{count:,}" for name, count in states.items() if count}}
    if best is not None:
        figures |= {f"best {each}": _short(best.figures[each.figure]) for each in objectives[:1]}
        lead = (f"Machines for {names}: {len(good):,} of {len(outcomes):,} points run. The best by {objectives[0]} is "
                f"at {_point(best)}.")  # fmt: skip
    else:
        lead = f"Machines for {names}: none of {len(outcomes):,} points can be."
    return Page(f"Sweep: {sweep.space.name}", lead, figures, sections)


def run_page(result: Result, table: Table, command: str) -> Page:
    """Of one run."""
    config, program = result.program.config, result.program
    joules = total(energy(events(result).to_dict(), config, table))
    figures = {
        "cycles": f"{result.cycles:,}", "MAC utilisation": f"{result.mac_utilisation:.1%}",
        f"at {config.clock_mhz:,} MHz": f"{_short(result.cycles / config.clock_mhz / 1e6)} s",
        f"energy, {table.name}": f"{_short(joules.value)} J ({_short(joules.low)} to {_short(joules.high)})",
    }  # fmt: skip
    lead = f"{program.name} on {config.title}, {len(program.instructions):,} instructions."
    return Page(f"Run: {program.name}", lead, figures, [*run_sections(result, table, command, program.name, "run")])


def _front(sweep: Sweep, outcomes: Sequence[Outcome], command: str, audited: Sequence[Point]) -> Section:
    objectives, parameters = sweep.space.objectives, [*sweep.space.parameters]
    x = objectives[0].figure
    y = objectives[1].figure if len(objectives) > 1 else "sram_bits"
    rows = [(each, best) for each, best in zip(outcomes, on_fronts(sweep, list(outcomes)), strict=True)
            if each.status == "ok" and each.figures.get(x) and each.figures.get(y)]  # fmt: skip
    rows.sort(key=lambda pair: (not pair[1], values_of(objectives, pair[0].figures)))
    others = [name for name in ("cycles", "mac_utilisation", "energy_j", "energy_j_low", "energy_j_high", "area_ge",
                                "area_ge_error", "sram_bits") if name not in (x, y)]  # fmt: skip
    figures = [x, y, *(name for name in others if all(name in each.figures for each, _ in rows))]
    columns: dict[str, list[Any]] = {name: [each.point[name] for each, _ in rows] for name in parameters}
    columns |= {name: [each.figures[name] for each, _ in rows] for name in figures}
    columns |= {
        "place": ["audited" if each.point in audited else "front" if best else "others" for each, best in rows],
        "rank": [int(best) for _, best in rows],
    }
    varied = [name for name in parameters if len(set(map(str, columns[name]))) > 1][:8]
    specs = [pictures.front(x, y, varied, [*parameters, *figures], width) for width in (WIDE, NARROW)]
    count = sum(best for _, best in rows)
    text = (f"{len(rows):,} points by {x} and {y}; no other point beats the {count:,} of the front. Drag over points "
            f"to see which values they have; click a bar to see where its points lie.")  # fmt: skip
    return Section("front", "The front", text, columns, command, *specs)


def _audits(audits: Sequence[audit.Audit], command: str) -> Section:
    columns: dict[str, list[Any]] = {name: [each.point[name] for each in audits] for name in audits[0].point}
    for name in ("workload", "program", "cycles", "different_bytes", "different_cycles", "error"):
        columns[name] = [getattr(each, name) for each in audits]
    good = sum(each.agrees for each in audits)
    text = (f"Tiny models of the same operators, run in lock-step on the RTL of these very points: {good} of "
            f"{len(audits)} agree in every bit and every cycle.")  # fmt: skip
    return Section("audit", "Points that were run on their own RTL", text, columns, command)


def _refused(outcomes: Sequence[Outcome], command: str) -> Section:
    found: dict[tuple[str, str], list[str]] = {}
    for each in outcomes:
        if each.status != "ok":
            found.setdefault((each.status, _without_numbers(each.reason)), []).append(each.reason)
    rows = sorted(((len(reasons), status, reasons[0]) for (status, _), reasons in found.items()), reverse=True)
    rows = rows[:REASONS]
    columns = {"points": [row[0] for row in rows], "status": [row[1] for row in rows],
               "for_example": [row[2] for row in rows]}  # fmt: skip
    specs = [pictures.bars("points", "for_example", width, "status") for width in (WIDE, NARROW)]
    text = "Points that are no machines, have no room or break what is required; alike reasons are one bar."
    return Section("refused", "What was refused, and why", text, columns, command, *specs)


def run_sections(result: Result, table: Table, command: str, title: str, name: str) -> Iterator[Section]:
    """Where the time, the work and the energy of a run went."""
    profile = Profile(result)
    yield _units(result, command, title, name)
    yield _stalls(result, command, title, name)
    yield _roofline(profile, command, title, name)
    yield _operators(result, profile, table, command, title, name)
    yield _energy(result, table, command, title, name)


def _units(result: Result, command: str, title: str, name: str) -> Section:
    trace, cycles = result.trace, result.cycles
    edges = np.linspace(0, cycles, BUCKETS + 1)
    columns: dict[str, list[Any]] = {"from_cycle": [], "unit": [], "busy": []}
    for unit in Unit:
        spans = [(each.start, each.retire + 1) for each in trace if each.unit is unit]
        if not spans:
            continue
        share = _covered(np.array(spans), edges) / np.diff(edges)
        columns["from_cycle"] += [int(each) for each in edges[:-1]]
        columns["unit"] += [unit.name.lower()] * BUCKETS
        columns["busy"] += [round(float(min(each, 1)), 3) for each in share]
    specs = [pictures.heat("from_cycle", "unit", "busy", width, f"{cycles:,} cycles, from left to right")
             for width in (WIDE, NARROW)]  # fmt: skip
    text = f"The share of each {cycles // BUCKETS:,} cycles in which each unit executes an instruction."
    return Section(f"units-{name}", f"{title}: units over time", text, columns, command, *specs)


def _covered(spans: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How much of each stretch between edges is within spans, which begin in order and may overlap."""
    start, stop = spans[:, 0].astype(float), spans[:, 1].astype(float)
    start = np.maximum(start, np.concatenate([[0], np.maximum.accumulate(stop)[:-1]]))
    kept = stop > start
    start, stop = start[kept], stop[kept]
    before = np.concatenate([[0], np.cumsum(stop - start)])
    place = np.searchsorted(start, edges, side="right")
    inside = np.where(place > 0, np.minimum(edges, stop[place - 1]) - start[place - 1], 0) if len(start) else 0
    done = np.where(place > 0, before[np.maximum(place - 1, 0)] + inside, 0)
    return np.diff(done)


def _stalls(result: Result, command: str, title: str, name: str) -> Section:
    rows = [(unit, cause.replace("_", " "), cycles, cycles / result.cycles)
            for unit, causes in result.stalls.items() for cause, cycles in causes.items() if cycles]  # fmt: skip
    columns = {"unit": [row[0] for row in rows], "cause": [row[1] for row in rows], "cycles": [row[2] for row in rows],
               "share": [row[3] for row in rows]}  # fmt: skip
    specs = [pictures.bars("cycles", "unit", width, "cause") for width in (WIDE, NARROW)]
    text = "Every cycle of every unit has one cause: it executes, or waits for what is named."
    return Section(f"cycles-{name}", f"{title}: where cycles went", text, columns, command, *specs)


def _roofline(profile: Profile, command: str, title: str, name: str) -> Section:
    found = roofline(profile)
    points = [*found.operators, *([found.run] if found.run else [])]
    most = sum(each.macs for each in found.operators) or 1
    columns = {
        "operator": [each.name for each in points], "share": [min(1.0, each.macs / most) for each in points],
        "macs": [each.macs for each in points], "dram_bytes": [each.traffic_bytes for each in points],
        "cycles": [each.cycles for each in points], "macs_per_byte": [each.macs_per_byte for each in points],
        "macs_per_cycle": [each.macs_per_cycle for each in points],
    }  # fmt: skip
    ridge = found.peak_macs_per_cycle / found.peak_bytes_per_cycle
    low = min([ridge, *columns["macs_per_byte"]]) / 2
    high = max([ridge, *columns["macs_per_byte"]]) * 2
    roofs = [{"macs_per_byte": x, "macs_per_cycle": min(found.peak_macs_per_cycle, x * found.peak_bytes_per_cycle)}
             for x in (low, ridge, high)]  # fmt: skip
    specs = [pictures.roofline(roofs, width) for width in (WIDE, NARROW)]
    text = (f"Work in each cycle by work on each byte of DRAM, under what the array and DRAM can: "
            f"{found.peak_macs_per_cycle:,} multiply-accumulates and {found.peak_bytes_per_cycle:g} bytes in a cycle. "
            f"The larger a point, the more of the work is its operator's.")  # fmt: skip
    return Section(f"roofline-{name}", f"{title}: roofline", text, columns, command, *specs)


def _operators(result: Result, profile: Profile, table: Table, command: str, title: str, name: str) -> Section:
    config = result.program.config
    joules = {each: total(energy(found.to_dict(), config, table)).value
              for each, found in events_by(result, "operator").items()}  # fmt: skip
    shares = sorted(profile.operators, key=lambda each: -each.path_cycles)
    columns = {
        "operator": [each.name for each in shares], "path_cycles": [each.path_cycles for each in shares],
        "share": [each.path_cycles / result.cycles for each in shares],
        "matrix_cycles": [each.matrix_cycles for each in shares], "dram_bytes": [each.dram_bytes for each in shares],
        "energy_j": [joules.get(each.name, 0.0) for each in shares],
    }  # fmt: skip
    specs = []
    for width in (WIDE, NARROW):
        spec = pictures.bars("path_cycles", "operator", width, title="cycles of the critical path")
        spec["transform"] = [{"window": [{"op": "row_number", "as": "row"}]}, {"filter": f"datum.row <= {PARTS}"}]
        specs.append(spec)
    text = "Cycles on the critical path by operator, over all layers: they sum to those of the run."
    return Section(f"operators-{name}", f"{title}: operators", text, columns, command, *specs)


def _energy(result: Result, table: Table, command: str, title: str, name: str) -> Section:
    config, counts = result.program.config, events(result).to_dict()
    rows = [(of, each, band) for of, found in (("unit", energy(counts, config, table)),
                                               ("what", energy_of_kinds(counts, config, table)))
            for each, band in sorted(found.items(), key=lambda pair: -pair[1].value)]  # fmt: skip
    columns = {
        "by": [row[0] for row in rows], "part": [row[1] for row in rows], "joules": [row[2].value for row in rows],
        "low": [row[2].low for row in rows], "high": [row[2].high for row in rows],
    }  # fmt: skip
    specs = []
    for width in (WIDE, NARROW):
        spec = pictures.bars("joules", "part", width, low="low", high="high")
        specs.append(spec | {"transform": [{"filter": "datum.by === 'what'"}]})
    text = (f"Joules by what they are spent on, from counts of events and the table {table.name} ({table.source}). "
            f"Lines are the band of that table; leakage and clocks are not counted.")  # fmt: skip
    return Section(f"energy-{name}", f"{title}: energy", text, columns, command, *specs)


def _without_numbers(text: str) -> str:
    return "".join("…" if each.isdigit() else each for each in text)


def _point(outcome: Outcome) -> str:
    return ", ".join(f"{name} {value}" for name, value in outcome.point.items())


def _short(value: float) -> str:
    return f"{value:.4g}"

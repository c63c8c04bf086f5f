"""Units synthesised one by one: what each takes, how fast it can be clocked, and what they sum to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ..arch.config import Config, HardwareConfig, get_config
from ..arch.errors import HeddleError, require_type, shown, unknown
from ..arch.files import require_path
from ..arch.ranges import require_range
from ..cosim.build import cached, source_hash
from ..hw.float_format import Operator
from ..hw.verilog import VerilogPlatform, to_verilog
from . import ecp5, generic, liberty, nextpnr, yosys
from .area import Area, total
from .units import GLUE, Shell, find, unit_names

TARGETS = ("ecp5", "generic")
MOST_SEED = (1 << 31) - 1  # that nextpnr takes
_COUNTING = ("area", "ecp5", "generic", "liberty", "netlist")
_PE = "heddle_pe_"
_PE_ROW = "heddle_pe_row_"


@dataclass(frozen=True)
class Clock:
    """How fast a unit was placed: seed → what came of it, None where there was no room."""

    placements: dict[int, nextpnr.Placement | None]

    @cached_property
    def fmax_mhz(self) -> tuple[float, float, float] | None:
        """Least, median and most over the seeds; None if there was no room with one of them."""
        found = [each.fmax_mhz for each in self.placements.values() if each]
        return (min(found), median(found), max(found)) if len(found) == len(self.placements) else None

    @cached_property
    def slowest(self) -> nextpnr.Placement | None:
        """The placement with the least clock."""
        return min(filter(None, self.placements.values()), key=lambda each: each.fmax_mhz, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        least, middle, most = self.fmax_mhz or (None, None, None)
        by_seed = {str(seed): _rounded(each and each.fmax_mhz) for seed, each in self.placements.items()}
        path = [step.to_dict() for step in self.slowest.path] if self.slowest else []
        return {
            "fmax_mhz": _rounded(middle), "fmax_mhz_least": _rounded(least), "fmax_mhz_most": _rounded(most),
            "fmax_mhz_by_seed": by_seed, "slowest_path": path,
        }  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """One unit: its area, its clock if it was placed, and which of its modules are operators of float32."""

    area: Area
    operators: frozenset[str]
    clock: Clock | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        return {**self.area.to_dict(), **(self.clock.to_dict() if self.clock else {})}


@dataclass(frozen=True)
class Synthesis:
    """What came of some units of a machine, or of all."""

    config: HardwareConfig
    target: str
    tools: dict[str, str]
    units: tuple[Unit, ...]

    @cached_property
    def figures(self) -> dict[str, float]:
        """What the units take together."""
        return total(unit.area for unit in self.units)

    @cached_property
    def lacking(self) -> dict[str, float]:
        """What the units together take more of than an LFE5U-85F has: figure → times what it has."""
        available = ecp5.PART if self.target == "ecp5" else {}
        return {name: self.figures[name] / most for name, most in available.items() if self.figures[name] > most}

    @cached_property
    def slowest(self) -> tuple[float, str] | None:
        """The clock of all units together, in MHz: the least median; and whose it is. None if one had no room."""
        clocks = [(unit.clock.fmax_mhz, unit.area.name) for unit in self.units if unit.clock]
        medians = [(mhz[1], name) for mhz, name in clocks if mhz]
        return min(medians) if medians and len(medians) == len(clocks) else None

    @cached_property
    def kinds(self) -> dict[str, float]:
        """Gate equivalents of the PEs, and of the operators of float32 outside of them."""
        found = {"operators": 0.0, "pes": 0.0}
        for unit in self.units:
            for kind, gates in _kinds(unit.area, unit.operators):
                found[kind] += gates
        return {kind: round(gates, 1) for kind, gates in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        about: dict[str, Any] = {"target": self.target, "tools": self.tools}
        if self.target == "ecp5":
            about |= {"available": ecp5.PART, "fits": not self.lacking}
            if self.slowest:
                about |= {"fmax_mhz": _rounded(self.slowest[0]), "slowest_unit": self.slowest[1]}
        else:
            operators, pes = self.kinds["operators"], self.kinds["pes"]
            about |= {"gates_of": self.kinds, "operators_over_pes": round(operators / pes, 3) if pes else None}
        return {**about, "area": self.figures, "units": [unit.to_dict() for unit in self.units]}


def synthesise(
    config: Config, units: Sequence[str] = (), target: str = "ecp5", library: str | Path | None = None,
    seeds: Sequence[int] = (),
) -> Synthesis:  # fmt: skip
    """What a machine takes, or some of its units and parts of them ("vector", "vector.panel").

    target   "ecp5", or "generic": gate equivalents
    library  a Liberty file to count gates of; without one, typical gates
    seeds    place and route each unit on the ECP5, too, once with each of these seeds

    Raises HeddleError for anything unknown and for a tool that is not installed.
    """
    config = get_config(config)
    _check(target, units, library, seeds)
    gates = liberty.read(Path(library) if library else liberty.GATES) if target == "generic" else None
    names = units or unit_names(config)
    for name in names:
        find(config, name)  # all are known before the first takes minutes
    tools = [yosys.find(), *([nextpnr.find()] if seeds else [])]
    done = tuple(_unit(config, name, gates, seeds) for name in names)
    return Synthesis(config, target, {tool.name: tool.release for tool in tools}, done)


def _check(target: str, units: Sequence[str], library: str | Path | None, seeds: Sequence[int]) -> None:
    """Raise HeddleError for arguments that mean nothing, alone or together."""
    if target not in TARGETS:
        raise unknown("target", target, TARGETS, "targets")
    for name, given, kind in (("units", units, "names, such as vector"), ("seeds", seeds, "whole numbers")):
        if isinstance(given, str | bytes) or not isinstance(given, Sequence):
            raise HeddleError(f"{name} must be a list of {kind}, not {shown(given)}")
        for each in given:
            if given.count(each) > 1:
                raise HeddleError(f"{name} must be different, but {each} is there {given.count(each)} times")
    for each in units:
        require_type("each of units", each, str, "the name of one, such as vector")
    for each in seeds:
        require_range("each of seeds", each, 1, MOST_SEED)
    if library is not None:
        require_path(library)
    if target == "ecp5" and library is not None:
        raise HeddleError("a Liberty file is for the target generic")
    if target == "generic" and seeds:
        raise HeddleError("a unit can be placed only for the target ecp5")


def _unit(config: HardwareConfig, name: str, gates: liberty.Library | None, seeds: Sequence[int]) -> Unit:
    source = _verilog(config, name)
    what = f"{name} of {config.title}"
    if gates is None:
        folder = _built(
            f"ecp5-{config.file_name}-{name}", source.text, ecp5.SCRIPT, f"{what} for ECP5", ecp5.synthesise
        )
    else:
        folder = _built(
            f"gates-{config.file_name}-{name}", source.text, generic.SCRIPT + gates.text, f"{what} in gates",
            lambda tool, aside: generic.synthesise(tool, aside, gates),
        )  # fmt: skip
    area = Area.from_dict(json.loads((folder / "area.json").read_text()))
    clock = _clock(config, name, seeds) if seeds and name != GLUE else None
    return Unit(replace(area, name=name), source.operators, clock)


def _clock(config: HardwareConfig, name: str, seeds: Sequence[int]) -> Clock:
    """The clock of one unit between registers."""
    source = _verilog(config, name, registered=True)
    what = f"{name} of {config.title} between registers"
    folder = _built(f"ecp5-{config.file_name}-{name}", source.text, ecp5.SCRIPT, what, ecp5.synthesise, netlist=True)
    netlist, tool = folder / ecp5.NETLIST, nextpnr.find()

    def placed(seed: int) -> nextpnr.Placement | None:
        key = f"{tool.name} {tool.release} {nextpnr.OPTIONS} {folder.name} {seed}"
        report = cached(
            f"placed-{config.file_name}-{name}", key, lambda aside: nextpnr.place(tool, netlist, seed, aside),
            f"{what}, placed with seed {seed}",
        )  # fmt: skip
        return nextpnr.read(report, netlist)

    return Clock({seed: placed(seed) for seed in seeds})


def _built(
    name: str, text: str, script: str, what: str, synthesise: Callable[[yosys.Tool, Path], Area], netlist: bool = False
) -> Path:
    """The folder with area.json, what a Verilog text takes; and with its netlist, if that is wanted."""
    tool = yosys.find()

    def build(folder: Path) -> None:
        (folder / "unit.v").write_text(text)
        area = synthesise(tool, folder)
        (folder / "area.json").write_text(json.dumps(area.to_dict()))
        for path in folder.iterdir():
            if path.name != "area.json" and not (netlist and path.name == ecp5.NETLIST):
                path.unlink()

    return cached(name, f"{tool.name} {tool.release} {netlist} {_text_of(_COUNTING)} {script} {text}", build, what)


class _Source(NamedTuple):
    """Verilog, and which modules in it are operators of float32."""

    text: str
    operators: frozenset[str]


def _verilog(config: HardwareConfig, name: str, registered: bool = False) -> _Source:
    """A unit as a top of its own; if between registers, the text says where each line of it comes from."""

    def build(folder: Path) -> None:
        platform = VerilogPlatform()
        text = to_verilog(Shell(find(config, name), registered), name="unit", sources=registered, platform=platform)
        operators = [module for module, each in platform.components.items() if isinstance(each, Operator)]
        (folder / "unit.v").write_text(text)
        (folder / "operators.json").write_text(json.dumps(operators))

    key = f"{config.fingerprint} {name} {registered} {source_hash()} {_text_of(('units',))}"
    what = f"the Verilog of {name} of {config.title}{' between registers' if registered else ''}"
    folder = cached(f"unit-{config.file_name}-{name}", key, build, what)
    return _Source((folder / "unit.v").read_text(), frozenset(json.loads((folder / "operators.json").read_text())))


def _text_of(modules: Sequence[str]) -> str:
    """Of modules here that decide what is kept."""
    return "".join(Path(__file__).with_name(f"{module}.py").read_text() for module in modules)


def _kinds(area: Area, operators: frozenset[str]) -> Iterator[tuple[str, float]]:
    """(kind, gate equivalents) of each PE and of each operator outside of PEs."""
    gates = area.count * area.figures.get("gate_equivalents", 0)
    if area.module in operators:
        yield "operators", gates
    elif area.module.startswith(_PE) and not area.module.startswith(_PE_ROW):
        yield "pes", gates
    else:
        for part in area.parts:
            for kind, each in _kinds(part, operators):
                yield kind, area.count * each


def _rounded(mhz: float | None) -> float | None:
    return None if mhz is None else round(mhz, 1)

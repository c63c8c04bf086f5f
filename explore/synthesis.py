"""Units synthesised one by one: what each takes, how fast it can be clocked, and what they sum to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..arch.config import Config, HardwareConfig, get_config
from ..cosim.build import cached, source_hash
from ..hw.verilog import to_verilog
from . import ecp5, nextpnr, yosys
from .area import Area, total
from .units import Shell, find, unit_names


@dataclass(frozen=True)
class Clock:
    """How fast a unit was placed: seed → what came of it, None where there was no room."""

    placements: dict[int, nextpnr.Placement | None]

    @property
    def fmax_mhz(self) -> tuple[float, float, float] | None:
        """Least, median and most over the seeds; None if any did not fit."""
        found = [each.fmax_mhz for each in self.placements.values() if each]
        return (min(found), median(found), max(found)) if len(found) == len(self.placements) else None

    @property
    def slowest(self) -> nextpnr.Placement | None:
        """The placement with the least clock."""
        return min(filter(None, self.placements.values()), key=lambda each: each.fmax_mhz, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        least, middle, most = self.fmax_mhz or (None, None, None)
        slowest = self.slowest
        return {
            "fmax_mhz": _rounded(middle), "fmax_mhz_least": _rounded(least), "fmax_mhz_most": _rounded(most),
            "fmax_mhz_by_seed": {
                str(seed): _rounded(each.fmax_mhz if each else None) for seed, each in self.placements.items()
            },
            "slowest_path": [step.to_dict() for step in slowest.path] if slowest else [],
        }  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """One unit: its area, and its clock if it was placed."""

    name: str
    area: Area
    clock: Clock | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        return {"unit": self.name, **self.area.figures, **(self.clock.to_dict() if self.clock else {})}


@dataclass(frozen=True)
class Synthesis:
    """What came of some units of a machine, or of all."""

    config: HardwareConfig
    tools: dict[str, str]
    units: tuple[Unit, ...]

    @property
    def figures(self) -> dict[str, float]:
        """The sum of the units."""
        return total([(1, unit.area.figures) for unit in self.units])

    @property
    def lacking(self) -> dict[str, float]:
        """What the units together need more of than the part has: name → how much of the part they would take."""
        figures = self.figures
        return {name: figures[name] / most for name, most in ecp5.PART.items() if figures[name] > most}

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        return {
            "tools": self.tools, "fits": not self.lacking, "available": ecp5.PART, "area": self.figures,
            "units": [unit.to_dict() for unit in self.units],
        }  # fmt: skip


def synthesise(config: Config, units: Sequence[str] = (), seeds: Sequence[int] = ()) -> Synthesis:
    """The area of a machine, or of some of its units, on an ECP5. With `seeds`, each is also placed and routed, once
    for each of them."""
    config = get_config(config)
    names = units or unit_names(config)
    for name in names:
        find(config, name)  # all are known before the first takes minutes
    tools = [yosys.find(), *([nextpnr.find()] if seeds else [])]
    done = tuple(Unit(name, _area(config, name), _clock(config, name, seeds) if seeds else None) for name in names)
    return Synthesis(config, {tool.name: tool.release for tool in tools}, done)


def _area(config: HardwareConfig, unit: str) -> Area:
    """The area of one unit as a top of its own."""
    return ecp5.area(_netlist(config, unit, _verilog(config, unit), f"{unit} of {config.title} for ECP5"))


def _clock(config: HardwareConfig, unit: str, seeds: Sequence[int]) -> Clock:
    """The clock of one unit between registers."""
    what = f"{unit} of {config.title} between registers"
    netlist = _netlist(config, unit, _verilog(config, unit, registered=True), what) / "unit.json"
    tool = nextpnr.find()

    def placed(seed: int) -> nextpnr.Placement | None:
        key = f"nextpnr {tool.name} {tool.release} {nextpnr.OPTIONS} {netlist.parent.name} {seed}"
        folder = cached(
            f"placed-{config.file_name}-{unit}", key, lambda aside: nextpnr.place(tool, netlist, seed, aside),
            f"{what}, placed with seed {seed}",
        )  # fmt: skip
        return nextpnr.read(folder, netlist)

    return Clock({seed: placed(seed) for seed in seeds})


def _netlist(config: HardwareConfig, unit: str, text: str, what: str) -> Path:
    """The folder with what Yosys makes of a Verilog text."""
    tool = yosys.find()

    def build(folder: Path) -> None:
        (folder / "unit.v").write_text(text)
        ecp5.synthesise(tool, folder)

    return cached(f"ecp5-{config.file_name}-{unit}", f"{tool.name} {tool.release} {ecp5.SCRIPT} {text}", build, what)


def _verilog(config: HardwareConfig, unit: str, registered: bool = False) -> str:
    """Verilog of a unit as a top of its own; between registers, it says where each line comes from."""

    def build(folder: Path) -> None:
        top = Shell(find(config, unit), registered)
        (folder / "unit.v").write_text(to_verilog(top, name="unit", sources=registered))

    key = f"{config.fingerprint} {unit} {registered} {source_hash()} {Path(__file__).with_name('units.py').read_text()}"
    folder = cached(f"unit-{config.file_name}-{unit}", key, build, f"the Verilog of {unit} of {config.title}")
    return (folder / "unit.v").read_text()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)

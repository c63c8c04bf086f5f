"""Units synthesised one by one: the area of each, and what they sum to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..arch.config import Config, HardwareConfig, get_config
from ..cosim.build import cached, source_hash
from ..hw.verilog import to_verilog
from . import ecp5, yosys
from .area import Area, total
from .units import Registered, find, unit_names


def synthesise(config: Config, units: Sequence[str] = ()) -> Area:
    """The area of a machine, or of some of its units, on an ECP5."""
    config = get_config(config)
    parts = tuple(unit_area(config, name) for name in units or unit_names(config))
    return Area(config.title, total([(1, part.figures) for part in parts]), parts=parts)


def unit_area(config: HardwareConfig, unit: str) -> Area:
    """The area of one unit as a top of its own."""
    tool = yosys.find()
    text = _verilog(config, unit)

    def build(folder: Path) -> None:
        (folder / "unit.v").write_text(text)
        ecp5.synthesise(tool, folder)

    key = f"ecp5 {tool.name} {tool.release} {text}"
    folder = cached(f"synth-{config.file_name}-{unit}", key, build, f"{unit} of {config.title} for ECP5")
    area = ecp5.area(folder)
    return Area(unit, area.figures, parts=area.parts)


def _verilog(config: HardwareConfig, unit: str, registered: bool = False) -> str:
    component = find(config, unit)

    def build(folder: Path) -> None:
        top = Registered(component) if registered else component
        (folder / "unit.v").write_text(to_verilog(top, name="unit"))

    key = f"{config.fingerprint} {unit} {registered} {source_hash()}"
    folder = cached(f"unit-{config.file_name}-{unit}", key, build, f"the Verilog of {unit} of {config.title}")
    component._MustUse__used = True  # also if it was built before
    return (folder / "unit.v").read_text()

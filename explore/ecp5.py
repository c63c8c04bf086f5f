"""Area on a Lattice ECP5, by Yosys. Figures:

lut4  four-input look-up tables
comb  LUT4 sites after nextpnr's packing: a LUT4, two for each CCU2C (two bits of a carry chain), four for each DPR16X4
      (a small RAM)
ff    registers
dsp   MULT18X18D
bram  DP16KD

A unit is flattened, as it would be in a machine. What Yosys makes it names after the signal behind it; that tells which
part it belongs to. So the parts sum to the unit; for gates on the border between two parts it is a convention.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from . import yosys
from .area import Area

PART = {"comb": 83_640, "ff": 83_640, "dsp": 156, "bram": 208}  # of an LFE5U-85F
NETLIST = "unit.json"  # for nextpnr
SCRIPT = f"""\
read_verilog unit.v
synth_ecp5 -top unit -json {NETLIST}
check -assert
"""
_FIGURES = ("lut4", "comb", "ff", "dsp", "bram")
_CELLS = {
    "LUT4": {"lut4": 1, "comb": 1},
    "CCU2C": {"comb": 2},
    "TRELLIS_DPR16X4": {"comb": 4},
    "TRELLIS_FF": {"ff": 1},
    "MULT18X18D": {"dsp": 1},
    "DP16KD": {"bram": 1},
    "PDPW16KD": {"bram": 1},
}


def synthesise(tool: yosys.Tool, folder: Path) -> Area:
    """The area of unit.v, whose top module is `unit`. Leaves the netlist in `folder`."""
    yosys.run(tool, SCRIPT, folder)
    cells = json.loads((folder / NETLIST).read_text())["modules"]["unit"]["cells"]
    scopes = {name for name, cell in cells.items() if cell["type"] == "$scopeinfo"}
    own: dict[str, dict[str, int]] = {scope: dict.fromkeys(_FIGURES, 0) for scope in ("", "unit", *sorted(scopes))}
    for name, cell in cells.items():
        figures = own[_scope(name, scopes)]
        for figure, count in _CELLS.get(cell["type"], {}).items():
            figures[figure] += count
    children = defaultdict(list)
    for scope in own:
        if scope not in ("", "unit"):
            children[_scope(scope.rpartition(".")[0], scopes) or "unit"].append(scope)
    for figure, count in own[""].items():
        own["unit"][figure] += count  # the shell has nothing of its own but names

    def area(scope: str) -> Area:
        parts = tuple(map(area, children[scope]))
        figures = _sum([own[scope], *(part.figures for part in parts)])
        return Area(scope.rpartition(".")[2], figures, parts=parts)

    return area("unit")


def _scope(name: str, scopes: set[str]) -> str:
    """The innermost of the scopes that a name lies in; "": in none."""
    while name and name not in scopes:
        name = name.rpartition(".")[0]
    return name


def _sum(figures: Iterable) -> dict[str, int]:
    figures = [*figures]
    return {name: sum(each[name] for each in figures) for name in _FIGURES}

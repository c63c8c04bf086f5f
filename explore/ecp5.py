"""Area on a Lattice ECP5, by Yosys. Figures:

lut4  four-input look-up tables
comb  LUT4 sites after nextpnr's packing: a LUT4, two for each CCU2C (two bits of a carry chain), four for each DPR16X4
      (a small RAM)
ff    registers
dsp   MULT18X18D
bram  DP16KD
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

from . import yosys
from .area import Area
from .netlist import scopes_of

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
    netlist = json.loads((folder / NETLIST).read_text())["modules"]["unit"]
    own: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_FIGURES, 0))
    for cell, scope in scopes_of(netlist, (folder / "unit.v").read_text()):
        for figure, count in _CELLS.get(cell, {}).items():
            own[scope][figure] += count
    return _tree("", own)


def _tree(scope: str, own: dict[str, dict[str, int]]) -> Area:
    """The area of a scope, from what each of them has itself."""
    inside = f"{scope}." if scope else ""
    names = {name.removeprefix(inside).partition(".")[0] for name in own if name.startswith(inside) and name != scope}
    parts = tuple(_tree(inside + name, own) for name in sorted(names))
    sums = {name: own[scope][name] + sum(part.figures[name] for part in parts) for name in _FIGURES}
    return Area(re.sub(r"\$\d+$", "", scope.rpartition(".")[2]), sums, parts=parts)  # $n is of Amaranth

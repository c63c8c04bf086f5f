"""Area on a Lattice ECP5, by Yosys. Figures:

lut4  four-input look-up tables
comb  LUT4 sites after nextpnr's packing: a LUT4, two for each CCU2C (two bits of a carry chain), four for each DPR16X4
      (a small RAM)
ff    registers
dsp   MULT18X18D
bram  DP16KD
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from . import yosys
from .area import Area, tree

FIGURES = ("lut4", "comb", "ff", "dsp", "bram")
_CELLS = {
    "LUT4": {"lut4": 1, "comb": 1},
    "CCU2C": {"comb": 2},
    "TRELLIS_DPR16X4": {"comb": 4},
    "TRELLIS_FF": {"ff": 1},
    "MULT18X18D": {"dsp": 1},
    "DP16KD": {"bram": 1},
    "PDPW16KD": {"bram": 1},
}
SCRIPT = """\
read_verilog unit.v
synth_ecp5 -top unit -json unit.json
check -assert
tee -o statistics.json stat -json
"""
PART = {"comb": 83_640, "ff": 83_640, "dsp": 156, "bram": 208}  # of an LFE5U-85F


def synthesise(tool: yosys.Tool, folder: Path) -> None:
    """From unit.v, whose top module is `unit`, to a netlist in `folder`: unit.json for nextpnr, statistics.json."""
    yosys.run(tool, SCRIPT, folder)


def area(folder: Path) -> Area:
    """What was synthesised there takes."""
    return tree(folder / "statistics.json", "unit", _figures)


def _figures(module: str, cells: Mapping[str, int]) -> dict[str, int]:
    figures = dict.fromkeys(FIGURES, 0)
    for cell, count in cells.items():
        for name, number in _CELLS.get(cell, {}).items():
            figures[name] += count * number
    return figures

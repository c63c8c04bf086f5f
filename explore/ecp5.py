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
from collections.abc import Mapping
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
    design = json.loads((folder / NETLIST).read_text())
    netlist = design["modules"]["unit"]
    use_registers(netlist)
    (folder / NETLIST).write_text(json.dumps(design))
    own: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_FIGURES, 0))
    for cell, scope in scopes_of(netlist, (folder / "unit.v").read_text()):
        for figure, count in _CELLS.get(cell, {}).items():
            own[scope][figure] += count
    return _tree("", own)


def use_registers(netlist: dict) -> None:
    """Use the output registers that multipliers and block RAMs have, where registers stand behind all that one gives
    and nothing else looks at it: Yosys leaves them outside. Only plain ones, which have neither enable nor reset."""
    cells = netlist["cells"]
    users: dict[int, list[str]] = defaultdict(list)  # bit → the cells that it goes to, or the ports
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                for bit in bits:
                    users[bit].append(name)
    for name, port in netlist["ports"].items():
        if port["direction"] != "input":
            for bit in port["bits"]:
                users[bit].append(f"port {name}")
    for cell in [each for each in cells.values() if each["type"] in _REGISTERED]:
        outputs, controls, parameters = _REGISTERED[cell["type"]]
        clock = _take_registers(cells, users, cell, outputs)
        if clock is None:
            continue
        cell["connections"] |= {port: [clock] if value is None else [value] for port, value in controls.items()}
        cell["port_directions"] |= dict.fromkeys(controls, "input")
        cell["parameters"] |= parameters


# Cell → what its outputs are called, the ports of their registers (None: the clock) and their parameters.
_REGISTERED: Mapping[str, tuple[str, Mapping[str, str | None], Mapping[str, str]]] = {
    "MULT18X18D": (
        r"P\d+", {"CLK0": None, "CE0": "1", "RST0": "0"},
        {"REG_OUTPUT_CLK": "CLK0", "REG_OUTPUT_CE": "CE0", "REG_OUTPUT_RST": "RST0", "GSR": "DISABLED"},
    ),
    "DP16KD": (r"DO[AB]\d+", {"OCEA": "1", "OCEB": "1"}, {"REGMODE_A": "OUTREG", "REGMODE_B": "OUTREG"}),
}  # fmt: skip


def _take_registers(cells: dict, users: Mapping[int, list[str]], cell: dict, outputs: str) -> int | None:
    """Remove the registers behind a cell, whose outputs are then what they gave. Returns their clock; None: there are
    not such registers behind all outputs that are used."""
    ports = [port for port in cell["connections"] if re.fullmatch(outputs, port)]
    used = {port: users[bit] for port in ports for bit in cell["connections"][port] if users[bit]}
    registers = {port: to[0] for port, to in used.items() if len(to) == 1 and _is_plain_register(cells.get(to[0]))}
    clocks = {cells[each]["connections"]["CLK"][0] for each in registers.values()}
    if not used or len(registers) < len(used) or len(clocks) > 1:
        return None
    for port, name in registers.items():
        cell["connections"][port] = cells.pop(name)["connections"]["Q"]
    return clocks.pop()


def _is_plain_register(cell: dict | None) -> bool:
    """Whether it takes what is at its input in every cycle, and begins as 0."""
    return (
        cell is not None
        and cell["type"] == "TRELLIS_FF"
        and cell["parameters"]["REGSET"] == "RESET"
        and cell["parameters"]["CEMUX"].strip() == "1"
        and cell["parameters"]["CLKMUX"] == "CLK"
        and cell["connections"].get("LSR", ["0"]) == ["0"]
    )


def _tree(scope: str, own: dict[str, dict[str, int]]) -> Area:
    """The area of a scope, from what each of them has itself."""
    inside = f"{scope}." if scope else ""
    names = {name.removeprefix(inside).partition(".")[0] for name in own if name.startswith(inside) and name != scope}
    parts = tuple(_tree(inside + name, own) for name in sorted(names))
    sums = {name: own[scope][name] + sum(part.figures[name] for part in parts) for name in _FIGURES}
    return Area(re.sub(r"\$\d+$", "", scope.rpartition(".")[2]), sums, parts=parts)  # $n is of Amaranth

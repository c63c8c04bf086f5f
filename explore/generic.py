"""Area of no part in particular, by Yosys: in gate equivalents (NAND2) of a Liberty file, and bits of SRAM. Figures:

gate_equivalents  of the logic and the registers
ff                flip-flops, which are among the gates
sram_bits         of the memories that would be macros: the instances of heddle_ram

Other memories, which are small and read without a clock, are flip-flops, and tables are logic. Modules are synthesised
one by one and not flattened, so that the tree tells what each of them takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from ..arch.errors import ToolError
from . import yosys
from .area import Area, total
from .liberty import Library
from .units import STUB

# RAMs are measured while their sizes can be seen. In silicon nothing has a value before it is reset.
SCRIPT = """\
read_verilog unit.v
hierarchy -check -top unit
proc
tee -o memories.json stat -json
blackbox *heddle_ram*
setattr -unset init w:*
synth -top unit -noabc
dfflibmap -liberty cells.lib
abc -liberty cells.lib
opt_clean -purge
tee -o statistics.json stat -json
"""
_RAM = "heddle_ram"


def synthesise(tool: yosys.Tool, folder: Path, library: Library) -> Area:
    """The area of unit.v, whose top module is `unit`, in the cells of the library."""
    (folder / "cells.lib").write_text(library.text)
    yosys.run(tool, SCRIPT, folder)
    rams = {name: module["num_memory_bits"] for name, module in _modules(folder / "memories.json").items()
            if _RAM in name}  # fmt: skip
    modules = {name: module["num_cells_by_type"] for name, module in _modules(folder / "statistics.json").items()
               if _RAM not in name}  # fmt: skip

    def area(name: str, count: int) -> Area:
        parts = [area(each, copies) for each, copies in modules[name].items() if each in modules]
        cells = {each: copies for each, copies in modules[name].items() if each not in modules}
        own = Area("", _figures(name, cells, library, rams))
        short = re.sub(r"\$\d+$", "", name.rpartition(".")[2])
        return Area(short, total([own, *parts]), name, count, tuple(parts))

    (top,) = area("unit", 1).parts or (area("unit", 1),)
    return top


def _modules(path: Path) -> dict[str, dict]:
    """What `stat -json` wrote, by the names that cells have for modules."""
    return {name.removeprefix("\\"): module for name, module in json.loads(path.read_text())["modules"].items()}


def _figures(
    module: str, cells: Mapping[str, int], library: Library, rams: Mapping[str, int]
) -> dict[str, float]:  # fmt: skip
    """Those of the cells (type → count) of a module itself."""
    gates, registers, bits = 0.0, 0, 0
    for cell, count in cells.items():
        if cell in library.cells:
            gates += count * library.gates(cell)
            registers += count * library.cells[cell].register
        elif cell in rams:
            bits += count * rams[cell]
        elif not cell.startswith(STUB):
            raise ToolError(f"Yosys leaves cells in {module} that the Liberty file does not have: {cell}")
    return {"gate_equivalents": gates, "ff": registers, "sram_bits": bits}

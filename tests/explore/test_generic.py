"""explore/generic.py: gates, flip-flops and bits of RAM, counted by hand, with typical gates and with others."""

import re

import pytest
from heddle.arch.errors import ToolError
from heddle.explore import generic, liberty

from .designs import Gates, Several, write

FLIP_FLOP = 5.667  # NAND2, of the typical gates


def test_gates_are_counted_and_each_part_has_its_own(tool, tmp_path):
    write(Several(), tmp_path)
    area = generic.synthesise(tool, tmp_path, liberty.read())
    parts = {part.name: part.figures for part in area.parts}
    assert set(parts) == {"gates", "times", "small"}  # RAMs are macros, not parts
    assert parts["gates"] == {"gate_equivalents": pytest.approx(8 + 8 * FLIP_FLOP, abs=0.1), "ff": 8, "sram_bits": 0}
    assert parts["small"]["ff"] == 16 * 4 and parts["small"]["sram_bits"] == 0  # it is read without a clock
    assert area.figures["ff"] == 8 + 8 + 16 * 4 + 36 and area.figures["sram_bits"] == 256 * 8
    total = 8 * FLIP_FLOP + sum(each["gate_equivalents"] for each in parts.values())
    assert area.figures["gate_equivalents"] == pytest.approx(total, abs=0.5)


def test_gates_of_a_library_are_told_in_its_nand2(tool, tmp_path):
    """In areas three times as large, but for the flip-flop, which is 12, and under names of its own."""
    text = liberty.GATES.read_text().replace("NAND2)", "nd2x1)").replace("area : 5.667", "area : 4.000")
    text = re.sub(r"area : ([\d.]+)", lambda found: f"area : {3 * float(found[1]):.3f}", text)
    (tmp_path / "mine.lib").write_text(text)
    write(Several(), tmp_path)
    area = generic.synthesise(tool, tmp_path, liberty.read(tmp_path / "mine.lib"))
    parts = {part.name: part.figures["gate_equivalents"] for part in area.parts}
    assert parts["gates"] == 8 + 8 * 12 / 3


def test_what_a_library_cannot_build_is_an_error(tool, tmp_path):
    library = liberty.read()
    without = library._replace(cells={name: cell for name, cell in library.cells.items() if name != "NAND2"})
    write(Gates(), tmp_path)
    with pytest.raises(ToolError, match="that the Liberty file does not have: NAND2"):
        generic.synthesise(tool, tmp_path, without)

"""explore/ecp5.py: cells of the part, counted by hand, and the part of the design that each belongs to."""

from heddle.explore import ecp5

from .designs import Several, write

# lut4, comb, ff, dsp, bram
TAKES = {
    "gates": (8, 8, 8, 0, 0),  # a look-up table each
    "ram": (0, 0, 0, 0, 1),
    "small": (0, 4, 0, 0, 0),  # one DPR16X4
    "times": (0, 0, 36, 1, 0),
}


def test_cells_are_counted_and_each_part_has_its_own(tool, tmp_path):
    write(Several(), tmp_path)
    area = ecp5.synthesise(tool, tmp_path)
    assert tuple(area.figures) == ("lut4", "comb", "ff", "dsp", "bram")
    assert {part.name: tuple(part.figures.values()) for part in area.parts} == TAKES
    assert tuple(area.figures.values()) == (8, 12, 8 + 8 + 36, 1, 1)  # 8 registers are its own

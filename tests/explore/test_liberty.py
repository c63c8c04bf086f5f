"""explore/liberty.py: which cell is the NAND2, by its function; what is no library."""

import pytest
from heddle.arch.errors import HeddleError
from heddle.explore import liberty

CELL = 'cell (X) {{ area : 2; pin (Y) {{ function : "{}"; }} }}\ncell (FF) {{ area : 9; ff (I, N) {{ }} }}'


@pytest.mark.parametrize(
    "function", ["!(A & B)", "(A*B)'", "!A | !B", "A'+B'", "(!A) + (!B)", "!(A1 A2)", "(A ^ 1) | B'"]
)
def test_a_nand2_is_found_by_its_function(tmp_path, function):
    (tmp_path / "x.lib").write_text(CELL.format(function))
    assert liberty.read(tmp_path / "x.lib").nand2 == 2


@pytest.mark.parametrize("function", ["A & B", "!(A | B)", "!A & !B", "!(A B C)", "!A", "!(A & B", "IQ", "A ^ B", ""])
def test_no_other_cell_is_one(tmp_path, function):
    (tmp_path / "x.lib").write_text(CELL.format(function))
    with pytest.raises(HeddleError, match="it has no NAND2 to count in"):
        liberty.read(tmp_path / "x.lib")


def test_the_smallest_nand2_counts(tmp_path):
    other = 'cell (Y) { area : 1.5; pin (Q) { function : "!(C&D)"; } }'
    (tmp_path / "x.lib").write_text(CELL.format("!(A&B)") + other)
    assert liberty.read(tmp_path / "x.lib").nand2 == 1.5


@pytest.mark.parametrize("text, lacks", [
    ("", "cells with an area"),
    ("not a library", "cells with an area"),
    (CELL.format("!(A&B)").replace("ff (I", "latch (I"), "flip-flop"),
])  # fmt: skip
def test_what_is_no_library_is_said(tmp_path, text, lacks):
    (tmp_path / "x.lib").write_text(text)
    with pytest.raises(HeddleError, match=f"x.lib is no Liberty file to synthesise with: it has no {lacks}"):
        liberty.read(tmp_path / "x.lib")


def test_a_file_that_is_not_there():
    with pytest.raises(HeddleError, match="cannot read Liberty file none.lib: No such file or directory"):
        liberty.read("none.lib")


def test_the_typical_gates_are_told_in_nand2():
    assert liberty.read().nand2 == 1

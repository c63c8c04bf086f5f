"""arch/errors.py: the name that was meant, and values in words."""

import pytest
from heddle.arch.errors import HeddleError, nearest, require_type, shown, unknown


@pytest.mark.parametrize("name, meant", [
    ("DDR4-240", "DDR4-2400"), ("ddr4-2400", "DDR4-2400"), ("hbm", "HBM2"), ("HBM2 ", "HBM2"), ("", None),
    ("GDDR6X-something", None), (3, None), (None, None),
])  # fmt: skip
def test_the_nearest_name(name, meant):
    assert nearest(name, ["ideal", "DDR4-2400", "LPDDR4-3200", "HBM2"]) == meant


def test_two_letters_that_changed_places_are_nearer_than_another_letter():
    assert nearest("t_rdc", ["t_rcd", "t_rrd"]) == nearest("t_rdc", ["t_rrd", "t_rcd"]) == "t_rcd"


def test_an_unknown_name_is_answered_with_what_there_is():
    known = ["icarus", "verilator"]
    assert str(unknown("engine", "iccarus", known, "engines")) == (
        "unknown engine 'iccarus' (did you mean icarus?); engines are icarus, verilator"
    )
    assert str(unknown("engine", "x", known, "engines", ", or None")) == (
        "unknown engine 'x'; engines are icarus, verilator, or None"
    )
    assert "unknown engine 3; engines" in str(unknown("engine", 3, known, "engines"))


def test_a_wrong_type_is_shown_in_few_words():
    with pytest.raises(HeddleError, match=r"^size must be text, not 3 \(a int\)$"):
        require_type("size", 3, str, "text")
    assert shown(None) == "None" and shown([0] * 100) == "a list" and shown("x") == "'x' (a str)"

"""explore/expressions.py: arithmetic on names, and nothing else."""

import pytest
from heddle.arch.errors import HeddleError
from heddle.explore.expressions import Expression

NAMES = {"rows": 8, "columns": 24, "dram": "HBM2", "share": 0.5}


@pytest.mark.parametrize(
    "text, value",
    [
        ("columns", 24), ("columns // 5 + 2 ** 3", 12), ("min(columns, 2 * rows)", 16), ("columns / 3", 8),
        ("-rows % 3", 1), ("log2(rows)", 3), ("ceil(columns / 7)", 4), ("share * rows", 4),
        ("rows <= 8 < columns", True),
        ("dram == 'HBM2' and not rows > 8", True), ("rows > 8 or columns != 24", False), ("1 / 3", 1 / 3),
    ],
)  # fmt: skip
def test_arithmetic_is_pythons(text, value):
    found = Expression(text).value(NAMES)
    assert found == value and type(found) is type(value)


def test_names_are_what_it_depends_on():
    assert Expression("min(rows, columns) > 3").names == {"rows", "columns"}
    assert Expression("rows > 3").is_condition and not Expression("rows + 3").is_condition


@pytest.mark.parametrize(
    "text, said",
    [
        ("rows.real", "must be made of"), ("__import__('os')", "must be made of"), ("(lambda: 1)()", "must be made of"),
        ("rows[0]", "must be made of"), ("[1, 2]", "must be made of"), ("min(rows, key=1)", "must be made of"),
        ("rows +", "must be an expression"), ("", "must be an expression"), ("1" * 600, "at most 500 letters"),
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused(text, said):
    with pytest.raises(HeddleError, match=said):
        Expression(text)


@pytest.mark.parametrize(
    "text, said",
    [
        ("row + 1", r"unknown name in 'row \+ 1': 'row' \(did you mean rows\?\)"), ("rows / 0", "has no value"),
        ("dram + 1", "texts can only be compared"), ("9 ** 9 ** 9", "too large"), ("log2(0)", "has no value"),
    ],
)  # fmt: skip
def test_what_has_no_value_says_why(text, said):
    with pytest.raises(HeddleError, match=said):
        Expression(text).value(NAMES)


def test_how_far_a_condition_is_from_true():
    texts = {"rows <= 4": 1, "rows <= 8": 0, "rows < 8": 1e-9, "rows >= 16": 0.5, "rows > 2": -3, "rows != 8": 1,
             "rows < 9 and columns > 30": 1}  # fmt: skip
    assert {text: Expression(text).excess(NAMES) for text in texts} == texts

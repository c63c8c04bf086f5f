"""Tables: no number and no name is cut, whatever the width."""

import pytest
from heddle.cli import shared
from rich.console import Console

COLUMNS = ["operator", "unit", "cycles", "of the run"]
ROWS = [
    ("layers.*.attention.projection.with_a_long_name", "vector", "13,404,123", "23.2%"),
    ("layers.*.attention.projection.with_another_one", "matrix", "11,042", "19.1%"),
]


@pytest.fixture
def table(monkeypatch, capsys):
    def call(width, rows=ROWS, text=(0, 1)):
        monkeypatch.setattr(shared, "console", Console(highlight=False, width=width))
        shared.print_table("Title", COLUMNS, rows, text=text)
        return capsys.readouterr().out

    return call


def names_of(output):
    """The pieces of each folded first column, joined."""
    lines, names = output.splitlines(), []
    start = next(number for number, line in enumerate(lines) if set(line.strip()) == {"─"})
    for line in lines[start + 1 :]:
        if not line.strip() or line.startswith("left out"):
            break
        cells = [each for each in line.split("   ") if each.strip()]
        if len(cells) > 1:
            names.append(cells[0].strip())
        else:
            names[-1] += cells[0].strip()
    return names


@pytest.mark.parametrize("width", [200, 90, 70, 60])
def test_names_are_folded_and_numbers_whole(table, width):
    output = table(width)
    assert names_of(output) == [name for name, *_ in ROWS]
    assert "13,404,123" in output and "23.2%" in output and "…" not in output and "left out" not in output
    assert max(map(len, output.splitlines())) <= width


@pytest.mark.parametrize("width, left_out", [(42, "of the run"), (28, "cycles, of the run")])
def test_columns_that_do_not_fit_are_left_out_and_named(table, width, left_out):
    output = table(width)
    assert names_of(output) == [name for name, *_ in ROWS] and "…" not in output
    assert f"left out, for want of {width} columns of text: {left_out}" in output


def test_a_first_column_that_is_too_wide_is_folded_all_the_same(table):
    output = table(10)
    assert "…" not in output and "unit, cycles, of the run" in output


def test_what_looks_like_markup_is_printed_as_it_is(table):
    assert "[bold]x[/]" in table(80, [("[bold]x[/]", "", "1", "2")])


def test_the_width_of_a_pipe_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("COLUMNS", "77")
    assert shared.make_console().width == 77
    monkeypatch.delenv("COLUMNS")
    assert shared.make_console().width == 140

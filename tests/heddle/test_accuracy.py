"""The page of accuracy: its rows, and the thresholds that the presets' format must keep."""

import re
from pathlib import Path

import pytest
from heddle import accuracy
from heddle.arch.errors import HeddleError

PAGE = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text()
LINE = re.compile(r"^\| (\S+) \| `\w+` \| (\w+) \| ([\w ]+?)(?: \(.*\))? \| ([\d.]+)(?: dB| %)? \| ([\d.]+)", re.M)
FIGURES = {  # (model, precision, figure) → (float32, tf32)
    tuple(found[:3]): tuple(map(float, found[3:])) for found in LINE.findall(PAGE)
}


def test_an_operator_in_all_formats():
    (line,) = accuracy.rows("x·silu(x)")
    *_, wide, narrow = map(float, line.strip("| ").split(" | ")[1:])
    assert wide > narrow > 60 and f"\n{line}\n" in PAGE


def test_a_model_in_both_formats():
    lines = accuracy.rows("encoder-layer-post")
    assert [line.split(" | ")[2] for line in lines] == [*accuracy.PRECISIONS] and all(line in PAGE for line in lines)


def test_the_page_has_all_rows():
    assert {(name, precision) for name, precision, _ in FIGURES} == {
        (name, precision) for name in accuracy.MODELS for precision in accuracy.PRECISIONS
    }
    assert all(f"\n| {name} | " in PAGE for name in accuracy.OPERATORS)


@pytest.mark.parametrize("name, figure, precision, least", [
    ("MiniLM", "mean SQNR", "w8a8", 27), ("MiniLM", "mean cosine", "w8a8", 0.996),
    ("MiniLM", "mean SQNR", "w16a16", 40), ("MiniLM", "mean SQNR", "bf16", 40),
    ("digits-vit", "SQNR", "w8a8", 40), ("digits-vit", "accuracy", "w8a8", 98.57),
    *(("gpt2", "SQNR of logits", each, 30) for each in accuracy.PRECISIONS),
])  # fmt: skip
def test_both_formats_keep_the_thresholds(name, figure, precision, least):
    assert min(FIGURES[name, precision, figure]) >= least


def test_an_unknown_row_is_refused():
    with pytest.raises(HeddleError, match="row .*'gelo' .*did you mean gelu"):
        accuracy.main(["gelo"], standalone_mode=False)

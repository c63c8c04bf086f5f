"""heddle zoo: a few rows by default, all among the long tests, and on the RTL."""

import json
import re
from dataclasses import replace
from pathlib import Path

import heddle as api
import pytest
import torch
from heddle import zoo
from heddle.zoo import Row, section, table, trial

ROOT = Path(__file__).parents[2]
FEW = ["norms", "deepseek-experts", "sparse-big-bird", "moco"]


def require_ok(row):
    assert row.state == "ok" and row.sqnr_db >= zoo.SQNR_DB and row.cycles and row.result_count, row


@pytest.mark.parametrize("name", FEW)
def test_a_few_rows_are_as_pytorch_has_them(name):
    require_ok(trial(zoo.ZOO[name]).row)


@pytest.mark.parametrize("name", ["norms", "deepseek-experts", "sparse-big-bird"])
def test_a_few_rows_agree_with_the_rtl(name):
    found = trial(zoo.ZOO[name], api.get_config("small"))  # which other tests have built
    assert api.lockstep(found.program, found.inputs, "verilator").agrees


@pytest.mark.long
@pytest.mark.parametrize("name", zoo.ZOO)
def test_every_row_is_as_pytorch_has_it_and_the_rtl_agrees(name):
    found = trial(zoo.ZOO[name])
    require_ok(found.row)
    assert api.lockstep(found.program, found.inputs, "verilator").agrees


def test_the_command_writes_the_table(heddle, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{zoo.BEGIN}\nold\n{zoo.END}\nafter\n")
    code, output, error = heddle("zoo", "norms", "-o", page, "--json")
    assert code == 0, error
    (row,) = json.loads(output)["systems"]
    assert row["name"] == "norms" and row["state"] == "ok" and row["sqnr_db"] > zoo.SQNR_DB and "rtl" not in row
    text = page.read_text()
    assert text.startswith(f"before\n{zoo.BEGIN}\n") and text.endswith(f"{zoo.END}\nafter\n") and "old" not in text
    assert f"| norms | Ba 2016, Zhang 2019 | 4 | {row['sqnr_db']:.1f} dB |" in text


@pytest.mark.parametrize("arguments, message", [
    (["tranformer"], "unknown system 'tranformer' (did you mean transformer?)"),
    (["norms", "-o", "page.md"], "page.md must have the lines <!-- zoo --> and <!-- end of zoo -->"),
])  # fmt: skip
def test_what_is_not_there_is_named(heddle, arguments, message):
    code, _, error = heddle("zoo", *arguments)
    assert code == 2 and message in error


def test_the_shape_of_a_paper_is_timed_or_refused(heddle, monkeypatch):
    shapes = {"norms": lambda: (torch.nn.Linear(8, 8), (torch.zeros(1, 4, 8),)),
              "heads": lambda: (torch.nn.Linear(1 << 20, 8, device="meta"), (torch.zeros(1, 1, 1 << 20),))}  # fmt: skip
    for name, full in shapes.items():
        monkeypatch.setitem(zoo.ZOO, name, replace(zoo.ZOO[name], full=full))
    code, output, _ = heddle("zoo", "norms", "heads", "--full", "nano", "--json")
    small, large = (row["full"] for row in json.loads(output)["systems"])
    assert code == 0 and small["cycles"] and small["load_bytes"] >= 64 and "reason" not in small
    assert "cycles" not in large and "is too large" in large["reason"]
    assert "heads: " in heddle("zoo", "heads", "--full", "nano")[1]


def test_the_table_says_what_was_found():
    rows = [Row("a", "A 2020", "ok", "", 71.26, 2, 10, 1234, 0.5), Row("b", "B 2021", "refused", "x | y")]
    text = table([*rows, Row("c", "C", "wrong", "", 3.0, 1, 1, 7, 0.1)], {})
    assert "| a | A 2020 | 2 | 71.3 dB | 10 | 1,234 | 50.0% |  |" in text
    assert "| b | B 2021 | refused: x \\| y |" in text and "3.0 dB (too little)" in text
    assert section(f"before\n{text}\nafter") == text and section("nothing") == ""


def test_the_page_has_every_row():
    page = section((ROOT / "docs" / "models.md").read_text())
    assert re.findall(r"^\| ([\w-]+) \| [^|]+ \| \d+ \| [\d.]+ dB \|.* \| 0, 0 \|$", page, re.M) == [*zoo.ZOO]


@pytest.mark.parametrize("name", zoo.ZOO)
def test_a_row_draws_the_same_each_time_and_leaves_the_generator_alone(name):
    state = torch.get_rng_state()
    one, two = zoo.ZOO[name].build()[1], zoo.ZOO[name].build()[1]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_file_is_short():
    names = {type(system.build()[0]).__module__.rsplit(".", 1)[1] for system in zoo.ZOO.values()}
    for name in names:
        assert len((ROOT / "models" / f"{name}.py").read_text().splitlines()) < 150, name

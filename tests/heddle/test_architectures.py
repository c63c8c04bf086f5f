"""Architectures of the transformers library as they are, against PyTorch: five by default, all among the long tests."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")
from heddle import architectures
from heddle.architectures import SQNR_DB, Row, page, trial

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
TABLE = architectures.architectures()
FEW = ["bert", "llama", "vit", "fnet", "mixtral"]
PASSED = re.findall(r"^\| (\S+) \| \S+ \| ok \|", PAGE, re.M)


@pytest.mark.parametrize("name", FEW)
def test_a_few(name):
    require_right(trial(name))


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in TABLE if name not in FEW])
def test_all_others(name):
    row = trial(name)
    if refused := TABLE[name].get("refused"):
        assert row.state == "refused" and refused in row.reason
    else:
        require_right(row)


def require_right(row):
    assert row.state == "ok" and row.results, row.reason
    assert row.sqnr_db is None or row.sqnr_db >= SQNR_DB


def test_the_page_has_all_of_the_table():
    assert re.findall(r"^\| (\S+) \| \S+ \| (?:ok|refused)[ :]", PAGE, re.M) == [*TABLE]
    assert [name for name in TABLE if "refused" not in TABLE[name]] == PASSED
    assert len(PASSED) >= 60 and set(FEW) <= set(PASSED)


def test_the_page_says_what_was_found():
    rows = [Row("a", "encoder", "ok", "", 71.26, 2, 1234), Row("b", "vision", "refused", "x | y", results=1)]
    text = page([*rows, Row("c", "audio", "ok", "", None, 1, 7)], "5.23.0")
    assert "Of 3, 2 compile and are right. 1 is refused." in text
    assert "| a | encoder | ok | 71.3 dB | 1,234 |\n| b | vision | refused: x \\| y |  |  |" in text
    assert text.endswith("| c | audio | ok | exact | 7 |\n")


@pytest.mark.long
def test_a_fault_or_too_long_a_run_is_a_row(monkeypatch, capsys):
    found = {"bert": lambda: 1 / 0, "gpt2": lambda: exec("while True: pass")}
    monkeypatch.setattr(architectures, "trial", lambda name: found.get(name, bool)())
    monkeypatch.setattr(architectures, "FIRST", "")
    monkeypatch.setattr(architectures, "CPU_SECONDS", 1)
    with pytest.raises(SystemExit) as stop:
        architectures.main(["bert", "gpt2", "--json"], standalone_mode=False)
    assert stop.value.code == 1
    rows = json.loads(capsys.readouterr().out)["architectures"]
    assert [(row["name"], row["state"]) for row in rows] == [("bert", "failed"), ("gpt2", "failed")]
    assert rows[0]["reason"] == "ZeroDivisionError: division by zero" and "more than 1 s" in rows[1]["reason"]


def test_the_compiler_names_no_architecture():
    """But where a name is a word of another meaning: an operator that some model is called after."""
    compiler = Path(__file__).parents[2] / "compiler"
    words = {word for path in compiler.rglob("*.py") for word in re.findall(r"[\w-]+", path.read_text().lower())}
    named = words & {*TABLE}
    assert named <= {"clip"}, named

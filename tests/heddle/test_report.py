"""heddle report: tables and JSON of where time, work and bytes went."""

import json

import pytest


@pytest.fixture
def program_file(heddle, tmp_path):
    code, _, error = heddle("compile", "encoder-layer", "--config", "nano", "-o", "layer.heddle")
    assert code == 0, error
    return tmp_path / "layer.heddle"


def test_a_report_in_tables(heddle, program_file, tmp_path):
    code, output, error = heddle("report", program_file, "--layers", "--roofline", "roof.png", "--trace", "run.json")
    assert code == 0, error
    for title in ("Where each unit's cycles went", "Operators, over all layers", "Layers", "Bytes by level",
                  "The critical path, by unit", "The critical path, by operator"):  # fmt: skip
        assert title in output
    assert (tmp_path / "roof.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "run.json").read_text())["traceEvents"]


def test_a_report_as_json(heddle, program_file):
    code, output, _ = heddle("report", program_file, "--json")
    figures = json.loads(output)
    assert code == 0
    cycles = figures["cycles"]
    assert sum(each["path_cycles"] for each in figures["operators"]) == cycles
    assert sum(each["path_cycles"] for each in figures["layers"]) == cycles
    assert sum(figures["critical_path"]["by_unit"].values()) == cycles
    assert figures["roofline"]["peak_macs_per_cycle"] == 16
    assert figures["roofline"]["run"]["macs"] == figures["useful_macs"]
    assert figures["free"] == {}
    longest = figures["critical_path"]["longest"]
    begins = [each["first_cycle"] for each in longest]
    assert len(longest) == 12 and begins == sorted(begins)
    assert {"index", "unit", "first_cycle", "cycles", "instruction", "label"} == set(longest[0])
    assert "The longest links" in heddle("report", program_file, "--chain", "3")[1]


def test_a_unit_that_is_free_makes_the_run_shorter(heddle, program_file):
    code, output, _ = heddle("report", program_file, "--free", "--json")
    figures = json.loads(output)
    assert code == 0
    assert {"load", "matrix", "vector"} <= set(figures["free"]) and "kv" not in figures["free"]
    for each in figures["free"].values():
        assert each["cycles"] <= figures["cycles"]
        assert each["shorter"] == pytest.approx(1 - each["cycles"] / figures["cycles"])
    assert figures["free"]["matrix"]["shorter"] > 0.02
    assert "run shorter if it were free" in heddle("report", program_file, "--free")[1]


def test_mistakes(heddle, program_file):
    for command in ("report", "explain", "simulate"):
        assert "--position is for decoders" in heddle(command, program_file, "--position", "3")[2]
    assert heddle("report", program_file, "--chain", "-3")[0] == 2
    code, _, error = heddle("report", program_file, "--roofline", "roof.jpeg2")
    assert code == 2 and "must end in .png, .svg or .pdf" in error

"""heddle explain: the compiler's decisions, and the facts that can be seen."""

import json
import zipfile
from dataclasses import replace

from heddle.arch.config import PRESETS
from heddle.arch.isa import Halt, Load
from heddle.arch.program import Choice, Period, Program
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder


def test_decisions_and_facts(heddle, tmp_path):
    heddle("compile", "encoder-layer", "--config", "nano", "-o", "layer.heddle")
    code, output, error = heddle("explain", "layer.heddle")
    assert code == 0, error
    for title in ("tiling: rows in", "Layers", "Operators, over all layers", "Panels, loops and chunks", "Memories",
                  "How far LOAD runs ahead"):  # fmt: skip
        assert title in output
    assert "precision: w8a8 of" in output and "rows: all at once" in output
    assert output.count("chosen") == 2  # of those tried, and of those simulated
    figures = json.loads(heddle("explain", "layer.heddle", "--json")[1])
    rows, precision, choice, filled, simulated = figures["choices"]
    assert [each["what"] for each in (rows, precision, filled)] == ["rows", "precision", "memories filled ahead"]
    assert choice["chosen"] == simulated["chosen"] and simulated["chosen"] in choice["considered"]
    assert simulated["considered"][simulated["chosen"]] == min(simulated["considered"].values())
    assert sum(sum(each["instruction_counts"].values()) for each in figures["layers"]) == figures["instructions"]
    assert all(each["live_words"] <= each["touched_words"] <= each["words"] for each in figures["occupancy"])
    assert {each["memory"] for each in figures["ahead"]} >= {"weight", "param"}
    assert figures["followed_instructions"] == figures["instructions"]


def test_what_was_followed_for_a_part_only_is_said(heddle, tmp_path, monkeypatch):
    monkeypatch.setattr("heddle.sim.facts.WINDOW", 20)
    heddle("compile", "encoder-layer", "--config", "nano", "-o", "layer.heddle")
    output = heddle("explain", "layer.heddle")[1]
    assert "Memories; live in the first 20 instructions" in output
    assert "first reader in the first 20 instructions" in output


def test_choices_without_alternatives_and_periods(heddle, tmp_path):
    heddle("compile", "encoder-layer", "--config", "nano", "-o", "layer.heddle")
    program = Program.load("layer.heddle")
    choices = Choice("rows at a time", "128"), Choice("heads", "2", {"2": 10, "4": "ACC is too small"})
    equal = (Load(words=4, dram_address=4096), Load(words=4, dram_address=4096, address=8)) * 3
    Program(PRESETS["nano"], (*equal, Halt()), 8192, choices=choices, periods=(Period(0, 2, 3),)).save("equal.heddle")
    _, output, _ = heddle("explain", "equal.heddle")
    assert "rows at a time: 128" in output and "ACC is too small" in output
    assert "instructions 0 to 5: 3 equal parts of 2, compiled once" in output
    replace(program, choices=()).save("layer.heddle")
    assert "does not say what the compiler considered" in heddle("explain", "layer.heddle")[1]


def test_all_commands_count_the_same_useful_products(heddle, tiny, tmp_path):
    """A layer of 16 features, 2 heads and 64 hidden features, at position 20, and its head: by hand."""
    model = tiny.model()
    program = compile_decoder(model, PRESETS["nano"], CachePlan(32), tiling=Tiling()).at(20)
    program.save(tmp_path / "it.heddle")
    by_hand = 4 * 16 * 16 + 2 * 16 * 64 + 21 * 2 * 16 + tiny.config.vocabulary * 16
    for command in ("list", "explain", "report", "simulate"):
        code, output, error = heddle(command, "it.heddle", "--json")
        assert (code, json.loads(output)["useful_macs"]) == (0, by_hand), error
    assert json.loads(heddle("report", "it.heddle", "--json")[1])["roofline"]["run"]["macs"] == by_hand


def test_choices_that_are_none_are_refused(heddle, tmp_path):
    path = tmp_path / "c.heddle"
    Program(PRESETS["nano"], (Halt(),), 4096, choices=(Choice("a", "b", {"b": 7}),)).save(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(content["program.json"])
    header["choices"][0]["considered"] = [1]
    content["program.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    code, output, error = heddle("explain", path)
    assert (code, output) == (2, "") and "considered of a choice must be alternative → cycles, not [1]" in error

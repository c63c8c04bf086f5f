"""heddle synth: what it prints is what it found; a machine that does not fit is a result."""

import json

import heddle as package
import pytest
from heddle.arch.config import PRESETS
from heddle.explore.area import Area
from heddle.explore.synthesis import Synthesis, Unit

PLACED = ("synth", "nano", "--unit", "write_channel", "--place", "--seeds", 2)


def test_the_tables_have_what_json_has(heddle):
    code, text, _ = heddle(*PLACED)
    figures = json.loads(heddle(*PLACED, "--json")[1])
    (unit,) = figures["units"]
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["write_channel"])
    assert code == 0 and row[1:] == [f"{unit[name]:,}" for name in ("lut4", "comb", "ff", "dsp", "bram")]
    assert unit["parts"][0]["unit"] in text
    assert f"Clock: {figures['fmax_mhz']:.1f} MHz, by write_channel; the configuration says 1,000." in text
    for step in unit["slowest_path"]:
        assert any(step["signal"] in line and step["source"] in line and f"{step['delay_ns']:.2f}" in line
                   for line in text.splitlines())  # fmt: skip


@pytest.fixture
def found(monkeypatch):
    """Let synthesis find these areas."""

    def set_to(target, *areas):
        units = tuple(Unit(area, frozenset({"heddle_add"})) for area in areas)
        synthesis = Synthesis(PRESETS["nano"], target, {}, units)
        monkeypatch.setattr(package, "synthesise", lambda *_: synthesis, raising=False)

    return set_to


def test_a_machine_that_does_not_fit_is_a_result(heddle, found):
    found("ecp5", Area("vector", {"lut4": 9, "comb": 83_641, "ff": 0, "dsp": 312, "bram": 0}))
    code, text, _ = heddle("synth", "nano")
    assert code == 0 and "It does not fit an LFE5U-85F: dsp is 312, 200.0% of what that has." in text
    assert "comb is 83,641, 100.0% of" in text and "bram is" not in text
    figures = json.loads(heddle("synth", "nano", "--json")[1])
    assert figures["fits"] is False and figures["area"]["comb"] == 83_641 and figures["available"]["comb"] == 83_640


def test_operators_and_pes_are_told_beside_each_other(heddle, found):
    gates = [Area(name, {"gate_equivalents": each, "ff": 0, "sram_bits": 0}, name) for name, each in
             (("heddle_add", 3000.0), ("heddle_pe_int8", 2000.0))]  # fmt: skip
    found("generic", *gates)
    text = heddle("synth", "nano", "--target", "generic")[1]
    assert "Operators of float32: 3,000 gate equivalents, PEs: 2,000; 1.50 to 1" in text

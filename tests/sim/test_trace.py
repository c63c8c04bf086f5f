"""The exports: Perfetto's JSON, the picture, plain data for --json."""

import json

import numpy as np
import pytest
from heddle.arch.config import Memory, Unit
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Halt, Load, Map, Source
from heddle.arch.program import Program
from heddle.sim import timeline as timelines
from heddle.sim.machine import simulate
from heddle.sim.timeline import write_timeline
from heddle.sim.trace import Record, write_chrome_trace


@pytest.fixture
def result(nano):
    loads = [Load(memory=Memory.ACT, words=40, signal=0), Load(memory=Memory.WEIGHT, words=4)]
    instructions = (*loads, Map(columns=4, source=Source.VALUE), Halt())
    return simulate(Program(nano, instructions, 1 << 12, labels=("a", "b", "", ""), name="tiny", useful_macs=5))


def test_records_are_what_the_retire_port_reports(result):
    assert result.trace[2] == Record(2, Unit.VECTOR, 59, result.trace[2].retire)
    assert [record.index for record in result.trace] == [0, 1, 2]


def test_a_chrome_trace_shows_overlapping_loads_in_tracks_of_their_own(result, tmp_path):
    write_chrome_trace(tmp_path / "trace.json", result.chrome_trace())
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {each["tid"]: each["args"]["name"] for each in events if each["name"] == "thread_name"}
    bars = [each for each in events if each["ph"] == "X"]
    assert [(names[each["tid"]], each["name"]) for each in bars] == [
        ("LOAD", "a"), ("LOAD (overlapping 1)", "b"), ("VECTOR", "map"),
    ]  # fmt: skip
    record = result.trace[0]
    assert (bars[0]["ts"], bars[0]["dur"]) == (record.start, record.retire - record.start + 1)
    assert bars[0]["args"] == {"index": 0, "instruction": "load      memory=act words=40"}


def test_busy_counts_overlapping_loads_once(result):
    first, second = result.trace[:2]
    assert second.start <= first.retire
    assert result.busy["load"] == second.retire - first.start + 1


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_timeline_is_written_as_a_picture(result, tmp_path, suffix):
    path = tmp_path / f"timeline.{suffix}"
    write_timeline(path, result.trace, result.program.instructions, "tiny on nano")
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


def test_a_part_of_time_is_what_spans_cover_of_a_bin():
    edges = np.array([0.0, 10, 20, 30])
    assert timelines._part_of_time([(2, 4), (8, 21)], edges) == pytest.approx([0.4, 1, 0.1])
    assert timelines._part_of_time([], edges) == pytest.approx([0, 0, 0])


def test_more_instructions_than_a_picture_can_show_are_drawn_as_parts_of_time(result, tmp_path, monkeypatch):
    monkeypatch.setattr(timelines, "BARS", 2)
    write_timeline(tmp_path / "dense.png", result.trace, result.program.instructions, "tiny on nano")
    assert (tmp_path / "dense.png").read_bytes().startswith(b"\x89PNG")


def test_files_that_cannot_be_written_are_errors(result, tmp_path):
    missing = tmp_path / "none" / "x.png"
    with pytest.raises(HeddleError, match="cannot write .*: its directory does not exist"):
        write_chrome_trace(missing, {})
    with pytest.raises(HeddleError, match="cannot write .*: its directory does not exist"):
        write_timeline(missing, result.trace, result.program.instructions, "")
    with pytest.raises(HeddleError, match=r"must end in \.png, \.svg or \.pdf"):
        write_timeline(tmp_path / "x.docx", result.trace, result.program.instructions, "")


def test_the_report_is_plain_data(result):
    report = json.loads(json.dumps(result.to_dict()))
    assert list(report) == [
        "program", "part", "instructions", "moved_bytes", "cycles", "useful_macs", "mac_utilisation",
        "busy_cycles", "stall_cycles", "batch",
    ]  # fmt: skip
    assert report["moved_bytes"] == {"fetch": 256, "load": 44 * 4, "store": 0, "append": 0, "stream": 0}
    assert report["cycles"] == result.cycles and report["instructions"] == 4

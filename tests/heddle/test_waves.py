"""heddle cosim --waves: which run and which cycles are recorded, and what is said of it."""

import json
from pathlib import Path

import pytest
from heddle.arch.errors import HeddleError
from heddle.cosim import lockstep, waves
from heddle.cosim.engines.job import Window


@pytest.fixture
def differing(monkeypatch):
    """A lock-step that finds a difference in its second run, and a recorder that only takes notes."""
    difference = lockstep.Difference(1, "start", 1000, "3", "4")
    comparison = lockstep.Comparison("icarus", "nano", 2, 2, 1, 1, 0, 1, 0, difference)
    monkeypatch.setattr(lockstep, "lockstep", lambda *arguments, **options: comparison)
    noted = []

    def note(program, inputs, engine, path, window):
        noted.append((program.name, engine, window))
        Path(path).write_text("")

    monkeypatch.setattr(waves, "record", note)
    return noted


@pytest.mark.parametrize(
    "options, window", [((), Window(800, 1050)), (("--waves-from", 5), Window(5)), (("--waves-to", 9), Window(0, 9))]
)
def test_the_command_records_the_run_that_differs(heddle, differing, options, window):
    arguments = "cosim", "random", "--config", "nano", "--engine", "icarus", "--programs", 2, "--waves", "run.fst"
    code, output, error = heddle(*arguments, *options, "--json")
    assert code == 1, error
    figures = json.loads(output)
    assert (figures["file"], figures["run_recorded"]) == ("run.fst", 1)
    assert (figures["first_cycle"], figures["last_cycle"]) == (window.first, window.last)
    ((name, engine, recorded),) = differing
    assert engine == "icarus" and recorded == window and name.endswith("1")
    assert "look at it with gtkwave run.fst, or surfer run.fst" in heddle(*arguments, *options)[1]


def test_options_of_a_waveform_need_its_file(heddle):
    for option in ("--waves-from", "--waves-to"):
        code, output, error = heddle("cosim", "random", option, 3)
        assert code == 2 and "name its file with --waves" in error and not output


def test_a_waveform_that_fails_does_not_hide_a_difference(heddle, differing, monkeypatch):
    def fail(*given):
        raise HeddleError("no room")

    monkeypatch.setattr(waves, "record", fail)
    arguments = "cosim", "random", "--config", "nano", "--engine", "icarus", "--programs", 2, "--waves", "run.fst"
    code, output, error = heddle(*arguments, "--json")
    assert code == 1 and json.loads(output)["different_cycles"] == 1 and "there is no waveform: no room" in error
    code, output, _ = heddle(*arguments)
    assert code == 1 and "1 different cycles" in output

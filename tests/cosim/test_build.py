"""Builds of the bench: made once, whole or not at all; and the files through which memories pass."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.isa import Load, Store
from heddle.cosim import build
from heddle.cosim.engines import hdl
from heddle.cosim.lockstep import lockstep

from .conftest import program_of


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path))
    return tmp_path / "rtl"


def test_an_entry_is_built_once_even_by_several_at_a_time(cache):
    built = []

    def fill(folder):
        time.sleep(0.05)
        built.append(folder)
        (folder / "file").write_text("content")

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: build.cached("thing", "key", fill), range(8)))
    assert len(built) == len(folders) == 1
    (folder,) = folders
    assert folder.parent == cache and (folder / "file").read_text() == "content"
    assert build.cached("thing", "another key", fill) != folder and len(built) == 2


def test_a_build_that_fails_leaves_nothing(cache):
    def fail(folder):
        (folder / "half").write_text("")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        build.cached("thing", "key", fail)
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_a_build_command_that_fails_shows_its_output(tmp_path):
    with pytest.raises(RuntimeError, match="what went wrong"):
        hdl.execute(["sh", "-c", "echo what went wrong; exit 1"], tmp_path)


def test_words_pass_through_files(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8)
    for word_bytes in (4, 16):
        hdl.write_words(tmp_path / "image.hex", image, word_bytes)
        first = (tmp_path / "image.hex").read_text().split("\n")[0]
        assert int(first, 16) == int.from_bytes(image[:word_bytes].tobytes(), "little")
        assert np.array_equal(hdl.read_words(tmp_path / "image.hex", word_bytes), image)


@pytest.mark.long
def test_a_mebibyte_is_loaded_and_read_back_in_seconds():
    """Of CPU time, here and in the simulator, whatever else the machine does."""
    content = np.random.default_rng(1).integers(0, 256, (1 << 20) - 4096, dtype=np.uint8).tobytes()
    program = program_of([
        Load(memory=Memory.VALUE, dram_address=(1 << 20) - 64, words=8),
        Store(memory=Memory.VALUE, dram_address=4096, words=8),
    ], data=[(4096, content)], dram_bytes=1 << 20)  # fmt: skip
    assert lockstep(program).agrees  # builds
    before = os.times()
    assert lockstep([program] * 4).agrees
    assert sum(os.times()[:4]) - sum(before[:4]) < 20


def test_what_is_built_is_named_as_readers_know_it(monkeypatch):
    """The message says that it is not the preset; the folder of the cache keeps its short name."""
    said = []
    monkeypatch.setattr(build, "cached", lambda name, key, make, what: said.append((name, what)))
    changed = replace(PRESETS["nano"], queue_depth=8)
    for config in (PRESETS["nano"], changed):
        build.bench_verilog(config, 4096, 1024)
    assert said == [("verilog-nano", "the Verilog of nano"), ("verilog-nano", "the Verilog of nano (changed)")]

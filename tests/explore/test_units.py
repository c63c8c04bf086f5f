"""explore/units.py: what there is to synthesise, by path."""

import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.explore.units import find, unit_names
from heddle.hw.elementwise import Elementwise
from heddle.hw.float import Add
from heddle.hw.units.vector import Vector

NANO = PRESETS["nano"]


def test_the_units_are_those_of_the_accelerator():
    names = unit_names(NANO)
    assert {"load", "store", "kv", "matrix", "vector", "dispatch", "fetch", "csr", "arbiter"} < set(names)
    assert {f"{memory.name.lower()}_memory" for memory in Memory} < set(names)


def test_a_part_is_found_by_its_path():
    assert isinstance(find(NANO, "vector"), Vector)
    assert isinstance(find(NANO, "vector.elementwise"), Elementwise)
    assert isinstance(find(NANO, "vector.elementwise.plus_offset_0"), Add)


@pytest.mark.parametrize("path, message", [
    ("vecto", r"unknown unit 'vecto' \(did you mean vector\?\); units are csr, .*; accelerator is all of them"),
    ("", "unknown unit ''"),
    ("vector.elementwize", r"unknown part of vector 'elementwize' \(did you mean elementwise\?\); parts of vector are"),
    ("write_channel.order.words.none", "unknown part of write_channel.order.words 'none'"),
])  # fmt: skip
def test_an_unknown_path_is_refused(path, message):
    with pytest.raises(HeddleError, match=message):
        find(NANO, path)

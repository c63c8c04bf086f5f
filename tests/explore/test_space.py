"""explore/space.py: what a space says, its points and machines, and mistakes in it."""

import pytest
from heddle.arch.config import get_config
from heddle.arch.errors import HeddleError
from heddle.explore.space import Space

TOML = """
config = "nano"
objectives = ["seconds", "max mac_utilisation"]
where = ["rows <= 2 * columns"]
require = ["sram_bits <= 1e6"]
[parameters]
rows = [4, 8, 16]
columns = { from = 4, to = 16, times = 2 }
act_words = { from = 1024, to = 2048, step = 1024 }
dram = ["ideal", "HBM2"]
tokens = [16, 64]
[derived]
vector_lanes = "min(rows, columns) // 2"
weight_words = "4096 * vector_lanes"
[[workloads]]
model = "bert-base"
layers = 1
"""
PLAIN = {"parameters": {"rows": [4, 8]}, "workloads": ["encoder-layer"]}


@pytest.fixture
def space(tmp_path):
    (tmp_path / "mine.toml").write_text(TOML)
    return Space.read(tmp_path / "mine.toml")


def test_a_file_says_grids_ranges_powers_and_derived_fields(space):
    assert space.name == "mine" and space.size == 3 * 3 * 2 * 2 * 2
    points = [*space.points()]
    assert len(points) == 8 * 2 * 2 * 2 and all(each["rows"] <= 2 * each["columns"] for each in points)
    point = {"rows": 8, "columns": 16, "act_words": 2048, "dram": "HBM2", "tokens": 64}
    assert point in points
    machine = space.machine(point)
    assert (machine.rows, machine.columns, machine.vector_lanes, machine.weight_words) == (8, 16, 4, 16384)
    assert machine.dram_name == "HBM2" and machine.acc_words == get_config("nano").acc_words
    assert space.of_workload(point) == {"tokens": 64}
    assert [str(each) for each in space.objectives] == ["seconds", "max mac_utilisation"]


def test_a_space_is_made_again_from_its_plain_values(space):
    again = Space.from_dict(space.to_dict())
    assert again == space and [*again.points()] == [*space.points()]


def test_a_machine_that_cannot_be_says_why():
    odd = Space.from_dict(PLAIN | {"parameters": {"rows": [6]}, "derived": {"vector_lanes": "rows / 4"}})
    with pytest.raises(HeddleError, match=r"vector_lanes must be a whole number, not 1.5"):
        odd.machine({"rows": 6})


@pytest.mark.parametrize(
    "change, said",
    [
        ({"parameters": {"row": [4]}}, r"unknown parameter 'row' \(did you mean rows\?\)"),
        ({"parameters": {}}, "must have parameters"), ({"workloads": []}, "must have a workload"),
        ({"parameters": {"rows": 4}}, "parameter rows must be a list"),
        ({"parameters": {"rows": [4, 4]}}, "parameter rows has 4 2 times"),
        ({"parameters": {"rows": [4.5]}}, "values of rows must be whole numbers or texts"),
        ({"parameters": {"rows": {"from": 4}}}, "must have from, to and step, or from, to and times"),
        ({"parameters": {"rows": {"from": 4, "to": 9, "times": 1}}}, "times of rows must be a whole number of at"),
        ({"derived": {"rows": "columns"}}, "rows must be a parameter or derived, not both"),
        ({"derived": {"columns": "row"}}, r"'row' \(did you mean rows\?\)"),
        ({"where": ["rows"]}, "'rows' must be a condition"),
        ({"objectives": ["least seconds"]}, "an objective must be"),
        ({"objectives": []}, "must have an objective"), ({"limits": []}, "unknown key of a space 'limits'"),
        ({"workloads": [{"tokens": 3}]}, "a workload must say its model"),
        ({"workloads": [{"model": "a", "token": 3}]}, "unknown field of a workload 'token'"),
        ({"workloads": [{"model": "a", "tokens": 0}]}, "tokens of a workload must be a whole number from 1"),
        ({"workloads": ["encoder-layer", "encoder-layer"]}, "two workloads are called encoder-layer"),
        ({"config": "smal"}, "did you mean small"),
    ],
)  # fmt: skip
def test_mistakes_are_named(change, said):
    with pytest.raises(HeddleError, match=said):
        Space.from_dict(PLAIN | change)


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(HeddleError, match="cannot read .*none.toml: No such file"):
        Space.read(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("rows = [")
    with pytest.raises(HeddleError, match="bad.toml is no TOML"):
        Space.read(tmp_path / "bad.toml")

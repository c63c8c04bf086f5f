"""HardwareConfig: presets, validation, TOML, identity."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
from heddle.arch.config import PRESETS, HardwareConfig, Memory, get_config
from heddle.arch.dram import DramConfig
from heddle.arch.errors import HeddleError
from heddle.arch.fields import fields_page
from heddle.arch.stated import stated_fields

NANO = PRESETS["nano"]
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Field:
    name: str


def test_presets_have_the_documented_arrays():
    shapes = {name: (config.rows, config.columns) for name, config in PRESETS.items()}
    assert shapes == {
        "nano": (4, 4), "small": (8, 8), "ecp5": (8, 8), "base": (16, 16), "edge": (32, 32), "server": (128, 128),
    }  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_toml_round_trip_keeps_every_field(name):
    config = PRESETS[name].with_dram(latency_cycles=77)
    assert HardwareConfig.from_toml(config.to_toml()) == config


def test_the_toml_says_what_each_field_means():
    lines = NANO.with_dram("HBM2").to_toml().splitlines()
    assert all("  # " in line for line in lines if line and line != "[dram]")
    assert lines[1].split("  # ")[1].startswith("rows of PEs: the reduction (K) direction: 2 to 256 PEs; at least 3, ")


def test_the_page_of_fields_is_current_and_has_them_all():
    page = fields_page()
    assert (ROOT / "docs" / "fields.md").read_text() == page, "run make docs"
    for cls in (HardwareConfig, DramConfig):
        assert all(f"| `{each.name}` |" in page for each in fields(cls))


def test_a_field_of_which_nothing_is_stated_is_refused():
    with pytest.raises(HeddleError, match=r"Field.name must be declared as Annotated\[…, Stated\(…\)\]"):
        stated_fields(Field)


def test_fingerprint_changes_with_the_hardware_but_not_with_the_memory_behind_it():
    assert NANO.fingerprint == NANO.with_dram(latency_cycles=200).fingerprint
    assert NANO.fingerprint == replace(NANO, name="other", clock_mhz=5).fingerprint
    assert NANO.fingerprint != replace(NANO, acc_words=4096).fingerprint


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rows": 0}, "rows must be a whole number from 2 to 256, not 0"),
        ({"columns": "four"}, "columns must be a whole number"),
        ({"vector_lanes": 3}, "vector_lanes must be a power of two, not 3"),
        ({"vector_lanes": 8}, "vector_lanes must divide rows"),
        ({"act_words": 1000}, "act_words must be a power of two"),
        ({"act_banks": 64, "act_words": 64}, "act_banks must be at most half"),
        ({"value_format": "fp8"}, "value_format must be 'bf16' or 'float32'"),
        ({"vector_format": "bf16"}, "vector_format must be 'float32' or 'tf32', not 'bf16'"),
        ({"pe": "int4"}, "pe must be 'int8'"),
        ({"axi_bytes": 8}, "axi_bytes must be at most the narrowest memory word (4 bytes)"),
    ],
)
def test_a_bad_field_is_named_with_what_would_be_right(changes, message):
    with pytest.raises(HeddleError) as error:
        replace(NANO, **changes)
    assert message in str(error.value)


@pytest.mark.parametrize("field", [each.name for each in fields(HardwareConfig) if each.name != "dram"])
def test_numbers_of_numpy_make_the_same_configuration(field):
    nano = PRESETS["nano"]
    value = getattr(nano, field)
    same = replace(nano, **{field: np.str_(value) if isinstance(value, str) else np.int64(value)})
    assert same == nano and same.fingerprint == nano.fingerprint and same.changed_fields == []
    assert type(getattr(same, field)) is type(value) and same.array_cycles == nano.array_cycles
    assert HardwareConfig.from_toml(same.to_toml()) == nano and json.dumps(same.to_dict()) == json.dumps(nano.to_dict())


def test_numbers_of_numpy_make_the_same_memory():
    banked = PRESETS["nano"].with_dram("HBM2").dram
    numbers = {name: value for name, value in asdict(banked).items() if name != "model"}
    same = DramConfig(np.str_("banked"), **{name: np.int32(value) for name, value in numbers.items()})
    assert same == banked and json.dumps(same.to_dict()) == json.dumps(banked.to_dict())
    assert {type(getattr(same, name)) for name in numbers} == {int}
    with pytest.raises(HeddleError, match="dram.cl is of banked memories"):
        DramConfig(cl=None)  # type: ignore[arg-type]


def test_bursts_never_exceed_4_kib():
    with pytest.raises(HeddleError, match="4 KiB"):
        replace(PRESETS["server"], burst_beats=64)


def test_unknown_names_files_and_fields_are_refused(tmp_path):
    with pytest.raises(HeddleError, match="presets are nano, small"):
        get_config("huge")
    with pytest.raises(HeddleError, match="cannot read"):
        get_config(str(tmp_path / "none.toml"))
    path = tmp_path / "bad.toml"
    path.write_text(NANO.to_toml().replace("rows = 4", "rowz = 4", 1))
    with pytest.raises(HeddleError, match=r"unknown configuration field 'rowz' \(did you mean rows\?\)"):
        get_config(str(path))
    path.write_text(NANO.to_toml().replace("\nrows = ", "\n# ", 1))
    with pytest.raises(HeddleError, match="configuration field rows is missing"):
        get_config(str(path))
    path.write_text("rows = = 4")
    with pytest.raises(HeddleError, match="not a TOML configuration"):
        get_config(str(path))


def test_a_config_file_is_a_configuration(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(replace(NANO, name="mine", rows=8).to_toml())
    assert get_config(str(path)).rows == 8


def test_words_take_a_power_of_two_bytes_in_dram():
    odd = replace(NANO, rows=3, columns=5, vector_lanes=1)
    sizes = {memory: odd.dram_word_bytes(memory) for memory in (Memory.ACT, Memory.WEIGHT, Memory.VALUE, Memory.PARAM)}
    assert sizes == {Memory.ACT: 4, Memory.WEIGHT: 8, Memory.VALUE: 16, Memory.PARAM: 64}

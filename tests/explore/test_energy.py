"""explore/energy.py and sim/events.py: counts by hand, joules by hand, and no number without a source."""

import re
from dataclasses import replace

import heddle
import pytest
import torch
from heddle.arch.config import Memory, get_config
from heddle.arch.errors import HeddleError
from heddle.explore.energy import FOLDER, energy, energy_of_kinds, read_table, tables, total
from heddle.sim.events import events, events_by
from torch import nn

NANO = get_config("nano")


@pytest.fixture(scope="module")
def result():
    torch.manual_seed(1)
    program = heddle.compile(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)).eval(), (torch.zeros(1, 4, 8),), NANO)
    return heddle.simulate(program, values=False)


def test_events_of_a_small_program_by_hand(result):
    found = events(result)
    assert found["matrix.macs"] == 4 * 8 * 8  # rows × K × N: whole tiles of 4 × 4, one pass
    assert found["norm.multiplies"] == 4 * 4 * 8 and found["norm.value.reads"] == 3 * 4 * 2  # three passes over 2 words
    assert found["matrix.weight.reads"] == 8 * 2 and found["matrix.acc.writes"] == 4 * 2 * 2  # K words for 2 columns
    assert found["port.read_bytes"] == result.bytes["fetch"] + result.bytes["load"]
    assert found["port.written_bytes"] == result.bytes["store"] == 4 * 8 * 2
    assert found["instructions"] == len(result.program.instructions) - 1  # the halt is of no unit


def test_passes_of_wide_precisions_count():
    layer, x = nn.Linear(8, 8).eval(), torch.zeros(1, 4, 8)
    counts = {}
    for precision in ("w8a8", "w8a16", "w16a16"):
        program = heddle.compile(layer, (x,), NANO, precision=precision)
        counts[precision] = events(heddle.simulate(program, values=False))["matrix.macs"]
    assert counts == {"w8a8": 256, "w8a16": 512, "w16a16": 1024}


def test_events_by_operator_and_by_layer_sum_up(result):
    whole = events(result)
    for what in ("operator", "layer"):
        parts = events_by(result, what).values()
        for name in ("matrix.macs", "norm.adds", "vector.value.writes", "port.written_bytes"):
            assert sum(each[name] for each in parts) == whole[name]


def test_moved_words_are_those_of_the_profile(result):
    share, found = heddle.Profile(result).whole, events(result)
    for memory in Memory:
        reads, writes = found.of_memory(memory)
        name, word = memory.name.lower(), NANO.word_bits(memory) / 8
        assert (share.read_bytes[name], share.written_bytes[name]) == (reads * word, writes * word)


def test_a_banked_dram_is_counted(result):
    banked = heddle.simulate(result.program, values=False, dram="HBM2")
    found = events(banked)
    assert found["dram.row_hits"] + found["dram.row_misses"] + found["dram.row_conflicts"] > 0
    assert found["dram.row_hits"] == banked.dram["row_hits"]


def test_joules_by_hand():
    table = read_table("horowitz-45")
    found = energy({"matrix.macs": 1000, "norm.multiplies": 10, "norm.adds": 5, "port.read_bytes": 2}, NANO, table)
    assert found["matrix"].value == pytest.approx(1000 * 0.3e-12)
    assert found["norm"].value == pytest.approx((10 * 3.7 + 5 * 0.9) * 1e-12)
    assert found["dram"].low == pytest.approx(16 * 20.3e-12) and found["dram"].high == pytest.approx(16 * 40.6e-12)
    assert energy({"matrix.macs": 1}, replace(NANO, pe="bf16"), table)["matrix"].value == pytest.approx(2e-12)
    # a bank of VALUE: 512 words of 64 bits, 4 KiB, half of the 8 KiB that takes 10 pJ
    reads = energy({"load.value.writes": 3}, NANO, table)["load"]
    assert reads.value == pytest.approx(3 * 10e-12 * 0.5**0.5)


def test_joules_by_unit_and_by_kind_are_the_same(result):
    for name in tables():
        table, counts = read_table(name), events(result).to_dict()
        by_unit, by_kind = (each(counts, NANO, table) for each in (energy, energy_of_kinds))
        assert total(by_unit).value == pytest.approx(total(by_kind).value)
        assert total(by_unit).low < total(by_unit).value < total(by_unit).high
        assert {"products", "dram", "value"} <= by_kind.keys()


@pytest.mark.parametrize("key", ["source", "quality", "unit", "low", "high", "value"])
def test_a_number_without_its_source_does_not_load(tmp_path, key):
    text = (FOLDER / "horowitz-45.toml").read_text()
    head, figures = text.split("[operations.int8_mac]", 1)
    bare = re.sub(rf"(?m)^{key} = .*\n", "", figures, count=1)
    (tmp_path / "bare.toml").write_text(head + "[operations.int8_mac]" + bare)
    with pytest.raises(HeddleError, match=rf"int8_mac must state .*{key}"):
        read_table(tmp_path / "bare.toml")


def test_mistakes_in_tables_are_named(tmp_path):
    text = (FOLDER / "horowitz-45.toml").read_text()
    for before, after, said in (
        ("low = 0.23", "low = 0.5", "int8_mac must have low ≤ value ≤ high, not 0.5, 0.3, 0.46"),
        ('unit = "pJ/bit"', 'unit = "pJ"', "dram must be in pJ/bit, not pJ"),
        ("bytes = 8192", "bytes = 0", "sram must state bytes, a number above 0"),
        ("[operations.float_add]", "[operations.float_ad]", "unknown operation .* .did you mean float_add"),
        ("node_nm = 45", "node_nm = ", "is no TOML"),
    ):
        (tmp_path / "wrong.toml").write_text(text.replace(before, after))
        with pytest.raises(HeddleError, match=said):
            read_table(tmp_path / "wrong.toml")
    with pytest.raises(HeddleError, match=r"unknown energy table 'horowitz' \(did you mean horowitz-45\?\)"):
        read_table("horowitz")
    with pytest.raises(HeddleError, match="cannot read energy table"):
        read_table(tmp_path / "none.toml")

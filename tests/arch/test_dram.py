"""DramConfig and the presets of memories: conversion to cycles, validation, files."""

from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS, HardwareConfig
from heddle.arch.dram import DRAM_PRESETS, DramConfig
from heddle.arch.errors import HeddleError

NANO, BASE, SERVER = PRESETS["nano"], PRESETS["base"], PRESETS["server"]


def test_presets_have_the_bandwidth_of_their_name():
    rates = {name: round(part.gigabytes_per_second, 1) for name, part in DRAM_PRESETS.items()}
    assert rates == {"DDR4-2400": 19.2, "LPDDR4-3200": 12.8, "LPDDR5-6400": 25.6, "HBM2": 256.0}


@pytest.mark.parametrize("name", DRAM_PRESETS)
@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_every_preset_fits_every_accelerator_and_its_files(config, name):
    banked = config.with_dram(name)
    assert banked.dram.banked and banked.fingerprint == config.fingerprint
    assert HardwareConfig.from_toml(banked.to_toml()) == banked
    assert HardwareConfig.from_dict(banked.to_dict()) == banked
    expected = min(config.axi_bytes, DRAM_PRESETS[name].gigabytes_per_second)  # at 1 GHz
    assert banked.dram.bytes_per_cycle(config.axi_bytes) == pytest.approx(expected, rel=1e-3)
    assert banked.dram.bytes_per_cycle(config.axi_bytes) <= expected * (1 + 1e-9)


def test_nanoseconds_are_rounded_up_to_cycles_of_the_clock():
    at_1000 = BASE.with_dram("LPDDR4-3200").dram
    assert (at_1000.t_rcd, at_1000.cl, at_1000.t_refi, at_1000.access_ticks) == (18, 20, 3904, 5 * 256)
    at_300 = replace(BASE, clock_mhz=300).with_dram("LPDDR4-3200").dram
    assert (at_300.t_rcd, at_300.cl, at_300.t_refi, at_300.access_ticks) == (6, 6, 1172, 384)


def test_two_banks_of_different_groups_are_one():
    dram = BASE.with_dram("DDR4-2400").dram
    assert (dram.banks, dram.row_bytes, dram.t_rrd, dram.t_faw) == (8, 16384, 7, 42)
    without_groups = BASE.with_dram("LPDDR4-3200").dram
    assert (without_groups.banks, without_groups.row_bytes, without_groups.t_faw) == (8, 2048, 40)


def test_banks_work_together_where_a_burst_is_longer_than_a_row():
    dram = SERVER.with_dram("LPDDR4-3200").dram
    assert (dram.banks, dram.row_bytes, dram.interleave_bytes, dram.t_faw) == (4, 4096, 4096, 80)
    assert (dram.access_bytes, dram.access_ticks) == (128, 4 * 5 * 256)


def test_a_preset_can_be_changed_and_taken_back():
    config = NANO.with_dram("HBM2", channels=4, t_rcd=30)
    assert (config.dram.channels, config.dram.t_rcd, config.dram.t_rp) == (4, 30, 14)
    assert config.with_dram(latency_cycles=50).dram == replace(config.dram, latency_cycles=50)
    assert config.with_dram("ideal") == NANO
    assert config.dram.structure == config.with_dram(latency_cycles=50, cycles_per_beat=3).dram.structure


def test_a_file_may_name_a_preset_and_what_differs():
    text = NANO.to_toml().split("[dram]")[0]
    named = HardwareConfig.from_toml(text + '[dram]\npreset = "HBM2"\nt_rcd = 30\n')
    assert named == NANO.with_dram("HBM2", t_rcd=30)
    with pytest.raises(HeddleError, match=r"unknown configuration field 'dram.t_rdc' \(did you mean dram.t_rcd\?\)"):
        HardwareConfig.from_toml(text + '[dram]\npreset = "HBM2"\nt_rdc = 30\n')


def test_an_ideal_memory_states_three_fields():
    assert NANO.to_dict()["dram"] == {"model": "ideal", "latency_cycles": 32, "cycles_per_beat": 1}
    assert "banks" not in NANO.to_toml().split("[dram]")[1]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "DDR4-2400"}, "dram.model must be 'ideal' or 'banked', not 'DDR4-2400'; presets of banked memories"),
        ({"channels": 3}, "dram.channels must be a power of two, not 3"),
        ({"banks": 0}, "dram.banks must be a whole number from 1 to 64, not 0"),
        ({"t_faw": 5000}, "dram.t_faw must be a whole number from 1 to 4095, not 5000"),
        ({"row_bytes": 512, "interleave_bytes": 1024}, "dram.row_bytes must be at least dram.interleave_bytes (1024)"),
        ({"access_bytes": 512}, "dram.access_bytes must be at most dram.interleave_bytes (256), not 512"),
        ({"t_refi": 250}, "dram.t_refi must be more than latency_cycles + t_rfc (370), not 250"),
        ({"model": "ideal"}, "dram.channels is of banked memories: set dram.model to 'banked', or omit it"),
    ],
)
def test_a_bad_field_is_named_with_what_would_be_right(changes, message):
    with pytest.raises(HeddleError) as error:
        replace(NANO.with_dram("HBM2").dram, **changes)
    assert message in str(error.value)


def test_a_memory_must_fit_the_port():
    dram = NANO.with_dram("HBM2").dram
    with pytest.raises(HeddleError, match="interleave_bytes must be at least the longest burst .4096 bytes., not 256"):
        replace(SERVER, dram=dram)
    with pytest.raises(HeddleError, match="access_bytes must be at least axi_bytes .16., not 8"):
        BASE.with_dram("HBM2", access_bytes=8)
    with pytest.raises(HeddleError, match="unknown DRAM 'DDR9'; presets are ideal, DDR4-2400, LPDDR4-3200"):
        NANO.with_dram("DDR9")
    part = replace(DRAM_PRESETS["HBM2"], banks=2, row_bytes=1024)
    with pytest.raises(HeddleError, match="make burst_beats smaller"):
        part.config(1000, 128, 4096)


def test_the_default_is_ideal():
    assert DramConfig() == NANO.dram and not NANO.dram.banked
    assert DramConfig(cycles_per_beat=2).bytes_per_cycle(16) == 8

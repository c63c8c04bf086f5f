"""explore/synthesis.py: what a machine takes, whether it fits, and what its clock is."""

import json
from pathlib import Path

import pytest
from heddle.arch.config import PRESETS
from heddle.explore import ecp5, nextpnr, synthesis
from heddle.explore.area import Area
from heddle.explore.nextpnr import Placement
from heddle.explore.synthesis import Clock, Synthesis, Unit, synthesise

NANO = PRESETS["nano"]
ROOT = Path(__file__).parents[2]


def units(*figures):
    """A synthesis of units that take so much."""
    return Synthesis(NANO, "ecp5", {}, tuple(Unit(Area("unit", each), frozenset()) for each in figures))


def test_units_are_summed_and_compared_with_the_part():
    figures = {"lut4": 40_000, "comb": 41_820, "ff": 10, "dsp": 78, "bram": 104}
    whole = units(figures, figures)
    assert whole.figures == {name: 2 * count for name, count in figures.items()}
    assert whole.lacking == {} and whole.to_dict()["fits"] is True  # the last site is taken
    more = units(figures, figures, {**figures, "comb": 0, "ff": 0, "bram": 0})
    assert more.lacking == {"dsp": 3 * 78 / 156} and more.to_dict()["fits"] is False


def test_gates_of_operators_and_of_pes_are_told_apart():
    """Two lanes of (3 adders, a converter) with logic of 5; an array of 2 × 2 PEs, each with an adder of its own."""
    add, convert = (Area(name, {"gate_equivalents": gates}, name, count) for name, gates, count in
                    (("heddle_add", 100, 3), ("heddle_convert", 10, 1)))  # fmt: skip
    lane = Area("lane", {"gate_equivalents": 315}, "heddle_lane", 2, (add, convert))
    pe = Area("heddle_pe_bf16", {"gate_equivalents": 300}, "heddle_pe_bf16", 2, (add,))
    row = Area("heddle_pe_row_bf16_2", {"gate_equivalents": 600}, "heddle_pe_row_bf16_2", 2, (pe,))
    areas = (Area("vector", {"gate_equivalents": 630}, parts=(lane,)),
             Area("matrix", {"gate_equivalents": 1200}, parts=(row,)))  # fmt: skip
    operators = frozenset({"heddle_add", "heddle_convert"})
    found = Synthesis(NANO, "generic", {}, tuple(Unit(area, operators) for area in areas))
    assert found.kinds == {"operators": 2 * (3 * 100 + 10), "pes": 4 * 300}
    assert found.to_dict()["operators_over_pes"] == round(620 / 1200, 3)


def test_clocks_over_the_seeds():
    clock = Clock({1: Placement(110.26, ()), 2: Placement(90.0, ()), 9: Placement(101.04, ())})
    assert clock.fmax_mhz == (90.0, 101.04, 110.26) and clock.slowest == Placement(90.0, ())
    assert clock.to_dict() == {
        "fmax_mhz": 101.0, "fmax_mhz_least": 90.0, "fmax_mhz_most": 110.3,
        "fmax_mhz_by_seed": {"1": 110.3, "2": 90.0, "9": 101.0}, "slowest_path": [],
    }  # fmt: skip


def test_the_slowest_unit_sets_the_clock():
    def unit(name, *mhz):
        clock = Clock({seed: each and Placement(each, ()) for seed, each in enumerate(mhz)}) if mhz else None
        return Unit(Area(name, dict.fromkeys(ecp5.PART, 0)), frozenset(), clock)

    named = {"fast": (100, 120, 140), "slow": (90, 110, 150), "glue": ()}
    found = Synthesis(NANO, "ecp5", {}, tuple(unit(name, *mhz) for name, mhz in named.items()))
    assert found.to_dict()["slowest_unit"] == "slow" and found.to_dict()["fmax_mhz"] == 110
    full = Synthesis(NANO, "ecp5", {}, (unit("fast", 100), unit("full", 100, None)))
    assert full.slowest is None and "fmax_mhz" not in full.to_dict()


def test_a_unit_without_room_has_no_clock():
    clock = Clock({1: None, 2: Placement(90.0, ())})
    assert clock.fmax_mhz is None and clock.to_dict()["fmax_mhz_by_seed"] == {"1": None, "2": 90.0}


@pytest.fixture(scope="module")
def placed():
    return synthesise("nano", ["write_channel"], seeds=[1, 2])


def test_a_path_adds_up_and_says_where_it_runs(placed):
    """Its steps take the period of the clock; they name files of ours, and lines that are there."""
    (unit,) = placed.units
    assert set(unit.clock.placements) == {1, 2} and unit.clock.fmax_mhz[0] > 50
    for placement in unit.clock.placements.values():
        assert sum(step.delay_ns for step in placement.path) == pytest.approx(1000 / placement.fmax_mhz, rel=0.01)
        places = [step.source.rpartition(":") for step in placement.path if step.source]
        assert places
        for file, _, line in places:
            assert int(line.partition(".")[0]) <= len((ROOT / file).read_text().splitlines())


def test_signals_of_a_path_stand_in_their_lines(placed):
    """hw/queue.py declares `level`: whoever follows a step finds the signal there."""
    steps = [step for placement in placed.units[0].clock.placements.values() for step in placement.path]
    named = [step for step in steps if step.source and step.signal.rpartition(".")[2].rstrip("_0123456789")
             in (ROOT / step.source.partition(":")[0]).read_text()]  # fmt: skip
    assert len(named) >= len([step for step in steps if step.source]) / 2


def test_what_was_synthesised_is_kept(placed, monkeypatch):
    def fail(*arguments):
        raise AssertionError("it is synthesised again")

    monkeypatch.setattr(synthesis.ecp5, "synthesise", fail)
    monkeypatch.setattr(nextpnr, "place", fail)
    monkeypatch.setattr(synthesis, "to_verilog", fail)
    again = synthesise(NANO, ("write_channel",), seeds=(2, 1))
    assert again.to_dict()["units"][0]["fmax_mhz"] == placed.to_dict()["units"][0]["fmax_mhz"]
    assert json.dumps(again.to_dict())

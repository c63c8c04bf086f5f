"""Whole programs behind a banked DRAM: with small rows and frequent refreshes, and with each preset."""

from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS
from heddle.arch.dram import DRAM_PRESETS
from heddle.cosim.lockstep import lockstep
from heddle.cosim.mutations import CROWDED
from heddle.cosim.random_programs import random_program
from heddle.sim.machine import simulate

from ..machines import ARRAY_36X36, ROOMY
from .conftest import NANO


def check(config, seeds: range, engine: str = "verilator", instructions: int = 40) -> None:
    programs = [random_program(config, seed, instructions) for seed in seeds]
    comparison = lockstep(programs, engine=engine)
    assert comparison.agrees, comparison.first_difference
    assert comparison.programs == len(seeds)


def test_random_programs_agree_though_rows_conflict():
    check(replace(NANO, dram=CROWDED), range(8))


def test_a_cache_agrees_wherever_its_pages_are(cached):
    program = replace(cached, config=replace(NANO, dram=CROWDED))
    elsewhere = replace(program, registers=((1, 0), (2, 0), (3, 0), (4, 2)))
    comparison = lockstep([program, elsewhere])
    assert comparison.agrees, comparison.first_difference
    statistics = simulate(program).dram
    assert statistics is not None and min(statistics[f"row_{each}"] for each in ("hits", "misses", "conflicts")) > 0


@pytest.mark.long
def test_random_programs_agree_on_icarus():
    check(replace(NANO, dram=CROWDED), range(1), "icarus", instructions=4)


@pytest.mark.long
@pytest.mark.parametrize("name", DRAM_PRESETS)
@pytest.mark.parametrize("config", [NANO, PRESETS["small"]], ids=lambda config: config.name)
def test_random_programs_agree_with_every_preset(config, name):
    check(config.with_dram(name), range(3000, 3040))


@pytest.mark.long
@pytest.mark.parametrize("config", [ROOMY, PRESETS["base"]], ids=lambda config: config.name)
def test_random_programs_agree_on_other_ports(config):
    check(replace(config, dram=CROWDED), range(4000, 4030))


@pytest.mark.long
def test_random_programs_agree_behind_a_port_wider_than_an_instruction():
    check(ARRAY_36X36.with_dram("HBM2"), range(5000, 5012))

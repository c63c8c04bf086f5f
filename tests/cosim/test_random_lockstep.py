"""Random programs in lock-step: forty by default, of 22 machines 3,000 among the long tests (seeds 1000 on)."""

from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS
from heddle.cosim.lockstep import lockstep
from heddle.cosim.mutations import CROWDED, DRAM_BASE
from heddle.cosim.random_programs import random_program

from ..machines import (
    ARRAY_2X8_BF16,
    ARRAY_5X3,
    ARRAY_5X12,
    ARRAY_12X4,
    ARRAY_24X40,
    ARRAY_36X36,
    BF16,
    BF16_TF32,
    MANY_BANKS,
    MANY_BURSTS,
    ONE_BANK,
    ONE_LANE,
    ROOMY,
    VALUES,
)
from ..machines import NANO as FLOAT32
from .conftest import NANO

LONG = {  # machine, programs
    "nano": (NANO, 250),
    "3x5": (ROOMY, 250),
    "small": (PRESETS["small"], 250),
    "nano, bf16": (BF16, 150),
    "3x5, bf16": (replace(ROOMY, pe="bf16"), 150),
    "5x3, bf16, float32 values": (replace(ARRAY_5X3, value_format="float32", pe="bf16"), 100),
    "5x3, float32 values": (replace(ARRAY_5X3, value_format="float32"), 150),
    "one bank of each, one burst in flight, queues of two": (
        replace(ONE_BANK, load_outstanding=1, queue_depth=2, burst_beats=2), 150,
    ),
    "nano, float32": (FLOAT32, 250),
    "3x5, tf32, float32 values": (
        replace(ROOMY, value_format="float32", vector_format="tf32"), 150,
    ),
    "5x3, bf16, tf32": (replace(ARRAY_5X3, pe="bf16", vector_format="tf32"), 100),
    "12x4, two lanes": (ARRAY_12X4, 100),
    "24x40": (ARRAY_24X40, 40),
    "5x12, one lane": (ARRAY_5X12, 80),
    "2x8, bf16": (ARRAY_2X8_BF16, 100),
    "one lane": (ONE_LANE, 100),
    "64 banks of each": (MANY_BANKS, 100),
    "queues of two, 64 bursts in flight": (MANY_BURSTS, 100),
    "float32 values": (VALUES, 150),
    "banked DRAM": (replace(NANO, dram=CROWDED), 150),
    "base": (PRESETS["base"], 60),
    "36x36 behind a port of 64 bytes": (ARRAY_36X36, 20),
}  # fmt: skip


def check(config, seeds: range, engine: str = "verilator", instructions: int = 40) -> None:
    programs = [random_program(config, seed, instructions) for seed in seeds]
    comparison = lockstep(programs, engine=engine, dram_base=DRAM_BASE)
    assert comparison.agrees, comparison.first_difference
    assert comparison.programs == len(seeds)


@pytest.mark.parametrize(
    "config,count",
    [(NANO, 15), (ROOMY, 8), (PRESETS["small"], 8), (BF16_TF32, 8)],
    ids=["nano", "3x5", "small", "bf16 and tf32"],
)
def test_random_programs_agree_on_verilator(config, count):
    check(config, range(count))


@pytest.mark.long
def test_random_programs_agree_on_icarus():
    check(NANO, range(2), "icarus", instructions=4)


@pytest.mark.long
@pytest.mark.parametrize("config,count", LONG.values(), ids=LONG)
def test_thousands_of_random_programs_agree_on_verilator(config, count):
    check(config, range(1000, 1000 + count))


@pytest.mark.long
@pytest.mark.parametrize("config", [NANO, ROOMY], ids=["nano", "3x5"])
def test_longer_random_programs_agree_on_icarus(config):
    check(config, range(2000, 2008), "icarus", instructions=25)

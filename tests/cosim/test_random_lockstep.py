"""Random programs in lock-step: forty by default, of 22 machines 3,000 among the long tests (seeds 1000 on)."""

from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS
from heddle.cosim.lockstep import lockstep
from heddle.cosim.mutations import CROWDED, DRAM_BASE
from heddle.cosim.random_configs import BANKED
from heddle.cosim.random_programs import random_program

from .conftest import NANO, ODD, WIDE

SMALL = PRESETS["small"]
TF32 = replace(NANO, name="nano-tf32", vector_format="tf32")
LONG = {
    "nano": (NANO, 250),
    "3x5": (ODD, 250),
    "small": (SMALL, 250),
    "nano, bf16": (replace(NANO, name="nano-bf16", pe="bf16"), 150),
    "3x5, bf16": (replace(ODD, name="3x5-bf16", pe="bf16"), 150),
    "5x3, bf16, float32 values": (
        replace(ODD, name="5x3-bf16", rows=5, columns=3, value_format="float32", pe="bf16"), 100,
    ),
    "5x3, float32 values": (replace(ODD, name="5x3", rows=5, columns=3, value_format="float32"), 150),
    "one bank of each, one burst in flight, queues of two": (
        replace(NANO, name="narrow", act_banks=1, weight_banks=1, acc_banks=1, value_banks=1, param_banks=1,
                row_banks=1, load_outstanding=1, queue_depth=2, burst_beats=2), 150,
    ),
    "nano, tf32": (TF32, 250),
    "3x5, tf32, float32 values": (
        replace(ODD, name="3x5-tf32", value_format="float32", vector_format="tf32"), 150,
    ),
    "5x3, bf16, tf32": (replace(ODD, name="5x3-tf32", rows=5, columns=3, pe="bf16", vector_format="tf32"), 100),
    "12x4, two lanes": (replace(NANO, name="12x4", rows=12, vector_lanes=2), 100),
    "24x40": (
        replace(NANO, name="24x40", rows=24, columns=40, vector_lanes=8, axi_bytes=8, weight_words=8192), 40,
    ),
    "5x12, one lane": (replace(NANO, name="5x12", rows=5, columns=12, vector_lanes=1), 80),
    "2x8, bf16": (replace(NANO, name="2x8", rows=2, columns=8, pe="bf16"), 100),
    "one lane": (replace(NANO, name="one-lane", vector_lanes=1), 100),
    "64 banks of each": (
        replace(NANO, name="banks", **{f"{memory.name.lower()}_banks": 64 for memory in BANKED}), 100,
    ),
    "queues of two, 64 bursts in flight": (replace(NANO, name="deep", queue_depth=2, load_outstanding=64), 100),
    "float32 values": (replace(NANO, name="nano-float32", value_format="float32"), 150),
    "banked DRAM": (replace(NANO, dram=CROWDED), 150),
    "base": (PRESETS["base"], 60),
    "36x36 behind a port of 64 bytes": (WIDE, 20),
}  # fmt: skip


def check(config, seeds: range, engine: str = "verilator", instructions: int = 40) -> None:
    programs = [random_program(config, seed, instructions) for seed in seeds]
    comparison = lockstep(programs, engine=engine, dram_base=DRAM_BASE)
    assert comparison.agrees, comparison.first_difference
    assert comparison.programs == len(seeds)


@pytest.mark.parametrize(
    "config,count",
    [(NANO, 15), (ODD, 8), (SMALL, 8), (replace(TF32, name="nano-bf16-tf32", pe="bf16"), 8)],
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
@pytest.mark.parametrize("config", [NANO, ODD], ids=["nano", "3x5"])
def test_longer_random_programs_agree_on_icarus(config):
    check(config, range(2000, 2008), "icarus", instructions=25)

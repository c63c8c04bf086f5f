"""hw/counters.py: what counts, when, and how far."""

import pytest
from amaranth.sim import Simulator
from heddle.hw.counters import Counters
from heddle.hw.instructions import UNIT_MASK_BITS

SINGLE = ("instructions", "read_beats", "write_beats")


def counted(steps, start=0):
    """What all counters hold after the steps, each a dict of inputs for a cycle; before, each holds `start`."""
    dut = Counters()
    found = {}

    async def bench(ctx):
        arrays = dut.busy_cycles, dut.waiting_cycles
        for counter in (*(getattr(dut, name) for name in SINGLE), *(each for array in arrays for each in array)):
            ctx.set(counter, start)
        for step in steps:
            for name in ("clear", "run", "retired", "busy", "starved", "read_beat", "write_beat"):
                ctx.set(getattr(dut, name), step.get(name, name == "run"))
            await ctx.tick()
        found.update({name: ctx.get(getattr(dut, name)) for name in SINGLE})
        found.update({f"busy {unit}": ctx.get(dut.busy_cycles[unit]) for unit in range(UNIT_MASK_BITS)})
        found.update({f"waiting {unit}": ctx.get(dut.waiting_cycles[unit]) for unit in range(UNIT_MASK_BITS)})

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def test_each_counts_its_own_events():
    steps = [{"retired": 0b101, "busy": 0b11, "read_beat": 1}, {"retired": 0b1, "busy": 0b10, "starved": 0b1000},
             {"run": 0, "retired": 0xFF, "busy": 0xFF, "starved": 0xFF, "read_beat": 1, "write_beat": 1},
             {"write_beat": 1, "starved": 0b1000}]  # fmt: skip
    found = counted(steps)
    expected = {"instructions": 3, "read_beats": 1, "write_beats": 1, "busy 0": 1, "busy 1": 2, "waiting 3": 2}
    assert {name: value for name, value in found.items() if value} == expected


def test_a_start_zeroes_them():
    assert not any(counted([{"retired": 3, "busy": 0xFF}, {"clear": 1, "retired": 3, "busy": 0xFF}]).values())


@pytest.mark.parametrize("bits", [8, 16, 24, 31])
def test_they_carry_through_all_their_bits(bits):
    one = {"retired": 1, "busy": 0xFF, "starved": 0xFF, "read_beat": 1, "write_beat": 1}
    assert set(counted([one], start=(1 << bits) - 1).values()) == {1 << bits}


def test_they_wrap():
    assert counted([{"retired": 0b11}], start=(1 << 32) - 1)["instructions"] == 1

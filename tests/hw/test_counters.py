"""hw/counters.py: what counts, when, and how far."""

import random
from functools import partial
from unittest.mock import patch

import pytest
from amaranth.sim import Simulator
from heddle.arch.registers import Register
from heddle.hw.counters import FIRST_TURN, NUMBER, VALUE_CYCLES, Counters, number_of
from heddle.hw.instructions import UNITS
from heddle.hw.ram import Ram

SINGLE = {"instructions": Register.INSTRUCTIONS, "read_beats": Register.READ_BEATS, "write_beats": Register.WRITE_BEATS}
SHOWN = {**SINGLE, **{f"busy {unit}": Register.BUSY + 4 * unit for unit in UNITS},
         **{f"waiting {unit}": Register.WAITING + 4 * unit for unit in UNITS}}  # fmt: skip
INPUTS = ("clear", "run", "retired", "busy", "starved", "read_beat", "write_beat")
ROUND = 2 * (len(NUMBER) - FIRST_TURN)  # cycles in which each has had its turn


class OpenRam(Ram):
    """Of which a test sets the words."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        OpenRam.words = m.submodules.words.data
        return m


async def read(ctx, dut, name):
    """What a counter holds in the cycle before the one that is at hand after this."""
    ctx.set(dut.will_ask, 1)
    await ctx.tick().repeat(2)
    ctx.set(dut.will_ask, 0)
    ctx.set(dut.asks, 1)
    ctx.set(dut.number, number_of(SHOWN[name]))
    await ctx.tick()
    ctx.set(dut.asks, 0)
    await ctx.tick().repeat(VALUE_CYCLES - 1)
    return ctx.get(dut.value)


def run(body):
    dut = Counters()
    with patch("heddle.hw.counters.Ram", OpenRam):
        simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(partial(body, dut=dut))
    simulator.run()


def counted(steps, start=0):
    """What all counters hold after the steps, each a dict of inputs for a cycle; before, each holds `start`."""
    found = {}

    async def bench(ctx, dut):
        await ctx.tick().repeat(ROUND)  # from now on words count
        ctx.set(dut.will_ask, 1)
        await ctx.tick().repeat(3)  # and now none is on its way
        ctx.set(dut.will_ask, 0)
        for offset in SHOWN.values():
            ctx.set(OpenRam.words[number_of(offset)], start)
        for step in steps:
            for name in INPUTS:
                ctx.set(getattr(dut, name), step.get(name, name == "run"))
            await ctx.tick()
        for name in INPUTS:
            ctx.set(getattr(dut, name), 0)
        found.update({name: await read(ctx, dut, name) for name in SHOWN})

    run(bench)
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
    steps = [*[{}] * 3, one, {"run": 0}]
    assert set(counted(steps, start=(1 << bits) - 1).values()) == {1 << bits}


def test_they_wrap():
    assert counted([{"retired": 0b11}], start=(1 << 32) - 1)["instructions"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_they_count_all_through_reads_pauses_and_clears(seed):
    """Against plain sums, read at any time: as often as a host can, or hardly ever; many events, or few."""
    chooser = random.Random(seed)
    often = [0.02, 0.5, 1.0][seed]

    async def bench(ctx, dut):
        held = before = dict.fromkeys(SHOWN, 0)
        waited, asked, runs, density = 0, None, 1, 0.5
        for cycle in range(6000):
            if asked and waited == 1 + VALUE_CYCLES:
                assert ctx.get(dut.value) == before[asked], (cycle, asked)
                asked = None
            before = dict(held)
            if cycle % 200 == 0:
                runs, density = chooser.random() < 0.8, chooser.choice([0.05, 0.5, 1.0])
            waited += 1
            if not asked and waited >= 6 and chooser.random() < often:
                asked, waited = chooser.choice([*SHOWN]), 0
            ctx.set(dut.will_ask, bool(asked) and waited in (0, 1))
            ctx.set(dut.asks, bool(asked) and waited == 2)
            ctx.set(dut.number, number_of(SHOWN[asked]) if asked else chooser.randrange(32))
            retired, busy, starved = (sum((chooser.random() < density) << unit for unit in UNITS) for _ in range(3))
            read_beat, write_beat, clear = (chooser.random() < each for each in (density, density, 0.002))
            values = {"clear": clear, "run": runs, "retired": retired, "busy": busy, "starved": starved,
                      "read_beat": read_beat, "write_beat": write_beat}  # fmt: skip
            for name, value in values.items():
                ctx.set(getattr(dut, name), value)
            if clear:
                held = dict.fromkeys(SHOWN, 0)
            elif runs:
                held["instructions"] += retired.bit_count()
                held["read_beats"] += read_beat
                held["write_beats"] += write_beat
                for unit in UNITS:
                    held[f"busy {unit}"] += busy >> unit & 1
                    held[f"waiting {unit}"] += starved >> unit & 1
            await ctx.tick()

    run(bench)

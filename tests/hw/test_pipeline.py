"""hw/pipeline.py: a value comes out the stated number of cycles later, with its own shape and sign."""

import pytest
from amaranth import Module, Signal, signed
from amaranth.sim import Simulator
from heddle.hw.pipeline import delay, register

NUMBERS = [-256, 255, -1, 0, 3, 77, -100, 5, 6, 7, 8, 9]


def seen(m, value, late):
    """What `late` is while `value` takes each of NUMBERS for a cycle."""
    m.d.sync += Signal().eq(1)  # a clock, even if nothing else has one
    results = []

    async def bench(ctx):
        for number in NUMBERS:
            ctx.set(value, number)
            results.append(ctx.get(late))
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return results


@pytest.mark.parametrize("cycles", [0, 1, 2, 7])
@pytest.mark.parametrize("reset_less", [False, True])
def test_delay(cycles, reset_less):
    m, value = Module(), Signal(signed(9))
    late = delay(m, value, cycles, reset_less=reset_less)
    assert seen(m, value, late) == ([0] * cycles + NUMBERS)[: len(NUMBERS)]


def test_register_is_one_cycle_of_any_expression():
    m, value = Module(), Signal(signed(9))
    late = register(m, value - 1, "late")
    assert seen(m, value, late) == [0, *[number - 1 for number in NUMBERS[:-1]]]


def test_a_negative_delay_is_refused():
    m, value = Module(), Signal(signed(9))
    with pytest.raises(ValueError, match="at least 0 cycles, not -1"):
        delay(m, value, -1)
    assert seen(m, value, value) == NUMBERS

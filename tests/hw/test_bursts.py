"""hw/bursts.py: how a piece of DRAM is cut, against the multiples of a burst counted one by one."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS
from heddle.hw.bursts import BurstCut

NANO = PRESETS["nano"]


def lengths(config, address, beats):
    """Beats of each burst; of no beats, one burst of none."""
    found, place = [0], address // config.axi_bytes
    for beat in range(place, place + beats):
        if beat > place and beat % config.burst_beats == 0:
            found.append(0)
        found[-1] += 1
    return found


@pytest.mark.parametrize("config", [NANO, replace(PRESETS["small"], burst_beats=2)], ids=["16 of 4", "2 of 8"])
def test_bursts_end_at_multiples_and_with_the_piece(config):
    cut, chooser, full = BurstCut(config, 12), random.Random(1), config.burst_beats
    cases = [(place, beats) for place in (0, 1, full - 1, full) for beats in (0, 1, full - 1, full, full + 1, 2 * full)]
    cases += [(chooser.randrange(1 << 20), chooser.randrange(1 << chooser.randrange(1, 8))) for _ in range(60)]

    async def bench(ctx):
        for place, beats in cases:
            address = place * config.axi_bytes
            for port, value in ((cut.start, 1), (cut.address, address), (cut.length, beats)):
                ctx.set(port, value)
            await ctx.tick()
            ctx.set(cut.start, 0)
            ctx.set(cut.length, 77)
            expected = lengths(config, address, beats)
            for number, size in enumerate(expected):
                whole = full - place % full if number == 0 else full
                assert (ctx.get(cut.beats), ctx.get(cut.whole)) == (size, whole), (place, beats, number)
                assert ctx.get(cut.ends) == (number == len(expected) - 1)
                for beat in range(size):  # the last goes with `take`
                    assert ctx.get(cut.final) == (beat == size - 1)
                    ctx.set(cut.step, beat < size - 1)
                    if beat < size - 1:
                        await ctx.tick()
                ctx.set(cut.take, 1)
                await ctx.tick()
                ctx.set(cut.take, 0)

    simulator = Simulator(cut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

"""hw/semaphores.py against a dictionary of counts."""

import random

from amaranth.sim import Simulator
from heddle.arch.config import Unit
from heddle.hw import semaphores
from heddle.hw.instructions import UNITS
from heddle.hw.semaphores import Semaphores


def run(script):
    counters = Semaphores()

    async def bench(ctx):
        await script(ctx, counters)

    simulator = Simulator(counters)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_tokens_of_every_pair_are_counted_apart():
    chooser = random.Random(1)

    async def script(ctx, counters):
        counts = {(source, target): 0 for source in UNITS for target in UNITS}
        for _ in range(600):
            waits = {unit: sum(1 << u for u in UNITS if chooser.random() < 0.2) for unit in UNITS}
            for target, mask in waits.items():
                ctx.set(counters.wait[target], mask)
            ready = {target: ctx.get(counters.ready[target]) for target in UNITS}
            for target, mask in waits.items():
                assert ready[target] == all(counts[source, target] for source in UNITS if mask >> source & 1)
                take = ready[target] and chooser.random() < 0.7
                ctx.set(counters.take[target], take)
                for source in UNITS:
                    counts[source, target] -= take and mask >> source & 1
            for source in UNITS:
                sent = sum(1 << u for u in UNITS if chooser.random() < 0.15)
                ctx.set(counters.signal[source], sent)
                for target in UNITS:
                    counts[source, target] += sent >> target & 1
            assert not ctx.get(counters.overflow)
            await ctx.tick()
        assert max(counts.values()) > 3

    run(script)


def test_a_token_from_a_unit_that_is_not_there_never_comes():
    async def script(ctx, counters):
        ctx.set(counters.wait[Unit.VECTOR], 1 << Unit.KV)
        assert not ctx.get(counters.ready[Unit.VECTOR])

    run(script)


def test_overflow_names_both_units_until_a_clear(monkeypatch):
    monkeypatch.setattr(semaphores, "SEMAPHORE_LIMIT", 3)

    async def script(ctx, counters):
        ctx.set(counters.signal[Unit.NORM], 1 << Unit.STORE)
        for _ in range(3):
            assert not ctx.get(counters.overflow)
            await ctx.tick()
        # One that is taken in the same cycle makes room.
        ctx.set(counters.wait[Unit.STORE], 1 << Unit.NORM)
        ctx.set(counters.take[Unit.STORE], 1)
        await ctx.tick()
        assert not ctx.get(counters.overflow)
        ctx.set(counters.take[Unit.STORE], 0)
        await ctx.tick()
        ctx.set(counters.signal[Unit.NORM], 0)
        for _ in range(3):
            assert ctx.get(counters.overflow)
            assert ctx.get(counters.overflow_units) == 1 << Unit.NORM | 1 << Unit.STORE
            await ctx.tick()
        ctx.set(counters.clear, 1)
        await ctx.tick()
        assert not ctx.get(counters.overflow) and not ctx.get(counters.ready[Unit.STORE])

    run(script)


def test_clear_takes_all_tokens_away():
    async def script(ctx, counters):
        ctx.set(counters.signal[Unit.LOAD], 1 << Unit.MATRIX)
        await ctx.tick()
        ctx.set(counters.signal[Unit.LOAD], 0)
        ctx.set(counters.wait[Unit.MATRIX], 1 << Unit.LOAD)
        assert ctx.get(counters.ready[Unit.MATRIX])
        ctx.set(counters.clear, 1)
        await ctx.tick()
        assert not ctx.get(counters.ready[Unit.MATRIX])

    run(script)

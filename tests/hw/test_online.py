"""The blocks that SOFTMAX keeps for online softmax, each by itself: the state, what is kept of it, the row numbers."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import ADD_CYCLES, MEMORY_CYCLES, MULTIPLY_CYCLES, PRESETS, TABLE_CYCLES
from heddle.hw.online import Kept, State
from heddle.hw.row_writer import RowWriter

NANO = PRESETS["nano"]
configs = pytest.mark.parametrize(
    "config", [NANO, replace(NANO, rows=3, columns=5, vector_lanes=1), replace(NANO, vector_format="tf32")]
)


def simulate(component, bench) -> None:
    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("rows", [1, 2, 7, 32])
def test_state_is_read_then_given_row_by_row(rows):
    state, random = State(NANO), np.random.default_rng(rows)
    words = random.integers(0, 1 << 32, 600, dtype=np.uint64).astype(np.uint32)
    words[50 : 50 + 2 * rows : 3] = 0x8000_0001  # subnormals are cleaned
    given = numerics.to_bits(numerics.clean(numerics.from_bits(words[50 : 50 + 2 * rows])))

    async def bench(ctx):
        reads = []
        for name, value in (("rows", rows), ("address", 50), ("start", 1), ("restart", 1)):
            ctx.set(getattr(state, name), value)
        await ctx.tick()
        ctx.set(state.start, 0)
        ctx.set(state.restart, 0)
        while True:
            reads.append(ctx.get(state.read_address) if ctx.get(state.read) else None)
            done = ctx.get(state.done)
            await ctx.tick()
            ctx.set(state.row_data, int(words[reads[-1]]))
            if done:
                break
        assert reads == list(range(50, 50 + 2 * rows))
        await ctx.tick()
        assert not ctx.get(state.read)
        for _ in range(2):  # as often as phases ask
            ctx.set(state.restart, 1)
            await ctx.tick()
            ctx.set(state.restart, 0)
            await ctx.tick()
            for row in range(rows):
                assert (ctx.get(state.maximum), ctx.get(state.total)) == (given[row], given[rows + row])
                ctx.set(state.next_maximum, 1)
                ctx.set(state.next_total, 1)
                await ctx.tick()
                ctx.set(state.next_maximum, 0)
                ctx.set(state.next_total, 0)
                await ctx.tick()
        ctx.set(state.first, 1)
        assert ctx.get(state.maximum) == int(numerics.to_bits(numerics.LOWEST)) and ctx.get(state.total) == 0

    simulate(state, bench)


@configs
def test_what_is_kept_of_rows_that_come_at_once(config):
    kept, random, count, arithmetic = Kept(config), np.random.default_rng(1), 40, numerics.arithmetic_of(config)
    known, greatest, known_total, total, inverse = (
        np.abs(random.normal(0, 3, count)).astype(np.float32) for _ in range(5)
    )
    greatest += known
    known[0], known_total[0] = numerics.LOWEST, 0
    known[1], greatest[2], known_total[3], inverse[4] = np.inf, np.nan, np.inf, np.inf
    inverse = arithmetic.round(inverse)
    at_p = ADD_CYCLES + (config.vector_format == "tf32") + TABLE_CYCLES
    at_sum = at_p + config.row_sum_cycles
    at_inverse = at_sum + ADD_CYCLES + TABLE_CYCLES
    inputs = {"known": (0, known), "greatest": (0, greatest), "known_total": (at_p, known_total),
              "sum": (at_sum, total), "inverse": (at_inverse, inverse)}  # fmt: skip
    power = arithmetic.exp2(arithmetic.round(numerics.subtract(known, greatest)))
    expected = numerics.multiply(known_total, power)
    outputs = {
        "total": (at_sum + ADD_CYCLES, numerics.add(total, expected)),
        "rescale": (at_inverse + MULTIPLY_CYCLES, arithmetic.multiply(arithmetic.round(expected), inverse)),
        "o_greatest": (at_inverse + MULTIPLY_CYCLES, greatest),
    }

    async def bench(ctx):
        for cycle in range(at_inverse + MULTIPLY_CYCLES + count):
            for name, (start, values) in inputs.items():
                if 0 <= cycle - start < count:
                    port = getattr(kept, name)
                    ctx.set(port, int(numerics.to_bits(values[cycle - start])) >> 32 - len(port))
            for name, (start, values) in outputs.items():
                if 0 <= cycle - start < count:
                    port = getattr(kept, name)
                    assert ctx.get(port) << 32 - len(port) == numerics.to_bits(values[cycle - start]), (name, cycle)
            await ctx.tick()

    simulate(kept, bench)


@pytest.mark.parametrize("online,gap", [(0, 1), (0, 4), (1, 4), (1, 11)])
def test_row_numbers_to_their_places(online, gap):
    writer, rows, written = RowWriter(NANO), 3, []

    async def bench(ctx):
        for name, value in (("online", online), ("rows", rows), ("scales_address", 40), ("state_address", 90)):
            ctx.set(getattr(writer, name), value)
        ctx.set(writer.restart, 1)
        await ctx.tick()
        ctx.set(writer.restart, 0)
        for cycle in range(rows * gap + 5):
            valid = cycle % gap == 0 and cycle < rows * gap
            ctx.set(writer.valid, valid)
            for number, name in enumerate(("scale", "rescale", "greatest", "total")):
                ctx.set(getattr(writer, name), 100 * number + cycle if valid else 0xFFFF)
            if ctx.get(writer.row_write.en):
                written.append((cycle, ctx.get(writer.row_write.address), ctx.get(writer.row_write.data)))
            await ctx.tick()

    simulate(writer, bench)
    places = [40, 40 + rows, 90, 90 + rows] if online else [40]
    assert written == [(gap * row + MEMORY_CYCLES + number, place + row, 100 * number + gap * row)
                       for row in range(rows) for number, place in enumerate(places)]  # fmt: skip

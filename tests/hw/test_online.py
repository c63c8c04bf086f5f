"""The blocks that SOFTMAX keeps for online softmax, each by itself: the state, what is kept of it, the row numbers."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import ADD_CYCLES, MEMORY_CYCLES, MULTIPLY_CYCLES, PRESETS
from heddle.arch.functions import EVALUATE_CYCLES
from heddle.hw.online import Kept, Powers, State
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
    power, greatest, known_total, total, inverse = (
        np.abs(random.normal(0, 3, count)).astype(np.float32) for _ in range(5)
    )
    known_total[0], power[1], greatest[2], known_total[3], inverse[4] = 0, np.nan, np.nan, np.inf, np.inf
    inverse, power = arithmetic.round(inverse), arithmetic.round(power)
    at_p = config.probability_cycles
    at_sum = at_p + config.row_sum_cycles
    at_inverse = at_sum + ADD_CYCLES + EVALUATE_CYCLES
    inputs = {"greatest": (0, greatest), "known_total": (at_p, known_total), "power": (at_p, power),
              "sum": (at_sum, total), "inverse": (at_inverse, inverse)}  # fmt: skip
    expected = numerics.multiply(known_total, power)
    outputs = {
        "total": (at_sum + ADD_CYCLES, numerics.add(total, expected)),
        "rescale": (at_inverse + MULTIPLY_CYCLES, arithmetic.multiply(arithmetic.round(expected), inverse)),
        "o_greatest": (at_inverse + MULTIPLY_CYCLES, greatest),
    }
    run_rows(kept, at_inverse + MULTIPLY_CYCLES + count, inputs, outputs)


@configs
@pytest.mark.parametrize("gap", [1, 3])
def test_powers_are_found_in_one_phase_and_given_in_the_next(config, gap):
    powers, random, rows, arithmetic = Powers(config), np.random.default_rng(gap), 7, numerics.arithmetic_of(config)
    known, greatest = (random.normal(0, 3, rows).astype(np.float32) for _ in range(2))
    known[0] = numerics.LOWEST
    differences = arithmetic.round(numerics.subtract(known, greatest))
    expected = arithmetic.exp2(differences)
    end = 1 + (rows - 1) * gap  # the phase may end with its last row
    found = []

    def bits(x):
        return int(numerics.to_bits(x)) >> 32 - config.vector_bits

    async def bench(ctx):
        for phase in range(2):  # what is found in the second is not asked for
            for cycle in range(end + config.probability_cycles + 20):
                row, rest = divmod(cycle - 1, gap)
                valid = rest == 0 and 0 <= row < rows and phase == 0
                ctx.set(powers.restart, cycle == 0 or (cycle == end and phase == 0))
                ctx.set(powers.valid, valid)
                ctx.set(powers.known, int(numerics.to_bits(known[row % rows] if valid else np.float32(0))))
                ctx.set(powers.greatest, int(numerics.to_bits(greatest[row % rows] if valid else np.float32(0))))
                row, rest = divmod(cycle - 1 - config.subtract_cycles, gap)
                if rest == 0 and 0 <= row < rows and phase == 0:
                    assert ctx.get(powers.difference) == bits(differences[row])
                row, rest = divmod(cycle - 1 - config.probability_cycles, gap)
                ctx.set(powers.power, bits(expected[row]) if rest == 0 and 0 <= row < rows and phase == 0 else 0)
                await ctx.tick()
        ctx.set(powers.restart, 0)
        for _ in range(rows):
            found.append(ctx.get(powers.o))
            ctx.set(powers.next, 1)
            await ctx.tick()
            ctx.set(powers.next, 0)
            await ctx.tick()

    simulate(powers, bench)
    assert found == [bits(each) for each in expected]


def run_rows(component, cycles, inputs, outputs) -> None:
    """Inputs and outputs: name → (cycle of its first row, float32 numbers of rows that follow each other at once)."""

    async def bench(ctx):
        for cycle in range(cycles):
            for name, (start, values) in inputs.items():
                if 0 <= cycle - start < len(values):
                    port = getattr(component, name)
                    ctx.set(port, int(numerics.to_bits(values[cycle - start])) >> 32 - len(port))
            for name, (start, values) in outputs.items():
                if 0 <= cycle - start < len(values):
                    port = getattr(component, name)
                    assert ctx.get(port) << 32 - len(port) == numerics.to_bits(values[cycle - start]), (name, cycle)
            await ctx.tick()

    simulate(component, bench)


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

"""The blocks that SOFTMAX keeps for online softmax, each by itself: the state, the row numbers."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import MEMORY_CYCLES
from heddle.hw.online import State
from heddle.hw.row_writer import RowWriter

from ..machines import NANO


def simulate(component, bench) -> None:
    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("rows", [1, 2, 7, 32])
def test_state_is_read_in_order(rows):
    state, random = State(NANO), np.random.default_rng(rows)
    words = random.integers(0, 1 << 32, 600, dtype=np.uint64).astype(np.uint32)
    words[50 : 50 + rows : 3] = numerics.to_bits(-np.inf)  # of which nothing finite is as far as from all others
    maxima = numerics.to_bits(numerics.maximum(numerics.from_bits(words[50 : 50 + rows]), numerics.LOWEST))

    async def bench(ctx):
        reads, found = [], {"maximum": [], "total": []}
        answers = [0] * (MEMORY_CYCLES - 1)  # under way
        for name, value in (("rows", rows), ("address", 50), ("start", 1)):
            ctx.set(getattr(state, name), value)
        await ctx.tick()
        ctx.set(state.start, 0)
        for _ in range(2 * rows + MEMORY_CYCLES + 3):
            for name, numbers in found.items():
                if ctx.get(getattr(state, f"{name}_valid")):
                    numbers.append(ctx.get(getattr(state, name)))
            read, address = ctx.get(state.read), ctx.get(state.read_address)
            if read:
                reads.append(address)
                assert ctx.get(state.done) == (len(reads) == 2 * rows)
            await ctx.tick()
            answers.append(int(words[address]) if read else 0)
            ctx.set(state.row_data, answers.pop(0))
        assert reads == list(range(50, 50 + 2 * rows))
        assert found == {"maximum": maxima.tolist(), "total": words[50 + rows : 50 + 2 * rows].tolist()}

    simulate(state, bench)


@pytest.mark.parametrize("online,gap", [(0, 1), (0, 4), (1, 4), (1, 11)])
def test_row_numbers_to_their_places(online, gap):
    writer, rows, written = RowWriter(NANO), 3, []

    async def bench(ctx):
        for name, value in (("online", online), ("rows", rows), ("scales_address", 40), ("state_address", 90)):
            ctx.set(getattr(writer, name), value)
        for of_greatest in (1, 0) if online else (0,):
            ctx.set(writer.restart, 1)
            await ctx.tick()
            ctx.set(writer.restart, 0)
            for cycle in range(rows * gap + 5):
                valid = cycle % gap == 0 and cycle < rows * gap
                ctx.set(writer.greatest_valid if of_greatest else writer.valid, valid)
                for number, name in enumerate(("scale", "rescale", "total", "greatest")):
                    ctx.set(getattr(writer, name), 100 * number + cycle if valid else 0xFFFF)
                if ctx.get(writer.row_write.en):
                    written.append((cycle, ctx.get(writer.row_write.address), ctx.get(writer.row_write.data)))
                await ctx.tick()

    simulate(writer, bench)
    greatest = [(gap * row + 1, 90 + row, 300 + gap * row) for row in range(rows)]
    places = [40, 40 + rows, 90 + rows] if online else [40]
    others = [(gap * row + 1 + number, place + row, 100 * number + gap * row)
              for row in range(rows) for number, place in enumerate(places)]  # fmt: skip
    assert written == (greatest if online else []) + others

"""hw/queue.py against a list."""

import random
from collections import deque

import pytest
from amaranth.sim import Simulator
from heddle.hw.queue import Queue


@pytest.mark.parametrize("depth", [1, 2, 8])  # of depth 1 it is a register
def test_words_come_out_in_order_from_the_next_cycle_on(depth):
    queue, model, chooser = Queue(8, depth), deque(), random.Random(depth)

    async def bench(ctx):
        for cycle in range(400):
            assert ctx.get(queue.level) == len(model)
            if model:
                assert ctx.get(queue.o) == model[0]
            put = len(model) < depth and chooser.random() < 0.6
            take = bool(model) and chooser.random() < 0.5
            clear = chooser.random() < 0.02
            for port, value in ((queue.put, put), (queue.i, cycle % 256), (queue.take, take), (queue.clear, clear)):
                ctx.set(port, value)
            if take:
                model.popleft()
            if put:
                model.append(cycle % 256)
            if clear:
                model.clear()
            await ctx.tick()

    simulator = Simulator(queue)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()

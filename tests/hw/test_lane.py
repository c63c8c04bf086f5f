"""hw/lane.py alone, before a unit that is slow, or whose instructions overlap: order, places, and what void
instructions do."""

import random
from collections import deque

import pytest
from amaranth.sim import Simulator
from heddle.arch.config import DISPATCH_CYCLES, FETCH_BUFFER, Unit
from heddle.arch.encoding import encode
from heddle.arch.isa import Load, Matmul, Norm
from heddle.hw.lane import Lane

from ..machines import NANO

# Instructions that a unit may have under way. A Matmul of one row on `nano` retires 17 cycles after its start, and the
# next may start after 4: five.
AT_ONCE = {Unit.LOAD: NANO.load_outstanding + 2, Unit.MATRIX: 5, Unit.NORM: 1}


class Run:
    """Feeds `count` instructions, some void, while tokens and the unit come and go; keeps a record of each.

    `starts` and `retires` are cycles by index; `given` are the signal masks; `seen` those sent, in order.
    """

    def __init__(self, unit: Unit, count: int, seed: int):
        chooser = random.Random(f"{unit} {seed}")
        self.void = [chooser.random() < 0.4 for _ in range(count)]
        self.given = [chooser.getrandbits(8) for _ in range(count)]
        self.starts, self.retires, self.unit_starts, self.seen = {}, {}, set(), []
        self.puts, self.busy, self.starved = {}, 0, 0
        self.lane, self.unit, self.count = Lane(NANO, unit), unit, count
        self.at_once = AT_ONCE[unit]
        self.kind = {Unit.LOAD: Load, Unit.MATRIX: Matmul, Unit.NORM: Norm}[unit]
        simulator = Simulator(self.lane)
        simulator.add_clock(1e-6)

        async def bench(ctx):
            await self._drive(ctx, chooser)

        simulator.add_testbench(bench)
        simulator.run()

    async def _drive(self, ctx, chooser) -> None:
        lane, cycle, put, arrived = self.lane, 0, 0, 0
        arrivals: list[int] = []
        ends: deque[int] = deque()  # cycles in which the unit retires, if it can
        ctx.set(lane.run, 1)
        while len(self.retires) < self.count:
            assert cycle < 100 * self.count, "the lane hangs"
            ctx.set(lane.cycle, cycle)
            ctx.set(lane.tokens, chooser.random() < 0.6)
            overlaps = len(ends) < self.at_once and chooser.random() < 0.5 and cycle - 1 not in self.starts.values()
            ctx.set(lane.unit.ready, not ends or overlaps)
            retires = bool(ends) and ends[0] <= cycle and chooser.random() < 0.7
            ctx.set(lane.unit.retire, retires)
            ctx.set(lane.put, 0)
            there = put < arrived and cycle >= arrivals[put] + DISPATCH_CYCLES
            if there and chooser.random() < 0.7 and not ctx.get(lane.full):
                ctx.set(lane.void, self.void[put])
                ctx.set(lane.put, 1)
                self.puts[put] = cycle
                put += 1
            ctx.set(lane.arrives, 0)
            if arrived < self.count and arrived - put < FETCH_BUFFER and chooser.random() < 0.8:
                word = encode(self.kind(signal=self.given[arrived]))
                ctx.set(lane.word, int.from_bytes(word, "little"))
                ctx.set(lane.word_index, arrived)
                ctx.set(lane.arrives, 1)
                arrivals.append(cycle)
                arrived += 1
            if retires:
                ends.popleft()
            if ctx.get(lane.retires):
                assert ctx.get(lane.started_at) == self.starts[ctx.get(lane.index)]
                self.retires[ctx.get(lane.index)] = cycle
                self.seen.append(ctx.get(lane.signal))
            else:
                assert ctx.get(lane.signal) == 0
            if ctx.get(lane.starts):
                index = len(self.starts)
                self.starts[index] = cycle
                assert ctx.get(lane.unit.start) == (not self.void[index])
                if not self.void[index]:
                    ends.append(cycle + chooser.randrange(1, 6))
            else:
                assert not ctx.get(lane.unit.start)
            self.busy += ctx.get(lane.busy)
            self.starved += ctx.get(lane.starved)
            await ctx.tick()
            cycle += 1
        assert ctx.get(lane.idle) and not ctx.get(lane.busy)


@pytest.mark.parametrize("unit", AT_ONCE, ids=lambda unit: unit.name)
@pytest.mark.parametrize("seed", range(3))
def test_every_instruction_starts_and_retires_in_order(unit, seed):
    run = Run(unit, 60, seed)
    assert list(run.starts) == list(run.retires) == list(range(60))
    assert run.seen == run.given
    assert any(run.void) and not all(run.void)
    overlapped = False
    for index in range(60):
        assert run.starts[index] > run.puts[index]
        assert not run.void[index] or run.retires[index] == run.starts[index] + 1
        if index:
            after = run.starts[index] > run.retires[index - 1]
            alone = AT_ONCE[unit] == 1 or run.void[index] or run.void[index - 1]
            assert after or not alone
            overlapped |= not after
    assert overlapped == (AT_ONCE[unit] > 1)


def test_busy_is_from_start_to_retire():
    run = Run(Unit.NORM, 20, 5)
    assert run.busy == sum(run.retires[index] - run.starts[index] + 1 for index in range(20))
    assert run.starved > 0

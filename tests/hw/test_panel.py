"""hw/panel.py walks groups in the order and in the cycles that its docstring states, against nested loops in Python."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch.config import HardwareConfig
from heddle.hw.panel import Fill, Panel, interval_shape, longest_period

from ..machines import NANO, ODD

CONFIGS = {
    "nano": NANO,
    "3x5": ODD,
    "8x4": replace(NANO, rows=8, columns=4, vector_lanes=4, axi_bytes=4),
}
OUTPUTS = ("row", "group", "counts", "inside", "first", "last", "last_row", "word", "slot", "act_word", "act_slot",
           "row_counts", "block_ends")  # fmt: skip
TALL, TURNED = 1, 2


def expected_walk(
    config: HardwareConfig, rows: int, columns: int, fill: Fill, interval: int, period: int, by: int = 0
) -> dict:  # fmt: skip
    """Cycle after start → the outputs in that cycle, for every cycle in which a group is under way."""
    lanes = config.vector_lanes
    unit = {Fill.COLUMNS: lanes, Fill.WORD: config.columns, Fill.ACT_WORD: config.rows}[fill]
    groups = -(-columns // unit) * unit // lanes
    cycles = {}
    height = {TALL: lanes, TURNED: rows}.get(by, 1)
    blocks = -(-rows // height)
    for block in range(blocks):
        for group, in_block in product(range(groups), range(height)):
            row = block * height + in_block
            begin = 1 + block * max(height * groups * interval, period) + (group * height + in_block) * interval
            column = group * lanes
            inside = [column + lane < columns for lane in range(lanes)]
            outputs = {
                "row": row,
                "group": group,
                "counts": sum(bit << lane for lane, bit in enumerate(inside)),
                "inside": int(inside[0] and row < rows),
                "first": int(group == 0),
                "last": int(group == groups - 1),
                "last_row": int(row >= rows - 1),
                "word": column // config.columns,
                "slot": column % config.columns // lanes,
                "act_word": column // config.rows,
                "act_slot": column % config.rows // lanes,
                "row_counts": int(row < rows),
                "block_ends": int(in_block == height - 1),
            }
            for beat in range(interval):
                done = block == blocks - 1 and group == groups - 1 and in_block == height - 1 and beat == 0
                cycles[begin + beat] = {**outputs, "beat": beat, "valid": int(beat == 0), "done": int(done)}
    return cycles


def run(config: HardwareConfig, walks: list[tuple]) -> None:
    """Walk each (rows, columns, fill, interval, period, and by which blocks if by any), one right after the other, and
    check every cycle."""
    blocks = any(len(walk) > 5 for walk in walks)
    panel = Panel(config, blocks=blocks, intervals=True, periods=True)

    async def bench(ctx):
        for rows, columns, fill, interval, period, *more in walks:
            by = sum(more)
            expected = expected_walk(config, rows, columns, fill, interval, period, by)
            if blocks:
                ctx.set(panel.tall, by == TALL)
                ctx.set(panel.turned, by == TURNED)
            ctx.set(panel.rows, rows)
            ctx.set(panel.columns, columns)
            ctx.set(panel.start, 1)
            await ctx.tick()
            ctx.set(panel.start, 0)
            for name, value in zip(
                ("fill", "last_beat", "period"),
                (int(fill), interval - 1, period),
                strict=True,
            ):
                ctx.set(getattr(panel, name), value)
            before = None
            for cycle in range(1, max(expected) + 1):
                now = expected.get(cycle)
                assert ctx.get(panel.active) == (now is not None), (cycle, walks)
                if now is None:
                    assert not ctx.get(panel.valid) and not ctx.get(panel.done)
                else:
                    seen = {name: ctx.get(getattr(panel, name)) for name in (*OUTPUTS, "beat", "valid", "done")}
                    assert seen == now, (cycle, rows, columns, fill, interval, period)
                    before = now
                after = expected.get(cycle + 1)
                new_group = after is not None and after["valid"]
                down = bool(new_group and now and not now["block_ends"])
                new_row = bool(new_group and after["first"] and not down)
                new_word = bool(new_group and not new_row and after["word"] != before["word"])
                assert ctx.get(panel.next_row) == new_row, (cycle, expected)
                assert ctx.get(panel.next_word) == new_word, (cycle, expected)
                assert ctx.get(panel.down) == down, (cycle, expected)
                assert ctx.get(panel.back) == bool(new_group and not new_row and not down), (cycle, expected)
                await ctx.tick()
            assert not ctx.get(panel.active)

    simulator = Simulator(panel)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("fill", Fill, ids=lambda fill: fill.name)
def test_walks_every_width_up_to_three_words(config, fill):
    run(config, [(2, columns, fill, 1, 0, columns % 2) for columns in range(1, 3 * config.columns + 1)])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_random_walks_with_intervals_and_row_periods(config):
    random = np.random.default_rng(7)
    walks = []
    for _ in range(40):
        rows, columns = int(random.integers(1, 6)), int(random.integers(1, 4 * config.rows))
        interval = int(random.integers(1, max(interval_shape(config)) + 1))
        period = int(random.choice([0, 1, 2, 5, longest_period(config)]))
        walks.append((rows, columns, Fill(random.integers(0, 3)), interval, period))
    run(config, walks)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_random_walks_by_blocks(config):
    random = np.random.default_rng(8)
    walks = []
    for _ in range(40):
        rows, columns = int(random.integers(1, 4 * config.vector_lanes)), int(random.integers(1, 4 * config.columns))
        walks.append((rows, columns, Fill.COLUMNS, int(random.integers(1, 5)), 0, int(random.integers(0, 3))))
    run(config, walks)


def test_the_least_panel_takes_one_cycle():
    run(NANO, [(1, 1, Fill.COLUMNS, 1, 0, 0), (1, 1, Fill.COLUMNS, 1, 0, 1)] * 2)


def test_the_most_rows_of_a_panel():
    run(NANO, [(NANO.panel_rows, 3, Fill.COLUMNS, 1, 0, turned) for turned in (0, 1)])


def test_the_widest_row_ends_at_its_last_column():
    columns = (1 << 16) - 1
    wide = replace(NANO, rows=64, columns=64, vector_lanes=64, axi_bytes=64)
    run(wide, [(2, columns, Fill.WORD, 1, 0, 0), (1, columns, Fill.COLUMNS, 2, 0, 1)])

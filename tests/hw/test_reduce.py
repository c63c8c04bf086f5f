"""hw/reduce.py: rows in, results the stated cycles after their last group, bits equal to the oracle's.

Between the groups that count the ports carry noise.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from amaranth.sim import Simulator
from heddle.arch import numerics
from heddle.arch.config import PRESETS, ROW_SUM_INTERVAL
from heddle.hw.reduce import LaneMaxima, RowMaximum, RowSum

LEAST = np.float32(2.0**-126)


def config_of(lanes):
    """A configuration with that many lanes."""
    return replace(PRESETS["server"], vector_lanes=lanes)


def groups_of(row, lanes, filler):
    """The row as bits, (groups, lanes), what is beyond it being `filler`."""
    padded = np.concatenate([row, np.full(-len(row) % lanes, filler, np.float32)])
    return numerics.to_bits(padded.astype(np.float32)).reshape(-1, lanes)


def run(component, lanes, groups, cycles):
    """The results by cycle. groups: cycle → (first, last, bits of the lanes)."""
    random, results = np.random.default_rng(0), {}

    async def bench(ctx):
        for cycle in range(cycles):
            noise = random.integers(2, size=2), random.integers(1 << 32, size=lanes)
            first, last, bits = groups.get(cycle, (*noise[0], noise[1]))
            ctx.set(component.valid, cycle in groups)
            ctx.set(component.first, int(first))
            ctx.set(component.last, int(last))
            for lane in range(lanes):
                ctx.set(component.data[lane], int(bits[lane]))
            if ctx.get(component.o_valid):
                results[cycle] = ctx.get(component.o)
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def sums(rows, lanes):
    """Run RowSum on rows as close as it takes them; check cycles and bits; return the sums as floats."""
    config = config_of(lanes)
    groups, expected, first, previous_last = {}, {}, 3, 0
    for row in rows:
        bits = groups_of(row, lanes, 0)
        first = max(first, previous_last + ROW_SUM_INTERVAL - (len(bits) - 1))
        last = first + len(bits) - 1
        groups |= {first + k: (k == 0, k == len(bits) - 1, each) for k, each in enumerate(bits)}
        expected[last + config.row_sum_cycles] = int(numerics.to_bits(numerics.row_sum(row, lanes)))
        first, previous_last = max(last + 1, first + ROW_SUM_INTERVAL), last
    results = run(RowSum(lanes), lanes, groups, max(expected) + 10)
    assert results == expected
    return numerics.from_bits(list(results.values()))


def maxima(rows, lanes, gaps=False):
    """Run RowMaximum on rows one after the other, or with random gaps; check; return the maxima as floats."""
    config, random = config_of(lanes), np.random.default_rng(1)
    groups, expected, cycle = {}, {}, 2
    for row in rows:
        bits = groups_of(row, lanes, -np.inf)
        for k, each in enumerate(bits):
            cycle += 1 + (random.integers(3) if gaps else 0)
            groups[cycle] = (k == 0, k == len(bits) - 1, each)
        expected[cycle + config.row_maximum_cycles] = int(numerics.to_bits(numerics.row_maximum(row)))
    results = run(RowMaximum(lanes), lanes, groups, max(expected) + 5)
    assert results == expected
    return numerics.from_bits(list(results.values()))


def random_rows(random, count, least, most):
    """Rows of normal numbers of mixed magnitude, of random lengths."""
    lengths = random.integers(least, most + 1, count)
    return [(random.standard_normal(n) * 2.0 ** random.integers(-8, 9, n)).astype(np.float32) for n in lengths]


def test_the_order_of_additions_by_hand():
    # One lane, four partial sums, then (p0 + p2) + (p1 + p3). One after the other it would be 1.
    assert sums([np.float32([1e8, 1, -1e8, 1])], lanes=1) == [2]
    # Two lanes: 0 and 1 meet first, then 0 and 8, then 0 and 4, at last 0 and 2.
    assert sums([np.float32([1e8, -1e8, 1, 0, 0, 0, 0, 0, 1, 0])], lanes=2) == [2]
    assert sums([np.float32([1e8, 0, 1, 0, 1, 0, 0, 0, -1e8, 1])], lanes=2) == [2]
    assert sums([np.float32([1e8, 0, 1, 0, -1e8, 0, 1, 0, 0, 0])], lanes=2) == [2]
    assert sums([np.float32([1e8, 0, -1e8, 0, 1, 0, 0, 0, 0, 0])], lanes=2) == [0]
    # Four lanes: 0 and 2, 1 and 3.
    assert sums([np.float32([1e8, 1, -1e8, 1])], lanes=4) == [2]
    assert sums([np.float32([1e8, -1e8, 1, 1])], lanes=4) == [0]


def test_maxima_by_hand():
    rows = [[-3, -2.5], [7], [-np.inf], [np.inf, 1, 2], [-0.0, 0.0], [0.0, -0.0], [-0.0], [5, np.nan, np.inf], [-1, -9]]
    rows = [np.float32(row) for row in rows]
    result = maxima(rows, lanes=2)
    np.testing.assert_array_equal(result, np.float32([-2.5, 7, -np.inf, np.inf, 0, 0, -0.0, np.nan, -1]))
    assert not np.signbit(result[4:6]).any() and np.signbit(result[6])


@pytest.mark.parametrize("lanes, group_count", [*product([1, 2, 4], [1, 2, 3, 4, 5, 8, 11]), (8, 2), (8, 7), (16, 5)])
def test_sums_of_rows_of_every_rest_of_four_groups(lanes, group_count):
    random = np.random.default_rng(lanes * 100 + group_count)
    sums(random_rows(random, 3, (group_count - 1) * lanes + 1, group_count * lanes), lanes)


@pytest.mark.parametrize("lanes", [1, 4])
def test_sums_of_rows_of_changing_length(lanes):
    sums(random_rows(np.random.default_rng(lanes), 12, 1, 20 * lanes), lanes)


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("count", range(4, 14))
def test_minus_zeros_are_those_of_the_oracle(lanes, count):
    # −1.5·2⁻¹²⁶ + 2⁻¹²⁶ is flushed to −0, which stays if every slot is −0 and none is empty: that is +0.
    row = np.zeros(count * lanes, np.float32)
    row[::lanes] = np.where(np.arange(count) < 4, LEAST * np.float32(-1.5), np.where(np.arange(count) < 8, LEAST, -0.0))
    found = sums([row, row[: len(row) - lanes + 1], -row], lanes)
    if count == 8:
        assert np.signbit(found).tolist() == [True, True, False]


def test_sums_of_special_values():
    rows = [[np.inf, 1, 2], [np.inf, -np.inf], [np.nan, 1], [3e38, 3e38, 3e38], [1e-40, -1e-40], [-0.0], [-1.0, 1.0]]
    sums([np.float32(row) for row in rows], lanes=2)


@pytest.mark.parametrize("lanes", [1, 2, 8])
@pytest.mark.parametrize("gaps", [False, True])
def test_maxima_of_random_rows(lanes, gaps):
    random = np.random.default_rng(lanes)
    rows = random_rows(random, 12, 1, 9 * lanes) + [-np.abs(row) for row in random_rows(random, 6, 1, 3 * lanes)]
    maxima(rows, lanes, gaps)


def test_a_maximum_stays_until_the_next():
    component, seen = RowMaximum(2), []

    async def bench(ctx):
        for cycle, x in enumerate([5.0, 0, 0, 0, 0, 0, 0, 3.0, 0, 0, 0, 0]):
            ctx.set(component.valid, x != 0)
            ctx.set(component.first, 1)
            ctx.set(component.last, 1)
            for lane in range(2):
                ctx.set(component.data[lane], int(numerics.to_bits(np.float32(x))))
            if cycle >= config_of(2).row_maximum_cycles:
                seen.append(float(numerics.from_bits(ctx.get(component.o))))
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [5.0] * 7 + [3.0] * 2


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_columns_that_do_not_count_are_never_the_greatest(lanes):
    """Whatever they hold: also where all that count are −inf, and the first groups have none."""
    random, component, expected, seen = np.random.default_rng(lanes), RowMaximum(lanes), [], []
    rows = []
    for length in random.integers(1, 5, 30):
        x = random.choice(np.float32([-np.inf, -1, 2, np.nan]), (length, lanes))
        counts = random.random((length, lanes)) < 0.4
        counts[random.integers(length), random.integers(lanes)] = True
        x[counts] = -np.inf if random.random() < 0.3 else np.where(np.isnan(x[counts]), 1, x[counts])
        rows.append((x, counts))
        places = np.flatnonzero(counts.reshape(-1))
        best = places[numerics.extremes(x.reshape(-1)[places])[1][0]]
        expected.append((float(x.reshape(-1)[best]), int(best)))

    async def bench(ctx):
        groups = [(x[k], counts[k], k == 0, k == len(x) - 1) for x, counts in rows for k in range(len(x))]
        for cycle in range(len(groups) + config_of(lanes).row_maximum_cycles + 1):
            ctx.set(component.valid, cycle < len(groups))
            if cycle < len(groups):
                x, counts, first, last = groups[cycle]
                ctx.set(component.counts, sum(int(each) << lane for lane, each in enumerate(counts)))
                ctx.set(component.first, int(first))
                ctx.set(component.last, int(last))
                for lane in range(lanes):
                    ctx.set(component.data[lane], int(numerics.to_bits(x[lane])))
            if ctx.get(component.o_valid):
                seen.append((float(numerics.from_bits(ctx.get(component.o))), ctx.get(component.place)))
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == expected


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_lanes_have_maxima_of_their_own(lanes):
    random = np.random.default_rng(lanes)
    x = (random.standard_normal((9, lanes)) * 2.0 ** random.integers(-8, 9, (9, lanes))).astype(np.float32)
    x[5] = -0.0
    greatest, seen = LaneMaxima(lanes), []

    async def bench(ctx):
        for cycle in range(2 * len(x) + 1):
            row, rest = divmod(cycle, 2)
            here = not rest and row < len(x)
            ctx.set(greatest.valid, int(here))
            ctx.set(greatest.first, int(row in (0, 5)) if here else int(random.integers(2)))
            for lane in range(lanes):
                noise = int(random.integers(1 << 32))
                ctx.set(greatest.data[lane], int(numerics.to_bits(x[row, lane])) if here else noise)
            if rest:
                seen.append(numerics.from_bits([ctx.get(each) for each in greatest.o]))
            await ctx.tick()

    simulator = Simulator(greatest)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    for row, found in enumerate(seen):
        some = x[5 if row >= 5 else 0 : row + 1]
        np.testing.assert_array_equal(numerics.to_bits(found), numerics.to_bits(numerics.row_maximum(some.T)))
    assert len(seen) == len(x)


@pytest.mark.parametrize("lanes", [2, 4])
def test_both_are_near_pytorch(lanes):
    random = np.random.default_rng(7)
    rows = [random.standard_normal(24 * lanes).astype(np.float32) for _ in range(3)]
    golden = torch.from_numpy(np.stack(rows))
    assert (maxima(rows, lanes) == golden.amax(-1).numpy()).all()
    # Each element goes through at most `depth` additions, each off by at most 2⁻²⁴ of sums no greater than Σ|x|.
    depth = 24 // 4 + int(np.log2(4 * lanes))  # the slots, the tree before and the pairs after
    error = np.abs(sums(rows, lanes) - golden.double().sum(-1).numpy())
    assert (error <= depth * 2.0**-24 * golden.double().abs().sum(-1).numpy()).all()


@pytest.mark.long
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32, 64])
def test_many_rows(lanes):
    random = np.random.default_rng(lanes)
    rows = random_rows(random, 60, 1, 30 * lanes)
    sums(rows, lanes)
    maxima(rows, lanes)

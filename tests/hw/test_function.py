"""hw/function.py against the oracle, bit for bit in EVALUATE_CYCLES, with tables of functions and of none."""

from random import Random

import numpy as np
import pytest
from amaranth.sim import Simulator
from heddle.arch.functions import (
    DESCRIPTOR_COUNT,
    EVALUATE_CYCLES,
    HEADER_FIELDS,
    LEAST_EXPONENT,
    MOST_EXPONENT,
    TABLE_COUNT,
    evaluate,
)
from heddle.compiler.functions import named
from heddle.cosim.random_tables import random_table, random_words
from heddle.hw.function import HEADER, Evaluator

WIDE = {"fraction_bits": 16, "significand_bits": 16}


def load(ctx, evaluator, place, table, word=0):
    """Write a table's descriptors as number `place`, and its words from `word` on; wait a cycle at each step."""
    numbers = table.to_ints()[1:]
    for i, number in enumerate(numbers):
        is_word = i >= DESCRIPTOR_COUNT
        ctx.set(evaluator.write_en, 1)
        ctx.set(evaluator.write_word, is_word)
        ctx.set(evaluator.write_address, word + i - DESCRIPTOR_COUNT if is_word else place * DESCRIPTOR_COUNT + i)
        ctx.set(evaluator.write_data, number)
        yield
    ctx.set(evaluator.write_en, 0)


async def values(ctx, evaluator, place, table, x):
    """f(x) as bits, each exactly EVALUATE_CYCLES after its operand, which come every cycle."""
    ctx.set(evaluator.header, HEADER.from_bits(table.header()))
    ctx.set(evaluator.table, place)
    results = []
    for cycle in range(len(x) + EVALUATE_CYCLES):
        if cycle < len(x):
            ctx.set(evaluator.a, int(x.view(np.uint32)[cycle]))
        if cycle >= EVALUATE_CYCLES:
            results.append(ctx.get(evaluator.o))
        await ctx.tick()
    return np.array(results, np.uint64).astype(np.uint32)


def run(tables, x, **parameters):
    """The results of each table in turn, which takes all words: (len(tables), len(x)) bits."""
    evaluator, results = Evaluator(**parameters), []

    async def bench(ctx):
        for i, table in enumerate(tables):
            for _ in load(ctx, evaluator, i % TABLE_COUNT, table):
                await ctx.tick()
            results.append(await values(ctx, evaluator, i % TABLE_COUNT, table, x))

    simulator = Simulator(evaluator)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def operands(seed, count, fraction_bits=10):
    """Special numbers, ordinary ones, powers of two and their neighbours, any bits."""
    random = np.random.default_rng(seed)
    special = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 2.0**-126, 3.4e38, -3.4e38, 1, -1, 3, -3, 128])
    ordinary = (random.standard_normal(count) * np.exp2(random.uniform(-6, 5, count))).astype(np.float32)
    powers = np.float32(2) ** random.integers(-20, 18, count).astype(np.float32)
    powers = powers * random.choice(np.float32([1, -1, 1.5, -1.5]), count)
    powers = (powers.view(np.uint32) + random.choice(np.array([0, 1 << 13, -1 << 13]), count).astype(np.uint32))
    bits = random.integers(1 << 32, size=count, dtype=np.uint32)
    bits = np.concatenate([special.view(np.uint32), ordinary.view(np.uint32), powers.astype(np.uint32), bits])
    return (bits >> 23 - fraction_bits << 23 - fraction_bits).astype(np.uint32).view(np.float32)


def assert_same(results, table, x, significand_bits=11):
    expected = evaluate(table, x, significand_bits).view(np.uint32)
    wrong = np.flatnonzero(results != expected)
    lines = [f"{x[i]!r} → {results[i]:08x}, not {expected[i]:08x}" for i in wrong[:5]]
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("name", ["gelu", "exp", "log", "rsqrt", "hardswish", "sin"])
def test_equals_the_oracle(name):
    x = operands(1, 60)
    assert_same(run([named(name)], x)[0], named(name), x)


def test_equals_the_oracle_with_more_bits():
    x = operands(2, 60, fraction_bits=23)
    for name, results in zip(("log2", "tanh"), run([named("log2"), named("tanh")], x, **WIDE), strict=True):
        assert_same(results, named(name), x, 16)


@pytest.mark.parametrize("seed", range(4))
def test_any_table_gives_what_the_oracle_says(seed):
    random = Random(seed)
    table, x = random_table(random, random_words(random), seed % 2 == 1), operands(seed, 80, fraction_bits=16)
    assert_same(run([table], x, **WIDE)[0], table, x, 16)


def test_tables_stand_beside_each_other():
    tables = [named("reciprocal"), named("exp2").moved(64), named("rsqrt").moved(128)]
    evaluator, x = Evaluator(), operands(3, 30)

    async def bench(ctx):
        for i, table in enumerate(tables):
            for _ in load(ctx, evaluator, i, table, word=64 * i):
                await ctx.tick()
        for i, name in ((2, "rsqrt"), (0, "reciprocal"), (1, "exp2")):
            assert_same(await values(ctx, evaluator, i, tables[i], x), named(name), x)

    simulator = Simulator(evaluator)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()


def test_what_logic_assumes_of_the_format():
    assert (127 + LEAST_EXPONENT, 127 + MOST_EXPONENT) == (112, 141)  # as gates tell an octave
    assert sum(bits for _, bits in HEADER_FIELDS) == HEADER.size

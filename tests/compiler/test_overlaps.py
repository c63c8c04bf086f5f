"""Overlaps in compiled loops: the same as those of the instruction set."""

import random

from heddle.arch.accesses import access_table
from heddle.arch.config import Memory
from heddle.arch.isa import Load, Store
from heddle.compiler.overlaps import overlaps
from heddle.sim import jit


@jit.entry
def overlap(table, a, b):
    return overlaps(table, a, table, b)


def test_overlaps_are_those_of_the_instruction_set(nano):
    """Blocks that lie side by side, overlap, and interleave."""
    chosen = random.Random(5)
    instructions = [
        chosen.choice([Load, Store])(
            memory=chosen.choice([Memory.VALUE, Memory.ACT]), address=chosen.randrange(800),
            words=chosen.choice([1, 3, 40]), stride=chosen.choice([0, 4, 7, 600]), segments=chosen.choice([1, 2, 3]),
        )
        for _ in range(80)
    ]  # fmt: skip
    table = access_table(instructions, nano)
    accesses = [each.accesses(nano)[0] for each in instructions]
    expected = [[a.overlaps(b) for b in accesses] for a in accesses]
    assert [[overlap(table, a, b) for b in range(len(accesses))] for a in range(len(accesses))] == expected
    assert 500 < sum(map(sum, expected)) < 5000

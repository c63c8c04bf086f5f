"""Accesses as arrays: the same as those of the instruction set, one by one."""

import random

import pytest
from heddle.arch.config import Memory
from heddle.arch.isa import Access
from heddle.compiler.accesses import access_table, bank_masks, overlaps, owners
from heddle.sim import jit


@jit.entry
def overlap(table, a, b):
    return overlaps(table, a, table, b)


@pytest.fixture
def accesses(nano):
    """Blocks that lie side by side, overlap, interleave, and skip banks (512 words of VALUE each)."""
    chosen = random.Random(5)
    found = []
    while len(found) < 80:
        memory = chosen.choice([Memory.VALUE, Memory.ACT])
        count, length = chosen.choice([1, 2, 3]), chosen.choice([1, 3, 40])
        access = Access(
            memory, chosen.random() < 0.5, chosen.randrange(800), length, chosen.choice([0, 4, 7, 600]), count
        )
        if access.stop <= nano.words(memory):
            found.append(access)
    return found


def test_each_access_keeps_its_instruction():
    words = [Access(Memory.ACT, False, start, 1) for start in range(3)]
    table = access_table([words[:2], [], words[2:]])
    assert table.first.tolist() == [0, 2, 2, 3]
    assert owners(table).tolist() == [0, 0, 2]
    assert table.start.tolist() == [0, 1, 2]


def test_overlaps_are_those_of_the_instruction_set(accesses):
    table = access_table([accesses])
    expected = [[a.overlaps(b) for b in accesses] for a in accesses]
    assert [[overlap(table, a, b) for b in range(len(accesses))] for a in range(len(accesses))] == expected
    assert 500 < sum(map(sum, expected)) < 5000


def test_banks_are_those_of_the_instruction_set(nano, accesses):
    masks = bank_masks(access_table([accesses]), nano).tolist()
    assert masks == [each.bank_mask(nano) for each in accesses]
    assert any(each.stride > nano.bank_words(each.memory) and each.count > 1 for each in accesses)

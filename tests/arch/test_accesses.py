"""Accesses as arrays: the same as those of the instruction set, one by one."""

import random
from dataclasses import fields, replace

import numpy as np
import pytest
from heddle.arch.accesses import access_table, alike, bank_masks, may_be_wrong, owners, port_masks
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import INSTRUCTIONS, Access, Load, Map, Matmul, Source, Store

NANO = PRESETS["nano"]


def random_instruction(kind, chosen):
    """Any numbers of a few bits, but for sizes of at least 1."""
    numbers = {}
    for each in fields(kind):
        field = each.metadata["field"]
        if field.kind is not None and field.kind is not float:
            numbers[each.name] = chosen.choice(list(field.kind))
        elif field.kind is None:
            numbers[each.name] = chosen.randrange(min(1 << field.bits, 50)) + (each.default or 0)
    return kind(**numbers)


def accesses_of(table, index):
    every = range(table.first[index], table.first[index + 1])
    return [
        Access(Memory(table.memory[at]), bool(table.write[at]), *(int(each[at]) for each in table[3:7])) for at in every
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_table_holds_the_accesses_of_each_instruction(seed):
    chosen = random.Random(seed)
    instructions = [random_instruction(chosen.choice(INSTRUCTIONS), chosen) for _ in range(500)]
    table = access_table(instructions, NANO)
    assert [accesses_of(table, index) for index in range(500)] == [each.accesses(NANO) for each in instructions]
    assert table.stop.tolist() == [access.stop for each in instructions for access in each.accesses(NANO)]
    assert owners(table).tolist() == [index for index, each in enumerate(instructions) for _ in each.accesses(NANO)]


def test_of_no_instructions_there_are_none():
    assert access_table([], NANO).first.tolist() == [0] and not len(access_table([], NANO).start)


def test_alike_is_what_differs_in_sizes_and_places_only():
    load = Load(memory=Memory.ACT)
    other = replace(load, memory=Memory.PARAM)
    assert alike([load, other, Store(), replace(load, words=3, address=4)]) == [[0, 3], [1], [2]]


def test_banks_are_those_of_the_instruction_set():
    """Blocks that skip banks (512 words of VALUE each) among others."""
    chosen = random.Random(5)
    instructions = []
    while len(instructions) < 80:
        count, length, stride = chosen.choice([1, 2, 3]), chosen.choice([1, 3, 40]), chosen.choice([0, 4, 7, 600])
        load = Load(memory=chosen.choice([Memory.VALUE, Memory.ACT]), address=chosen.randrange(800), words=length,
                    stride=stride, segments=count)  # fmt: skip
        if load.accesses(NANO)[0].stop <= NANO.words(load.memory):
            instructions.append(load)
    table = access_table(instructions, NANO)
    expected = [each.accesses(NANO)[0].bank_mask(NANO) for each in instructions]
    assert bank_masks(table, NANO).tolist() == expected
    assert any(each.stride > NANO.bank_words(each.memory) and each.segments > 1 for each in instructions)
    ports = port_masks(table, NANO)
    assert [ports[at, 2 * each.memory + 1] for at, each in enumerate(instructions)] == expected
    assert (ports != 0).sum() == len(instructions)


@pytest.mark.parametrize("stride", [0, 200])
def test_a_memory_may_have_64_banks(stride):
    config = replace(NANO, value_words=8192, value_banks=64)
    store = Store(memory=Memory.VALUE, address=8192 - 128 - 2 * stride, words=128, stride=stride, segments=3)
    (mask,) = bank_masks(access_table([store], config), config).tolist()
    assert mask % (1 << 64) == store.accesses(config)[0].bank_mask(config) >= 1 << 63


@pytest.mark.parametrize("seed", range(4))
def test_what_may_be_wrong_is_all_that_is_found_to_be(seed):
    """Of random instructions on a machine of few words most are wrong; those that matter are not all taken for it."""
    chosen = random.Random(seed)
    instructions = [random_instruction(chosen.choice(INSTRUCTIONS), chosen) for _ in range(1500)]
    instructions += [
        Matmul(acc_stride=1, rows=3),
        Map(source=Source.VALUE, address=0),
        Map(source=Source.VALUE, address=1),
    ]
    suspected = may_be_wrong(instructions, NANO)
    wrong = np.array([is_wrong(each) for each in instructions])
    assert suspected[wrong].all() and 200 < wrong.sum() < 1200
    assert suspected[~wrong].mean() < 0.3
    assert suspected[-3:].tolist() == [False, False, False]


def is_wrong(instruction):
    try:
        instruction.check_accesses(NANO)
    except HeddleError:
        return True
    return False

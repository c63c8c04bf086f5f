"""hw/index_arithmetic.py in LOAD: what an IndexMap leaves in INDEX, in which cycles, and how LOADs stand beside it."""

import random

import pytest
from heddle.arch.config import PRESETS, Memory
from heddle.arch.isa import IndexMap, IndexOperation, Load

from .test_load import DRAM_BYTES, Run, random_dram

NANO = PRESETS["nano"]
EDGES = [0, 1, -1, (1 << 31) - 1, -1 << 31, 12345]


def wrapped(number):
    """The int32 that is congruent."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def after(elements, i):
    """All elements, once an instruction is done, by its equation."""
    found = list(elements)
    for n in range(i.count):
        x = elements[i.source_address + n] if i.source else 0
        y = elements[i.operand_address + n] if i.operand else wrapped(i.number + n * i.step)
        found[i.address + n] = {
            IndexOperation.ADD: wrapped(x + y), IndexOperation.LESS: int(x < y),
            IndexOperation.LESS_EQUAL: int(x <= y), IndexOperation.EQUAL: int(x == y),
        }[i.operation]  # fmt: skip
    return found


def as_words(elements, per_word):
    words = [elements[place:][:per_word] for place in range(0, len(elements), per_word)]
    return {address: sum((each & 0xFFFF_FFFF) << 32 * slot for slot, each in enumerate(word))
            for address, word in enumerate(words)}  # fmt: skip


def random_map(chooser, size):
    """One whose vectors lie anywhere, its result apart from them or in the place of the first."""
    count = chooser.choice([1, 2, 5, 9])
    source, operand = (chooser.randrange(0, size // 2 - count) for _ in range(2))
    in_place = chooser.random() < 0.4
    return IndexMap(
        count=count, operation=chooser.choice(list(IndexOperation)), source=chooser.randrange(2),
        operand=0 if in_place else chooser.randrange(2), source_address=source, operand_address=operand,
        address=source if in_place else chooser.randrange(size // 2, size - count),
        number=chooser.choice([chooser.randint(-9, 9), (1 << 19) - 1, -1 << 19]),
        step=chooser.choice([0, 1, -1, (1 << 19) - 1, -1 << 19]),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_a_sequence_leaves_what_its_equations_say(machine, seed, axi_slave):
    chooser = random.Random(f"{machine.name} {seed}")
    per_word, size = machine.word_elements(Memory.INDEX), 64
    elements = [chooser.choice([*EDGES, chooser.randint(-12, 12)]) for _ in range(size)]
    work = [random_map(chooser, size) for _ in range(12)]
    slave = axi_slave(bytearray(DRAM_BYTES), machine.axi_bytes, seed=seed)
    run = Run(machine, slave, work, as_words(elements, per_word))
    for each in work:
        elements = after(elements, each)
    assert {key: run.words[Memory.INDEX][key] for key in range(-(-size // per_word))} == as_words(elements, per_word)
    for each, start, retire in zip(work, run.starts, run.retires, strict=True):
        assert retire - start == each.count * max(1, each.source + each.operand) + 3
    assert run.starts[1:] == [retire + 1 for retire in run.retires[:-1]]


def test_reads_and_writes_in_cycles(axi_slave):
    one = IndexMap(count=3, source=1, operand=1, source_address=2, operand_address=8, address=20)
    run = Run(NANO, axi_slave(bytearray(256), 4), [one], {2: 5, 3: 6, 4: 7, 8: 10, 9: 20, 10: 30})
    assert [run.words[Memory.INDEX][each] for each in (20, 21, 22)] == [15, 26, 37]
    assert run.writes == [4, 6, 8] and run.retires == [9]  # read in 1 and 2, 3 and 4, 5 and 6


def test_it_waits_for_loads_and_loads_wait_for_it(axi_slave):
    """A LOAD brings numbers, an IndexMap adds to them, a gather takes the rows: in order, without a token."""
    dram = random_dram(3)
    dram[1024:1032] = (2).to_bytes(4, "little") + (5).to_bytes(4, "little")
    slave = axi_slave(dram, 4, latency=20)
    work = [
        Load(memory=Memory.INDEX, dram_address=1024, words=2),
        IndexMap(count=2, source=1, number=1, address=8),
        Load(memory=Memory.ACT, gather=1, segments=2, stride=1, dram_address=2048, dram_stride=64, index_address=8),
        IndexMap(count=1, number=7),
        Load(memory=Memory.ACT, address=9),
    ]
    run = Run(NANO, slave, work)
    assert run.starts[1:] == [retire + 1 for retire in run.retires[:-1]]
    rows = [int.from_bytes(dram[2048 + 64 * row :][:4], "little") for row in (3, 6)]
    assert [run.words[Memory.ACT][each] for each in (0, 1)] == rows
    assert run.words[Memory.INDEX][0] == 7

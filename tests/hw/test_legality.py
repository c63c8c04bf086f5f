"""hw/legality.py against what Instruction.check refuses, for random words."""

import random
from dataclasses import fields

import pytest
from amaranth.sim import Simulator
from heddle.arch.config import PRESETS
from heddle.arch.encoding import decode, encode, encoding
from heddle.arch.errors import HeddleError
from heddle.arch.isa import INSTRUCTIONS
from heddle.hw.legality import Legality

NANO = PRESETS["nano"]


def judged(words):
    """(known, illegal) of each word."""
    legality, found = Legality(), []

    async def bench(ctx):
        for word in words:
            ctx.set(legality.i, word)
            found.append((ctx.get(legality.known), ctx.get(legality.illegal)))

    simulator = Simulator(legality)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def is_legal(word: int) -> bool:
    """By decoding, which refuses values that an enumeration does not have, and by `check_encoding`."""
    try:
        decode(word.to_bytes(32, "little")).check_encoding()
    except HeddleError:
        return False
    return True


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda each: each.__name__)
def test_random_fields_are_judged_as_the_definition_says(instruction):
    numbers, words = random.Random(instruction.__name__), [int.from_bytes(encode(instruction()), "little")]
    for _ in range(400):
        word = words[0]
        for name in numbers.sample([each.name for each in fields(instruction)], numbers.choice([1, 1, 2])):
            position, field = encoding(instruction)[name]
            mask = (1 << field.bits) - 1 << position
            word = word & ~mask | (numbers.choice([0, 1, numbers.getrandbits(field.bits)]) << position)
        words.append(word)
    found = judged(words)
    assert found[0] == (1, 0)
    assert found == [(1, not is_legal(word)) for word in words]
    assert {illegal for _, illegal in found} == {0, 1}


def test_other_opcodes_are_unknown():
    known = {each.opcode for each in INSTRUCTIONS}
    assert judged(range(64)) == [(opcode in known, opcode in known and not is_legal(opcode)) for opcode in range(64)]

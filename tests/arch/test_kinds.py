"""Sorting instructions into kinds, by hand and for random programs."""

import random
from dataclasses import replace

import pytest
from heddle.arch.check import check_instructions
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Halt, Load, Map, Store
from heddle.arch.kinds import sort_into_kinds
from heddle.cosim.random_programs import random_program

NANO = PRESETS["nano"]


def test_a_kind_is_all_but_the_dram_address():
    load = Load(memory=Memory.ACT, words=4, dram_address=64)
    kinds = sort_into_kinds([load, Map(), replace(load, dram_address=128), replace(load, words=5), load, Halt(), Map()])
    assert kinds.of.tolist() == [0, 1, 0, 2, 0, 3, 1]
    assert kinds.examples == (load, Map(), replace(load, words=5), Halt())
    assert kinds.addresses.tolist() == [64, 0, 128, 64, 64, 0, 0]
    assert kinds.spread([7, 8, 9, 6]).tolist() == [7, 8, 7, 9, 7, 6, 8]


def test_instructions_of_different_units_are_different_though_their_fields_are_equal():
    assert len(sort_into_kinds([Load(words=4), Store(memory=Memory.ACT, words=4), Load(words=4)]).examples) == 2


def test_the_first_of_each_kind_and_remainder():
    loads = [Load(dram_address=address) for address in (4096, 64, 0, 4160, 128)]
    assert sort_into_kinds(loads).first_of_each(4096) == [0, 1, 4]


def test_no_instructions_have_no_kinds():
    assert sort_into_kinds([]).of.shape == (0,)


@pytest.mark.parametrize("seed", range(8))
def test_kinds_and_addresses_make_up_the_program(seed):
    program = random_program(PRESETS["small"], seed)
    numbers = random.Random(seed)
    instructions = numbers.choices(program.instructions, k=3 * len(program.instructions))
    kinds = sort_into_kinds(instructions)
    for kind, address, each in zip(kinds.of, kinds.addresses, instructions, strict=True):
        example = kinds.examples[kind]
        assert (replace(example, dram_address=int(address)) if hasattr(each, "dram_address") else example) == each


def refusal(*instructions, dram_bytes=1 << 16):
    with pytest.raises(HeddleError) as error:
        check_instructions(NANO, instructions, sort_into_kinds(instructions), dram_bytes, 0)
    return str(error.value)


def test_of_several_mistakes_the_first_is_named():
    wrong, far, waiting = Map(address=2048), Load(dram_address=1 << 16), Map(columns=4, wait=1)
    fine = Load(words=2)
    assert refusal(fine, far, wrong, waiting).startswith("instruction 1: load reaches DRAM byte")
    assert refusal(fine, fine, waiting, wrong).startswith("instruction 2: map")
    assert "no earlier instruction of LOAD signals VECTOR" in refusal(fine, waiting, far)
    assert refusal(fine, wrong, far).startswith("instruction 1: map: VALUE words")


def test_a_later_instruction_of_a_known_kind_may_be_misaligned_or_out_of_reach():
    loads = [Load(words=2, dram_address=64 * i) for i in range(4)]
    assert "instruction 4: load: dram_address must be a multiple of 4" in refusal(
        *loads, Load(words=2, dram_address=66)
    )
    assert "instruction 3: load reaches DRAM byte 199" in refusal(*loads, dram_bytes=196)


def test_a_token_can_be_taken_once():
    once = [Load(signal=1 << 4), Map(columns=4, wait=1)]
    check_instructions(NANO, once, sort_into_kinds(once), 1 << 16, 0)
    assert refusal(*once, Map(columns=4, wait=1)).startswith("instruction 2: map")
    assert refusal(once[1], once[0]).startswith("instruction 0: map")

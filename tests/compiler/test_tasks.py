"""Virtual addresses: every address field of every instruction is known and can be moved."""

from dataclasses import fields, replace

import pytest
from heddle.arch.config import Memory
from heddle.arch.errors import HeddleError
from heddle.arch.isa import (
    Append,
    Argmax,
    Codes,
    Combine,
    Load,
    Map,
    Masking,
    Matmul,
    Norm,
    OnlineSoftmax,
    Part,
    Quantise,
    Scales,
    Softmax,
    Source,
    Statistics,
    Store,
    Stream,
)
from heddle.arch.operands import address_fields
from heddle.compiler.tasks import Buffers, require_sizes

EVERYTHING = [
    Load(memory=Memory.PARAM, gather=1),
    Store(memory=Memory.VALUE),
    Matmul(),
    Map(source=Source.VALUE, scaled=1, row_scaled=1, combine=Combine.ADD, operand_scaled=1),
    Quantise(scaled=1, row_scaled=1, combine=Combine.ADD, codes=Codes.WEIGHT, scales=Scales.PARAM_SCALE),
    Argmax(scaled=1, row_scaled=1, combine=Combine.ADD),
    Softmax(mask=Masking.ADDITIVE),
    OnlineSoftmax(),
    Norm(statistics=Statistics.MOMENTS),
    Append(part=Part.PAIRS),
    Append(part=Part.VALUES),
    Stream(part=Part.KEYS),
]


@pytest.mark.parametrize("instruction", EVERYTHING, ids=lambda each: each.name)
def test_all_on_chip_addresses_are_named(instruction):
    known = set(address_fields(instruction))
    assert known == {
        each.name for each in fields(instruction) if each.name.endswith("address") or each.name == "table"
    } - {"dram_address"}


@pytest.mark.parametrize("instruction", EVERYTHING, ids=lambda each: each.name)
def test_the_memories_are_those_it_accesses(instruction, nano):
    assert {memory for memory, _ in address_fields(instruction).values()} == {
        access.memory for access in instruction.accesses(nano)
    }


def test_addresses_that_are_not_in_use_stay(nano):
    assert list(address_fields(Map())) == ["source_address", "address"]


def test_an_instruction_is_moved_to_where_its_buffers_are(odd):
    buffers = Buffers()
    buffers.add("first", Memory.VALUE, 10)
    table = buffers.add("rows", Memory.VALUE, 20)
    index = buffers.add("ids", Memory.INDEX, 2)
    table.address, index.address = 40, 7
    load = Load(memory=Memory.VALUE, address=table.at(3), words=2, gather=1, index_address=1)
    moved, other = buffers.place([load, replace(load, address=table.at(19))], odd)
    assert (moved.address, moved.index_address) == (43, 7 * odd.word_elements(Memory.INDEX) + 1)
    assert moved.changed(address=59) == other
    assert [buffer.name for buffer in buffers] == ["first", "rows", "ids"]
    assert "VALUE      40 to     59  rows" in str(buffers)


@pytest.mark.parametrize("columns", [0, 65536, 70000])
def test_a_size_that_an_instruction_cannot_have_is_refused(columns):
    with pytest.raises(HeddleError, match=f"columns = {columns}, but an instruction can have from 1 to 65535"):
        require_sizes(Norm(columns=columns))
    require_sizes(Norm(columns=65535))

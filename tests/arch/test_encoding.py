"""Encoding, decoding and listing of instructions."""

from dataclasses import fields

import numpy as np
import pytest
from heddle.arch import encoding, isa
from heddle.arch.config import INSTRUCTION_BYTES, Memory, Unit
from heddle.arch.errors import HeddleError
from hypothesis import given
from hypothesis import strategies as st


def field_strategy(field: isa.Field):
    if field.kind is float:
        return st.floats(width=32, allow_nan=False)
    if field.kind is not None:
        return st.sampled_from(list(field.kind))
    if field.signed:
        return st.integers(-(1 << field.bits - 1), (1 << field.bits - 1) - 1)
    return st.integers(0, (1 << field.bits) - 1)


@st.composite
def any_instruction(draw):
    instruction = draw(st.sampled_from(isa.INSTRUCTIONS))
    return instruction(
        **{name: draw(field_strategy(field)) for name, (_, field) in encoding.encoding(instruction).items()}
    )


@given(any_instruction())
def test_decode_is_the_inverse_of_encode(instruction):
    code = encoding.encode(instruction)
    assert len(code) == INSTRUCTION_BYTES
    assert encoding.decode(code) == instruction


def test_a_field_stands_at_its_documented_bits():
    word = int.from_bytes(encoding.encode(isa.Matmul(rows=5, k_tiles=3)), "little")
    position, field = encoding.encoding(isa.Matmul)["rows"]
    assert word & 0x3F == 3
    assert word >> position & (1 << field.bits) - 1 == 5


def test_fields_do_not_overlap_and_opcodes_are_unique():
    for instruction in isa.INSTRUCTIONS:
        stop = encoding.OPCODE_BITS
        for position, field in encoding.encoding(instruction).values():
            assert position == stop
            stop += field.bits
        assert stop <= 8 * INSTRUCTION_BYTES
    assert len(encoding.OPCODES) == len(isa.INSTRUCTIONS)


def test_a_value_that_does_not_fit_names_instruction_field_value_and_width():
    with pytest.raises(HeddleError, match=r"matmul: rows = 8192 does not fit in 13 bits"):
        encoding.encode(isa.Matmul(rows=8192))
    with pytest.raises(HeddleError, match=r"softmax: offset = -65537 does not fit"):
        encoding.encode(isa.Softmax(offset=-65537))


def test_unknown_opcodes_and_codes_are_refused():
    with pytest.raises(HeddleError, match="unknown opcode 63"):
        encoding.decode(b"\x3f" + bytes(31))
    position, _ = encoding.encoding(isa.Map)["function"]
    with pytest.raises(HeddleError, match="function has the unknown code 5"):
        encoding.decode((isa.Map.opcode | 5 << position).to_bytes(32, "little"))


def test_listing_shows_what_differs_from_the_defaults():
    line = encoding.listing(isa.Load(memory=Memory.WEIGHT, words=4, dram_address=64, wait=1 << Unit.MATRIX))
    assert line.split() == ["load", "memory=weight", "dram_address=0x40", "words=4", "wait:matrix"]


def test_every_field_has_a_width_and_floats_survive_exactly():
    for instruction in isa.INSTRUCTIONS:
        assert all("field" in each.metadata for each in fields(instruction))
    third = float(np.float32(1 / 3))
    assert encoding.decode(encoding.encode(isa.Norm(reciprocal=third))).reciprocal == third

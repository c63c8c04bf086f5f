"""hw/instructions.py reads every field of every instruction where arch.isa puts it."""

import struct
from dataclasses import fields

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator
from heddle.arch.config import INSTRUCTION_BITS, Unit
from heddle.arch.encoding import encode, encoding
from heddle.arch.isa import INSTRUCTIONS, Load, Matmul, Softmax
from heddle.hw.instructions import encoded, fields_of, opcode_of, opcodes_of
from hypothesis import given, settings
from hypothesis import strategies as st


def constant(value) -> int:
    """What an expression over constants evaluates to."""
    seen = []

    async def bench(ctx):
        seen.append(ctx.get(value))

    simulator = Simulator(Module())
    simulator.add_testbench(bench)
    simulator.run()
    return seen[0]


def test_fields_of_reads_a_known_word():
    view = fields_of(Matmul, encoded(Matmul(rows=5, k_tiles=3, acc_address=77, accumulate=1, wait=1 << Unit.LOAD)))
    assert constant(opcode_of(encoded(Matmul()))) == Matmul.opcode
    assert [constant(v) for v in (view.rows, view.k_tiles, view.acc_address, view.accumulate, view.wait)] == [
        5, 3, 77, 1, 1,
    ]  # fmt: skip


def test_signed_fields_keep_their_sign():
    view = fields_of(Softmax, encoded(Softmax(offset=-3)))
    assert view.offset.shape().signed
    assert constant(view.offset) == -3


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda i: i.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_every_field_survives_encoding(instruction, data):
    values = {}
    for name, (_, field) in encoding(instruction).items():
        if field.kind is float:
            values[name] = data.draw(st.floats(width=32, allow_nan=False))
        elif field.kind is not None:
            values[name] = data.draw(st.sampled_from(list(field.kind)))
        else:
            low = -(1 << field.bits - 1) if field.signed else 0
            values[name] = data.draw(st.integers(low, low + (1 << field.bits) - 1))
    view = fields_of(instruction, encoded(instruction(**values)))
    for each in fields(instruction):
        expected = values[each.name]
        if isinstance(expected, float):
            expected = struct.unpack("<I", struct.pack("<f", expected))[0]
        assert constant(getattr(view, each.name)) == int(expected), each.name


def test_every_opcode_belongs_to_one_unit():
    listed = [opcode for unit in (None, *Unit) for opcode in opcodes_of(unit)]
    assert sorted(listed) == sorted(each.opcode for each in INSTRUCTIONS)
    assert opcodes_of(Unit.VECTOR) == [15, 4, 5, 12]
    assert opcodes_of(Unit.KV) == [9, 10]


def test_encoded_is_a_whole_word():
    assert len(encoded(Load())) == INSTRUCTION_BITS
    assert encoded(Load()).value == int.from_bytes(encode(Load()), "little")

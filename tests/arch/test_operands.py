"""Operands in numbers, and what is refused of how they are declared."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from heddle.arch.config import PRESETS, Memory, Unit
from heddle.arch.errors import HeddleError
from heddle.arch.isa import (
    INSTRUCTIONS,
    Append,
    Instruction,
    Load,
    Map,
    Matmul,
    Norm,
    OnlineSoftmax,
    Part,
    Reduce,
    Reduction,
    Source,
    Store,
    Stream,
)
from heddle.arch.isa.instruction import bits, size
from heddle.arch.operands import (
    Dram,
    Read,
    Write,
    accesses,
    address_fields,
    blocks,
    choice_names,
    element_ranges,
    is_chosen,
    reach_of,
    repeated,
    size_names,
)

NANO = PRESETS["nano"]  # 4 × 4, a beat of 4 bytes: a word of INDEX has one element


def declared(*operands, dram=None, name="Trial"):
    """An instruction with these operands, some sizes, a flag and a memory."""

    @dataclass(frozen=True)
    class Trial(Instruction):
        opcode: ClassVar[int] = 60
        unit: ClassVar[Unit | None] = Unit.NORM
        memory: Memory = bits(3, Memory, default=Memory.ACT, only=(Memory.ACT, Memory.VALUE))
        rows: int = size(8)
        columns: int = size(8)
        address: int = bits(20)
        stride: int = bits(20)
        doubled: int = bits(1)
        dram_address: int = bits(20)

    Trial.operands, Trial.dram = operands, dram
    return Trial


def test_an_operand_is_worked_out_from_the_fields_and_the_machine():
    kind = declared(
        Read("memory", at="address", words="in_words(columns)", stride="stride", count="rows", passes="3"),
        Write(Memory.ROW, at="address", words="2 * rows", when="doubled"),
        Write(Memory.PARAM, at="address", words="in_act_words(columns) + config.rows", moved="rows"),
    )
    one = kind(memory=Memory.VALUE, rows=3, columns=5, address=7, stride=9)
    odd = replace(NANO, rows=5, columns=3, vector_lanes=1)
    assert accesses(one, NANO) == [(Memory.VALUE, False, 7, 2, 9, 3), (Memory.PARAM, True, 7, 6, 0, 1)]
    assert accesses(one, odd) == [(Memory.VALUE, False, 7, 2, 9, 3), (Memory.PARAM, True, 7, 6, 0, 1)]
    assert accesses(replace(one, doubled=1), odd)[1] == (Memory.ROW, True, 7, 6, 0, 1)
    assert [(each.memory, each.length, each.count) for each in blocks(one, NANO)] == [
        (Memory.VALUE, 2, 3), (Memory.PARAM, 6, 1)
    ]  # fmt: skip
    assert reach_of(kind) == {
        (Memory.ACT, False), (Memory.VALUE, False), (Memory.ROW, True), (Memory.PARAM, True)
    }  # fmt: skip
    assert choice_names(kind) == ("memory", "doubled") and size_names(kind) == ("rows", "columns", "address", "stride")


def test_of_arrays_it_is_the_same_as_one_by_one():
    rows, columns, address = np.array([1, 2, 3]), np.array([4, 5, 9]), np.array([10, 20, 30])
    norm = Norm(stride=3, source_stride=4)
    together = accesses(norm, NANO, {"rows": rows, "columns": columns, "address": address})
    for place in range(3):
        one = replace(norm, rows=int(rows[place]), columns=int(columns[place]), address=int(address[place]))
        found = [[int(np.broadcast_to(each, 3)[place]) for each in access] for access in together]
        assert found == [list(map(int, access)) for access in one.accesses(NANO)]


def test_elements_are_in_the_words_that_hold_them():
    wide = replace(NANO, axi_bytes=4)
    base = PRESETS["base"]
    per_word = base.word_elements(Memory.INDEX)
    argmax = Reduce(rows=per_word, kind=Reduction.MAXIMUM, placed=1, index_address=per_word + 1)
    assert argmax.accesses(base)[-1] == (Memory.INDEX, True, 1, 2, 0, 1)
    assert list(element_ranges(argmax, base, Memory.INDEX, True)) == [(per_word + 1, per_word)]
    assert list(element_ranges(argmax, wide, Memory.INDEX, False)) == []
    load = Load(memory=Memory.INDEX, address=2, words=3, stride=5, segments=2)
    assert list(element_ranges(load, base, Memory.INDEX, True)) == [
        (2 * per_word, 3 * per_word), (7 * per_word, 3 * per_word)
    ]  # fmt: skip
    pairs = Append(part=Part.PAIRS, address=3, tokens=2, heads=2, head_step=4)
    assert pairs.accesses(NANO)[1] == (Memory.PARAM, False, 0, 3, 0, 1)  # pairs 3 to 8, four in a word
    assert address_fields(pairs) == {"table": (Memory.PAGE, True), "address": (Memory.PARAM, True)}


def test_what_is_moved_to_and_from_dram():
    word = NANO.dram_word_bytes(Memory.VALUE)
    store = Store(memory=Memory.VALUE, dram_address=64, dram_stride=100, segments=3, words=2)
    moved = store.transfer(NANO)
    assert (moved.write, moved.cache, moved.chosen) == (True, False, False)
    assert (moved.moved_bytes, moved.stop, list(moved.starts)) == (6 * word, 264 + 2 * word, [64, 164, 264])
    gather = Load(memory=Memory.VALUE, dram_address=64, dram_stride=128, segments=3, words=2, gather=1)
    assert is_chosen(gather) and not is_chosen(store) and not is_chosen(Matmul())
    assert gather.transfer(NANO).span_bytes == 2 * word and gather.transfer(NANO).moved_bytes == 6 * word
    scatter = replace(store, dram_stride=128, scatter=1)
    assert is_chosen(scatter) and scatter.transfer(NANO).write and scatter.transfer(NANO).span_bytes == 2 * word
    stream = Stream(part=Part.KEYS, blocks=3, words=2, token_words=5).transfer(NANO)
    assert (stream.write, stream.cache, stream.chosen, stream.pieces) == (False, True, True, 3)
    assert stream.piece_bytes == 2 * 4 * NANO.dram_word_bytes(Memory.WEIGHT)
    assert Append(part=Part.PAIRS, tokens=3, heads=2).transfer(NANO)[4:6] == (6, 8)
    with pytest.raises(HeddleError, match="norm moves nothing to or from DRAM"):
        Norm().transfer(NANO)
    assert Load(segments=3, dram_address=8).transfer(NANO).starts == [8, 8, 8]  # one and the same piece


def test_the_parts_of_an_instruction_that_is_not_there_are_not_touched():
    assert [each.memory for each in OnlineSoftmax(first=1).accesses(NANO)].count(Memory.ROW) == 3
    assert [each.memory for each in OnlineSoftmax(first=0).accesses(NANO)].count(Memory.ROW) == 4
    assert address_fields(Map(source=Source.VALUE)) == {
        "source_address": (Memory.VALUE, False), "address": (Memory.VALUE, False)
    }  # fmt: skip


def test_work_that_is_done_twice_goes_twice_through_the_port():
    once = Read(Memory.ACT, at="address"), Read(Memory.ACT, at="address", passes="rows")
    assert [each.passes for each in repeated(once, 2)] == ["2", "2 * (rows)"]


@pytest.mark.parametrize(
    "operand, wrong",
    [
        (Read(Memory.ACT, at="adress"), "adress"),
        (Read(Memory.ACT, at="address", words="in_word(columns)"), "in_word"),
        (Read(Memory.ACT, at="address", when="rows > 2"), "rows"),
        (Read(Memory.ACT, at="address", when="kind == NormKind.RMS"), "NormKind, kind"),
        (Read(Memory.ACT, at="address", passes="__import__('os').getpid()"), "__import__"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused(operand, wrong):
    with pytest.raises(HeddleError, match=f"Trial: its operands name {wrong}: expressions may name fields"):
        declared(operand)().accesses(NANO)


def test_whether_data_choose_may_hang_on_a_flag_only():
    kind = declared(Read(Memory.ACT, at="address"), dram=Dram(False, pieces="rows", piece_bytes="4", chosen="rows"))
    with pytest.raises(HeddleError, match="its operands name rows"):
        kind().transfer(NANO)


@pytest.mark.parametrize("kind", INSTRUCTIONS, ids=lambda kind: kind.__name__)
def test_strides_and_addresses_are_fields(kind):
    """So that whoever places an operand can."""
    names = kind.__dataclass_fields__
    for each in kind.operands:
        assert each.at in names and (each.stride == "0" or each.stride in names), f"{kind.__name__}: {each}"

"""Checks of instructions; docs/isa.md is current."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from heddle.arch import isa
from heddle.arch.config import PRESETS, Memory
from heddle.arch.document import document
from heddle.arch.errors import HeddleError
from hypothesis import given
from hypothesis import strategies as st

NANO = PRESETS["nano"]


def test_out_of_range_addresses_and_sizes_are_refused():
    with pytest.raises(HeddleError, match="ACC words up to 2048 are used, but nano has 2048"):
        isa.Matmul(acc_address=2047, n_tiles=2).check(NANO)
    with pytest.raises(HeddleError, match="map: rows must be at least 1, not 0"):
        isa.Map(rows=0).check(NANO)
    with pytest.raises(HeddleError, match="rows must be at most 32 on nano, not 33"):
        isa.Map(rows=33).check(NANO)
    with pytest.raises(HeddleError, match="multiple of 4 bytes"):
        isa.Load(dram_address=2).check(NANO)
    with pytest.raises(HeddleError, match="memory must be one of ACT, WEIGHT, PARAM, VALUE, INDEX, not ROW"):
        isa.Store(memory=Memory.ROW).check(NANO)
    with pytest.raises(HeddleError, match="gathered table"):
        isa.Load(gather=1, dram_stride=32).check(NANO)


SIZES = [
    (each, field.name)
    for each in isa.INSTRUCTIONS
    for field in fields(each)
    if field.name in ("rows", "columns", "k_tiles", "n_tiles", "words", "segments", "tokens", "heads", "token_words",
                      "blocks", "pages")
]  # fmt: skip


@pytest.mark.parametrize(("instruction", "name"), SIZES, ids=lambda each: getattr(each, "__name__", each))
def test_no_size_may_be_zero(instruction, name):
    with pytest.raises(HeddleError, match=f"{name} must be at least 1, not 0"):
        instruction(**{name: 0}).check(NANO)


def test_every_field_that_defaults_to_one_is_a_size():
    """So that a new size is not forgotten."""
    for each in isa.INSTRUCTIONS:
        for field in fields(each):
            declared = field.metadata["field"]
            assert (declared.least == 1) == (field.default == 1 and declared.kind is None), (each, field.name)


def test_changed_is_replace():
    first = isa.Map(rows=4, columns=8, stride=2)
    assert first.changed(wait=1, address=64) == replace(first, wait=1, address=64)


def test_the_instruction_page_is_current():
    page = Path(__file__).parents[2] / "docs" / "isa.md"
    assert page.read_text() == document(), "docs/isa.md is out of date: run make docs"


LEGAL = [
    isa.Map(rows=4, columns=8, source=isa.Source.VALUE, source_stride=2, stride=2),  # in place
    isa.Map(rows=4, columns=4, source=isa.Source.VALUE, source_stride=2, address=1, stride=2),  # odd from even
    isa.Norm(rows=4, columns=8, source_stride=2, stride=2),
    isa.Matmul(rows=4, n_tiles=2, acc_stride=2, accumulate=1),
    isa.Quantise(rows=4, columns=4, row_scaled=1, row_address=0, scales_address=4),
    isa.Load(memory=Memory.INDEX, gather=1, address=4, words=4),
]
ILLEGAL = [
    (isa.Map(rows=4, columns=8, source=isa.Source.VALUE, source_stride=2, address=1, stride=2), "words of VALUE"),
    (isa.Map(rows=4, columns=8, source=isa.Source.VALUE, source_stride=2, stride=3), "words of VALUE"),
    (isa.Map(rows=4, columns=8, source=isa.Source.VALUE, source_stride=1, stride=1), "words of VALUE"),
    (isa.Norm(rows=4, columns=8, source_stride=2, address=2, stride=2), "words of VALUE"),
    (isa.Quantise(rows=4, columns=4, row_scaled=1, row_address=3), "words of ROW"),
    (isa.Quantise(rows=4, columns=4, scaled=1, param_address=1, scales=1, scales_address=1), "words of PARAM"),
    (isa.Softmax(rows=4, columns=4, scales_address=2), "words of ROW"),
    (isa.Matmul(rows=4, n_tiles=2, acc_stride=1), "acc_stride must be at least n_tiles"),
    (isa.Load(memory=Memory.INDEX, gather=1), "words of INDEX"),
]


@pytest.mark.parametrize("instruction", LEGAL, ids=lambda each: each.name)
def test_working_in_place_or_beside_is_legal(instruction):
    instruction.check(NANO)


@pytest.mark.parametrize(("instruction", "message"), ILLEGAL, ids=lambda each: getattr(each, "name", ""))
def test_an_instruction_whose_result_depends_on_the_pipeline_is_refused(instruction, message):
    with pytest.raises(HeddleError, match=message):
        instruction.check(NANO)


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ((0, 2, 4, 3), (2, 2, 4, 3), False),
        ((0, 3, 4, 3), (2, 2, 4, 3), True),
        ((0, 2, 4, 3), (3, 2, 4, 3), True),
        ((0, 2, 4, 3), (100, 2, 4, 3), False),
        ((0, 2, 4, 3), (2, 2, 5, 3), True),
        ((5, 1, 0, 1), (5, 1, 0, 1), True),
    ],
)
def test_overlap_is_exact_for_one_stride(a, b, expected):
    one, two = (isa.Access(Memory.ACT, True, *each) for each in (a, b))
    assert one.overlaps(two) is expected and two.overlaps(one) is expected


@pytest.mark.parametrize(
    "access, banks",
    [
        (isa.Access(Memory.VALUE, False, 511, 2), 0b0011),
        (isa.Access(Memory.VALUE, False, 0, 1, stride=1024, count=2), 0b0101),
        (isa.Access(Memory.VALUE, False, 0, 4, stride=300, count=3), 0b0011),
        (isa.Access(Memory.VALUE, True, 2047, 1), 0b1000),
    ],
)
def test_bank_mask_names_the_banks_touched(access, banks):
    assert access.bank_mask(NANO) == banks


def test_what_decoders_must_not_ask_for_is_refused():
    rotate = isa.Map(
        rows=2, columns=8, source=isa.Source.VALUE, source_stride=2, combine=isa.Combine.ROTATE, operand_address=64,
        operand_stride=4, address=32, stride=2,
    )  # fmt: skip
    rotate.check(NANO)
    with pytest.raises(HeddleError, match="the result must not replace what it is made of"):
        replace(rotate, address=0).check(NANO)
    replace(rotate, columns=4).check(NANO)  # halves of a word
    with pytest.raises(HeddleError, match="columns must be whole words of 4, and half of them groups of 2, not 6"):
        replace(rotate, columns=6).check(NANO)
    with pytest.raises(HeddleError, match="half of them groups of 4, not 4"):
        replace(rotate, columns=4).check(replace(NANO, vector_lanes=4))
    with pytest.raises(HeddleError, match="the source must be value, unscaled and inactive"):
        replace(rotate, scaled=1).check(NANO)
    with pytest.raises(HeddleError, match="operand_scaled needs combine=add or multiply, not none"):
        isa.Map(operand_scaled=1, operand_row_address=8).check(NANO)
    with pytest.raises(HeddleError, match="planes must be one of 0, 1, 2, not 3"):
        isa.Map(planes=3).check(NANO)
    with pytest.raises(HeddleError, match="planes must be 0, but for a source in ACC"):
        isa.Map(source=isa.Source.VALUE, address=8, planes=1).check(NANO)
    with pytest.raises(HeddleError, match="digit must be whole with bf16 PEs, not low"):
        isa.Quantise(digit=isa.Digit.LOW).check(replace(NANO, pe="bf16"))
    softmax = isa.OnlineSoftmax(rows=4, state_address=0, scales_address=8, row_address=32)
    softmax.check(NANO)
    with pytest.raises(HeddleError, match="its scales .ROW words from 4. overlap its state .from 0."):
        replace(softmax, first=1, scales_address=4).check(NANO)
    append = isa.Append(head_bytes=8, page_bytes=NANO.burst_bytes)
    append.check(NANO)
    for wrong, message in [
        ({"part": isa.Part.KEYS}, "part must be one of VALUES, PAIRS, not KEYS"),
        ({"slot": 4}, "slot must be below 4 on nano, not 4"),
        ({"head_bytes": 6}, "head_bytes must be a multiple of 4 bytes"),
        ({"page_bytes": 32}, "page_bytes must be a multiple of 64 on nano, not 32"),
    ]:
        with pytest.raises(HeddleError, match=message):
            replace(append, **wrong).check(NANO)
    with pytest.raises(HeddleError, match="words must be at most token_words"):
        isa.Stream(words=3, token_words=2, page_bytes=64).check(NANO)


@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=32, max_size=32), st.data())
def test_registers_never_make_an_instruction_touch_more(scalar, data):
    scalar[0] = 0
    register = st.integers(0, 31)
    matmul = isa.Matmul(rows=3, k_tiles=5, n_tiles=7, act_stride=5, weight_stride=20, acc_stride=7,
                        n_register=data.draw(register), n_offset=data.draw(st.integers(0, 4095)),
                        k_register=data.draw(register), k_offset=data.draw(st.integers(0, 4095)))  # fmt: skip
    stream = isa.Stream(blocks=6, words=2, token_words=2, stride=8, page_bytes=64, count_register=data.draw(register),
                        first_register=data.draw(register))  # fmt: skip
    softmax = isa.OnlineSoftmax(rows=3, columns=9, source_stride=3, stride=3, scales_address=16, row_address=8,
                                register=data.draw(register), offset=data.draw(st.integers(-65536, 65535)))  # fmt: skip
    for each in (matmul, stream, softmax):
        resolved = each.resolved(scalar, NANO)
        for before, after in zip(each.accesses(NANO), resolved.accesses(NANO), strict=True):
            assert (after.start, after.stride) == (before.start, before.stride)
            assert after.length <= before.length and after.count <= before.count and after.stop <= before.stop
        resolved.check(NANO)

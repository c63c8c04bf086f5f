"""arch/functions.py: what a table is in bits, and small tables by hand."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.errors import HeddleError
from heddle.arch.functions import (
    DESCRIPTOR_COUNT,
    RULES,
    SIGN_BANDS,
    WHOLE_BAND,
    WORD_BYTES,
    Descriptor,
    Mode,
    Rule,
    Table,
    Word,
    evaluate,
    follows,
    octave_of,
)

ONE = 1 << 13  # c0 of 1


def table(words, positive=None, negative=None, **header):
    """A table with the same descriptor in all bands of a sign."""
    positive = positive or Descriptor()
    return Table((positive,) * SIGN_BANDS + (negative or positive,) * SIGN_BANDS, tuple(words), **header)


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32)


# -- bits --------------------------------------------------------------------------------------------------------------


def test_a_table_survives_its_bytes():
    descriptor = Descriptor(Mode.PERIOD, base=511, shift=5, rule=Rule(1, 3, 1), flip=1, split=3, second=510)
    some = table([Word(-16384, 16383, -32), Word(16383, -16384, 31)], descriptor, multiplier=(1 << 18) - 1, origin=255)
    data = some.to_bytes()
    assert len(data) == WORD_BYTES * (1 + DESCRIPTOR_COUNT + 2)
    assert Table.from_bytes(data) == some
    assert all(number < 1 << 36 for number in some.to_ints())


def test_bits_by_hand():
    some = table([Word(c0=1, c1=-1, exponent=-2)], Descriptor(Mode.BENT, base=3, rule=RULES[-2]), falling=2)
    header, descriptor, *_, word = some.to_ints()
    assert header == 2 << 27
    assert descriptor == 3 | 14 << 20 | 8 << 24 | 1 << 28 | 1 << 29 | 1 << 31
    assert word == 1 | 0x7FFF << 15 | 62 << 30


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: table([Word(c0=1 << 14)]).to_ints(),
        lambda: table([Word(exponent=32)]).to_ints(),
        lambda: table([Word()], Descriptor(base=512)).to_ints(),
        lambda: table([Word()] * 513),
        lambda: table([Word()], multiplier=1 << 18),
        lambda: table([Word()], multiplier=(1 << 17) + 1, of_exponent=1),
        lambda: table([Word()], Descriptor(Mode.POWER)),
        lambda: table([Word()], Descriptor(Mode.BENT), origin=136),
        lambda: Table((Descriptor(),) * 127, ()),
        lambda: table([Word()] * 4, Descriptor(shift=WHOLE_BAND - 2)).moved(2),
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(HeddleError):
        wrong()


def test_rules_are_halves_and_multiples_of_the_exponent():
    for twice, rule in RULES.items():
        for exponent in range(-127, 128):
            exact = abs(twice) * exponent // 2
            assert follows(rule, exponent) == (exact if twice >= 0 else -exact)


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_one_line_is_x_itself():
    identity = table([Word(ONE, ONE // 2), Word(ONE + ONE // 2, ONE // 2)])
    halves = [replace(Descriptor(rule=RULES[2]), base=half) for half in (0, 1)]
    positive = halves * (SIGN_BANDS // 2)
    identity = Table(tuple(positive + [replace(each, flip=1) for each in positive]), identity.words)
    exact = np.float32([1, 1.5, -3.25, 1.0009765625, -1023, 2.0**-126])
    np.testing.assert_array_equal(bits(evaluate(identity, exact)), bits(exact))


def test_results_round_half_up_in_magnitude():
    # 1 + t·2⁻¹⁰ rounds up from t = ½ on, and likewise −(1 + t·2⁻¹⁰).
    up = table([Word(ONE, 8)], negative=Descriptor(flip=1))
    x = np.float32([1, 1.125, 1.2499, 1.25, 1.49])
    expected = np.float32([1, 1, 1, 1 + 2.0**-10, 1 + 2.0**-10])
    np.testing.assert_array_equal(evaluate(up, x), expected)
    np.testing.assert_array_equal(evaluate(up, -x), -expected)


def test_negative_sums_are_complemented():
    below = table([Word(-ONE, 0)])
    assert evaluate(below, np.float32(1)) == -1
    # −8 units are made 7, and 7 of 2⁻⁴⁸ is what rounds to 11 bits.
    assert evaluate(table([Word(-1, 0, -32)]), np.float32(1)) == -7 * 2.0**-48


def test_results_beyond_the_range_saturate_and_small_ones_vanish():
    twice = table([Word(ONE, 0, 1)], Descriptor(rule=RULES[2]), Descriptor(rule=RULES[2], flip=1))
    assert list(bits(evaluate(twice, np.float32([2.0**126, 2.0**127, -(2.0**127)])))) == [
        0x7F000000, 0x7F7FE000, 0xFF7FE000,
    ]  # fmt: skip
    half = table([Word(ONE, 0, -1)], Descriptor(rule=RULES[2]), Descriptor(rule=RULES[2], flip=1))
    assert list(bits(evaluate(half, np.float32([2.0**-125, 2.0**-126, -(2.0**-126)])))) == [0x00800000, 0, 0x80000000]


def test_special_numbers_have_bands_of_their_own():
    zero, infinity = [list(Descriptor() for _ in range(SIGN_BANDS)) for _ in range(2)]
    for each, octave, mode in ((zero, 14, Mode.INFINITE), (infinity, 15, Mode.UNDEFINED)):
        each[2 * octave] = each[2 * octave + 1] = Descriptor(mode)
    some = Table(tuple(zero + infinity), (Word(ONE),))
    x = np.array([0, 1, 0x007FFFFF, 0x00800000, 0x7F800000, 0x7FC00000, 0x7F800001, 0xFF800000, 0x80000000], np.uint32)
    expected = [0x7F800000] * 3 + [0x3F800000] * 2 + [0x7FC00000] * 3 + [0x3F800000]
    assert list(bits(evaluate(some, x.view(np.float32)))) == expected


def test_octaves_beyond_the_bands_are_those_at_the_ends():
    descriptors = [Descriptor(base=0)] * DESCRIPTOR_COUNT
    for exponent, base in ((-15, 1), (14, 2)):
        descriptors[2 * octave_of(exponent)] = descriptors[2 * octave_of(exponent) + 1] = Descriptor(base=base)
    some = Table(tuple(descriptors), (Word(ONE), Word(ONE, 0, 1), Word(ONE, 0, 2)))
    x = np.float32([1, 2.0**-14, 2.0**-15, 1.2e-38, 2.0**13, 2.0**14, 2.0**100])
    assert list(evaluate(some, x)) == [1, 1, 2, 2, 1, 4, 4]


def test_a_band_is_divided_by_its_next_bits():
    words = [Word(ONE + 8 * i) for i in range(8)]
    some = table(words, Descriptor(shift=WHOLE_BAND - 2))
    x = np.float32([1, 1.124, 1.125, 1.25, 1.375, 1.499, 1.5])
    assert list((evaluate(some, x) - 1) * 1024) == [0, 0, 1, 2, 3, 3, 0]
    split = table(words, Descriptor(shift=WHOLE_BAND - 2, split=2, second=6))  # halves, the second of which counts
    assert list((evaluate(split, x) - 1) * 1024) == [0, 0, 1, 7, 7, 7, 0]


def test_powers_of_two_by_hand():
    nodes = [round(2.0 ** (i / 32) * ONE) for i in range(33)]
    words = [Word(start, end - start) for start, end in zip(nodes, nodes[1:], strict=False)]
    some = table(words, Descriptor(Mode.POWER), multiplier=1 << 17, origin=136)
    x = np.float32([1, -1, 10, -126, 127, 128, -127, 300, -300, 1e30, -1e30, 0.5])
    largest = 2.0**128 * (1 - 2.0**-11)
    expected = [2, 0.5, 1024, 2.0**-126, 2.0**127, largest, 0, largest, 0, largest, 0, 1.4140625]
    assert list(evaluate(some, x)) == expected


def test_logarithms_add_the_exponent():
    some = table([Word()], Descriptor(Mode.LOGARITHM), multiplier=1 << 17, of_exponent=1)
    x = np.float32([1, 2, 4, 2.0**127, 0.5, 2.0**-126])
    assert list(evaluate(some, x)) == [0, 1, 2, 127, -1, -126]

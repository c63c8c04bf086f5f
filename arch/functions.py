"""Functions of one number by table: how a table is stored, and what the evaluator makes of it, bit for bit.

A table is a piecewise linear function. A number x is found by its sign and its *band*, half an octave; the band's
descriptor says how many of the next fraction bits choose one of its segments, and a word for each segment gives

    y = ±2^(E + r) · (c0 + c1·t),    0 ≤ t < 1,

where t is the place in the segment, E the segment's own exponent and r one that follows from the exponent of x. So
errors are relative to y, near zero and in tails too, and 1/x or √x need the segments of one or two octaves only.

The datapath, in integers. x has sign s, biased exponent X (e = X − 127) and fraction F, cut to 16 bits: a leading bit
h, which tells the halves of an octave apart, and H below it.

    octave = 14 for zeros (subnormal numbers too) · 15 for infinities · else clamp(X, 112, 141) mod 32
    d      = descriptors[64·s + 2·octave + h]
    V      = (|e|·2⁹ if of_exponent else 2¹⁶ + F) · multiplier >> 6

What is divided into segment and place is a number of 31 bits, U above 15 bits of t:

| mode | O = 2¹⁵·U + t | segment, one of | what for |
|---|---|---|---|
| LINE | H·2¹⁴ >> shift | U, 2^(14 − shift) | anything |
| PARITY | likewise | U + 16·(e mod 2), 32 | √x and its kin; shift is 10 |
| BENT | H·2¹⁴ >> max(10 − z, 2) | U mod 8 + 8·z, 80 | where the function is 0 at an end of the band |
| POWER | 4·V >> origin − X | U mod 32, 32 | 2^u, u = x·multiplier: U div 32 goes to the exponent |
| PERIOD | likewise | U mod 128, 128 | f(u mod 1) |
| LOGARITHM | as LINE | U, 2^(14 − shift) | f(2^e·m) = e·multiplier + f(m) |
| INFINITE, UNDEFINED | | | y is infinite, NaN |

z counts the leading zeros of the 15 bits of H, or of its complement if `falling` says so of bands with this h, 9 at
most; in that case BENT complements all 31 bits of O, too. So segments get shorter towards the lower end of the band, or
the upper. POWER and PERIOD complement O if x is negative, and their shift is held between 0 and 31. The word is
words[base | segment]; but if `split` is not 0 and the two leading bits of H are `split` or more, `shift` counts as 1
more (segments are twice as long) and the word is words[second | segment]: a tail that fades needs fewer of them. Then,
in units of 2^(E + r − 16),

    S  = 8·c0 + (c1·t >> 12) + (V >> 4, or its complement if e is negative, with LOGARITHM), in 24 bits: it wraps
    M  = S, or its complement if it is negative; y is negative if S is, or if `flip` is set, but not both
    r  = 0 · U div 32 with POWER (±1024 if its shift would be negative) · else as `rule` says: ±(½, 1, 2 or 4)·e,
         rounded down before the sign

and y is M rounded to `significand_bits`, half up in magnitude. A result that is still below 2⁻¹²⁶ is a zero, one beyond
the largest number of so many bits is that number. NaN gives NaN.

A table has POWER and PERIOD only if its origin is not 0, and BENT only if it is 0. Numbers of 17 significant bits or
fewer are taken as they are, others cut to that many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import HeddleError
from .ranges import require_range

EVALUATE_CYCLES = 8  # from x to y
WORD_BITS = 36
WORD_BYTES = 8  # in DRAM: one little-endian number of 64 bits
WORD_COUNT = 512  # segments that an evaluator holds
TABLE_COUNT = 4  # sets of descriptors that it holds

LEAST_EXPONENT, MOST_EXPONENT = -15, 14  # of octaves of their own; what lies beyond is in the first and the last
ZERO_OCTAVE, SPECIAL_OCTAVE, OCTAVES = 14, 15, 32
SIGN_BANDS = 2 * OCTAVES  # descriptors for each sign
DESCRIPTOR_COUNT = 2 * SIGN_BANDS

# Places of all that an evaluator holds: descriptors of each table in turn, words of all, headers.
WORD_PLACE = TABLE_COUNT * DESCRIPTOR_COUNT
HEADER_PLACE = WORD_PLACE + WORD_COUNT
PLACE_COUNT = HEADER_PLACE + TABLE_COUNT

FRACTION_BITS = 16  # of x that are looked at
PLACE_BITS = FRACTION_BITS - 1  # of them, in a band
OFFSET_BITS = 15  # of t
WHOLE_BAND = 14  # `shift` of a band of one segment
POINT_BITS = 31  # of segment and t together
COEFFICIENT_FRACTION_BITS = 13  # of c0 and c1
GUARD_BITS = 3  # below c0 in S
SUM_BITS = 24  # of S
_SUM_FRACTION_BITS = COEFFICIENT_FRACTION_BITS + GUARD_BITS
MULTIPLIER_FRACTION_BITS = 17
GEOMETRIC_STEPS = 9  # most leading zeros that are counted
LEAST_SHIFT = 2  # with BENT
GEOMETRIC_BITS = 3  # segments for each count, as a power of two
PARITY_BITS, POWER_BITS, PERIOD_BITS = 4, 5, 7  # bits of U in an address
NEVER = 0  # as `split`
QUARTERS = 4
COARSER = 1  # bits of a segment's number less from `split` on
SIGNIFICAND_BITS = 11


class Mode(IntEnum):
    """How a band is divided into segments (the module says it)."""

    LINE = 0
    PARITY = 1
    LOGARITHM = 2
    UNDEFINED = 3
    INFINITE = 4
    BENT = 8
    POWER = 9
    PERIOD = 10


# Bits of an address that come from U; the block of a band begins at a multiple of the power of two above its length.
SEGMENT_MASKS: dict[int, int] = {
    Mode.LINE: WORD_COUNT - 1, Mode.LOGARITHM: WORD_COUNT - 1,
    Mode.PARITY: (1 << PARITY_BITS) - 1,
    Mode.BENT: (1 << GEOMETRIC_BITS) - 1,
    Mode.POWER: (1 << POWER_BITS) - 1, Mode.PERIOD: (1 << PERIOD_BITS) - 1,
    Mode.INFINITE: 0, Mode.UNDEFINED: 0,
}  # fmt: skip


# How many words a band has in modes in which that is fixed, as a power of two.
_SPANS = {
    Mode.PARITY: 2 << PARITY_BITS, Mode.BENT: 128,
    Mode.POWER: 1 << POWER_BITS, Mode.PERIOD: 1 << PERIOD_BITS,
}  # fmt: skip


class Rule(NamedTuple):
    """What x's exponent e adds to that of the result: ±(e·2^doublings >> 1)."""

    used: int = 0
    doublings: int = 0  # 0 to 3
    negative: int = 0


# Twice the power of x → its rule.
RULES = {0: Rule()} | {sign << i: Rule(1, i, int(sign < 0)) for sign in (1, -1) for i in range(4)}

# Fields from the lowest bit up: (name, bits); those of a word and of a header are likewise.
DESCRIPTOR_FIELDS = (
    ("base", 9), ("second", 9), ("split", 2), ("shift", 4), ("mode", 4),
    ("used", 1), ("doublings", 2), ("negative", 1), ("flip", 1),
)  # fmt: skip
WORD_FIELDS = (("c0", 15), ("c1", 15), ("exponent", 6))  # all of them signed
HEADER_FIELDS = (("multiplier", 18), ("origin", 8), ("of_exponent", 1), ("falling", 2))
SIGNED_FIELDS = {"c0", "c1", "exponent"}


@dataclass(frozen=True)
class Descriptor:
    """What to do with the numbers of one sign in one band."""

    mode: Mode = Mode.LINE
    base: int = 0  # place of its first word
    shift: int = WHOLE_BAND  # a band has 2^(14 − shift) segments, 512 at most
    rule: Rule = Rule()
    flip: int = 0  # the sign of the result
    split: int = NEVER  # quarters of the band from which on segments are longer, with words from `second` on
    second: int = 0

    def fields(self) -> dict[str, int]:
        """Field → number."""
        own = {"base": self.base, "second": self.second, "split": self.split, "shift": self.shift,
               "mode": int(self.mode)}  # fmt: skip
        return own | self.rule._asdict() | {"flip": self.flip}


@dataclass(frozen=True)
class Word:
    """One segment: 2^exponent · (c0 + c1·t) with 13 fraction bits in c0 and c1."""

    c0: int = 0
    c1: int = 0
    exponent: int = 0

    def fields(self) -> dict[str, int]:
        """Field → number."""
        return {"c0": self.c0, "c1": self.c1, "exponent": self.exponent}


@dataclass(frozen=True)
class Table:
    """A function: 128 descriptors (of positive numbers first), the words that they point to, and its header.

    `multiplier` has 17 fraction bits and is below 2, with `of_exponent` at most 1.
    """

    descriptors: tuple[Descriptor, ...]
    words: tuple[Word, ...]
    multiplier: int = 0
    origin: int = 0
    of_exponent: int = 0
    falling: int = 0  # bit h: whether BENT bands with this h get finer towards their upper end

    def __post_init__(self) -> None:
        if len(self.descriptors) != DESCRIPTOR_COUNT:
            raise HeddleError(f"a table must have {DESCRIPTOR_COUNT} descriptors, not {len(self.descriptors)}")
        if len(self.words) > WORD_COUNT:
            raise HeddleError(f"a table must have at most {WORD_COUNT} words, not {len(self.words)}")
        modes = {each.mode for each in self.descriptors}
        if self.origin == 0 and modes & {Mode.POWER, Mode.PERIOD} or self.origin and Mode.BENT in modes:
            raise HeddleError("the origin of a table must not be 0 with POWER or PERIOD, and must be 0 with BENT")
        one = 1 << MULTIPLIER_FRACTION_BITS
        require_range("multiplier", self.multiplier, 0, one if self.of_exponent else 2 * one - 1)

    def header(self) -> int:
        """The header in 36 bits."""
        return _pack("header", HEADER_FIELDS, {name: getattr(self, name) for name, _ in HEADER_FIELDS})

    def to_ints(self) -> list[int]:
        """Header, descriptors, words: numbers of 36 bits."""
        return [
            self.header(),
            *(_pack("descriptor", DESCRIPTOR_FIELDS, each.fields()) for each in self.descriptors),
            *map(pack_word, self.words),
        ]

    def to_bytes(self) -> bytes:
        """The same, 8 bytes each."""
        return b"".join(number.to_bytes(WORD_BYTES, "little") for number in self.to_ints())

    @cached_property
    def descriptor_columns(self) -> dict[str, NDArray[np.int64]]:
        """Field of a descriptor → its numbers in all of them."""
        return _columns(self.descriptors)

    @cached_property
    def word_columns(self) -> dict[str, NDArray[np.int64]]:
        """Field of a word → its numbers in all of them."""
        return _columns(self.words or (Word(),))

    @property
    def alignment(self) -> int:
        """What the place of its words must be a multiple of."""
        spans = [1 << WHOLE_BAND - each.shift if each.mode in (Mode.LINE, Mode.LOGARITHM)
                 else _SPANS.get(each.mode, 1) for each in self.descriptors]  # fmt: skip
        return max(spans)

    def moved(self, place: int) -> Table:
        """The same with its words from word `place` on, which are not there yet: `words` is what stood before."""
        if place % self.alignment:
            raise HeddleError(f"the words of this table must begin at a multiple of {self.alignment}, not at {place}")
        return replace(self, descriptors=tuple(
            replace(each, base=each.base + place, second=each.second + place) for each in self.descriptors
        ))  # fmt: skip

    @classmethod
    def from_ints(cls, numbers: Sequence[int]) -> Table:
        """The table that `to_ints` made them of."""
        header = _unpack(HEADER_FIELDS, numbers[0])
        descriptors = (_unpack(DESCRIPTOR_FIELDS, number) for number in numbers[1 : 1 + DESCRIPTOR_COUNT])
        words = (_unpack(WORD_FIELDS, number) for number in numbers[1 + DESCRIPTOR_COUNT :])
        return cls(tuple(map(_descriptor, descriptors)), tuple(Word(**each) for each in words), **header)

    @classmethod
    def from_bytes(cls, data: bytes) -> Table:
        """The table that `to_bytes` made them of."""
        return cls.from_ints([int.from_bytes(data[i : i + WORD_BYTES], "little")
                              for i in range(0, len(data), WORD_BYTES)])  # fmt: skip


def pack_word(word: Word) -> int:
    """A word in 36 bits."""
    return _pack("word", WORD_FIELDS, word.fields())


def _descriptor(fields: dict[str, int]) -> Descriptor:
    rule, mode = Rule(*(fields.pop(name) for name in Rule._fields)), fields.pop("mode")
    if mode not in SEGMENT_MASKS:
        raise HeddleError(f"the mode of a descriptor must be one of {', '.join(map(str, Mode))}, not {mode}")
    return Descriptor(mode=Mode(mode), rule=rule, **fields)


def _pack(what: str, layout: Sequence[tuple[str, int]], fields: dict[str, int]) -> int:
    packed = place = 0
    for name, bits in layout:
        low = -(1 << bits - 1) if name in SIGNED_FIELDS else 0
        require_range(f"{name} of a {what}", fields[name], low, low + (1 << bits) - 1)
        packed |= (fields[name] & (1 << bits) - 1) << place
        place += bits
    return packed


def _unpack(layout: Sequence[tuple[str, int]], packed: int) -> dict[str, int]:
    fields = {}
    for name, bits in layout:
        value = packed & (1 << bits) - 1
        fields[name] = value - (1 << bits) if name in SIGNED_FIELDS and value >> bits - 1 else value
        packed >>= bits
    return fields


# -- the oracle --------------------------------------------------------------------------------------------------------


def octave_of(exponent):
    """The number of an octave that has its own descriptors."""
    return exponent + 127 & OCTAVES - 1


def evaluate(table: Table, x: ArrayLike, significand_bits: int = SIGNIFICAND_BITS) -> NDArray[np.float32]:
    """f(x) of float32 numbers, as float32 with `significand_bits` (2 to 20) that are not zero."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.int64)
    sign, biased, fraction = bits >> 31, bits >> 23 & 0xFF, bits >> 7 & 0xFFFF
    exponent = biased - 127
    octave = np.where(biased == 0, ZERO_OCTAVE, octave_of(np.clip(exponent, LEAST_EXPONENT, MOST_EXPONENT)))
    half, place = fraction >> PLACE_BITS, fraction & (1 << PLACE_BITS) - 1
    octave = np.where(biased == 255, SPECIAL_OCTAVE, octave)
    d = _Columns(table.descriptor_columns, SIGN_BANDS * sign + 2 * octave + half)
    factor = np.abs(exponent) << 9 if table.of_exponent else (1 << FRACTION_BITS) + fraction
    product = factor * table.multiplier >> 6

    beyond = (place >> PLACE_BITS - 2 >= d.split) & (d.split != NEVER)

    segment, point, whole = _segment(table, d, sign, exponent, half, place, beyond, product)
    word = _Columns(table.word_columns, np.where(beyond, d.second, d.base) | segment)
    offset = point & (1 << OFFSET_BITS) - 1
    total = (word.c0 << GUARD_BITS) + (word.c1 * offset >> COEFFICIENT_FRACTION_BITS + OFFSET_BITS - _SUM_FRACTION_BITS)
    total = total + np.where(d.mode == Mode.LOGARITHM, np.where(exponent < 0, ~(product >> 4), product >> 4), 0)
    half_range = 1 << SUM_BITS - 1
    total = (total + half_range & 2 * half_range - 1) - half_range
    scale = word.exponent + np.where(d.mode == Mode.POWER, whole, follows(d, exponent))
    y = _rounded((total < 0) ^ (d.flip == 1), np.where(total < 0, ~total, total), scale, significand_bits)
    y = np.where(d.mode == Mode.INFINITE, np.where(d.flip == 1, -np.inf, np.inf), y)
    nan = (d.mode == Mode.UNDEFINED) | (biased == 255) & (bits & 0x7FFFFF != 0)
    return np.where(nan, np.uint32(0x7FC00000).view(np.float32), y).astype(np.float32)


class _Columns:
    """The fields of chosen descriptors or words, an array for each."""

    def __init__(self, columns: dict[str, NDArray[np.int64]], chosen: NDArray[np.int64]):
        self._columns, self._chosen = columns, chosen

    def __getattr__(self, name: str) -> NDArray[np.int64]:
        return self._columns[name][self._chosen]


def _columns(rows: Sequence[Descriptor] | Sequence[Word]) -> dict[str, NDArray[np.int64]]:
    """Field → the numbers of all rows."""
    fields = [row.fields() for row in rows]
    return {name: np.array([each[name] for each in fields], np.int64) for name in fields[0]}


def _segment(table: Table, d: _Columns, sign, exponent, half, place, beyond, product):
    """(segment, O, the whole part of u) of each number."""
    bent, falling = d.mode == Mode.BENT, (table.falling >> half & 1) == 1
    fixed = (d.mode == Mode.POWER) | (d.mode == Mode.PERIOD)
    zeros = np.minimum(PLACE_BITS - _length(np.where(falling, place ^ (1 << PLACE_BITS) - 1, place)), GEOMETRIC_STEPS)
    places = table.origin - exponent - 127
    shift = np.where(bent, np.maximum(GEOMETRIC_STEPS + 1 - zeros, LEAST_SHIFT), d.shift + COARSER * beyond)
    shift = np.where(fixed, np.clip(places, 0, 31), shift)
    point = np.where(fixed, product << 2, place << POINT_BITS - PLACE_BITS - 2) >> shift
    point = np.where(fixed & (sign == 1) | bent & falling, ~point, point)
    upper = point >> OFFSET_BITS
    masks = np.array([SEGMENT_MASKS.get(mode, 0) for mode in range(max(Mode) + 1)])
    segment = upper & masks[d.mode]
    segment = segment | np.where(bent, zeros << GEOMETRIC_BITS, 0)
    segment = segment | np.where(d.mode == Mode.PARITY, (exponent & 1) << PARITY_BITS, 0)
    whole = np.where(places < 0, np.where(sign == 1, -1024, 1024), upper >> POWER_BITS)
    return segment, point, whole


def follows(rule, exponent):
    """What the exponent of x adds to that of the result by a rule."""
    return rule.used * (1 - 2 * rule.negative) * (exponent << rule.doublings >> 1)


def _length(number):
    """How many bits a number has."""
    return np.frexp(number.astype(np.float64))[1].astype(np.int64)


def _rounded(negative, magnitude, scale, bits: int):
    """±magnitude·2^(scale − 16) with `bits` significant bits."""
    length = _length(magnitude)
    biased = scale + 126 + length - _SUM_FRACTION_BITS
    normalised = magnitude << SUM_BITS - 1 - length  # the leading one in bit 22
    kept = (normalised >> SUM_BITS - 2 - bits) + 1 >> 1
    packed = (biased << bits - 1) + kept - (1 << bits - 1)
    largest = (255 << bits - 1) - 1
    packed = np.where((magnitude == 0) | (packed < 1 << bits - 1), 0, np.minimum(packed, largest))
    return (packed << 24 - bits | negative.astype(np.int64) << 31).astype(np.uint32).view(np.float32)

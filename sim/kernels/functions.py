"""Functions by table for compiled kernels: `arch/functions.py` again, one number at a time, without branches.

The leading one of a magnitude, and with it its fraction in the right place, comes from making it a float32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arch.functions import (
    COARSER,
    COEFFICIENT_FRACTION_BITS,
    FRACTION_BITS,
    GEOMETRIC_BITS,
    GEOMETRIC_STEPS,
    GUARD_BITS,
    LEAST_EXPONENT,
    LEAST_SHIFT,
    MOST_EXPONENT,
    NEVER,
    OCTAVES,
    OFFSET_BITS,
    PARITY_BITS,
    PLACE_BITS,
    POINT_BITS,
    POWER_BITS,
    QUARTERS,
    SEGMENT_MASKS,
    SIGN_BANDS,
    SPECIAL_OCTAVE,
    SUM_BITS,
    WHOLE_BAND,
    WORD_COUNT,
    ZERO_OCTAVE,
    Mode,
    Table,
    follows,
    octave_of,
)
from ..jit import compiled
from ..jit import inlined_late as inlined
from .float32 import INFINITY, MAGNITUDE, NAN, SIGN, bits_of, float_of

i4, u8, f4 = np.int32, np.uint64, np.float32
PARITY, LOGARITHM, UNDEFINED, BENT, INFINITE, POWER, PERIOD = (
    i4(mode) for mode in (Mode.PARITY, Mode.LOGARITHM, Mode.UNDEFINED, Mode.BENT, Mode.INFINITE, Mode.POWER,
                          Mode.PERIOD)
)  # fmt: skip
MASKS = np.array([SEGMENT_MASKS.get(mode, 0) for mode in range(max(Mode) + 1)], np.int32)
LEAST, MOST = i4(127 + LEAST_EXPONENT), i4(127 + MOST_EXPONENT)
PLACE_MASK, POINT_MASK, OFFSET_MASK = (i4((1 << bits) - 1) for bits in (PLACE_BITS, POINT_BITS, OFFSET_BITS))
SUM_FRACTION_BITS = COEFFICIENT_FRACTION_BITS + GUARD_BITS
INFINITE_BAND, UNDEFINED_BAND = i4(1 << 10), i4(1 << 11)  # what `_bands` says
PLAIN = {Mode.LINE, Mode.PARITY, Mode.INFINITE, Mode.UNDEFINED}


class PackedTable(NamedTuple):
    """A table as `evaluate` reads it."""

    places: NDArray[np.int32]  # of descriptors: base, second, split, shift and mode, from bits 0, 9, 18, 20 and 24 up
    rules: NDArray[np.int32]  # used, doublings, negative, flip: from bits 0, 1, 3 and 4 up
    lines: NDArray[np.int32]  # c0 + 2¹⁵·c1
    exponents: NDArray[np.int32]
    multiplier: np.int64
    origin: np.int32
    of_exponent: np.int32
    falling: np.int32
    is_plain: bool  # no mode needs more than `replace_plainly`
    bands: NDArray[np.int64]  # by the upper ten bits of x: what `_bands` gives
    segments: NDArray[np.int64]  # c0, c1 and the exponent, 16 bits each


def packed(table: Table) -> PackedTable:
    """The arrays of a table."""
    numbers = np.array(table.to_ints(), np.int64)
    descriptors, words = numbers[1 : 1 + 2 * SIGN_BANDS], np.zeros(WORD_COUNT, np.int64)
    words[: len(table.words)] = numbers[1 + 2 * SIGN_BANDS :]
    low = words & (1 << 30) - 1
    exponents = (words >> 30 & 63 ^ 32) - 32
    return PackedTable(
        (descriptors & (1 << 28) - 1).astype(np.int32), (descriptors >> 28).astype(np.int32), low.astype(np.int32),
        exponents.astype(np.int32), np.int64(table.multiplier), np.int32(table.origin), np.int32(table.of_exponent),
        np.int32(table.falling), all(each.mode in PLAIN for each in table.descriptors), _bands(table),
        _signed(low, 0, 15) & 0xFFFF | (_signed(low, 15, 15) & 0xFFFF) << 16 | exponents << 32,
    )  # fmt: skip


def _signed(numbers: NDArray[np.int64], place: int, bits: int) -> NDArray[np.int64]:
    return (numbers >> place & (1 << bits) - 1 ^ 1 << bits - 1) - (1 << bits - 1)


def _bands(table: Table) -> NDArray[np.int64]:
    """For each sign, exponent and half of an octave, what to do with its numbers, the exponent worked in. From bit 0 up
    base, second (9 bits each), the quarter from which on that counts (3), shift (4); from bit 32 up the bits of U that
    count (9), sign of the result, whether it is infinite, whether it is NaN, and what follows from the exponent."""
    found = []
    for index in range(1024):
        sign, biased, half = index >> 9, index >> 1 & 255, index & 1
        clamped = octave_of(min(max(biased - 127, LEAST_EXPONENT), MOST_EXPONENT))
        octave = {0: ZERO_OCTAVE, 255: SPECIAL_OCTAVE}.get(biased, clamped)
        each = table.descriptors[SIGN_BANDS * sign + 2 * octave + half]
        parity = ((biased - 127) & 1) << PARITY_BITS if each.mode is Mode.PARITY else 0
        low = each.base | parity | (each.second | parity) << 9 | (each.split or QUARTERS) << 18 | each.shift << 21
        is_nan = each.mode is Mode.UNDEFINED or biased == 255 and half == 1
        high = SEGMENT_MASKS[each.mode] | each.flip << 9 | (each.mode is Mode.INFINITE) << 10 | is_nan << 11
        found.append(low | (high | int(follows(each.rule, biased - 127)) << 12) << 32)
    return np.array(found, np.int64)


@compiled
def replace(x, table, significand_bits):
    """Put f(x) in place of each x."""
    for n in range(len(x)):
        x[n] = evaluate(x[n], table, significand_bits)


@compiled
def replace_plainly(x, table, significand_bits, a, b, c):
    """Put f(x) in place of each x, for a table that `is_plain`: in loops of which LLVM makes vectors, and two that only
    look something up. No x is subnormal, and NaNs have their first bit. a, b and c are scratch, of the same length."""
    for n in range(len(x)):
        a[n] = float_of(i4(i4(bits_of(x[n]) >> 22) & 1023))
    for n in range(len(x)):
        band = table.bands[u8(bits_of(a[n]))]
        b[n], c[n] = float_of(i4(band)), float_of(i4(band >> 32))
    for n in range(len(x)):
        low, high = bits_of(b[n]), bits_of(c[n])
        place = i4(i4(bits_of(x[n]) >> 7) & PLACE_MASK)
        beyond = i4(place >> (PLACE_BITS - 2)) >= i4(i4(low >> 18) & 7)
        shift = i4(i4(low >> 21) & 15)
        shift = i4(shift + COARSER) if beyond else shift
        point = i4(i4(place << WHOLE_BAND) >> shift)
        base = i4(i4(low >> 9) if beyond else low)
        segment = i4(i4(i4(point >> OFFSET_BITS) & high) | base)
        a[n] = float_of(i4(i4(segment & (WORD_COUNT - 1)) | i4(i4(point & OFFSET_MASK) << 9)))
    for n in range(len(x)):
        both = bits_of(a[n])
        segment = table.segments[u8(i4(both & (WORD_COUNT - 1)))]
        a[n] = float_of(i4(i4(both >> 9) | i4(i4(segment >> 32) << OFFSET_BITS)))
        b[n] = float_of(i4(segment))
    for n in range(len(x)):
        offset, line, high = bits_of(a[n]), bits_of(b[n]), bits_of(c[n])
        c0, c1 = i4(i4(line << 16) >> 16), i4(line >> 16)
        total = i4(i4(c0 << GUARD_BITS) + i4(i4(c1 * i4(offset & OFFSET_MASK)) >> (OFFSET_BITS - GUARD_BITS)))
        scale = i4(i4(offset >> OFFSET_BITS) + i4(high >> 12))
        infinite = i4(high & INFINITE_BAND) != 0
        sign = i4(i4((i4(0) if infinite else total) ^ i4(high << 22)) & SIGN)
        result = _assembled(total, scale, infinite, sign, significand_bits)
        x[n] = float_of(NAN) if i4(high & UNDEFINED_BAND) != 0 else float_of(result)


@inlined
def evaluate(x, table, significand_bits):
    """f(x), as `functions.evaluate`; any NaN gives the quiet NaN."""
    bits = bits_of(x)
    negative, biased, fraction = bits < 0, i4(i4(bits >> 23) & 0xFF), i4(i4(bits >> 7) & 0xFFFF)
    exponent = i4(biased - 127)
    octave = LEAST if biased < LEAST else MOST if biased > MOST else biased
    octave = i4(octave & (OCTAVES - 1))
    octave = i4(ZERO_OCTAVE) if biased == 0 else octave
    octave = i4(SPECIAL_OCTAVE) if biased == 255 else octave
    band = i4(i4(octave << 1) + i4(fraction >> PLACE_BITS))
    band = i4(band + SIGN_BANDS) if negative else band
    places, rules = table.places[u8(band)], table.rules[u8(band)]
    mode = i4(places >> 24)

    size = exponent if exponent >= 0 else i4(-exponent)
    factor = i4(size << 9) if table.of_exponent != 0 else i4(i4(1 << FRACTION_BITS) + fraction)
    product = i4((np.int64(factor) * table.multiplier) >> 6)

    place = i4(fraction & PLACE_MASK)
    split = i4(i4(places >> 18) & 3)
    beyond = i4(place >> (PLACE_BITS - 2)) >= split and split != NEVER
    falling = i4(i4(table.falling >> i4(fraction >> PLACE_BITS)) & 1) != 0
    distance = i4(place ^ PLACE_MASK) if falling else place
    zeros = i4(i4(126 + PLACE_BITS) - i4(bits_of(f4(distance)) >> 23))
    zeros = zeros if zeros < GEOMETRIC_STEPS else i4(GEOMETRIC_STEPS)
    bent, fixed = mode == BENT, mode > BENT
    shift_bent = i4(GEOMETRIC_STEPS + 1) - zeros if zeros < GEOMETRIC_STEPS else i4(LEAST_SHIFT)
    shift = i4(i4(places >> 20) & 15)
    shift = i4(shift + COARSER) if beyond else shift
    shift = i4(shift_bent) if bent else shift
    fixed_places = i4(table.origin - biased)
    held = i4(0) if fixed_places < 0 else i4(31) if fixed_places > 31 else fixed_places
    shift = held if fixed else shift
    point = i4(i4(i4(product << 2) if fixed else i4(place << WHOLE_BAND)) >> shift)
    point = i4(~point) if (fixed and negative) or (bent and falling) else point
    upper = i4(point >> OFFSET_BITS)

    extra = i4(zeros << GEOMETRIC_BITS) if bent else i4(0)
    extra = i4(i4(exponent & 1) << PARITY_BITS) if mode == PARITY else extra
    base = i4(places >> 9) if beyond else places
    address = i4(i4(i4(upper & MASKS[u8(mode)]) | extra) | i4(base & (WORD_COUNT - 1)))
    line, scale = table.lines[u8(address)], table.exponents[u8(address)]
    c0, c1 = i4(i4(line << 17) >> 17), i4(i4(line << 2) >> 17)
    total = i4(i4(c0 << GUARD_BITS) + i4(i4(c1 * i4(point & OFFSET_MASK)) >> (OFFSET_BITS - GUARD_BITS)))
    addend = i4(product >> 4)
    addend = i4(~addend) if exponent < 0 else addend
    total = i4(i4(i4(total + addend) << (32 - SUM_BITS)) >> (32 - SUM_BITS)) if mode == LOGARITHM else total

    whole = i4(upper >> POWER_BITS)
    whole = (i4(-1024) if negative else i4(1024)) if fixed_places < 0 else whole
    follows = i4(i4(exponent << i4(i4(rules >> 1) & 3)) >> 1)
    follows = i4(-follows) if i4(rules & 8) != 0 else follows
    follows = follows if i4(rules & 1) != 0 else i4(0)
    scale = i4(scale + (whole if mode == POWER else follows))

    sign = i4(i4((i4(0) if mode == INFINITE else total) ^ i4(rules << 27)) & SIGN)
    result = _assembled(total, scale, mode == INFINITE, sign, significand_bits)
    undefined = mode == UNDEFINED or i4(bits & MAGNITUDE) > INFINITY
    return float_of(NAN) if undefined else float_of(result)


@inlined
def _assembled(total, scale, infinite, sign, significand_bits):
    """The bits of ±total·2^scale, or of an infinity."""
    magnitude = bits_of(f4(i4(~total) if total < 0 else total))
    scale = i4(scale - SUM_FRACTION_BITS)
    least = i4(i4(1) << i4(24 - significand_bits))
    rounded = i4(i4(magnitude + i4(least >> 1)) & i4(-least))
    biased = i4(i4(rounded >> 23) + scale)
    result = i4(INFINITY - least) if biased >= 255 else i4(rounded + i4(scale << 23))
    result = i4(0) if biased <= 0 or magnitude == 0 else result
    result = INFINITY if infinite else result
    return i4(result | sign)

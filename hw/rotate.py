"""Rotary position embedding (Su et al., 2021): where the partner of a group of columns is."""

from typing import NamedTuple

from amaranth import Cat, Const, Module, Mux, Value

from ..arch.config import HardwareConfig
from ..arch.isa import COLUMNS
from .pipeline import register


def row_words(m: Module, columns: Value, config: HardwareConfig) -> Value:
    """The words of a row of `columns`, which fill them; in the cycle after `columns`.

    What is divided by C without a rest is shifted for the twos in it and multiplied by the inverse of what is left,
    modulo the width.
    """
    twos = (config.columns & -config.columns).bit_length() - 1
    inverse = pow(config.columns >> twos, -1, 1 << COLUMNS)
    return register(m, ((columns >> twos) * inverse)[:COLUMNS], "row_words")


class Partner(NamedTuple):
    """Where the partner of a group of V columns is: half a row on, or back."""

    back: Value  # it comes before
    words: Value  # so many words away
    slot: Value  # which group of its word it is


def partner_of(word: Value, slot: Value, words: Value, config: HardwareConfig) -> Partner:
    """Of the group `slot` of word `word` of a row of `words` words. Half an odd number of words ends within one."""
    groups = config.columns // config.vector_lanes
    half, odd = words >> 1, words[0] & (groups > 1)
    late = slot >= groups // 2  # in the second half of its word
    back = Cat(Const(0, 1), half) < Cat(late | ~odd, word)  # beyond the half, or in it and not before the middle
    # Across half a word more: forward from a late group, or back from an early one, that is a word further.
    further = odd & Mux(back, ~late, late)
    return Partner(back, half + further, Mux(odd, Mux(late, slot - groups // 2, slot + groups // 2), slot))

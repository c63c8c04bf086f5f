"""Rotary position embedding (Su et al., 2021): a number of VALUE, times a cosine, plus its partner times a sine.

One port gives the four numbers of a group one after the other, so one multiplier a lane serves for both products:

    value ─ narrowed ─┬─ register ─ × ─┬─ two registers ─ + ─ o
                      └────────────────┘ └────────────────┘
"""

from typing import NamedTuple

from amaranth import Module, Mux, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from ..arch.isa import COLUMNS
from .float import Add, Multiply, narrowed
from .pipeline import delay, register


class Rotate(wiring.Component):
    """o = x·cosine + partner·sine as `numerics.rotate`, `rotate_cycles` after the sine.

    `value` takes x, cosine, partner and sine of V columns in four cycles on end, the bits of float32; `o` has the
    format of vector arithmetic.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats, results = (data.ArrayLayout(unsigned(bits), config.vector_lanes) for bits in (32, config.vector_bits))
        super().__init__({"value": In(floats), "o": Out(results)})

    def elaborate(self, platform) -> Module:
        m = Module()
        precision = self._config.precision
        for lane, value in enumerate(self.value):
            value = narrowed(m, value, self._config, f"value_{lane}")
            m.submodules[f"times_{lane}"] = times = Multiply(precision)
            m.submodules[f"plus_{lane}"] = plus = Add(precision)
            m.d.comb += [
                times.a.eq(register(m, value, f"before_{lane}")),
                times.b.eq(value),
                plus.a.eq(delay(m, times.o, 2, name=f"product_{lane}", reset_less=True)),
                plus.b.eq(times.o),
                self.o[lane].eq(plus.o),
            ]
        return m


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
    back = (word > half) | ((word == half) & (late | ~odd))
    # Across half a word more: forward from a late group, or back from an early one, that is a word further.
    further = odd & Mux(back, ~late, late)
    return Partner(back, half + further, Mux(odd, Mux(late, slot - groups // 2, slot + groups // 2), slot))

"""Rotary position embedding (Su et al., 2021): a number of VALUE, times a cosine, plus its partner times a sine.

One port gives the four numbers of a group one after the other, so one multiplier a lane serves for both products:

    value ─┬─ register ─ × ─┬─ two registers ─ + ─ o
           └────────────────┘ └────────────────┘
"""

from amaranth import Module, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from ..arch.isa import COLUMNS
from .float import Add, Multiply
from .pipeline import delay, register


class Rotate(wiring.Component):
    """o = x·cosine + partner·sine as `numerics.rotate`, ROTATE_CYCLES after the sine.

    `value` takes x, cosine, partner and sine of V columns in four cycles on end. Numbers are the bits of float32.
    """

    def __init__(self, config: HardwareConfig):
        self._lanes = config.vector_lanes
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        super().__init__({"value": In(floats), "o": Out(floats)})

    def elaborate(self, platform) -> Module:
        m = Module()
        for lane, value in enumerate(self.value):
            m.submodules[f"times_{lane}"] = times = Multiply()
            m.submodules[f"plus_{lane}"] = plus = Add()
            m.d.comb += [
                times.a.eq(register(m, value, f"before_{lane}")),
                times.b.eq(value),
                plus.a.eq(delay(m, times.o, 2, name=f"product_{lane}", reset_less=True)),
                plus.b.eq(times.o),
                self.o[lane].eq(plus.o),
            ]
        return m


def half_row_words(m: Module, columns: Value, config: HardwareConfig) -> Value:
    """Half the words of a row of `columns`, which fill an even number of words; in the cycle after `columns`.

    What is divided by 2·C without a rest is shifted for the twos in it and multiplied by the inverse of what is left,
    modulo the width.
    """
    divisor = 2 * config.columns
    twos = (divisor & -divisor).bit_length() - 1
    inverse = pow(divisor >> twos, -1, 1 << COLUMNS)
    return register(m, ((columns >> twos) * inverse)[:COLUMNS], "half_row_words")

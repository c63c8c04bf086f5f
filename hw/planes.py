"""Sums of products of digits: codes of more than one digit leave a panel of sums for each place, the highest first.

    acc ─ float32 ─┬─ ·256 + middle ─ ·256 + last ─ x
    value ─────────┘

The panels of a group come in cycles on end, so one converter a lane serves for all.
"""

from amaranth import Cat, Module, Mux, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, CONVERT_CYCLES, PLANES_CYCLES, HardwareConfig
from .delay_line import DelayLine
from .drain import to_float
from .float import MINUS_ZERO, Add
from .pipeline import delay


class Planes(wiring.Component):
    """o = value if `from_value` else float32(acc); for each of the further `planes` of sums o = o·256 + float32(acc).

    The planes of a group come in consecutive cycles; `o` is valid CONVERT_CYCLES + PLANES_CYCLES after the last, and
    after a value. `from_value` and `planes` (0 to 2) hold still while groups are under way. With bf16 PEs `planes` is
    0, and there is nothing to add. Numbers are the bits of float32, `acc` is what the array makes.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        super().__init__({
            "acc": In(floats),
            "value": In(floats),
            "from_value": In(1),
            "planes": In(2),
            "o": Out(floats),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        if self._config.pe == "bf16":
            width = len(self.o.as_value())
            m.submodules.line = line = DelayLine(width, CONVERT_CYCLES + PLANES_CYCLES)
            m.d.comb += [line.i.eq(Mux(self.from_value, self.value.as_value(), self.acc.as_value())), self.o.eq(line.o)]
            return m
        for lane in range(self._config.vector_lanes):
            m.d.comb += self.o[lane].eq(self._add_planes(m, lane))
        return m

    def _add_planes(self, m: Module, lane: int) -> Value:
        value = delay(m, self.value[lane], CONVERT_CYCLES, name=f"value_{lane}", reset_less=True)
        last = to_float(m, self.acc[lane], self._config, name=f"convert_{lane}")
        middle = delay(m, last, 1, name=f"middle_{lane}", reset_less=True)  # of three planes
        first = delay(m, middle, 1, name=f"first_{lane}", reset_less=True)
        last_later = delay(m, first, ADD_CYCLES - 2, name=f"last_{lane}", reset_less=True)

        m.submodules[f"plus_middle_{lane}"] = plus_middle = Add()
        m.submodules[f"plus_last_{lane}"] = plus_last = Add()
        two_planes, three_planes = self.planes == 1, self.planes == 2
        several = two_planes | three_planes
        alone = Mux(self.from_value, value, Mux(two_planes, middle, last))
        m.d.comb += [
            plus_middle.a.eq(Mux(three_planes, _times_256(first), alone)),
            plus_middle.b.eq(Mux(three_planes, middle, MINUS_ZERO)),
            plus_last.a.eq(Mux(several, _times_256(plus_middle.o), plus_middle.o)),
            plus_last.b.eq(Mux(several, last_later, MINUS_ZERO)),
        ]
        return plus_last.o


def _times_256(x: Value) -> Value:
    """x·256, exactly; x is zero or normal, and less than 2¹¹⁸ as all sums of int32 are."""
    exponent = x[23:31]
    return Cat(x[:23], Mux(exponent == 0, 0, exponent + 8)[:8], x[31])

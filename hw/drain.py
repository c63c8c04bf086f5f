"""The front of VECTOR and SOFTMAX: accumulators to float32, times the scale of the column, times the scale of the row.

All V lanes, one group a cycle. A factor that is not wanted is 1: that product is exact, and only makes the operand
clean (subnormals to zero, one NaN), which values read from memory need anyway.
"""

from amaranth import Module, Mux, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import CONVERT_CYCLES, MULTIPLY_CYCLES, HardwareConfig
from .float import ConvertInt32, Multiply
from .pipeline import delay


class Drain(wiring.Component):
    """o = (x · scale[lane]) · row, where x = value[lane] if `from_value` else float32(acc[lane]).

    Operands that belong together come in one cycle, a group every cycle if need be; `o` is valid `drain_front_cycles`
    later. `from_value` holds still while groups are under way. Numbers are the bits of float32, `acc` is int32.
    """

    def __init__(self, config: HardwareConfig):
        self._lanes = config.vector_lanes
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        super().__init__({
            "acc": In(floats),
            "value": In(floats),
            "from_value": In(1),
            "scale": In(floats),
            "row": In(32),
            "o": Out(floats),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        value = delay(m, self.value.as_value(), CONVERT_CYCLES, name="value", reset_less=True)
        scale = delay(m, self.scale.as_value(), CONVERT_CYCLES, name="scale", reset_less=True)
        row = delay(m, self.row, CONVERT_CYCLES + MULTIPLY_CYCLES, name="row", reset_less=True)
        for lane in range(self._lanes):
            m.submodules[f"convert_{lane}"] = convert = ConvertInt32()
            m.submodules[f"by_scale_{lane}"] = by_scale = Multiply()
            m.submodules[f"by_row_{lane}"] = by_row = Multiply()
            m.d.comb += [
                convert.a.eq(self.acc[lane]),
                by_scale.a.eq(Mux(self.from_value, value.word_select(lane, 32), convert.o)),
                by_scale.b.eq(scale.word_select(lane, 32)),
                by_row.a.eq(by_scale.o),
                by_row.b.eq(row),
                self.o[lane].eq(by_row.o),
            ]
        return m

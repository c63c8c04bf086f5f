"""To scaled numbers: times the scale of the column, times the scale of the row.

All V lanes, one group a cycle. A factor that is not wanted is 1: that
product is exact, and only makes the operand clean (subnormals to zero, one NaN), which values read from memory need
anyway.
"""

from amaranth import Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import MULTIPLY_CYCLES, HardwareConfig
from .float import Multiply
from .pipeline import delay


class Factors(wiring.Component):
    """o = (x[lane] · scale[lane]) · row, 2·MULTIPLY_CYCLES later. Operands that belong together come in one cycle.
    Numbers have `precision` significand bits."""

    def __init__(self, config: HardwareConfig, precision: int):
        self._lanes = config.vector_lanes
        self._precision = precision
        bits = 8 + precision
        floats = data.ArrayLayout(unsigned(bits), config.vector_lanes)
        super().__init__({"x": In(floats), "scale": In(floats), "row": In(bits), "o": Out(floats)})

    def elaborate(self, platform) -> Module:
        m = Module()
        row = delay(m, self.row, MULTIPLY_CYCLES, name="row", reset_less=True)
        for lane in range(self._lanes):
            m.submodules[f"by_scale_{lane}"] = by_scale = Multiply(self._precision)
            m.submodules[f"by_row_{lane}"] = by_row = Multiply(self._precision)
            m.d.comb += [
                by_scale.a.eq(self.x[lane]),
                by_scale.b.eq(self.scale[lane]),
                by_row.a.eq(by_scale.o),
                by_row.b.eq(row),
                self.o[lane].eq(by_row.o),
            ]
        return m

"""The numbers that SOFTMAX keeps of a row: what its codes are multiplied with, and what they stand for."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import MULTIPLY_CYCLES, TABLE_CYCLES, HardwareConfig
from .delay_line import DelayLine
from .float import ONE, Multiply, Reciprocal, maximum, resized
from .pipeline import delay
from .quantise import RowScale


class RowTotals(wiring.Component):
    """multiplier = (127/128)·rcp(a/128), scale = (a·(1/127))·rcp(l), with a = max(greatest, 2⁻⁶⁰), l = max(total, 1).

    `multiplier_valid` comes `row_scale_cycles` − 1 after `greatest_valid`, `scale_valid` TABLE_CYCLES + MULTIPLY_CYCLES
    after `total_valid`, with `floored` = l; `inverse` = rcp(l) comes MULTIPLY_CYCLES before. The total of a row comes
    at least `row_scale_cycles` − TABLE_CYCLES after its greatest, and sooner than that after the greatest of the next
    row: so one register bridges the time between. With bf16 PEs the scale is rcp(l), the multiplier is not used.
    `total` and `floored` are float32, the others have the format of vector arithmetic.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = config.vector_bits
        super().__init__({
            "greatest_valid": In(1),
            "greatest": In(bits),
            "total_valid": In(1),
            "total": In(32),
            "multiplier_valid": Out(1),
            "multiplier": Out(bits),
            "inverse": Out(bits),
            "scale_valid": Out(1),
            "scale": Out(bits),
            "floored": Out(32),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.row_scale = row_scale = RowScale(self._config)
        m.submodules.rcp = rcp = Reciprocal(self._config.precision)
        m.submodules.times = times = Multiply(self._config.precision)
        m.submodules.floored = floored = DelayLine(32, TABLE_CYCLES + MULTIPLY_CYCLES)
        total = maximum(m, self.total, ONE)
        code_scale = Signal.like(self.scale)  # a·(1/127) of the row whose total is on its way
        with m.If(row_scale.o_valid):
            m.d.sync += code_scale.eq(row_scale.scale)
        m.d.comb += [
            row_scale.valid.eq(self.greatest_valid),
            # RowScale takes magnitudes. A negative number is below the least of them anyway.
            row_scale.greatest.eq(Mux(self.greatest[-1], 0, self.greatest)),
            self.multiplier_valid.eq(row_scale.o_valid),
            self.multiplier.eq(row_scale.multiplier),
            rcp.a.eq(resized(m, total, self._config.vector_bits)),
            times.a.eq(code_scale),
            times.b.eq(rcp.o),
            self.inverse.eq(rcp.o),
            floored.i.eq(total),
            self.floored.eq(floored.o),
            self.scale.eq(times.o),
            self.scale_valid.eq(delay(m, self.total_valid, TABLE_CYCLES + MULTIPLY_CYCLES, name="total_valid")),
        ]
        return m

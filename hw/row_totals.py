"""The numbers that SOFTMAX keeps of a row: what its codes are multiplied with, and what they stand for.

All functions that work once a row are evaluated in one place, here.

    greatest ─ wait ─ floor ─ a/128 ─┐
    total ────────────────── l ──────┼─ 1/x or 2^x ─┬─ · 127/128 ─ multiplier
    difference ──────────────────────┘              ├─ · a·(1/127) ─ scale
                                                    └─ power
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import MULTIPLY_CYCLES, HardwareConfig
from ..arch.functions import EVALUATE_CYCLES
from .delay_line import DelayLine
from .fixed_function import Exp2OrReciprocal
from .float import ONE, Multiply, maximum, resized
from .pipeline import delay
from .quantise import RowFactors


class RowTotals(wiring.Component):
    """multiplier = (127/128)·rcp(a/128), scale = (a·(1/127))·rcp(l), with a = max(greatest, 2⁻⁶⁰), l = max(total, 1).

    `greatest` comes with `greatest_valid`. `multiplier_valid` comes `softmax_wait_cycles` + `row_scale_cycles` − 1
    later, `scale_valid` EVALUATE_CYCLES + MULTIPLY_CYCLES after `total_valid`, with `floored` = l; `inverse` = rcp(l)
    comes MULTIPLY_CYCLES before. With bf16 PEs the scale is rcp(l), the multiplier is not used.

    The total of a row comes more than MULTIPLY_CYCLES after its greatest has waited and been floored, and less than the
    period of rows: so one register bridges the time between, and two reciprocals never meet.

    If `normalises`, which holds still, the multiplier is `inverse` instead, and `multiplier_valid` comes with that.

    In cycles without either, power = exp2(difference), EVALUATE_CYCLES later. `total` and `floored` are float32, the
    others have the format of vector arithmetic.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = config.vector_bits
        super().__init__({
            "greatest_valid": In(1),
            "greatest": In(bits),
            "total_valid": In(1),
            "total": In(32),
            "difference": In(bits),
            "normalises": In(1),
            "multiplier_valid": Out(1),
            "multiplier": Out(bits),
            "inverse": Out(bits),
            "power": Out(bits),
            "scale_valid": Out(1),
            "scale": Out(bits),
            "floored": Out(32),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.factors = factors = RowFactors(self._config)
        m.submodules.function = function = Exp2OrReciprocal(self._config.precision)
        m.submodules.times = times = Multiply(self._config.precision)
        wait = self._config.softmax_wait_cycles
        m.submodules.waiting = waiting = DelayLine(self._config.vector_bits, wait)
        m.submodules.floored = floored = DelayLine(32, EVALUATE_CYCLES + MULTIPLY_CYCLES)
        total = maximum(m, self.total, ONE)
        code_scale = Signal.like(self.scale)  # a·(1/127) of the row whose total is on its way
        with m.If(factors.o_valid):
            m.d.sync += code_scale.eq(factors.scale)
        inverse_valid = delay(m, self.total_valid, EVALUATE_CYCLES, name="total_valid")
        asked = Mux(factors.argument_valid, factors.argument, self.difference)
        m.d.comb += [
            waiting.i.eq(self.greatest),
            factors.valid.eq(delay(m, self.greatest_valid, wait, name="greatest_valid")),
            # It takes magnitudes. A negative number is below the least of them anyway.
            factors.greatest.eq(Mux(waiting.o[-1], 0, waiting.o)),
            factors.inverse.eq(function.o),
            self.multiplier_valid.eq(Mux(self.normalises, inverse_valid, factors.o_valid)),
            self.multiplier.eq(Mux(self.normalises, function.o, factors.multiplier)),
            function.a.eq(Mux(self.total_valid, resized(m, total, self._config.vector_bits), asked)),
            function.reciprocal.eq(self.total_valid | factors.argument_valid),
            times.a.eq(code_scale),
            times.b.eq(function.o),
            self.inverse.eq(function.o),
            self.power.eq(function.o),
            floored.i.eq(total),
            self.floored.eq(floored.o),
            self.scale.eq(times.o),
            self.scale_valid.eq(delay(m, inverse_valid, MULTIPLY_CYCLES, name="inverse_valid")),
        ]
        return m

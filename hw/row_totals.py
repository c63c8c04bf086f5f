"""The numbers that SOFTMAX keeps of a row: what its codes are multiplied with, what they stand for, what is kept.

One evaluator of 1/x and one multiplier do all that comes once a row, each of a row's products in a cycle of its own.

    total ────────┬─ 1/x ─┬─ inverse ─┬─ · kept ─ rescale
    greatest ─ a ─┘       └─ 1/a ─────┼─ · 127/128 ─ multiplier
                  a ─ · 1/127 ────────┴─ · inverse ─ scale
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import FACTOR_BITS, MULTIPLY_CYCLES, HardwareConfig
from ..arch.functions import EVALUATE_CYCLES
from ..arch.numerics import CODE_LIMIT, MAXIMUM_FLOOR, RECIPROCAL_OF_127
from .fixed_function import Reciprocal
from .float import Fields, Multiply, constant, resized
from .pipeline import delay, register

STEP = 7  # the reciprocal is taken of a/2⁷, so that those of the largest a are not flushed
PRODUCT_CYCLES = 1 + MULTIPLY_CYCLES  # with a register between the choice of factors and the multiplier
SCALE_CYCLES = EVALUATE_CYCLES + MULTIPLY_CYCLES + PRODUCT_CYCLES  # from the total of a row to its scale


class RowTotals(wiring.Component):
    """multiplier = (127/128)·rcp(a/128), scale = (a·(1/127))·rcp(total), rescale = kept·rcp(total), with
    a = max(greatest, 2⁻⁶⁰).

    `total` and `greatest` of a row come with `valid`, rows at least SOFTMAX_ROW_INTERVAL apart, `kept` EVALUATE_CYCLES
    later; `scale` and `rescale` are there SCALE_CYCLES later, with `o_valid`, and `multiplier` with `multiplier_valid`.
    With bf16 PEs the scale is rcp(total), and there is no multiplier.
    If `normalises`, which holds still, the multiplier is rcp(total) instead, and comes EVALUATE_CYCLES after `total`.

    While no row is under way, `product` = known · power, PRODUCT_CYCLES later. `greatest`, `multiplier`,
    `rescale` and `power` have the format of vector arithmetic, the others `factor_bits` significand bits.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits, wide = config.vector_bits, 8 + FACTOR_BITS[config.precision]
        super().__init__({
            "valid": In(1),
            "total": In(wide),
            "greatest": In(bits),
            "kept": In(wide),
            "normalises": In(1),
            "known": In(wide),
            "power": In(bits),
            "product": Out(wide),
            "multiplier_valid": Out(1),
            "multiplier": Out(bits),
            "o_valid": Out(1),
            "scale": Out(wide),
            "rescale": Out(bits),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        precision, factor_bits = self._config.precision, FACTOR_BITS[self._config.precision]
        bits, wide = len(self.multiplier), len(self.total)
        codes_are_integers = self._config.pe == "int8"
        m.submodules.rcp = rcp = Reciprocal(precision)
        m.submodules.times = times = Multiply(factor_bits)
        at = [self.valid]  # a row under way, by the cycles since its total
        for cycle in range(1, SCALE_CYCLES + 1):
            at.append(delay(m, at[-1], 1, f"at_{cycle}"))

        floor = constant(MAXIMUM_FLOOR, precision)
        # Magnitudes compare like integers, a NaN as the greatest. What is negative is below the floor.
        a = register(m, Mux(~self.greatest[-1] & (self.greatest >= floor), self.greatest, floor), "a")
        argument = Mux(Fields(a).special, a, a - (STEP << precision - 1))
        total = resized(m, self.total, bits, "narrow_total")
        inverse = resized(m, rcp.o, wide)
        held = delay(m, rcp.o, PRODUCT_CYCLES - 1, "inverse", reset_less=True)
        one, other = Signal(wide), Signal(wide)
        m.d.comb += [
            rcp.a.eq(Mux(self.valid, total, argument) if codes_are_integers else total),
            one.eq(self.known),
            other.eq(resized(m, self.power, wide)),
            times.a.eq(register(m, one, "one")),
            times.b.eq(register(m, other, "other")),
            self.product.eq(times.o),
        ]
        first = EVALUATE_CYCLES - 1  # product
        with m.If(at[first + 1]):
            m.d.comb += [one.eq(self.kept), other.eq(inverse)]
        waiting = resized(m, delay(m, a, first - 1, "waiting", reset_less=True), wide)
        if codes_are_integers:
            limit = constant(CODE_LIMIT / (1 << STEP), factor_bits)
            with m.If(at[first]):
                m.d.comb += [one.eq(waiting), other.eq(constant(RECIPROCAL_OF_127, factor_bits))]
            with m.If(at[first + 2]):
                m.d.comb += [one.eq(limit), other.eq(inverse)]
            with m.If(at[first + PRODUCT_CYCLES]):
                m.d.comb += [one.eq(times.o), other.eq(resized(m, held, wide))]
        scale = times.o if codes_are_integers else resized(m, delay(m, held, PRODUCT_CYCLES, "scale"), wide)
        narrow = register(m, resized(m, times.o, bits, "narrow_product"), "narrow")
        m.d.comb += [
            self.multiplier_valid.eq(Mux(self.normalises, at[EVALUATE_CYCLES], at[SCALE_CYCLES - 1])),
            self.multiplier.eq(Mux(self.normalises, rcp.o, narrow)),
            self.o_valid.eq(at[SCALE_CYCLES]),
            self.scale.eq(scale),
            self.rescale.eq(delay(m, narrow, 2, "rescale", reset_less=True)),
        ]
        return m

"""The lanes of NORM, and the arithmetic on one row's sums.

    x ─ − mean ─ d ─┬─ d · d ─ square
                    └─ × deviation ─ × γ ─ + β ─ o

Pipelines that never stall; each row number joins its group where it is needed.
"""

from amaranth import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, MULTIPLY_CYCLES, TABLE_CYCLES, HardwareConfig
from ..arch.numerics import LEAST_VARIANCE, MOST_VARIANCE, to_bits
from .delay_line import DelayLine
from .float import Add, Fields, Multiply, ReciprocalSqrt, negate
from .pipeline import delay

SQUARE_CYCLES = ADD_CYCLES + MULTIPLY_CYCLES  # from a value to its square
NORMALISE_CYCLES = ADD_CYCLES + 2 * MULTIPLY_CYCLES + ADD_CYCLES  # from a value to the result
MEAN_CYCLES = MULTIPLY_CYCLES  # from a sum to the mean
# From a sum of squares: · reciprocal, + epsilon, rsqrt, then the Newton step.
DEVIATION_CYCLES = MEAN_CYCLES + ADD_CYCLES + TABLE_CYCLES + 3 * MULTIPLY_CYCLES + ADD_CYCLES
HALF, THREE_HALVES = 0x3F00_0000, 0x3FC0_0000


class Normalise(wiring.Component):
    """square = (x − mean)², o = ((x − mean)·deviation)·gamma + beta.

    `x`, `mean`, `gamma` and `beta` of a group come in one cycle, a group every cycle if need be, and `deviation`
    ADD_CYCLES later; `square` is valid SQUARE_CYCLES later, `o` NORMALISE_CYCLES later. Numbers are the
    bits of float32.
    """

    def __init__(self, config: HardwareConfig):
        self._lanes = config.vector_lanes
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        super().__init__({
            "x": In(floats),
            "mean": In(32),
            "deviation": In(32),
            "gamma": In(floats),
            "beta": In(floats),
            "square": Out(floats),
            "o": Out(floats),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        bits = 32 * self._lanes
        m.submodules.gammas = gammas = DelayLine(bits, ADD_CYCLES + MULTIPLY_CYCLES)
        m.submodules.betas = betas = DelayLine(bits, ADD_CYCLES + 2 * MULTIPLY_CYCLES)
        m.d.comb += [gammas.i.eq(self.gamma), betas.i.eq(self.beta)]
        for lane in range(self._lanes):
            m.submodules[f"minus_{lane}"] = minus = Add()
            m.submodules[f"square_{lane}"] = square = Multiply()
            m.submodules[f"by_deviation_{lane}"] = by_deviation = Multiply()
            m.submodules[f"by_gamma_{lane}"] = by_gamma = Multiply()
            m.submodules[f"plus_{lane}"] = plus = Add()
            m.d.comb += [
                minus.a.eq(self.x[lane]),
                minus.b.eq(negate(self.mean)),
                square.a.eq(minus.o),
                square.b.eq(minus.o),
                self.square[lane].eq(square.o),
                by_deviation.a.eq(minus.o),
                by_deviation.b.eq(self.deviation),
                by_gamma.a.eq(by_deviation.o),
                by_gamma.b.eq(gammas.o.word_select(lane, 32)),
                plus.a.eq(by_gamma.o),
                plus.b.eq(betas.o.word_select(lane, 32)),
                self.o[lane].eq(plus.o),
            ]
        return m


class RowMoments(wiring.Component):
    """mean = sum · reciprocal; deviation = y·(1.5 − (0.5·v)·(y·y)), y = rsqrt(v), v = sum · reciprocal + epsilon, held
    between 2⁻¹²⁵ and 2¹²⁶ as `numerics.norm` does.

    A sum comes with `valid`, and `squares` tells of what. `mean_valid` comes MEAN_CYCLES after a sum of values,
    `deviation_valid` DEVIATION_CYCLES after one of squares, a row every cycle if need be. `reciprocal` and `epsilon`
    hold still meanwhile. Numbers are the bits of float32.
    """

    valid: In(1)
    squares: In(1)
    sum: In(32)
    reciprocal: In(32)
    epsilon: In(32)
    mean_valid: Out(1)
    mean: Out(32)
    deviation_valid: Out(1)
    deviation: Out(32)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.by_reciprocal = by_reciprocal = Multiply()
        m.submodules.plus_epsilon = plus_epsilon = Add()
        m.submodules.rsqrt = rsqrt = ReciprocalSqrt()
        m.submodules.half = half = Multiply()
        m.submodules.square = square = Multiply()
        m.submodules.product = product = Multiply()
        m.submodules.correction = correction = Add()
        m.submodules.refined = refined = Multiply()
        variance, y = _held(m, plus_epsilon.o), rsqrt.o
        m.d.comb += [
            by_reciprocal.a.eq(self.sum),
            by_reciprocal.b.eq(self.reciprocal),
            plus_epsilon.a.eq(by_reciprocal.o),
            plus_epsilon.b.eq(self.epsilon),
            rsqrt.a.eq(variance),
            half.a.eq(variance),
            half.b.eq(HALF),
            square.a.eq(y),
            square.b.eq(y),
            product.a.eq(delay(m, half.o, TABLE_CYCLES, name="half_variance", reset_less=True)),
            product.b.eq(square.o),
            correction.a.eq(THREE_HALVES),
            correction.b.eq(negate(product.o)),
            refined.a.eq(delay(m, y, 2 * MULTIPLY_CYCLES + ADD_CYCLES, name="y", reset_less=True)),
            refined.b.eq(correction.o),
            self.mean.eq(by_reciprocal.o),
            self.mean_valid.eq(delay(m, self.valid & ~self.squares, MEAN_CYCLES, name="mean_valid")),
            self.deviation.eq(refined.o),
            self.deviation_valid.eq(delay(m, self.valid & self.squares, DEVIATION_CYCLES, name="deviation_valid")),
        ]
        return m


def _held(m: Module, variance: Value) -> Signal:
    """A finite variance, from LEAST_VARIANCE to MOST_VARIANCE; what is not finite as it is."""
    least, most = int(to_bits(LEAST_VARIANCE)), int(to_bits(MOST_VARIANCE))
    fields, held = Fields(variance), Signal(32, name="variance")
    small = fields.sign | (variance[:31] < least)
    m.d.comb += held.eq(Mux(fields.special, variance, Mux(small, least, Mux(variance[:31] > most, most, variance))))
    return held

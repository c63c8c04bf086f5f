"""The lanes of NORM, and the arithmetic on one row's sums.

    x ─ − mean ─ narrowed ─ d ─ × d or deviation ─┬─ square
                                                  └─ × γ ─ + β ─ o

Pipelines that never stall; each row number joins its group where it is needed.
"""

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, MEAN_CYCLES, MULTIPLY_CYCLES, HardwareConfig
from ..arch.functions import EVALUATE_CYCLES
from ..arch.numerics import FUNCTION_PRECISION, LEAST_VARIANCE, MOST_VARIANCE, to_bits
from .delay_line import DelayLine
from .fixed_function import ReciprocalSqrt
from .float import Add, Fields, Multiply, narrowed, negate
from .pipeline import delay, register

HALF, THREE_HALVES = 0x3F00_0000, 0x3FC0_0000


class Normalise(wiring.Component):
    """o = ((x − mean)·deviation)·gamma + beta; while `squares` is up, square = (x − mean)².

    `x`, `mean`, `gamma` and `beta` of a group, float32, come in one cycle, a group every cycle if need be, and
    `deviation` `subtract_cycles` later; `square` is valid MULTIPLY_CYCLES after that, `o` `normalise_cycles` after `x`.
    These have the format of vector arithmetic. While `squares` is up, `row_o` = `row_a` + `row_b`, ADD_CYCLES later:
    sums that come once a row.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits, lanes = config.vector_bits, config.vector_lanes
        floats, results = data.ArrayLayout(unsigned(32), lanes), data.ArrayLayout(unsigned(bits), lanes)
        super().__init__({
            "x": In(floats),
            "mean": In(32),
            "deviation": In(bits),
            "gamma": In(floats),
            "beta": In(floats),
            "squares": In(1),
            "square": Out(results),
            "row_a": In(bits),
            "row_b": In(bits),
            "row_o": Out(bits),
            "o": Out(results),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config, precision = self._config, self._config.precision
        bits = config.vector_bits
        m.submodules.gammas = gammas = DelayLine(bits * config.vector_lanes, 1 + ADD_CYCLES + MULTIPLY_CYCLES)
        m.submodules.betas = betas = DelayLine(bits * config.vector_lanes, 1 + ADD_CYCLES + 2 * MULTIPLY_CYCLES)
        for line, numbers in ((gammas, self.gamma), (betas, self.beta)):
            m.d.comb += line.i.eq(Cat(narrowed(m, each, config, "narrowed") for each in numbers))
        for lane in range(config.vector_lanes):
            m.submodules[f"minus_{lane}"] = minus = Add()
            m.submodules[f"by_deviation_{lane}"] = by_deviation = Multiply(precision)
            m.submodules[f"by_gamma_{lane}"] = by_gamma = Multiply(precision)
            m.submodules[f"plus_{lane}"] = plus = Add(precision)
            d = narrowed(m, minus.o, config, f"d_{lane}")
            m.d.comb += [
                minus.a.eq(register(m, self.x[lane], f"x_{lane}")),
                minus.b.eq(register(m, negate(self.mean), "minus_mean")),
                by_deviation.a.eq(d),
                by_deviation.b.eq(Mux(self.squares, d, self.deviation)),
                self.square[lane].eq(by_deviation.o),
                by_gamma.a.eq(by_deviation.o),
                by_gamma.b.eq(gammas.o.word_select(lane, bits)),
                self.o[lane].eq(plus.o),
            ]
            of_row = self.squares if lane == 0 else 0
            m.d.comb += [
                plus.a.eq(Mux(of_row, self.row_a, by_gamma.o)),
                plus.b.eq(Mux(of_row, self.row_b, betas.o.word_select(lane, bits))),
            ]
            if lane == 0:
                m.d.comb += self.row_o.eq(plus.o)
        return m


class RowMoments(wiring.Component):
    """mean = sum · reciprocal; deviation = rsqrt(v), v = sum · reciprocal + epsilon, held between 2⁻¹²⁵ and 2¹²⁶ as
    `numerics.norm` does; in float32 refined from y = rsqrt(v) to y·(1.5 − (0.5·v)·(y·y)).

    A sum comes with `valid`, and `squares` tells of what. `mean_valid` comes MEAN_CYCLES after a sum of values,
    `deviation_valid` `deviation_cycles` after one of squares. `reciprocal` and `epsilon` hold still meanwhile.
    `variance` must be `mean_square` + `small`, ADD_CYCLES later. `deviation`, `mean_square`, `small` and `variance`
    have the format of vector arithmetic, the other numbers are float32.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "valid": In(1),
            "squares": In(1),
            "sum": In(32),
            "reciprocal": In(32),
            "epsilon": In(32),
            "mean_square": Out(config.vector_bits),
            "small": Out(config.vector_bits),
            "variance": In(config.vector_bits),
            "mean_valid": Out(1),
            "mean": Out(32),
            "deviation_valid": Out(1),
            "deviation": Out(config.vector_bits),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config, precision = self._config, self._config.precision
        m.submodules.by_reciprocal = by_reciprocal = Multiply()
        m.submodules.rsqrt = rsqrt = ReciprocalSqrt(precision)
        variance = _held(m, self.variance)
        found = delay(m, self.valid & self.squares, config.deviation_cycles, name="deviation_valid")
        m.d.comb += [
            by_reciprocal.a.eq(self.sum),
            by_reciprocal.b.eq(self.reciprocal),
            self.mean_square.eq(narrowed(m, by_reciprocal.o, config, "mean_square")),
            self.small.eq(narrowed(m, self.epsilon, config, "small")),
            rsqrt.a.eq(variance),
            self.mean.eq(by_reciprocal.o),
            self.mean_valid.eq(delay(m, self.valid & ~self.squares, MEAN_CYCLES, name="mean_valid")),
            self.deviation.eq(_refined(m, variance, rsqrt.o) if precision > FUNCTION_PRECISION else rsqrt.o),
            self.deviation_valid.eq(found),
        ]
        return m


def _refined(m: Module, variance: Value, y: Value) -> Value:
    """y·(1.5 − (0.5·v)·(y·y)), one Newton step; `y` comes EVALUATE_CYCLES after `variance`. float32."""
    m.submodules.half = half = Multiply()
    m.submodules.square = square = Multiply()
    m.submodules.product = product = Multiply()
    m.submodules.correction = correction = Add()
    m.submodules.refined = refined = Multiply()
    m.d.comb += [
        half.a.eq(variance),
        half.b.eq(HALF),
        square.a.eq(y),
        square.b.eq(y),
        product.a.eq(delay(m, half.o, EVALUATE_CYCLES, name="half_variance", reset_less=True)),
        product.b.eq(square.o),
        correction.a.eq(THREE_HALVES),
        correction.b.eq(negate(product.o)),
        refined.a.eq(delay(m, y, 2 * MULTIPLY_CYCLES + ADD_CYCLES, name="y", reset_less=True)),
        refined.b.eq(correction.o),
    ]
    return refined.o


def _held(m: Module, variance: Value) -> Signal:
    """A finite variance, from LEAST_VARIANCE to MOST_VARIANCE; what is not finite as it is."""
    least, most = (int(to_bits(bound)) >> 32 - len(variance) for bound in (LEAST_VARIANCE, MOST_VARIANCE))
    fields, held = Fields(variance), Signal.like(variance, name="variance")
    small = fields.sign | (variance[:-1] < least)
    m.d.comb += held.eq(Mux(fields.special, variance, Mux(small, least, Mux(variance[:-1] >= most, most, variance))))
    return held

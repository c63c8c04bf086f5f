"""Row quantisation: the scale and multiplier of a row from its largest magnitude, and codes from values.

A machine with bf16 PEs has codes that are numbers: no scale but 1, and nothing to multiply with.
"""

from typing import NamedTuple

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arch.config import MULTIPLY_CYCLES, ROUND_CYCLES, HardwareConfig
from ..arch.config import WIDE_PRECISION as WIDE
from ..arch.functions import EVALUATE_CYCLES
from ..arch.isa import Digit
from ..arch.numerics import (
    CODE_LIMIT,
    MAXIMUM_FLOOR,
    RECIPROCAL_OF_127,
    RECIPROCAL_OF_32639,
    WIDE_CODE_LIMIT,
    Arithmetic,
    CodeFormat,
    from_bits,
    row_scale,
    to_bits,
)
from .fixed_function import Reciprocal
from .float import NAN, ONE, Fields, Multiply, RoundInt8, RoundInt16, constant, resized, to_bf16, upper
from .float_format import EXPONENT_BIAS, EXPONENT_MAX
from .pipeline import delay, register

_STEP = 7  # the reciprocal is taken of a/2⁷, so that those of the largest a are not flushed


def _ports(config: HardwareConfig) -> dict[str, wiring.Member]:
    bits = config.vector_bits
    return {
        "valid": In(1),
        "greatest": In(bits),
        "wide": In(1),
        "o_valid": Out(1),
        "scale": Out(bits),
        "multiplier": Out(bits),
    }


class RowFactors(wiring.Component):
    """`RowScale` but for the reciprocal: `inverse` is that of `argument`, which comes with `argument_valid` a cycle
    after `valid`, EVALUATE_CYCLES earlier. bf16 PEs need none."""

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = config.vector_bits
        super().__init__({
            **_ports(config), "argument_valid": Out(1), "argument": Out(bits), "inverse": In(bits),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        asked = delay(m, self.valid, 1, name="asked")
        m.d.comb += self.o_valid.eq(delay(m, asked, EVALUATE_CYCLES + MULTIPLY_CYCLES, name="valid"))
        bits, precision = self._config.vector_bits, self._config.precision
        if self._config.pe == "bf16":
            m.d.comb += [self.scale.eq(upper(ONE, bits)), self.multiplier.eq(upper(ONE, bits))]
            return m
        floor, step = constant(MAXIMUM_FLOOR, precision), 1 << _STEP
        limits = [constant(limit / step, precision) for limit in (WIDE_CODE_LIMIT, CODE_LIMIT)]
        reciprocals = [constant(number, precision) for number in (RECIPROCAL_OF_32639, RECIPROCAL_OF_127)]
        a = Signal(bits)
        # Magnitudes compare like integers, a NaN as the greatest.
        m.d.sync += a.eq(Mux(self.greatest >= floor, self.greatest, floor))
        m.submodules.times_limit = times_limit = Multiply(precision)
        m.submodules.over_limit = over_limit = Multiply(precision)
        m.d.comb += [
            self.argument_valid.eq(asked),
            self.argument.eq(Mux(Fields(a).special, a, a - (_STEP << precision - 1))),
            times_limit.a.eq(self.inverse),
            times_limit.b.eq(Mux(self.wide, *limits)),
            over_limit.a.eq(a),
            over_limit.b.eq(Mux(self.wide, *reciprocals)),
            self.multiplier.eq(times_limit.o),
            self.scale.eq(delay(m, over_limit.o, EVALUATE_CYCLES, name="scale", reset_less=True)),
        ]
        return m


class RowScale(wiring.Component):
    """scale = a·(1/127) and multiplier = (127/128)·rcp(a/128), a = max(greatest, 2⁻⁶⁰), as `numerics.row_scale`.

    With `wide`, which holds still, 32639 takes the place of 127; for bf16 PEs both are 1. Takes a magnitude (not
    negative) with `valid` every cycle; the results come with `o_valid` `row_scale_cycles` − 1 later, to be written to a
    table in that cycle. Numbers have the format of vector arithmetic. Where that has few bits a ROM holds both
    significands for each of a's.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__(_ports(config))

    def elaborate(self, platform) -> Module:
        m = Module()
        config, one = self._config, upper(ONE, self._config.vector_bits)
        m.d.comb += self.o_valid.eq(delay(m, self.valid, config.row_scale_cycles - 1, "valid"))
        if config.pe == "bf16":
            m.d.comb += [self.scale.eq(one), self.multiplier.eq(one)]
        elif config.row_scale_is_table:
            self._look_up(m)
        else:
            self._compute(m)
        return m

    def _compute(self, m: Module) -> None:
        m.submodules.factors = factors = RowFactors(self._config)
        m.submodules.rcp = rcp = Reciprocal(self._config.precision)
        m.d.comb += [
            factors.valid.eq(self.valid),
            factors.greatest.eq(self.greatest),
            factors.wide.eq(self.wide),
            rcp.a.eq(factors.argument),
            factors.inverse.eq(rcp.o),
            self.scale.eq(factors.scale),
            self.multiplier.eq(factors.multiplier),
        ]

    def _look_up(self, m: Module) -> None:
        """No a is so near an end of the range that its exponent would count for more than a difference."""
        precision, bits = self._config.precision, self._config.vector_bits
        floor, greatest = constant(MAXIMUM_FLOOR, precision), Fields(self.greatest)
        a = Fields(Mux(greatest.exponent < floor >> precision - 1, floor, self.greatest))
        plain, wide = (_row_factors(precision, to) for to in (CodeFormat.INT8, CodeFormat.HIGH))
        words = plain.words + wide.words
        m.submodules.factors = rom = Memory(shape=2 * precision, depth=len(words), init=words)
        read = rom.read_port()
        m.d.comb += [read.en.eq(1), read.addr.eq(Cat(a.fraction, self.wide))]

        # The ROM is slow: all else is known when it has been read. It adds 0 or 1 to an exponent, or nothing counts.
        special, nan = register(m, greatest.special, "special"), register(m, greatest.nan, "nan")
        infinite, zero = Const(EXPONENT_MAX, 8), Mux(greatest.nan, EXPONENT_MAX, 0)[:8]
        for port, number, at_end, exponents in (
            (self.scale, read.data[:precision], infinite, [
                Mux(self.wide, wide.of_scale + more, plain.of_scale + more) + a.exponent for more in (0, 1)
            ]),
            (self.multiplier, read.data[precision:], zero, [
                Mux(self.wide, wide.of_multiplier + more, plain.of_multiplier + more) - a.exponent for more in (0, 1)
            ]),
        ):  # fmt: skip
            exponent, next_exponent = (
                register(m, Mux(greatest.special, at_end, each[:8]), "exponent") for each in exponents
            )
            fraction = Mux(special, Mux(nan, upper(NAN, bits)[: precision - 1], 0), number[:-1])
            found = Cat(fraction, Mux(number[-1], next_exponent, exponent), Const(0, 1))
            m.d.comb += port.eq(register(m, found, "factor"))


class _RowFactors(NamedTuple):
    """A word for each fraction of a: the fractions of scale and multiplier, the scale's below, each with a bit above it
    that is added to its exponent. That of the scale is `of_scale` plus a's, that of the multiplier `of_multiplier`
    minus a's."""

    words: list[int]
    of_scale: int
    of_multiplier: int


def _row_factors(precision: int, to: CodeFormat) -> _RowFactors:
    fractions = np.arange(1 << precision - 1, dtype=np.uint32) << WIDE - precision
    numbers = row_scale(from_bits(fractions | to_bits(1)), to, Arithmetic(precision))  # of a from 1 to 2
    scale, multiplier = (to_bits(each).astype(int) >> WIDE - precision for each in numbers)
    least = [int(each.min()) >> precision - 1 for each in (scale, multiplier)]
    scale, multiplier = scale - (least[0] << precision - 1), multiplier - (least[1] << precision - 1)
    return _RowFactors([*map(int, scale | multiplier << precision)], least[0] - EXPONENT_BIAS, least[1] + EXPONENT_BIAS)


class CodeLanes(wiring.Component):
    """o[lane] = code of value[lane] · multiplier, as `numerics.encode_rows`, `quantise_cycles` − 1 later, each cycle.

    The code is an int8; if the lanes are made for `digits`, the `digit` of it that is wanted, which holds still; for
    bf16 PEs bf16(value), whatever the multiplier. If they are made for `products`, too, product[lane] = value[lane] ·
    multiplier in the format of VALUE comes with it.
    """

    def __init__(self, config: HardwareConfig, *, digits: bool = False, products: bool = False):
        self._config = config
        self._digits = digits
        self._products = products
        lanes = config.vector_lanes
        products_out = {"product": Out(data.ArrayLayout(unsigned(config.value_bits), lanes))} if products else {}
        super().__init__({
            **products_out,
            "value": In(data.ArrayLayout(unsigned(config.vector_bits), config.vector_lanes)),
            "multiplier": In(config.vector_bits),
            "digit": In(Digit),
            "o": Out(data.ArrayLayout(signed(config.code_bits), config.vector_lanes)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        for lane in range(self._config.vector_lanes):
            code = self._encode_bf16 if self._config.pe == "bf16" else self._encode
            m.d.comb += self.o[lane].eq(code(m, lane))
        return m

    def _times(self, m: Module, lane: int) -> Value:
        m.submodules[f"times_{lane}"] = times = Multiply(self._config.precision)
        m.d.comb += [times.a.eq(self.value[lane]), times.b.eq(self.multiplier)]
        if self._products:
            stored = resized(m, times.o, self._config.value_bits, f"stored_{lane}")
            m.d.comb += self.product[lane].eq(delay(m, stored, ROUND_CYCLES, f"product_{lane}", reset_less=True))
        return times.o

    def _encode(self, m: Module, lane: int):
        precision = self._config.precision
        m.submodules[f"round_{lane}"] = code = RoundInt16(precision) if self._digits else RoundInt8(precision)
        m.d.comb += code.a.eq(self._times(m, lane))
        if not self._digits:
            return code.o
        # A whole code needs no saturation to ±127: 127·rcp(a) times what is at most a is less than 127.5.
        low = code.o[:8]
        return Mux(self.digit == Digit.HIGH, code.o[8:] + low[7], low)

    def _encode_bf16(self, m: Module, lane: int):
        if self._products:
            self._times(m, lane)
        code = to_bf16(m, self.value[lane])
        return delay(m, code, MULTIPLY_CYCLES + ROUND_CYCLES, name=f"rounded_{lane}", reset_less=True)

"""The front of SOFTMAX: from accumulators or values to masked scores, as arch/scores.py has them.

    acc ─ magnitude ─ normalise ─┬─ × ─ cut ─ + operand ─ t
          key scale × row scale ─┘            │
    (row, group), length ─ mask ─ −∞ ─────────┘

    cycle           1         2  3   4  5   6   7 … 10
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, FACTOR_BITS, MEMORY_CYCLES, SCORE_CYCLES, HardwareConfig
from ..arch.scores import SCORE_BITS
from .delay_line import DelayLine
from .float import MINUS_INFINITY, MINUS_ZERO, Add, resized
from .float_format import EXPONENT_BIAS, EXPONENT_BITS, EXPONENT_MAX, ONE, WIDE, Fields, compose, normalised
from .float_multiply import MULTIPLIER_BITS, product
from .mask import MASK_CYCLES, MASK_INPUTS, Mask
from .pipeline import delay, register

INTEGER_BITS = 32
UNMASKED_CYCLES = SCORE_CYCLES - ADD_CYCLES  # until a score meets what is added to it, and the mask


class Scores(wiring.Component):
    """t = score of acc (of `operand` if `from_value`) · key_scale · row_scale, + operand if `additive`; −∞ in lanes
    that are not seen. `hidden` tells where it is −∞.

    `row` and `group` come in the cycle of the read addresses, `length` NUMBER_CYCLES later, the operands MEMORY_CYCLES,
    `t` and `hidden` SCORE_CYCLES after these, a group every cycle if need be. The mask (see `Mask`), `from_value` and
    `additive` hold still while groups are under way. Operands are bits as the memories hold them.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        floats = data.ArrayLayout(unsigned(32), config.vector_lanes)
        super().__init__({
            **MASK_INPUTS,
            "from_value": In(1),
            "additive": In(1),
            "acc": In(floats),
            "key_scale": In(floats),
            "row_scale": In(32),
            "operand": In(data.ArrayLayout(unsigned(config.value_bits), config.vector_lanes)),
            "t": Out(floats),
            "hidden": Out(config.vector_lanes),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.mask = mask = Mask(config)
        m.submodules.operands = operands = DelayLine(config.value_bits * config.vector_lanes, UNMASKED_CYCLES - 1)
        # The mask starts with the addresses, and goes into a register before it is added.
        seen = delay(m, mask.seen, MEMORY_CYCLES + UNMASKED_CYCLES - 1 - MASK_CYCLES, name="seen")
        m.d.comb += [getattr(mask, name).eq(getattr(self, name)) for name in MASK_INPUTS]
        m.d.comb += operands.i.eq(self.operand)
        row_scale = Mux(self.from_value, ONE, self.row_scale)
        for lane in range(config.vector_lanes):
            m.submodules[f"score_{lane}"] = score = Score(config)
            m.submodules[f"plus_{lane}"] = plus = Add()
            operand = resized(m, operands.o.word_select(lane, config.value_bits), 32)
            added = Mux(seen[lane], Mux(self.additive, operand, MINUS_ZERO), MINUS_INFINITY)
            m.d.comb += [
                score.acc.eq(self.acc[lane]),
                score.from_value.eq(self.from_value),
                score.key_scale.eq(self.key_scale[lane]),
                score.row_scale.eq(row_scale),
                score.value.eq(resized(m, self.operand[lane], 32)),
                score.finite.eq(~seen[lane]),
                plus.a.eq(score.o),
                plus.b.eq(register(m, added, f"added_{lane}")),
                self.t[lane].eq(plus.o),
                self.hidden[lane].eq(plus.o[-1 - EXPONENT_BITS :].all()),
            ]
        return m


class Score(wiring.Component):
    """One score, before the mask, UNMASKED_CYCLES later. What would not be finite is anything finite if `finite` comes
    a cycle before it."""

    def __init__(self, config: HardwareConfig):
        self._config = config
        self._bits = FACTOR_BITS[config.precision]
        super().__init__({
            "acc": In(32),
            "value": In(32),
            "from_value": In(1),
            "key_scale": In(32),
            "row_scale": In(32),
            "finite": In(1),
            "o": Out(32),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        bits = self._bits
        # 1: a magnitude with what stands for its exponent, and two significands.
        x = Fields(Mux(self.from_value, self.value, self.acc))
        is_float = self.from_value if self._config.pe == "int8" else Const(1, 1)
        key, row = Fields(self.key_scale), Fields(self.row_scale)
        sign, absolute = Mux(is_float, x.sign, self.acc[-1]), Signal(INTEGER_BITS)
        m.d.comb += absolute.eq((self.acc ^ sign.replicate(INTEGER_BITS)) + sign)
        mantissa = Cat(Const(0, INTEGER_BITS - WIDE), x.mantissa)
        magnitude = register(m, Mux(is_float, mantissa, absolute), "magnitude")
        exponent = register(m, Mux(is_float, x.exponent, EXPONENT_BIAS + INTEGER_BITS - 1), "exponent")
        of_scales = register(m, (key.exponent + row.exponent - 2 * EXPONENT_BIAS)[:10].as_signed(), "of_scales")
        factors = [register(m, Cat(each.fraction, Const(1, 1))[-bits:], name)
                   for each, name in ((key, "key"), (row, "row"))]  # fmt: skip
        scales_zero, negative = key.zero | row.zero, sign ^ key.sign ^ row.sign
        special = (is_float & x.special) | key.special | row.special
        nan = (is_float & x.nan) | key.nan | row.nan

        # 2, 3: normalise; the product of the scales.
        high, high_zeros = normalised(m, magnitude, [16, 8], "high")
        high, high_zeros = register(m, high, "high"), register(m, high_zeros, "high_zeros")
        base = register(m, of_scales + exponent, "base")
        full, zeros = normalised(m, high, [4, 2, 1], "full")
        zero = register(m, ~full[-1], "zero_3") | delay(m, scales_zero, 3, "scales_zero", reset_less=True)
        exponent = register(m, base - Cat(zeros, high_zeros), "exponent_3")
        scales = product(m, *factors)[bits:]

        # 4, 5: the product of all.
        both = _product(m, register(m, full[-SCORE_BITS:], "factor"), scales)[-SCORE_BITS - 2 :]
        exponent, zero, special, nan, negative = (
            delay(m, each, cycles, name, reset_less=True)
            for each, cycles, name in ((exponent, 2, "exponent_5"), (zero, 2, "zero_5"), (special, 5, "special"),
                                       (nan, 5, "nan"), (negative, 5, "negative")))  # fmt: skip

        # 6: the leading one may be in three places.
        top, next_to_top = both[-1], both[-2] & ~both[-1]
        kept = Mux(top, both[2:], Mux(next_to_top, both[1:-1], both[:-2]))
        final = (exponent + Cat(next_to_top, top))[:11].as_signed()
        infinite, nan = special & ~self.finite, (nan | (special & zero)) & ~self.finite
        bits_of_score = compose(
            m, negative, final[:EXPONENT_BITS], kept[:-1],
            zero=zero | (final < 1), infinite=infinite, nan=nan, overflow=final >= EXPONENT_MAX,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits_of_score, "o"))
        return m


def _product(m: Module, x: Value, factor: Value) -> Value:
    """x · factor, two cycles later, x of SCORE_BITS."""
    if len(factor) == SCORE_BITS:
        return product(m, x, factor)
    below = SCORE_BITS - MULTIPLIER_BITS
    high, low = register(m, x[below:] * factor, "upper"), register(m, x[:below] * factor, "lower")
    return register(m, Cat(low[:below], (high + low[below:])[: len(high)]), "both")

"""The front of SOFTMAX: from accumulators or values to masked scores in fixed point, as arch/scores.py has them.

    acc ─ magnitude ─ normalise ─┬─ × ─ to its place ─ ± ─ + added ─ mask register ─ t
          key scale × row scale ─┘                          │          │
    operand ─ ± ─ to its place ─────────────────────────────┘          │
    (row, group), length ─ mask ───────────────────────────────────────┘

    cycle           1         2  3   4  5       6  7                   8
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import FACTOR_BITS, SCORE_CYCLES, HardwareConfig
from ..arch.scores import ADDED_BITS, FRACTION_BITS, HIDDEN, NO_SHIFT, SCORE_BITS, SHIFT_BITS, UNKNOWN
from .float_format import EXPONENT_BIAS, EXPONENT_BITS, ONE, WIDE, Fields, normalised
from .float_multiply import product
from .mask import MASK_CYCLES, MASK_INPUTS, Mask
from .pipeline import delay, register

INTEGER_BITS = 32
ADDED_LIMIT = ADDED_BITS - FRACTION_BITS - 1  # exponent from which on an added number is too much
PLACES = 11  # bits of a number of places, signed
PRODUCT_BITS = 32  # of a product of factors, before it is moved to its place
WAIT = SCORE_CYCLES - 1  # until a score meets what is added to it, and the mask
COARSE = 3  # of the number of places to move by, the bits that come second


class Scores(wiring.Component):
    """t = score of acc (of `operand` if `from_value`) · key_scale · row_scale, + operand if `additive`; HIDDEN in lanes
    that are not seen. `hidden` tells which have no weight.

    `row` and `group` come in the cycle of the read addresses, the operands and `length` MEMORY_CYCLES later, `t` and
    `hidden` SCORE_CYCLES after these, a group every cycle if need be. The mask (see `Mask`), `from_value` and
    `additive` hold still while groups are under way. Operands are bits as the memories hold them, those of VALUE
    widened to float32.
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
            "operand": In(floats),
            "t": Out(data.ArrayLayout(signed(32), config.vector_lanes)),
            "hidden": Out(config.vector_lanes),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.mask = mask = Mask(config)
        seen = delay(m, mask.seen, WAIT + 1 - MASK_CYCLES, name="seen")  # the mask starts a cycle before the data
        m.d.comb += [getattr(mask, name).eq(getattr(self, name)) for name in MASK_INPUTS]
        row_scale = Mux(self.from_value, ONE, self.row_scale)
        for lane in range(config.vector_lanes):
            m.submodules[f"score_{lane}"] = score = Score(config)
            m.d.comb += [
                score.acc.eq(self.acc[lane]),
                score.from_value.eq(self.from_value),
                score.additive.eq(self.additive),
                score.key_scale.eq(self.key_scale[lane]),
                score.row_scale.eq(row_scale),
                score.operand.eq(self.operand[lane]),
                score.seen.eq(seen[lane]),
                self.t[lane].eq(score.t),
                self.hidden[lane].eq(score.hidden),
            ]
        return m


class Score(wiring.Component):
    """One lane of `Scores`. `seen` comes a cycle before `t`."""

    def __init__(self, config: HardwareConfig):
        self._config = config
        self._bits = FACTOR_BITS[config.precision]
        super().__init__({
            "acc": In(32),
            "from_value": In(1),
            "additive": In(1),
            "key_scale": In(32),
            "row_scale": In(32),
            "operand": In(32),
            "seen": In(1),
            "t": Out(signed(32)),
            "hidden": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        size, negative, hides, unknown = self._scaled(m)
        number, number_hides, number_unknown = self._added(m)
        # A magnitude with its bits turned, and 1: as the carry into the lowest place.
        total = Signal(signed(34))
        signed_size = Cat(negative, size, negative).as_signed()
        m.d.comb += total.eq(signed_size + Cat(negative, number).as_signed())
        unknown = self.seen & (unknown | number_unknown)
        hidden = ~unknown & (~self.seen | hides | number_hides)
        m.d.sync += [
            self.hidden.eq(hidden),
            self.t.eq(Mux(unknown, UNKNOWN, Mux(hidden, HIDDEN, total[1:33].as_signed()))),
        ]
        return m

    def _scaled(self, m: Module) -> tuple[Value, Value, Value, Value]:
        """(magnitude, with all bits turned where negative; sign; whether −∞, whether +∞ or NaN), WAIT cycles later."""
        bits = self._bits
        # 1: a magnitude with what stands for its exponent, and two significands.
        x = Fields(Mux(self.from_value, self.operand, self.acc))
        is_float = self.from_value if self._config.pe == "int8" else Const(1, 1)
        key, row = Fields(self.key_scale), Fields(self.row_scale)
        sign, absolute = Mux(is_float, x.sign, self.acc[-1]), Signal(INTEGER_BITS)
        m.d.comb += absolute.eq((self.acc ^ sign.replicate(INTEGER_BITS)) + sign)
        mantissa = Cat(Const(0, INTEGER_BITS - WIDE), x.mantissa)
        magnitude = register(m, Mux(is_float, mantissa, absolute), "magnitude")
        exponent = register(m, Mux(is_float, x.exponent, EXPONENT_BIAS + INTEGER_BITS - 1), "exponent")
        of_scales = register(m, NO_SHIFT + 3 * EXPONENT_BIAS - key.exponent - row.exponent, "of_scales")
        factors = [register(m, Cat(each.fraction, Const(1, 1))[-bits:], name)
                   for each, name in ((key, "key"), (row, "row"))]  # fmt: skip
        scales_zero, negative = key.zero | row.zero, sign ^ key.sign ^ row.sign
        special = (is_float & x.special) | key.special | row.special
        nan = (is_float & x.nan) | key.nan | row.nan

        # 2, 3: normalise; the product of the scales.
        high, high_zeros = normalised(m, magnitude, [16, 8], "high")
        high, high_zeros = register(m, high, "high"), register(m, high_zeros, "high_zeros")
        base = register(m, of_scales - exponent, "base")
        full, zeros = normalised(m, high, [4, 2, 1], "full")
        nothing = register(m, ~full[-1], "nothing") | delay(m, scales_zero, 3, "scales_zero", reset_less=True)
        places = register(m, (base + Cat(zeros, high_zeros))[:PLACES].as_signed(), "places")
        scales, factor = product(m, *factors)[bits:], register(m, full[-bits:], "factor")

        # 4, 5: the product of all; how far to move it.
        moved = product(m, factor, scales)[2 * bits - PRODUCT_BITS :]
        over = delay(m, places[-1] & ~nothing, 2, "over", reset_less=True)
        nothing_5 = delay(m, nothing, 2, "nothing_5", reset_less=True)
        cleared = delay(m, (places[SHIFT_BITS:-1].any() & ~places[-1]) | nothing, 2, "cleared", reset_less=True)
        shift = delay(m, places[:SHIFT_BITS], 2, "shift", reset_less=True)

        # 6, 7: to its place. What is too much shows before.
        large = Mux(shift == 0, moved[SCORE_BITS:].any(), (shift == 1) & moved[-1]) & ~cleared
        over, cleared = register(m, over | large, "over_6"), register(m, cleared, "cleared_6")
        coarse = register(m, moved >> Cat(Const(0, COARSE), shift[COARSE:]), "coarse")
        fine = (coarse >> register(m, shift[:COARSE], "fine"))[:SCORE_BITS]
        held = (fine & ~cleared.replicate(SCORE_BITS)) | over.replicate(SCORE_BITS)
        turned = delay(m, negative, WAIT - 1, "negative", reset_less=True)
        size = register(m, held ^ turned.replicate(SCORE_BITS), "size")
        special, nan = (delay(m, each, WAIT - 1, name, reset_less=True)
                        for each, name in ((special, "special"), (nan, "nan")))  # fmt: skip
        no_number = nan | ~turned | delay(m, nothing_5, 1, "nothing_6", reset_less=True)
        hides, unknown = register(m, special & ~no_number, "hides"), register(m, special & no_number, "unknown")
        return size, register(m, turned, "turned"), hides, unknown

    def _added(self, m: Module) -> tuple[Value, Value, Value]:
        """(the number of the mask, whether it is −∞, whether +∞ or NaN), WAIT cycles later; 0 if there is none."""
        operand = Fields(self.operand)
        size = operand.mantissa[WIDE + EXPONENT_BITS - self._config.value_bits :]  # as much as a value has
        number = register(m, Mux(operand.sign, -size, size)[: len(size) + 1].as_signed(), "signed")
        sign, places = register(m, operand.sign, "added_sign"), EXPONENT_BIAS + ADDED_LIMIT - operand.exponent
        places = register(m, places[:PLACES].as_signed(), "added_places")
        far = places[SHIFT_BITS:-1].any() & ~places[-1]
        shift = register(m, places[:SHIFT_BITS] | far.replicate(SHIFT_BITS), "added_shift")
        over, sign = register(m, places[-1], "added_over"), register(m, sign, "added_sign_2")
        raised = Cat(Const(0, ADDED_BITS - len(size)), register(m, number, "signed_2")).as_signed()
        coarse = register(m, raised >> Cat(Const(0, COARSE), shift[COARSE:]), "added_coarse").as_signed()
        fine = register(m, coarse >> register(m, shift[:COARSE], "added_fine"), "added_number").as_signed()
        over, sign = (delay(m, each, 2, name, reset_less=True) for each, name in ((over, "over"), (sign, "sign")))
        limit = Cat((~sign).replicate(ADDED_BITS), sign)
        number = Mux(self.additive, Mux(over, limit, fine), 0)[: ADDED_BITS + 1]
        number = delay(m, number, WAIT - 4, "added", reset_less=True).as_signed()
        special = self.additive & operand.special
        hides, unknown = special & operand.sign & ~operand.nan, special & (~operand.sign | operand.nan)
        return number, *(delay(m, each, WAIT, name, reset_less=True)
                         for each, name in ((hides, "added_hides"), (unknown, "added_unknown")))  # fmt: skip

"""2^(t − greatest) of scores in fixed point, and sums of such powers: `power`, `fixed` and `total` of arch/scores.py.

    t ─ to its place ─ − greatest ─ to its unit ─┬─ segment ─ line ─ start ──┐
                                                 └─ place in it ──── × slope ─ + ─ round ─ p
    cycle 1                  2           3               4              5      6    7
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arch.config import FACTOR_BITS, POWER_CYCLES, HardwareConfig
from ..arch.functions import GUARD_BITS
from ..arch.scores import (
    FRACTION_BITS,
    KEPT_BITS,
    LEAST_REFERENCE,
    MOST_SHIFT,
    OFFSET_BITS,
    POWER_FRACTION_BITS,
    SCORE_BITS,
    SEGMENTS,
    SUM_BITS,
    SUM_FRACTION_BITS,
    WHOLE_BITS,
)
from .float_format import EXPONENT_BIAS, EXPONENT_BITS, NAN, Fields, normalised, upper
from .pipeline import delay, register

START_BITS, SLOPE_BITS = (max(numbers).bit_length() for numbers in zip(*SEGMENTS, strict=True))
DIFFERENCE_BITS = FRACTION_BITS + WHOLE_BITS
FIELD_BITS = SCORE_BITS + 2  # of the magnitude of a score beside the greatest
LEAST_BIASED = EXPONENT_BIAS + LEAST_REFERENCE
COARSE = 3  # of the number of places to move by, the bits that come second
SHIFT_BITS = 5  # of how far a power is moved to its place


class Reference(wiring.Component):
    """What the scores of a row are compared with, REFERENCE_CYCLES after its `greatest`.

    r is the exponent of the greatest, but at least LEAST_REFERENCE. `minus` is −greatest, cut to a multiple of the unit
    2^(r − SCORE_BITS), in this unit; `top` is r + 1, biased; `shift` the places from the unit to 2^−FRACTION_BITS, 31
    at most; `unknown` tells that the greatest is +∞ or NaN.
    """

    def __init__(self):
        super().__init__({
            "greatest": In(32),
            "minus": Out(signed(FIELD_BITS)),
            "top": Out(EXPONENT_BITS),
            "shift": Out(MOST_SHIFT.bit_length()),
            "unknown": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        greatest, bits = Fields(register(m, self.greatest, "given")), len(self.shift)
        above = Signal(signed(EXPONENT_BITS + 1))
        m.d.comb += above.eq(greatest.exponent - LEAST_BIASED)
        small, places = above[-1], (LEAST_BIASED - greatest.exponent)[:EXPONENT_BITS]  # two at once: neither waits
        far = small & places[bits:].any()
        whole = Cat(Const(0, 1), greatest.mantissa) & ~far.replicate(SCORE_BITS + 1)
        held = above[:bits] | above[bits:-1].any().replicate(bits)
        coarse = Mux(small, whole >> Cat(Const(0, COARSE), places[COARSE:bits]), whole)
        fine = register(m, coarse, "coarse") >> register(m, Mux(small, places[:COARSE], 0), "fine")
        minus, sign = Signal(signed(FIELD_BITS)), register(m, ~greatest.sign, "sign")
        m.d.comb += minus.eq((Cat(fine, Const(0, 1)) ^ sign.replicate(FIELD_BITS)) + sign)
        top = Mux(small, LEAST_BIASED + 1, greatest.exponent + 1)[:EXPONENT_BITS]
        unknown = greatest.special & ~greatest.sign
        m.d.comb += [
            self.minus.eq(register(m, minus, "minus").as_signed()),
            self.top.eq(delay(m, top, 2, "top", reset_less=True)),
            self.shift.eq(delay(m, Mux(small, 0, held), 2, "shift", reset_less=True)),
            self.unknown.eq(delay(m, unknown, 2, "unknown", reset_less=True)),
        ]
        return m


class Power(wiring.Component):
    """o = 2^(t − greatest) in the format of vector arithmetic, POWER_CYCLES later, a score every cycle; NaN if
    `unknown`. `minus`, `top`, `shift` and `unknown` of its row, from `Reference`, come with t, which is no greater."""

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "t": In(32),
            "minus": In(signed(FIELD_BITS)),
            "top": In(EXPONENT_BITS),
            "shift": In(MOST_SHIFT.bit_length()),
            "unknown": In(1),
            "o": Out(config.vector_bits),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        bits, width = self._config.function_bits, self._config.vector_bits
        difference, far = self._difference(m)
        unknown = delay(m, self.unknown, POWER_CYCLES - 1, "unknown", reset_less=True)

        m.submodules.segments = segments = Memory(
            shape=START_BITS + SLOPE_BITS, depth=len(SEGMENTS),
            init=[start | slope << START_BITS for start, slope in SEGMENTS],
        )  # fmt: skip
        read = segments.read_port()
        m.d.comb += [read.en.eq(1), read.addr.eq(difference[OFFSET_BITS:FRACTION_BITS])]
        start, slope = read.data[:START_BITS], read.data[START_BITS:]
        biased = (difference[FRACTION_BITS:].as_signed() + EXPONENT_BIAS)[:WHOLE_BITS]
        tiny = delay(m, far | biased[-1] | (biased == 0), 3, "tiny", reset_less=True)
        exponent = delay(m, biased[:EXPONENT_BITS], 3, "exponent", reset_less=True)
        product = register(m, slope * register(m, difference[:OFFSET_BITS], "offset"), "product")
        started = register(m, start, "start")
        size = Signal(POWER_FRACTION_BITS + 1)
        m.d.comb += size.eq((started << GUARD_BITS) + (product >> OFFSET_BITS - GUARD_BITS))
        size = register(m, size, "size")[:-1]  # without the leading one

        dropped = POWER_FRACTION_BITS + 1 - bits
        packed = (Cat(size[dropped:], exponent) + size[dropped - 1])[: bits - 1 + EXPONENT_BITS]
        number = Cat(Const(0, width - 1 - len(packed)), packed)
        o = Mux(unknown, upper(NAN, width), Mux(tiny, 0, number))
        m.d.comb += self.o.eq(register(m, o, "o"))
        return m

    def _difference(self, m: Module) -> tuple[Value, Value]:
        """(t − greatest in fixed point, whether that does not fit), DIFFERENCE_CYCLES later."""
        t, bits = Fields(self.t), len(self.shift)
        # 1, 2: t to its place beside the greatest; subtract.
        places = (self.top - t.exponent)[: EXPONENT_BITS + 1]
        beyond = register(m, places[-1], "beyond")
        raised = Cat(Const(0, 2), t.mantissa) & ~places[bits:-1].any().replicate(FIELD_BITS)
        coarse = register(m, raised >> Cat(Const(0, COARSE), places[COARSE:bits]), "coarse")
        fine, sign = coarse >> register(m, places[:COARSE], "fine"), register(m, t.sign, "sign")
        total = Signal(signed(FIELD_BITS + 2))
        turned = (Cat(fine, Const(0, 1)) ^ sign.replicate(FIELD_BITS + 1)).as_signed()
        minus = register(m, self.minus, "minus").as_signed()
        m.d.comb += total.eq(Cat(sign, turned).as_signed() + Cat(sign, minus).as_signed() >> 1)
        total, beyond = register(m, total, "total"), register(m, beyond, "beyond_2")

        # 3: to the place of its unit. Where a bit is lost that is not a sign it is too much.
        shift = delay(m, self.shift, 2, "shift", reset_less=True)
        value, lost = total[:DIFFERENCE_BITS], [_mixed(total[DIFFERENCE_BITS - 1 :])]
        for level in reversed(range(bits)):
            step = 1 << level
            moved = Signal(DIFFERENCE_BITS, name=f"moved_{step}")
            m.d.comb += moved.eq(Mux(shift[level], value << step, value))
            lost.append(shift[level] & _mixed(value[-step - 1 :]))
            value = moved
        return register(m, value, "difference"), register(m, beyond | Cat(lost).any(), "far")


def _mixed(bits: Value) -> Value:
    """Whether some of the bits are one and others zero."""
    return bits.any() & ~bits.all()


class RowPowers(wiring.Component):
    """The sum of a row's powers and of what is kept of blocks before, as a float of `factor_bits`, `total_cycles`
    after its last group.

    Groups come with `valid`, `first` with the first of a row and `last` with the last; `kept`, a float of that format,
    and `unknown` of their row with all of them. `o` is valid in the cycle of `o_valid`; NaN if `unknown`, or if `kept`
    is no finite number.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        self._bits = FACTOR_BITS[config.precision]
        lanes = config.vector_lanes
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "last": In(1),
            "data": In(data.ArrayLayout(unsigned(config.vector_bits), lanes)),
            "kept": In(EXPONENT_BITS + self._bits),
            "o_valid": Out(1),
            "o": Out(EXPONENT_BITS + self._bits),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes, levels = self._config.vector_lanes, self._config.vector_lanes.bit_length() - 1
        level = [self._in_place(m, each, f"{lane}") for lane, each in enumerate(self.data)]
        while len(level) > 1:
            level = [register(m, a + b, "tree") for a, b in zip(level[::2], level[1::2], strict=True)]
        kept = delay(m, self._kept_in_place(m), levels, "kept", reset_less=True)
        nan = Fields(self.data[0]).special | Fields(self.kept).special
        for lane in range(1, lanes):
            nan = nan | Fields(self.data[lane]).special
        valid = delay(m, self.valid, 2 + levels, "valid")
        first, last, nan = (delay(m, each, 2 + levels, name, reset_less=True)
                            for each, name in ((self.first, "first"), (self.last, "last"), (nan, "nan")))  # fmt: skip

        sum_so_far, none = Signal(SUM_BITS, reset_less=True), Signal(reset_less=True)
        with m.If(valid):
            m.d.sync += [
                sum_so_far.eq(Mux(first, kept, sum_so_far) + level[0]),
                none.eq(nan | (none & ~first)),
            ]
        m.d.comb += self.o_valid.eq(delay(m, valid & last, 3, "complete"))

        # To a float. A sum below 1 counts 1 more.
        whole = sum_so_far[SUM_FRACTION_BITS:]
        number = Cat(sum_so_far[:SUM_FRACTION_BITS], whole[0] | ~whole.any(), whole[1:])
        high, high_zeros = normalised(m, number, [16, 8], "high")
        high, high_zeros = register(m, high, "high"), register(m, high_zeros, "high_zeros")
        full, zeros = normalised(m, high, [4, 2, 1], "full")
        exponent = EXPONENT_BIAS + SUM_BITS - 1 - SUM_FRACTION_BITS - Cat(zeros, high_zeros)
        total = Cat(full[-self._bits : -1], exponent[:EXPONENT_BITS], Const(0, 1))
        none = register(m, none, "none")
        m.d.comb += self.o.eq(register(m, Mux(none, upper(NAN, len(self.o)), total), "o"))
        return m

    def _in_place(self, m: Module, p, name: str):
        """A power in the place that it has in a sum, two cycles later."""
        fields, bits = Fields(p), self._config.function_bits
        places = (~fields.exponent)[:-1]  # 127 − e
        far = places[SHIFT_BITS:].any()
        significand = Cat(fields.fraction, Const(1, 1))[-bits:] & ~far.replicate(bits)
        raised = Cat(Const(0, SUM_FRACTION_BITS + 1 - bits), significand)
        coarse = register(m, raised >> Cat(Const(0, COARSE), places[COARSE:SHIFT_BITS]), f"coarse_{name}")
        return register(m, coarse >> register(m, places[:COARSE], f"fine_{name}"), f"place_{name}")

    def _kept_in_place(self, m: Module):
        """What is kept, likewise."""
        fields, bits = Fields(self.kept), self._bits
        most = EXPONENT_BIAS + KEPT_BITS - 1 - SUM_FRACTION_BITS
        places = (most - fields.exponent)[: EXPONENT_BITS + 1].as_signed()
        shift_bits = KEPT_BITS.bit_length()
        far = fields.zero | (places[shift_bits:-1].any() & ~places[-1])
        raised = Cat(Const(0, KEPT_BITS - bits), Cat(fields.fraction, Const(1, 1)) & ~far.replicate(bits))
        coarse = register(m, raised >> Cat(Const(0, COARSE), places[COARSE:shift_bits]), "coarse_kept")
        fine = coarse >> register(m, places[:COARSE], "fine_kept")
        over = register(m, places[-1] & ~fields.zero, "over_kept")
        return register(m, Mux(over, (1 << KEPT_BITS) - 1, fine), "place_kept")

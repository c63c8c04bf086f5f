"""Any function of one number, by table: the evaluator of `arch/functions.py`, which has its equations.

       a ─► octave ─► descriptors ─► how to cut ─┬─► shift ─► words ─► c1·t ─► + c0 ─► normalise ─► round ─► o
        └─► significand (or |e|) · multiplier ───┘                  └─ ± e·multiplier ─┘
    cycle      1            2                        3         4        5        6          7          8

Each lane has an evaluator with tables of its own: two RAMs of 512 words of 36 bits, one with the descriptors of
TABLE_COUNT functions, one with their words. All lanes are written at once. Only the header of the function in use is
shared; it stands beside them in registers. Functions that never change are cheaper: hw/fixed_function.py.
"""


from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.functions import (
    COEFFICIENT_FRACTION_BITS,
    DESCRIPTOR_FIELDS,
    FRACTION_BITS,
    GEOMETRIC_BITS,
    GEOMETRIC_STEPS,
    GUARD_BITS,
    HEADER_FIELDS,
    LEAST_EXPONENT,
    LEAST_SHIFT,
    MOST_EXPONENT,
    NEVER,
    OCTAVES,
    OFFSET_BITS,
    PARITY_BITS,
    PLACE_BITS,
    POINT_BITS,
    POWER_BITS,
    SEGMENT_MASKS,
    SIGNED_FIELDS,
    SIGNIFICAND_BITS,
    SPECIAL_OCTAVE,
    SUM_BITS,
    TABLE_COUNT,
    WHOLE_BAND,
    WORD_BITS,
    WORD_COUNT,
    WORD_FIELDS,
    ZERO_OCTAVE,
    Mode,
    octave_of,
)
from .float_format import EXPONENT_BIAS, EXPONENT_MAX, NAN, Fields, normalised
from .float_format import FRACTION_BITS as FLOAT_FRACTION_BITS
from .pipeline import delay, register
from .ram import Ram
from .verilog import VerilogPlatform, shared


def _layout(fields) -> data.StructLayout:
    return data.StructLayout({name: signed(bits) if name in SIGNED_FIELDS else unsigned(bits) for name, bits in fields})


HEADER, DESCRIPTOR, WORD = _layout(HEADER_FIELDS), _layout(DESCRIPTOR_FIELDS), _layout(WORD_FIELDS)
_ADDRESS_BITS = (WORD_COUNT - 1).bit_length()
_MAGNITUDE_BITS = SUM_BITS - 1
_HIGH_ZEROS = _MAGNITUDE_BITS - 16
# Of a number with its leading one on top of the magnitude, and an exponent of its own of 0.
_SCALE = EXPONENT_BIAS + _MAGNITUDE_BITS - 1 - COEFFICIENT_FRACTION_BITS - GUARD_BITS
_STEPS = data.StructLayout({"zeros": 4, "shift": 4})


class Evaluator(wiring.Component):
    """o = f(a) as `functions.evaluate`, EVALUATE_CYCLES (8) later, a value every cycle; `a` and `o` are float32.

    `header` is that of f, and `table` tells whose descriptors count; both hold still while values are under way. With
    `write_en` the descriptor at `write_address`, or with `write_word` the word there, becomes `write_data`, and no
    value may then be under way that needs it. Of the fraction of `a`, `fraction_bits` (16 at most) are looked at: the
    others must be zeros, or do not count. `o` has `significand_bits`.
    """

    def __init__(self, fraction_bits: int = SIGNIFICAND_BITS - 1, significand_bits: int = SIGNIFICAND_BITS):
        self._dropped = FRACTION_BITS - fraction_bits
        self._significand_bits = significand_bits
        self._module = f"heddle_evaluator_{fraction_bits}_{significand_bits}"
        super().__init__({
            "a": In(32),
            "table": In(range(TABLE_COUNT)),
            "header": In(HEADER),
            "write_en": In(1),
            "write_word": In(1),
            "write_address": In(_ADDRESS_BITS),
            "write_data": In(WORD_BITS),
            "o": Out(32),
        })  # fmt: skip

    def elaborate(self, platform):
        if not isinstance(platform, VerilogPlatform) or platform.components.get(self._module) is self:
            return self._pipeline()
        return shared(platform, self, self._module)

    def _pipeline(self) -> Module:
        m = Module()
        a = Fields(self.a)
        fraction = Cat(Const(0, self._dropped), a.fraction[FLOAT_FRACTION_BITS - FRACTION_BITS + self._dropped :])

        # 1: everything that does not need the descriptor.
        found = self._read(m, "descriptors", Cat(fraction[PLACE_BITS], _octave(m, a), a.sign, self.table), 0)
        header = self.header  # it holds still
        is_fixed = header.origin != 0  # POWER and PERIOD, no BENT
        falling = Mux(fraction[PLACE_BITS], header.falling[1], header.falling[0])
        steps = _steps(fraction[:PLACE_BITS] ^ falling.replicate(PLACE_BITS))
        shift_fixed, is_huge = _shift_fixed(m, header.origin - a.exponent)
        early_shift = register(m, Mux(is_fixed, shift_fixed[:4], steps.shift), "early_shift")
        far, huge = register(m, shift_fixed[4], "far"), delay(m, is_huge, 2, "huge", reset_less=True)
        zeros = delay(m, steps.zeros, 2, "zeros", reset_less=True)
        complement = register(m, Mux(is_fixed, a.sign, falling), "complement")
        biased_1, place_1 = register(m, a.exponent, "biased_1"), register(m, fraction[:PLACE_BITS], "place_1")
        product_1 = self._product(m, a, fraction)

        # 2: the descriptor. The RAM is slow: one gate after it, not more.
        beyond = register(m, (place_1[PLACE_BITS - 2 :] >= found.split) & (found.split != NEVER), "beyond")
        shift = register(m, Mux(found.mode[3], early_shift, found.shift), "shift")  # BENT, POWER or PERIOD
        early_wide = Mux(is_fixed, Mux(far, product_1 >> 14, product_1 << 2), place_1 << WHOLE_BAND)
        early_wide = register(m, early_wide[:POINT_BITS], "early_wide")
        d = data.View(DESCRIPTOR, register(m, found.as_value(), "descriptor"))
        biased, place = register(m, biased_1, "biased_2"), register(m, place_1, "place_2")
        product = register(m, product_1, "product")
        exponent = register(m, (biased_1 - EXPONENT_BIAS)[:9].as_signed(), "exponent")
        sign = delay(m, a.sign, 2, "sign", reset_less=True)

        # 3: segment and place in it.
        is_early, flipped = d.mode[3], register(m, found.mode[3] & complement, "flipped")
        coarse, fine, point = Signal(POINT_BITS), Signal(POINT_BITS), Signal(POINT_BITS)
        m.d.comb += [
            coarse.eq(Mux(is_early, early_wide, place << WHOLE_BAND) >> (shift[1:] << 1)),
            # The last step takes in the one more beyond a split: added to the shift before, it would be in the way.
            fine.eq(Mux(beyond, Mux(shift[0], coarse >> 2, coarse >> 1), Mux(shift[0], coarse >> 1, coarse))),
            point.eq(fine ^ flipped.replicate(POINT_BITS)),
        ]
        segment = self._segment(m, d, beyond, point[OFFSET_BITS:], zeros, ~biased[0])
        whole = Cat(point[OFFSET_BITS + POWER_BITS :], sign).as_signed()
        whole = register(m, Mux(huge, Mux(sign, -1024, 1024), whole), "whole")
        offset = delay(m, point[:OFFSET_BITS], 2, "offset", reset_less=True)
        doubled = register(m, Mux(d.used, exponent << d.doublings, 0), "doubled")
        linear = register(m, Mux(d.mode == Mode.LOGARITHM, product[4:], 0), "linear")
        below_one = register(m, (d.mode == Mode.LOGARITHM) & ~biased[7] & ~biased[:7].all(), "below_one")

        # 4: the word, and the exponent of the result but for its own.
        is_power = register(m, d.mode == Mode.POWER, "is_power")
        halved = Value.cast(doubled)[1:]
        opposite = register(m, d.negative & d.used, "opposite")
        follows = (halved ^ opposite.replicate(len(halved))).as_signed()
        scale_4 = register(m, Mux(is_power, whole, follows), "scale_4")
        increment = delay(m, opposite & ~is_power, 2, "increment", reset_less=True)
        addend = register(m, linear ^ below_one.replicate(SUM_BITS), "addend")
        word = data.View(WORD, register(m, self._read(m, "words", segment, 1).as_value(), "word"))

        # 5: multiply. 6: add.
        slope = register(m, word.c1 * offset, "slope")
        start = register(m, ((word.c0 << GUARD_BITS) + Value.cast(addend).as_signed())[:SUM_BITS], "start")
        scale_5 = register(m, word.exponent + scale_4, "scale_5")
        scale = register(m, scale_5 + _SCALE + increment, "scale_6")
        total = Signal(signed(SUM_BITS))
        m.d.comb += total.eq(start + (slope >> OFFSET_BITS - GUARD_BITS))
        minus = total[-1]
        magnitude = total[:_MAGNITUDE_BITS] ^ minus.replicate(_MAGNITUDE_BITS)

        # 6, 7: normalise. 8: round.
        kept, zeros_high = normalised(m, magnitude, (_HIGH_ZEROS,), "high")
        kept, zeros_low = normalised(m, register(m, kept, "kept_6"), (8, 4, 2, 1), "low")
        kept = register(m, kept[-self._significand_bits - 1 :], "kept_7")
        # With the steps above taken away, and one more in case that rounding carries.
        scale_7 = scale - Mux(register(m, zeros_high, "zeros_6"), _HIGH_ZEROS, 0)
        scales = register(m, scale_7, "scale_7"), register(m, scale_7 + 1, "carried_7")
        zeros_7 = register(m, zeros_low, "zeros_7")
        infinite = delay(m, d.mode == Mode.INFINITE, 3, "infinite", reset_less=True)
        negative = (minus & ~infinite) ^ delay(m, d.flip, 3, "flip", reset_less=True)
        negative, infinite = (delay(m, each, 2, name, reset_less=True)
                              for each, name in ((negative, "negative"), (infinite, "infinite_5")))  # fmt: skip
        nan = delay(m, (d.mode == Mode.UNDEFINED) | delay(m, a.nan, 2, "a_nan", reset_less=True), 5, "nan",
                    reset_less=True)  # fmt: skip
        exponents = [each - zeros_7 for each in scales]
        m.d.comb += self.o.eq(register(m, self._result(m, negative, exponents, kept, infinite, nan), "o"))
        return m

    def _read(self, m: Module, name: str, address: Value, word: int) -> data.View:
        """What stands at `address` of one of the tables, a cycle later."""
        layout = WORD if word else DESCRIPTOR
        m.submodules[name] = ram = Ram(WORD_BITS, WORD_COUNT)
        m.d.comb += [
            ram.read_en.eq(1),
            ram.read_address.eq(address),
            ram.write_mask.eq(self.write_en & (self.write_word == word)),
            ram.write_address.eq(self.write_address),
            ram.write_data.eq(self.write_data),
        ]
        return data.View(layout, ram.read_data[: layout.size])

    def _product(self, m: Module, a: Fields, fraction: Value) -> Value:
        """V, a cycle later."""
        # 127 − X is the complement of X below 127.
        size = Mux(a.exponent[7], a.exponent[:7] + 1, ~a.exponent[:7])[:8]
        factor = Signal(FRACTION_BITS + 1)
        m.d.comb += factor.eq(Mux(self.header.of_exponent, size << 9, Cat(fraction, Const(1, 1))))
        used = register(m, factor[self._dropped :], "factor")
        product = Cat(Const(0, self._dropped), used * self.header.multiplier)
        return product[6:]

    def _segment(self, m: Module, d: data.View, beyond: Value, upper: Value, zeros: Value, odd: Value) -> Value:
        """The address of the word."""
        mask, extra = Signal(_ADDRESS_BITS), Signal(_ADDRESS_BITS)
        with m.Switch(d.mode):
            for mode, bits in SEGMENT_MASKS.items():
                with m.Case(mode):
                    m.d.comb += mask.eq(bits)
        with m.Switch(d.mode):
            with m.Case(Mode.PARITY):
                m.d.comb += extra.eq(odd << PARITY_BITS)
            with m.Case(Mode.BENT):
                m.d.comb += extra.eq(zeros << GEOMETRIC_BITS)
        return (upper[:_ADDRESS_BITS] & mask) | extra | Mux(beyond, d.second, d.base)

    def _result(
        self, m: Module, negative: Value, exponents: list[Value], kept: Value, infinite: Value, nan: Value
    ) -> Value:
        """float32 of a magnitude with its leading one in front and the bit to round by at the end. The second of the
        exponents counts if rounding makes the magnitude two."""
        bits, result = self._significand_bits - 1, Signal(31)
        carry = kept[:-1].all()
        fraction = (kept[1:-1] + kept[0])[:bits]
        plain, carried = exponents
        tiny = ~kept[-1] | Mux(carry, _is_tiny(carried), _is_tiny(plain))
        over = Mux(carry, _is_over(carried), _is_over(plain))
        packed = Cat(fraction, Mux(carry, carried[:8], plain[:8]))
        with m.If(infinite):
            m.d.comb += result.eq(EXPONENT_MAX << FLOAT_FRACTION_BITS)
        with m.Elif(tiny):
            m.d.comb += result.eq(0)
        with m.Elif(over):
            m.d.comb += result[FLOAT_FRACTION_BITS - bits :].eq((EXPONENT_MAX << bits) - 1)
        with m.Else():
            m.d.comb += result[FLOAT_FRACTION_BITS - bits :].eq(packed)
        return Mux(nan, NAN, Cat(result, negative))


def _shift_fixed(m: Module, places: Value) -> tuple[Value, Value]:
    """(the shift of POWER and PERIOD, `places` but from 0 to 31, whether it would be negative)."""
    held, signed_places = Signal(5, name="shift_fixed"), Signal(signed(9), name="places")
    m.d.comb += [
        signed_places.eq(places),
        held.eq(Mux(signed_places[-1], 0, Mux(signed_places[5:-1].any(), 31, signed_places[:5]))),
    ]
    return held, signed_places[-1]


def _steps(place: Value) -> data.View:
    """z, the leading zeros of `place`, GEOMETRIC_STEPS (9) at most, and the shift that follows."""
    chosen: Value = Const(GEOMETRIC_STEPS | LEAST_SHIFT << 4, _STEPS.size)
    for zeros in reversed(range(GEOMETRIC_STEPS)):
        shift = max(GEOMETRIC_STEPS + 1 - zeros, LEAST_SHIFT)
        chosen = Mux(place[PLACE_BITS - 1 - zeros], Const(zeros | shift << 4, _STEPS.size), chosen)
    return data.View(_STEPS, chosen)


def _is_tiny(exponent: Value) -> Value:
    """Whether a signed exponent is 0 or less."""
    return exponent[-1] | ~exponent.any()


def _is_over(exponent: Value) -> Value:
    """Whether one that is not tiny is that of infinities or more."""
    return exponent[8:-1].any() | (exponent[:8] == EXPONENT_MAX)


def _octave(m: Module, a: Fields) -> Signal:
    octave = Signal(range(OCTAVES))
    below = ~a.exponent[7] & ~a.exponent[4:7].all()  # 112 is the least
    above = a.exponent[7] & (a.exponent[4:7].any() | a.exponent[1:4].all())  # 141 is the most
    with m.If(a.zero):
        m.d.comb += octave.eq(ZERO_OCTAVE)
    with m.Elif(a.special):
        m.d.comb += octave.eq(SPECIAL_OCTAVE)
    with m.Elif(below):
        m.d.comb += octave.eq(octave_of(LEAST_EXPONENT))
    with m.Elif(above):
        m.d.comb += octave.eq(octave_of(MOST_EXPONENT))
    with m.Else():
        m.d.comb += octave.eq(a.exponent)
    return octave

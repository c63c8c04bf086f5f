"""exp2 and 1/x of activations, by tables of 64 segments with linear interpolation.

Both take the same three cycles: find segment and offset; read (c0, c1) of the segment from a ROM; interpolate.
Only the contents of the ROMs come from `arch/numerics.py`. Results carry 16 fraction bits.
"""

from typing import NamedTuple

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.data import StructLayout
from amaranth.lib.memory import Memory

from ..arch.numerics import EXP2_TABLE, INDEX_BITS, OFFSET_BITS, RCP_TABLE, TABLE_FRACTION_BITS
from .float_format import EXPONENT_BIAS, WIDE, Fields, Operator, compose
from .pipeline import delay, register

MANTISSA_BITS = 16  # fraction bits of the result
GUARD_BITS = TABLE_FRACTION_BITS - MANTISSA_BITS
POINT_BITS = INDEX_BITS + OFFSET_BITS  # fraction bits of the argument


class Argument(NamedTuple):
    """What addresses the ROM; combinational values."""

    address: Value  # of the segment in the ROM
    offset: Value  # in the segment, OFFSET_BITS
    exponent: Value  # of the result, not biased, signed, if the mantissa is below 2
    sign: Value
    zero: Value  # the result is zero, whatever the table says; likewise the next two, NaN before all
    infinite: Value
    nan: Value


class TableFunction(Operator):
    """o = function(a), TABLE_CYCLES (5) later. Subclasses give the table and the argument.

    Cycles 1 and 2: find the segment, and address the ROM with it (`argument`). Cycle 3: what it says to registers.
    Cycle 4: slope times offset. Cycle 5: add, and special values.
    """

    table: list[tuple[int, int]]

    def __init__(self, precision: int = WIDE):
        super().__init__(precision)

    def argument(self, m: Module) -> Argument:
        """The segment and special values of `self.a`, a cycle later."""
        raise NotImplementedError

    def logic(self):
        m = Module()
        argument = self.argument(m)
        # The half units that make truncations roundings are in the ROM already, as a part of c0.
        cut = MANTISSA_BITS - min(MANTISSA_BITS, self._precision - 1)  # fraction bits that this precision has not
        half_units = (1 << GUARD_BITS >> 1) + (1 << GUARD_BITS + cut >> 1 if cut else 0)
        slopes = [c1 for _, c1 in self.table]
        layout = StructLayout({"c0": TABLE_FRACTION_BITS + 2, "c1": _shape_of(slopes)})
        rows = [{"c0": c0 + half_units, "c1": c1} for c0, c1 in self.table]
        m.submodules.rom = rom = Memory(shape=layout, depth=len(rows), init=rows)
        segment = rom.read_port()
        m.d.comb += [segment.addr.eq(argument.address), segment.en.eq(1)]
        offset = delay(m, argument.offset, 2, "offset", reset_less=True)
        sign = delay(m, argument.sign, 3, "sign", reset_less=True)
        nan = delay(m, argument.nan, 3, "nan", reset_less=True)
        exponent = register(m, argument.exponent, "exponent").as_signed()
        # The mantissa, with its leading one, is added to an exponent one too small: it may be 2, too.
        base = register(m, (exponent + (EXPONENT_BIAS - 1))[:10], "base")
        zero = register(m, argument.zero, "argument_zero") | (exponent < -EXPONENT_BIAS)
        zero = delay(m, zero, 2, "zero", reset_less=True)
        least = delay(m, exponent == -EXPONENT_BIAS, 2, "least", reset_less=True)  # zero if the mantissa is below 2
        infinite = register(m, argument.infinite, "argument_infinite") | (exponent > EXPONENT_BIAS)
        infinite = delay(m, infinite, 2, "infinite", reset_less=True)

        c0, c1 = register(m, segment.data.c0, "c0"), register(m, segment.data.c1, "c1")
        start = register(m, (Cat(Const(0, TABLE_FRACTION_BITS), base) + c0)[: TABLE_FRACTION_BITS + 10], "start")
        rise = register(m, c1 * offset, "rise")

        interpolated = Signal(OFFSET_BITS + TABLE_FRACTION_BITS + 10)
        m.d.comb += interpolated.eq(Cat(Const(0, OFFSET_BITS), start) + rise)
        packed = interpolated[OFFSET_BITS + GUARD_BITS :]
        biased, fraction = packed[MANTISSA_BITS:], packed[cut:MANTISSA_BITS]
        if cut:  # to even: where nothing is left below the half that was added, it was a tie
            fraction = Cat(fraction[0] & packed[:cut].any(), fraction[1:])
        bits = compose(
            m, sign, biased, Cat(Const(0, self._precision - 1 - len(fraction)), fraction),
            zero=zero | (least & ~biased[0]), infinite=infinite, nan=nan,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits, "o"))
        return m


class Exp2(TableFunction):
    """o = 2**a as `numerics.interpolated_exp2`. The argument is floored to 22 fraction bits."""

    module = "heddle_exp2"
    table = EXP2_TABLE

    def argument(self, m: Module) -> Argument:
        a, p = Fields(self.a), self._precision
        # Shifted left by the lower 5 bits of the exponent |a| has its binary point at bit p + 30, or 32 bits lower from
        # |a| = 2 on; POINT_BITS below it are of use. What is less than 2⁻³¹ is 0, or if negative perhaps the multiple
        # of 2⁻²² below: the result is 1 of both, rounded.
        places, large = a.exponent[:5], a.exponent[7]
        dropped = p + 30 - POINT_BITS
        shifted = Cat(a.mantissa << places, Const(0, 8 + POINT_BITS))
        small = a.exponent < EXPONENT_BIAS - 31
        whole = Cat(Const(0, 32 - dropped), shifted)[: 7 + POINT_BITS]
        part = Mux(small, 0, shifted[dropped : dropped + 7 + POINT_BITS])
        lost = Cat(bit & (places < dropped - k) for k, bit in enumerate(a.mantissa)).any() & ~large
        truncated = register(m, Mux(large, whole, part), "truncated")
        exact = register(m, ~lost, "exact")
        sign = register(m, a.sign, "a_sign")
        huge = register(m, a.exponent > EXPONENT_BIAS + 6, "huge")  # 2¹²⁸ or more is the result, or 2⁻¹²⁸ or less

        fixed = Signal(signed(8 + POINT_BITS))
        m.d.comb += fixed.eq((Cat(truncated, Const(0, 1)) ^ sign.replicate(8 + POINT_BITS)) + (sign & exact))
        return Argument(
            address=fixed[OFFSET_BITS:POINT_BITS],
            offset=fixed[:OFFSET_BITS],
            exponent=fixed[POINT_BITS:].as_signed(),
            sign=Const(0, 1),
            zero=sign & huge,
            infinite=~sign & huge,
            nan=register(m, a.nan, "a_nan"),
        )


class Reciprocal(TableFunction):
    """o = 1 / a as `numerics.interpolated_rcp`."""

    module = "heddle_reciprocal"
    table = RCP_TABLE

    def argument(self, m: Module) -> Argument:
        a = Fields(register(m, self.a, "a"))
        fraction = _fraction(a)
        return Argument(
            address=fraction[OFFSET_BITS:],
            offset=fraction[:OFFSET_BITS],
            exponent=EXPONENT_BIAS - 1 - a.exponent,
            sign=a.sign,
            zero=a.infinite,
            infinite=a.zero,
            nan=a.nan,
        )


def _fraction(a: Fields) -> Value:
    """The upper POINT_BITS fraction bits of `a`, with zeros below where it has fewer."""
    return Cat(Const(0, max(0, POINT_BITS - len(a.fraction))), a.fraction)[-POINT_BITS:]


def _shape_of(numbers: list[int]):
    """The narrowest shape that holds all of them."""
    bits = max(abs(number) for number in numbers).bit_length()
    return signed(bits + 1) if min(numbers) < 0 else bits

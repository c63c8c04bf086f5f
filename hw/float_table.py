"""exp2, 1/x and 1/√x of float32 by tables of 64 segments with linear interpolation.

All three take the same three cycles: find segment and offset; read (c0, c1) of the segment from a ROM; interpolate.
Only the contents of the ROMs come from `arch/numerics.py`. Results carry 16 fraction bits.
"""

from typing import NamedTuple

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.data import StructLayout
from amaranth.lib.memory import Memory

from ..arch.numerics import EXP2_TABLE, INDEX_BITS, OFFSET_BITS, RCP_TABLE, RSQRT_TABLES, TABLE_FRACTION_BITS
from .float_format import EXPONENT_BIAS, EXPONENT_MAX, Fields, Operator, compose
from .pipeline import delay, register

MANTISSA_BITS = 16  # fraction bits of the result
GUARD_BITS = TABLE_FRACTION_BITS - MANTISSA_BITS
POINT_BITS = INDEX_BITS + OFFSET_BITS  # fraction bits of the argument


class Argument(NamedTuple):
    """What the first cycle finds; combinational values."""

    address: Value  # of the segment in the ROM
    offset: Value  # in the segment, OFFSET_BITS
    exponent: Value  # of the result, biased, signed, if the mantissa is below 2
    sign: Value
    zero: Value  # the result is zero, whatever the table says; likewise the next two, NaN before all
    infinite: Value
    nan: Value


class TableFunction(Operator):
    """o = function(a), TABLE_CYCLES (3) later. Subclasses give the table and the argument."""

    table: list[tuple[int, int]]

    def argument(self, m: Module) -> Argument:
        """The segment and special values of `self.a`."""
        raise NotImplementedError

    def logic(self):
        m = Module()
        argument = self.argument(m)
        address = Signal(range(len(self.table)), reset_less=True)
        result_exponent = Signal(signed(10), name="exponent", reset_less=True)
        m.d.sync += [address.eq(argument.address), result_exponent.eq(argument.exponent)]
        offset = delay(m, argument.offset, 2, "offset", reset_less=True)
        sign = delay(m, argument.sign, 2, "sign", reset_less=True)
        zero = delay(m, argument.zero, 2, "zero", reset_less=True)
        infinite = delay(m, argument.infinite, 2, "infinite", reset_less=True)
        nan = delay(m, argument.nan, 2, "nan", reset_less=True)

        # The half unit that makes the last truncation a rounding is in the ROM already, as a part of c0.
        slopes = [c1 for _, c1 in self.table]
        layout = StructLayout({"c0": TABLE_FRACTION_BITS + 2, "c1": _shape_of(slopes)})
        rows = [{"c0": c0 + (1 << (GUARD_BITS - 1)), "c1": c1} for c0, c1 in self.table]
        m.submodules.rom = rom = Memory(shape=layout, depth=len(rows), init=rows)
        segment = rom.read_port()
        m.d.comb += [segment.addr.eq(address), segment.en.eq(1)]
        # The mantissa, with its leading one, is added to an exponent one too small: it may be 2, too.
        base = register(m, result_exponent - 1, "base")

        interpolated, packed = Signal(OFFSET_BITS + TABLE_FRACTION_BITS + 2), Signal(signed(MANTISSA_BITS + 10))
        m.d.comb += [
            interpolated.eq(Cat(Const(0, OFFSET_BITS), segment.data.c0) + segment.data.c1 * offset),
            packed.eq((base << MANTISSA_BITS) + interpolated[OFFSET_BITS + GUARD_BITS :]),
        ]
        exponent = packed[MANTISSA_BITS:].as_signed()
        fraction = Cat(Const(0, 23 - MANTISSA_BITS), packed[:MANTISSA_BITS])
        bits = compose(
            m, sign, exponent, fraction,
            zero=zero | (exponent <= 0), infinite=infinite | (exponent >= EXPONENT_MAX), nan=nan,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits, "o"))
        return m


class Exp2(TableFunction):
    """o = 2**a as `numerics.exp2`. The argument is floored to 22 fraction bits."""

    module = "heddle_exp2"
    table = EXP2_TABLE

    def argument(self, m: Module) -> Argument:
        a = Fields(self.a)
        # |a| from 64 to below 128 is shifted left by as much as 5 bits can say, the others by less. Then the binary
        # point is 22 bits above what is dropped.
        most_places, most = 31, EXPONENT_BIAS + 6
        least = most - most_places
        dropped = most_places + 23 - 6 - POINT_BITS
        places, wide = Signal(5), Signal(24 + most_places)
        fixed = Signal(signed(8 + POINT_BITS))
        m.d.comb += [
            places.eq(a.exponent - least),
            wide.eq(Mux(a.exponent < least, 0, a.mantissa << places)),  # so near 0 the result rounds to 1
        ]
        truncated, exact = wide[dropped:], wide[:dropped] == 0
        m.d.comb += fixed.eq(Mux(a.sign, ~Cat(truncated, Const(0, 1)) + exact, truncated))
        whole = fixed[POINT_BITS:].as_signed()
        huge = a.exponent > most  # the result is 2¹²⁸ or more, or 2⁻¹²⁸ or less
        return Argument(
            address=fixed[OFFSET_BITS:POINT_BITS],
            offset=fixed[:OFFSET_BITS],
            exponent=whole + EXPONENT_BIAS,
            sign=Const(0, 1),
            zero=a.sign & huge,
            infinite=~a.sign & huge,
            nan=a.nan,
        )


class Reciprocal(TableFunction):
    """o = 1 / a as `numerics.rcp`."""

    module = "heddle_reciprocal"
    table = RCP_TABLE

    def argument(self, m: Module) -> Argument:
        a = Fields(self.a)
        return Argument(
            address=a.fraction[-INDEX_BITS:],
            offset=a.fraction[-POINT_BITS:-INDEX_BITS],
            exponent=2 * EXPONENT_BIAS - 1 - a.exponent,
            sign=a.sign,
            zero=a.infinite,
            infinite=a.zero,
            nan=a.nan,
        )


class ReciprocalSqrt(TableFunction):
    """o = 1 / √a as `numerics.rsqrt`. Even powers of two use the first half of the ROM, odd powers the second."""

    module = "heddle_reciprocal_sqrt"
    table = RSQRT_TABLES[0] + RSQRT_TABLES[1]

    def argument(self, m: Module) -> Argument:
        a = Fields(self.a)
        odd = ~a.exponent[0]  # the bias is odd
        return Argument(
            address=Cat(a.fraction[-INDEX_BITS:], odd),
            offset=a.fraction[-POINT_BITS:-INDEX_BITS],
            exponent=189 - a.exponent[1:] + odd,  # 126 − ((e − 127 − odd) >> 1)
            sign=Const(0, 1),
            zero=a.infinite,
            infinite=a.zero,
            nan=a.nan | (a.sign & ~a.zero),
        )


def _shape_of(numbers: list[int]):
    """The narrowest shape that holds all of them."""
    bits = max(abs(number) for number in numbers).bit_length()
    return signed(bits + 1) if min(numbers) < 0 else bits

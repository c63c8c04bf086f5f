"""exp2, 1/x and 1/√x of float32 by tables of 64 segments with linear interpolation.

All three take the same three cycles: find segment and offset; read (c0, c1) of the segment from a ROM; interpolate.
Only the contents of the ROMs come from `arch/numerics.py`. Results carry 16 fraction bits.
"""

from typing import NamedTuple

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arch.numerics import EXP2_TABLE, INDEX_BITS, OFFSET_BITS, RCP_TABLE, RSQRT_TABLES, TABLE_FRACTION_BITS
from .float_format import EXPONENT_BIAS, EXPONENT_MAX, NAN, Fields
from .pipeline import delay

MANTISSA_BITS = 16  # fraction bits of the result
POINT_BITS = INDEX_BITS + OFFSET_BITS  # fraction bits of the argument
MOST_PLACES = 31  # furthest that exp2 shifts its argument, as many as 5 bits count


class Argument(NamedTuple):
    """What the first cycle finds; combinational values."""

    address: Value  # of the segment in the ROM
    offset: Value  # in the segment, OFFSET_BITS
    exponent: Value  # of the result, biased, signed, not counting a mantissa of 2
    sign: Value
    zero: Value  # the result is zero, whatever the table says; likewise the others, NaN going first
    infinite: Value
    nan: Value


class TableFunction(wiring.Component):
    """o = function(a), TABLE_CYCLES (3) later; takes an operand every cycle. Subclasses give ROM and argument."""

    a: In(32)
    o: Out(32)
    table: list[tuple[int, int]]

    def argument(self, m: Module) -> Argument:
        """The segment and special values of `self.a`."""
        raise NotImplementedError

    def elaborate(self, platform):
        m = Module()
        argument = self.argument(m)
        exponent_1, offset_1 = Signal(signed(10)), Signal(OFFSET_BITS)
        address_1 = Signal(range(len(self.table)))
        sign_1, zero_1, infinite_1, nan_1 = (Signal(name=f"{n}_1") for n in ("sign", "zero", "infinite", "nan"))
        m.d.sync += [
            address_1.eq(argument.address),
            offset_1.eq(argument.offset),
            exponent_1.eq(argument.exponent),
            sign_1.eq(argument.sign),
            zero_1.eq(argument.zero),
            infinite_1.eq(argument.infinite),
            nan_1.eq(argument.nan),
        ]

        layout = data.StructLayout({"c0": TABLE_FRACTION_BITS + 2, "c1": _slope_shape(self.table)})
        # The half unit that makes the final truncation a rounding is part of c0 in the ROM.
        guard = TABLE_FRACTION_BITS - MANTISSA_BITS
        rows = [{"c0": c0 + (1 << (guard - 1)), "c1": c1} for c0, c1 in self.table]
        m.submodules.rom = rom = Memory(shape=layout, depth=len(rows), init=rows)
        segment = rom.read_port(domain="sync")
        m.d.comb += [segment.addr.eq(address_1), segment.en.eq(1)]
        offset, exponent, sign = delay(m, offset_1, 1), delay(m, exponent_1, 1), delay(m, sign_1, 1)
        zero, infinite, nan = delay(m, zero_1, 1), delay(m, infinite_1, 1), delay(m, nan_1, 1)

        # The mantissa is from 1 to 2, both included: with its leading one it is added to an exponent one too small.
        interpolated = Signal(OFFSET_BITS + TABLE_FRACTION_BITS + 2)
        packed = Signal(signed(MANTISSA_BITS + 10))
        result_exponent = Signal(signed(10))
        m.d.comb += [
            interpolated.eq(Cat(C(0, OFFSET_BITS), segment.data.c0) + segment.data.c1 * offset),
            packed.eq(Cat(C(0, MANTISSA_BITS), exponent - 1).as_signed() + interpolated[OFFSET_BITS + guard :]),
            result_exponent.eq(packed[MANTISSA_BITS:].as_signed()),
        ]
        with m.If(nan):
            m.d.sync += self.o.eq(NAN)
        with m.Elif(zero):
            m.d.sync += self.o.eq(Cat(C(0, 31), sign))
        with m.Elif(infinite | (result_exponent >= EXPONENT_MAX)):
            m.d.sync += self.o.eq(Cat(C(0, 23), C(EXPONENT_MAX, 8), sign))
        with m.Elif(result_exponent <= 0):
            m.d.sync += self.o.eq(Cat(C(0, 31), sign))
        with m.Else():
            m.d.sync += self.o.eq(Cat(C(0, 23 - MANTISSA_BITS), packed[: MANTISSA_BITS + 8], sign))
        return m


class Exp2(TableFunction):
    """o = 2**a as `numerics.exp2`. The argument is floored to 22 fraction bits."""

    table = EXP2_TABLE

    def argument(self, m: Module) -> Argument:
        a = Fields(self.a)
        # Left by 31 places at exponent 134 (|a| in [128, 256)), so right by 25 puts 22 bits below the binary point.
        least = EXPONENT_BIAS + 7 - MOST_PLACES
        dropped = MOST_PLACES + 23 - 7 - POINT_BITS
        places = Signal(8)
        wide = Signal(24 + MOST_PLACES)
        fixed = Signal(signed(9 + POINT_BITS))
        m.d.comb += [places.eq(a.exponent - least), wide.eq(Mux(a.exponent < least, ~a.zero, a.mantissa << places[:5]))]
        truncated, exact = wide[dropped:], wide[:dropped] == 0
        m.d.comb += fixed.eq(Mux(a.sign, ~Cat(truncated, C(0, 1)) + exact, truncated))
        whole = fixed[POINT_BITS:].as_signed()
        huge = a.exponent > EXPONENT_BIAS + 7
        return Argument(
            address=fixed[OFFSET_BITS:POINT_BITS],
            offset=fixed[:OFFSET_BITS],
            exponent=whole + EXPONENT_BIAS,
            sign=C(0, 1),
            zero=a.sign & (huge | (whole < 1 - EXPONENT_BIAS)),
            infinite=~a.sign & (huge | (whole > EXPONENT_BIAS)),
            nan=a.nan,
        )


class Reciprocal(TableFunction):
    """o = 1 / a as `numerics.rcp`."""

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

    table = RSQRT_TABLES[0] + RSQRT_TABLES[1]

    def argument(self, m: Module) -> Argument:
        a = Fields(self.a)
        odd = ~a.exponent[0]  # the bias is odd
        return Argument(
            address=Cat(a.fraction[-INDEX_BITS:], odd),
            offset=a.fraction[-POINT_BITS:-INDEX_BITS],
            # 126 − ((e − 127 − odd) >> 1)
            exponent=3 * EXPONENT_BIAS // 2 - 1 - a.exponent[1:] + odd,
            sign=C(0, 1),
            zero=a.infinite,
            infinite=a.zero,
            nan=a.nan | (a.sign & ~a.zero),
        )


def _slope_shape(table: list[tuple[int, int]]):
    """The narrowest shape that holds every c1."""
    slopes = [c1 for _, c1 in table]
    bits = max(abs(c1) for c1 in slopes).bit_length()
    return signed(bits + 1) if min(slopes) < 0 else bits

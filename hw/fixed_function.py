"""1/x and 1/√x of the format of vector arithmetic, by the tables of `arch/fixed_functions.py`: what the methods of
`numerics.Arithmetic` do.

    fraction ─┬─ segment ─ word ─ c0 ──┐
              └─ place in it ─── · c1 ─ + ─ round ─ range ─ o
    cycle 1         2              3     4     5       6

The segments of an octave serve all octaves, so nothing of what an evaluator of any function does to find them
(hw/function.py) is needed, and a sum of theirs is a significand, or half of one where x is just above a power of two.
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.memory import Memory

from ..arch.fixed_functions import RECIPROCAL, RSQRT
from ..arch.functions import EVALUATE_CYCLES, FRACTION_BITS, GUARD_BITS, PARITY_BITS, Table
from ..arch.numerics import FUNCTION_PRECISION
from .float_format import EXPONENT_BIAS, EXPONENT_BITS, WIDE, Fields, Operator, compose
from .pipeline import delay, register

SEGMENT_BITS = 1 + PARITY_BITS  # of a fraction
SUM_BITS = 17  # of a significand before it is rounded


class FixedFunction(Operator):
    """o = function(a), EVALUATE_CYCLES (8) later."""

    table: Table

    def __init__(self, precision: int = WIDE):
        super().__init__(precision)

    def logic(self) -> Module:
        m = Module()
        bits = min(self._precision, FUNCTION_PRECISION)
        a = Fields(delay(m, self.a, EVALUATE_CYCLES - 6, "a", reset_less=True))
        fraction = a.fraction[-FRACTION_BITS:]
        offset_bits = len(fraction) - SEGMENT_BITS

        address = self._address(a, fraction)
        words = self.table.words[: 1 << len(address)]
        c0_bits = max(word.c0 for word in words).bit_length()
        c1_bits = 1 + max(~word.c1 for word in words).bit_length()  # all of them are negative
        m.submodules.words = rom = Memory(
            shape=c0_bits + c1_bits, depth=len(words),
            init=[word.c0 | (word.c1 & (1 << c1_bits) - 1) << c0_bits for word in words],
        )  # fmt: skip
        read = rom.read_port()
        m.d.comb += [read.en.eq(1), read.addr.eq(register(m, address, "address"))]
        c0, c1 = read.data[:c0_bits], read.data[c0_bits:].as_signed()
        product = register(m, c1 * delay(m, fraction[:offset_bits], 2, "offset", reset_less=True), "product")
        total = Signal(SUM_BITS)
        start = Cat(Const(0, GUARD_BITS), register(m, c0, "start"))
        m.d.comb += total.eq(start + (product >> offset_bits - GUARD_BITS))
        total = register(m, total, "total")

        # Where the first segment begins is a power of two, and so is the result; all others are below one.
        first = delay(m, ~(address.any() | fraction.any()), 4, "first", reset_less=True)
        exponent = delay(m, self._exponent(a), 4, "exponent", reset_less=True) + first
        normal = Mux(total[-1], total[:-1], Cat(Const(0, 1), total[:-2]))
        dropped = SUM_BITS - bits
        packed = Signal(signed(bits - 1 + EXPONENT_BITS + 2))
        m.d.comb += packed.eq(Cat(normal[dropped:], exponent[: EXPONENT_BITS + 1]).as_signed() + normal[dropped - 1])
        packed = register(m, packed, "packed").as_signed()
        special, nan, infinite, sign = (delay(m, each, 5, name, reset_less=True) for each, name in (
            (a.infinite, "special"), (self._nan(a), "nan"), (a.zero, "infinite"), (a.sign, "sign")))  # fmt: skip
        result = packed[bits - 1 :].as_signed()
        bits_of_result = compose(
            m, sign, result, Cat(Const(0, self._precision - bits), packed[: bits - 1]),
            zero=special | (result < 1), infinite=infinite, nan=nan,
        )  # fmt: skip
        m.d.comb += self.o.eq(register(m, bits_of_result, "o"))
        return m

    def _address(self, a: Fields, fraction: Value) -> Value:
        """The number of the word."""
        raise NotImplementedError

    def _exponent(self, a: Fields) -> Value:
        """That of the result, biased, of an x that is no power of two."""
        raise NotImplementedError

    def _nan(self, a: Fields) -> Value:
        """Whether the result is NaN."""
        return a.nan


class Reciprocal(FixedFunction):
    """o = 1/a as `Arithmetic.rcp`."""

    module = "heddle_function_rcp"
    table = RECIPROCAL

    def _address(self, a: Fields, fraction: Value) -> Value:
        return fraction[-SEGMENT_BITS:]

    def _exponent(self, a: Fields) -> Value:
        return 2 * EXPONENT_BIAS - 1 - a.exponent


class ReciprocalSqrt(FixedFunction):
    """o = 1/√a as `Arithmetic.rsqrt`."""

    module = "heddle_function_rsqrt"
    table = RSQRT

    def _address(self, a: Fields, fraction: Value) -> Value:
        return Cat(fraction[-SEGMENT_BITS:-1], ~a.exponent[0], fraction[-1])  # an odd exponent: the bias is odd

    def _exponent(self, a: Fields) -> Value:
        return EXPONENT_BIAS - 1 + (EXPONENT_BIAS + 1) // 2 - ((a.exponent + 1) >> 1)

    def _nan(self, a: Fields) -> Value:
        return a.nan | (a.sign & ~a.zero)

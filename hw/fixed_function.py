"""2^x, 1/x and 1/√x of the format of vector arithmetic: evaluators (hw/function.py) whose tables are ROMs.

Their contents are those of `arch/fixed_functions.py`; they give what the methods of `numerics.Arithmetic` do.
"""

from amaranth import Cat, Const, Module

from ..arch.fixed_functions import EXP2, RECIPROCAL, RSQRT
from ..arch.functions import FRACTION_BITS, Table
from ..arch.numerics import FUNCTION_PRECISION
from .float_format import WIDE, Operator
from .function import Evaluator


class FixedFunction(Operator):
    """o = function(a), EVALUATE_CYCLES (8) later."""

    tables: tuple[Table, ...]

    def logic(self) -> Module:
        m = Module()
        precision = self._precision
        m.submodules.evaluator = evaluator = Evaluator(
            min(precision - 1, FRACTION_BITS), min(precision, FUNCTION_PRECISION), fixed=self.tables
        )
        m.d.comb += [
            evaluator.a.eq(Cat(Const(0, WIDE - precision), self.a)),
            self.o.eq(evaluator.o[WIDE - precision :]),
        ]
        return m


class Exp2(FixedFunction):
    """o = 2^a as `Arithmetic.exp2`."""

    module = "heddle_function_exp2"
    tables = (EXP2,)


class Reciprocal(FixedFunction):
    """o = 1/a as `Arithmetic.rcp`."""

    module = "heddle_function_rcp"
    tables = (RECIPROCAL,)


class ReciprocalSqrt(FixedFunction):
    """o = 1/√a as `Arithmetic.rsqrt`."""

    module = "heddle_function_rsqrt"
    tables = (RSQRT,)

"""Float operators of the datapath: pipelines without stall or valid, and combinational helpers.

Each operator takes operands `a` (and `b`) every cycle and gives `o` the cycles later that `arch/config.py` states,
bit for bit as the function of the same purpose in `arch/numerics.py` (so sums and products saturate), or the method of
that name of its `Arithmetic` of the precision that the operator is made for, 24 significand bits or 11:

| operator | numerics | cycles |
|---|---|---|
| Multiply | multiply | MULTIPLY_CYCLES |
| Add | add | ADD_CYCLES |
| LateAdd | add | SUM_CYCLES |
| ConvertInt32 | from_int32 | CONVERT_CYCLES |
| ConvertSum | from_integer | CONVERT_SUM_CYCLES |
| RoundInt8, RoundInt16 | round_int8, encode_rows before its digits | ROUND_CYCLES |
"""

from .float_add import Add, LateAdd
from .float_convert import ConvertInt32, ConvertSum, RoundInt8, RoundInt16, entered, narrowed
from .float_format import (
    MINUS_INFINITY,
    MINUS_ZERO,
    NAN,
    ONE,
    ZERO,
    Fields,
    constant,
    magnitude,
    maximum,
    negate,
    order_key,
    resized,
    shortened,
    to_bf16,
    upper,
)
from .float_multiply import Multiply

__all__ = [
    "MINUS_INFINITY", "MINUS_ZERO", "NAN", "ONE", "ZERO", "Add", "ConvertInt32", "ConvertSum", "Fields", "LateAdd",
    "Multiply", "RoundInt16", "RoundInt8", "constant", "entered", "magnitude", "maximum", "narrowed",
    "negate", "order_key", "resized", "shortened", "to_bf16", "upper",
]  # fmt: skip

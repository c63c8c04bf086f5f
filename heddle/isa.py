"""The instruction set under its public name: `heddle.isa.Load`. docs/isa.md says what each instruction does.

Here are the classes of instructions, what their fields choose from, and `INSTRUCTIONS`, which is all of the classes.
"""

from .arch.isa import INSTRUCTIONS
from .arch.isa.control import Guard, Halt
from .arch.isa.dma import Load, Store
from .arch.isa.index import IndexMap, IndexOperation
from .arch.isa.instruction import Instruction
from .arch.isa.kv import Append, Part, Stream
from .arch.isa.matrix import Matmul
from .arch.isa.norm import Norm, NormKind, Statistics
from .arch.isa.softmax import Masking, OnlineSoftmax, Result, Softmax
from .arch.isa.vector import (
    Axis,
    Codes,
    Combine,
    Digit,
    Function,
    Layout,
    Map,
    Quantise,
    Reduce,
    Reduction,
    Results,
    Scales,
    SecondOperand,
    Source,
    Tables,
)

__all__ = [
    "Append", "Axis", "Codes", "Combine", "Digit", "Function", "Guard", "Halt", "INSTRUCTIONS", "IndexMap",
    "IndexOperation", "Instruction", "Layout", "Load", "Map", "Masking", "Matmul", "Norm", "NormKind",
    "OnlineSoftmax", "Part", "Quantise", "Reduce", "Reduction", "Result", "Results", "Scales", "SecondOperand",
    "Softmax", "Source", "Statistics", "Store", "Stream", "Tables",
]  # fmt: skip

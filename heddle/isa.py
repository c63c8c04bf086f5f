"""The instruction set under its public name: `heddle.isa.Load`. docs/isa.md says what each instruction does.

Here are the classes of instructions, what their fields choose from, and `INSTRUCTIONS`, which is all of the classes.
"""

from enum import IntEnum

from .arch import isa as _isa
from .arch.isa import *  # noqa: F403
from .arch.isa import INSTRUCTIONS as INSTRUCTIONS
from .arch.isa.instruction import Instruction as Instruction

__all__ = sorted(  # pyright: ignore[reportUnsupportedDunderAll]
    ["INSTRUCTIONS", "Instruction", *(each.__name__ for each in INSTRUCTIONS)]
    + [name for name, each in vars(_isa).items()
       if isinstance(each, type) and issubclass(each, IntEnum) and each.__module__.startswith(_isa.__name__)]
)  # fmt: skip

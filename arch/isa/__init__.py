"""The instruction set: each instruction is one dataclass that holds its opcode, its fields and its equation.

Encoding and listing (encoding.py), docs/isa.md and the RTL's field layout all derive from these classes, so each bit
position exists once; what is asked of an instruction's operands anywhere, from where each is declared (operands.py).
Notation: `m` counts rows, `n` columns, `k` the reduction; addresses are in words of the memory
named; `word(n) = n // columns`. Every instruction waits for one token from each unit in `wait` before it starts and
sends one token to each unit in `signal` when it retires.

`scalar[r]` are the scalar registers, which the host writes before a run. A field `…_register` that is not 0 lets one of
them change a size or a place: `Instruction.resolved` says how. That happens at dispatch, so units see plain numbers.

An instruction is illegal if a field as written holds what stands in no table here (a size of 0, a memory that the unit
does not reach), if `wait` or `signal` names a unit that there is not, or any, where dispatch itself executes it (halt,
guard): the machine stops with ILLEGAL_INSTRUCTION (UNKNOWN_OPCODE where there is no such opcode), and nothing of it is
done. What else it stops at, docs/architecture.md says ("The life of a run"); mistakes beyond those it does not see.

DRAM addresses of `load` and `store` are offsets into the region that the host gives (DRAM_BASE), places of the cache
into that of KV_BASE.
"""

from __future__ import annotations

from ..operands import FLAG, Access
from . import control, dma, index, kv, matrix, norm, softmax, vector
from .control import *
from .dma import *
from .index import *
from .instruction import *
from .kv import *
from .matrix import *
from .norm import *
from .softmax import *
from .vector import *

INSTRUCTIONS: list[type[Instruction]] = [
    each for unit in (control, dma, index, kv, matrix, vector, softmax, norm) for each in unit.INSTRUCTIONS
]

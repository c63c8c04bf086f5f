"""What instructions change, compiled: a kernel for each unit that computes, with the results of `arch/numerics.py`."""

from __future__ import annotations

from ...arch.config import HardwareConfig
from ...arch.isa import Instruction
from .. import units
from ..state import State
from . import matrix, norm, softmax, vector

EXECUTE = {kind: kernel for unit in (matrix, vector, softmax, norm) for kind, kernel in unit.EXECUTE.items()}


def execute(instruction: Instruction, state: State, config: HardwareConfig) -> None:
    """Like `units.execute`: what has no kernel, or none for such PEs, as that does it."""
    kernel = EXECUTE.get(type(instruction))
    if kernel is None or (config.pe != "int8" and not kernel.bf16):
        units.execute(instruction, state, config)
    else:
        kernel.execute(instruction, state, config)

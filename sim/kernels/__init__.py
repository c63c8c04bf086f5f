"""What instructions change, compiled: a kernel for each unit that computes, with the results of `arch/numerics.py`."""

from __future__ import annotations

from ...arch.config import HardwareConfig, Unit
from ...arch.isa import Instruction, Map, Argmax, Norm
from ..state import State
from .. import units
from . import matrix, norm, softmax, vector

EXECUTE = {Unit.MATRIX: matrix.execute, Unit.VECTOR: vector.execute, Unit.SOFTMAX: softmax.execute, Unit.NORM: norm.execute}


def execute(instruction: Instruction, state: State, config: HardwareConfig) -> None:
    """Like `units.execute`."""
    compiled = EXECUTE.get(instruction.unit)
    if compiled is None or (config.pe != "int8" and not isinstance(instruction, (Map, Argmax, Norm))):
        units.execute(instruction, state, config)
    else:
        compiled(instruction, state, config)

"""What instructions change, compiled: a kernel for each unit that computes, with the results of `arch/numerics.py`."""

from __future__ import annotations

from ...arch.config import HardwareConfig, Unit
from ...arch.isa import Argmax, Instruction, Map, Norm
from .. import units
from ..state import State
from . import matrix, norm, softmax, vector

EXECUTE = {
    Unit.MATRIX: matrix.execute,
    Unit.VECTOR: vector.execute,
    Unit.SOFTMAX: softmax.execute,
    Unit.NORM: norm.execute,
}


def execute(instruction: Instruction, state: State, config: HardwareConfig) -> None:
    """Like `units.execute`."""
    plain = config.pe != "int8" and not isinstance(instruction, (Argmax, Map, Norm))
    if plain or instruction.unit not in EXECUTE:
        units.execute(instruction, state, config)
    else:
        EXECUTE[instruction.unit](instruction, state, config)  # type: ignore[arg-type]

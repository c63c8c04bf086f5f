"""For each unit: what an instruction changes (execute), how long it takes (cycles, or bursts where DRAM is used), and
when the next one may start."""

from ...arch.config import HardwareConfig, Unit
from ...arch.isa import Instruction, Matmul
from ..state import State
from . import kv, load, matrix, norm, softmax, store, vector

EXECUTE = {
    Unit.LOAD: load.execute,
    Unit.STORE: store.execute,
    Unit.KV: kv.execute,
    Unit.MATRIX: matrix.execute,
    Unit.VECTOR: vector.execute,
    Unit.SOFTMAX: softmax.execute,
    Unit.NORM: norm.execute,
}
CYCLES = {Unit.MATRIX: matrix.cycles, Unit.VECTOR: vector.cycles, Unit.SOFTMAX: softmax.cycles, Unit.NORM: norm.cycles}
SEGMENTS = {Unit.LOAD: load.segments, Unit.STORE: store.segments, Unit.KV: kv.segments}
BURSTS = {Unit.LOAD: load.bursts, Unit.STORE: store.bursts, Unit.KV: kv.bursts}


def occupied(instruction: Instruction, config: HardwareConfig) -> int:
    """Of a unit in CYCLES: from start to the first cycle in which the unit may start another instruction."""
    if isinstance(instruction, Matmul):
        return matrix.occupied(instruction, config)
    assert instruction.unit is not None
    return CYCLES[instruction.unit](instruction, config) + 1  # type: ignore[arg-type]


def headway(instruction: Instruction, config: HardwareConfig) -> int:
    """How much later than that an instruction starts, unless all before it have retired."""
    return matrix.headway(instruction, config) if isinstance(instruction, Matmul) else 0


def execute(instruction: Instruction, state: State, config: HardwareConfig) -> None:
    """Change `state` as the instruction does."""
    if instruction.unit is not None:
        EXECUTE[instruction.unit](instruction, state, config)  # type: ignore[arg-type]

"""For each unit: what an instruction changes (execute) and how long it takes (cycles, or bursts where DRAM is used)."""

from ...arch.config import HardwareConfig, Unit
from ...arch.isa import Instruction
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


def execute(instruction: Instruction, state: State, config: HardwareConfig) -> None:
    """Change `state` as the instruction does."""
    if instruction.unit is not None:
        EXECUTE[instruction.unit](instruction, state, config)  # type: ignore[arg-type]

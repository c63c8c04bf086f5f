"""For each instruction: what it changes (execute), how long it takes (cycles, or segments where DRAM is used), and when
the next one may start."""

from collections.abc import Mapping

from ...arch.config import HardwareConfig
from ...arch.isa import Instruction
from ..dram import Burst
from ..state import State
from . import index, kv, load, matrix, norm, softmax, store, vector
from .meaning import Meaning

MEANING: Mapping[type[Instruction], Meaning] = {
    kind: meaning
    for unit in (load, store, index, kv, matrix, vector, softmax, norm)
    for kind, meaning in unit.MEANING.items()
}
CYCLES = {kind: meaning.cycles for kind, meaning in MEANING.items() if meaning.cycles}
SEGMENTS = {kind: meaning.segments for kind, meaning in MEANING.items() if meaning.segments}


def execute(instruction: Instruction, state: State, config: HardwareConfig) -> None:
    """Change `state` as the instruction does. What dispatch does itself changes nothing."""
    if instruction.unit is not None:
        MEANING[type(instruction)].execute(instruction, state, config)


def cycles(instruction: Instruction, config: HardwareConfig) -> int:
    """D: from start to retire, of an instruction that does not use DRAM."""
    return CYCLES[type(instruction)](instruction, config)


def bursts(instruction: Instruction, config: HardwareConfig) -> list[Burst]:
    """All bursts, in order, of one that does."""
    return SEGMENTS[type(instruction)](instruction, config).bursts(config)


def occupied(instruction: Instruction, config: HardwareConfig) -> int:
    """From start to the first cycle in which the unit may start another, of an instruction that does not use DRAM."""
    meaning = MEANING[type(instruction)]
    return meaning.occupied(instruction, config) if meaning.occupied else cycles(instruction, config) + 1


def headway(instruction: Instruction, config: HardwareConfig) -> int:
    """How much later than that an instruction starts, unless all before it have retired."""
    meaning = MEANING[type(instruction)]
    return meaning.headway(instruction, config) if meaning.headway else 0

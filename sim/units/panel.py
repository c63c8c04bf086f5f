"""How many groups of `vector_lanes` columns a row of a panel takes, for VECTOR, SOFTMAX and NORM."""

from __future__ import annotations

from ...arch.config import HardwareConfig
from ...arch.isa import Norm, OnlineSoftmax, Softmax, VectorInstruction

Panel = VectorInstruction | Softmax | OnlineSoftmax | Norm


def read_groups(instruction: Panel, config: HardwareConfig) -> int:
    """g: up to the last column."""
    return -(-instruction.columns // config.vector_lanes)


def word_groups(instruction: Panel, config: HardwareConfig) -> int:
    """w: up to the end of the last word of VALUE or WEIGHT."""
    return -(-instruction.columns // config.columns) * config.columns // config.vector_lanes


def act_groups(instruction: Panel, config: HardwareConfig) -> int:
    """a: up to the end of the last word of ACT."""
    return -(-instruction.columns // config.rows) * config.rows // config.vector_lanes

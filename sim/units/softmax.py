"""SOFTMAX: scores in ACC → codes of un-normalised probabilities in ACT, and row scales that normalise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...arch.config import ADD_CYCLES, MEMORY_CYCLES, MULTIPLY_CYCLES, TABLE_CYCLES, HardwareConfig, Memory
from ...arch.isa import Softmax
from ...arch.numerics import softmax
from ..state import State, in_words
from .panel import act_groups, read_groups


def execute(instruction: Softmax, state: State, config: HardwareConfig) -> None:
    """Codes to ACT, scales to ROW."""
    i = instruction
    key_scale, value_scale = state.pairs(i.param_address, i.columns)
    additive = None
    if i.additive:
        additive = state.panel(Memory.VALUE, i.operand_address, i.operand_stride, i.rows, i.columns)
    codes, scales = softmax(
        state.panel(Memory.ACC, i.source_address, i.source_stride, i.rows, i.columns),
        key_scale, value_scale, state.row_numbers(i.row_address, i.rows), visible(i), config.vector_lanes, additive,
    )  # fmt: skip
    state[Memory.ACT].write(i.address, i.stride, in_words(codes, config.rows))
    state.write_row_numbers(i.scales_address, scales)


def visible(i: Softmax) -> NDArray[np.bool_]:
    """Which columns each row sees, (rows, columns)."""
    row, column = np.arange(i.rows)[:, None] + i.offset, np.arange(i.columns)
    seen = np.ones((i.rows, i.columns), bool)
    if i.causal:
        seen &= column <= row
    if i.window:
        seen &= column > row - i.window
    return seen


def cycles(instruction: Softmax, config: HardwareConfig) -> int:
    """D: from start to retire; three passes over the panel."""
    i, groups = instruction, read_groups(instruction, config)
    front = MEMORY_CYCLES + config.drain_front_cycles + ADD_CYCLES + 1
    maximum = i.rows * groups + front + config.row_maximum_cycles + 1
    row_period = max(groups, config.row_sum_tree_cycles)
    exponentials = front + ADD_CYCLES + TABLE_CYCLES
    sums = (i.rows - 1) * row_period + groups + exponentials + config.row_sum_cycles
    sums += TABLE_CYCLES + MULTIPLY_CYCLES + 1
    codes = i.rows * act_groups(i, config) + exponentials + MULTIPLY_CYCLES + config.quantise_cycles
    return maximum + sums + codes

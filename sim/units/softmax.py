"""SOFTMAX: scores in ACC → codes of un-normalised probabilities in ACT, and row scales that normalise; all columns at
once, or block by block with a state in ROW."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...arch.config import ADD_CYCLES, MEMORY_CYCLES, MULTIPLY_CYCLES, TABLE_CYCLES, HardwareConfig, Memory
from ...arch.isa import OnlineSoftmax, Softmax
from ...arch.numerics import arithmetic_of, code_format, online_softmax, softmax
from ..state import State, in_words
from .panel import act_groups, read_groups


def execute(instruction: Softmax | OnlineSoftmax, state: State, config: HardwareConfig) -> None:
    """Codes to ACT, scales to ROW; the state of an OnlineSoftmax to ROW too."""
    i = instruction
    key_scale, value_scale = state.pairs(i.param_address, i.columns)
    scores = state.panel(Memory.ACC, i.source_address, i.source_stride, i.rows, i.columns)
    row = state.row_numbers(i.row_address, i.rows)
    common = scores, key_scale, value_scale, row, visible(i), config.vector_lanes
    to, arithmetic = code_format(config), arithmetic_of(config)
    if isinstance(i, OnlineSoftmax):
        before = None
        if not i.first:
            before = state.row_numbers(i.state_address, i.rows), state.row_numbers(i.state_address + i.rows, i.rows)
        found = online_softmax(*common, before, to, arithmetic)
        codes, scales = found.codes, found.scale
        state.write_row_numbers(i.scales_address + i.rows, found.rescale)
        state.write_row_numbers(i.state_address, found.greatest)
        state.write_row_numbers(i.state_address + i.rows, found.total)
    else:
        additive = None
        if i.additive:
            additive = state.panel(Memory.VALUE, i.operand_address, i.operand_stride, i.rows, i.columns)
        codes, scales = softmax(*common, additive, to, arithmetic)
    state[Memory.ACT].write(i.address, i.stride, in_words(codes, config.rows))
    state.write_row_numbers(i.scales_address, scales)


def visible(i: Softmax | OnlineSoftmax) -> NDArray[np.bool_]:
    """Which columns each row sees, (rows, columns)."""
    together = isinstance(i, OnlineSoftmax) and i.together
    row = i.offset + (np.zeros(i.rows, int) if together else np.arange(i.rows))[:, None]
    column = np.arange(i.columns)
    seen = np.ones((i.rows, i.columns), bool)
    if i.causal:
        seen &= column <= row
    if i.window:
        seen &= column > row - i.window
    return seen


def cycles(instruction: Softmax | OnlineSoftmax, config: HardwareConfig) -> int:
    """D: from start to retire; three passes over the panel, and one over the state of blocks before."""
    i, groups = instruction, read_groups(instruction, config)
    online = isinstance(i, OnlineSoftmax)
    front = MEMORY_CYCLES + config.drain_front_cycles + (0 if online else ADD_CYCLES) + 1
    state = 2 * i.rows + MEMORY_CYCLES + 1 if online and not i.first else 0
    maximum = i.rows * groups + front + config.row_maximum_cycles + (2 if online else 1)
    row_period = max(groups, config.row_sum_tree_cycles)
    exponentials = front + config.probability_cycles
    sums = (i.rows - 1) * row_period + groups + exponentials + config.row_sum_cycles
    sums += (ADD_CYCLES if online else 0) + TABLE_CYCLES + MULTIPLY_CYCLES + (4 if online else 1)
    codes = i.rows * act_groups(i, config) + exponentials + MULTIPLY_CYCLES + config.quantise_cycles
    return state + maximum + sums + codes

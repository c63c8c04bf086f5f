"""SOFTMAX: scores in ACC or VALUE → codes of un-normalised probabilities in ACT, and row scales that normalise, or
probabilities in VALUE; all columns at once, or block by block with a state in ROW."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...arch import numerics
from ...arch.config import (
    MEMORY_CYCLES,
    MULTIPLY_CYCLES,
    POWER_CYCLES,
    REFERENCE_CYCLES,
    SCORE_CYCLES,
    SOFTMAX_ROW_INTERVAL,
    HardwareConfig,
    Memory,
)
from ...arch.functions import EVALUATE_CYCLES
from ...arch.isa import Masking, OnlineSoftmax, Result, Softmax, Source
from ...arch.numerics import arithmetic_of, code_format
from ..state import State, in_words
from .meaning import Meaning
from .panel import act_groups, read_groups, word_groups


def softmax(i: Softmax, state: State, config: HardwareConfig) -> None:
    """Codes to ACT and scales to ROW, or values to VALUE."""
    additive = None
    if i.mask is Masking.ADDITIVE:
        additive = state.panel(Memory.VALUE, i.operand_address, i.operand_stride, i.rows, i.columns)
    seen = visible(i)
    if i.mask is Masking.LENGTHS:
        lengths = state.index_numbers(i.operand_address, i.rows)
        seen = seen & (np.arange(i.columns) < lengths[..., None])
    given = *_operands(i, state), seen, additive
    if i.result is Result.VALUES:
        state.write_values(i.address, i.stride, numerics.softmax_values(*given, arithmetic_of(config)))
    else:
        _write(i, state, config, *numerics.softmax(*given, code_format(config), arithmetic_of(config)))


def online_softmax(i: OnlineSoftmax, state: State, config: HardwareConfig) -> None:
    """Codes to ACT, scales and state to ROW."""
    before = None
    if not i.first:
        before = state.row_numbers(i.state_address, i.rows), state.row_numbers(i.state_address + i.rows, i.rows)
    found = numerics.online_softmax(*_operands(i, state), visible(i), before, code_format(config),
                                    arithmetic_of(config))  # fmt: skip
    state.write_row_numbers(i.scales_address + i.rows, found.rescale)
    state.write_row_numbers(i.state_address, found.greatest)
    state.write_row_numbers(i.state_address + i.rows, found.total)
    _write(i, state, config, found.codes, found.scale)


def _operands(i: Softmax | OnlineSoftmax, state: State) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Scores, the scales of keys, those of values, and the factors of rows."""
    values = isinstance(i, Softmax) and i.source is Source.VALUE
    memory = Memory.VALUE if values else Memory.ACC
    scores = state.panel(memory, i.source_address, i.source_stride, i.rows, i.columns)
    factors = np.ones((1, i.rows), np.float32) if values else state.row_numbers(i.row_address, i.rows)
    return scores, *state.pairs(i.param_address, i.columns), factors


def _write(
    i: Softmax | OnlineSoftmax, state: State, config: HardwareConfig, codes: NDArray, scales: NDArray[np.float32]
) -> None:  # fmt: skip
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


def softmax_cycles(i: Softmax, config: HardwareConfig) -> int:
    """D: from start to retire; three passes over the panel."""
    return _passes(i, config)


def online_cycles(i: OnlineSoftmax, config: HardwareConfig) -> int:
    """D: the same, and a pass over the state of blocks before, of which something is kept."""
    kept = REFERENCE_CYCLES + POWER_CYCLES + 1 + MULTIPLY_CYCLES
    before = 0 if i.first else 2 * i.rows + MEMORY_CYCLES + 1 + kept
    return before + _passes(i, config) + 2


def _passes(i: Softmax | OnlineSoftmax, config: HardwareConfig) -> int:
    """Maxima, sums and results."""
    groups, front = read_groups(i, config), MEMORY_CYCLES + SCORE_CYCLES
    maximum = i.rows * groups + front + config.row_maximum_cycles + 3
    row_period = max(groups, SOFTMAX_ROW_INTERVAL)
    sums = (i.rows - 1) * row_period + groups + front + POWER_CYCLES + config.total_cycles
    sums += EVALUATE_CYCLES + 4 + MULTIPLY_CYCLES + 1
    to_values = isinstance(i, Softmax) and i.result is Result.VALUES
    written = word_groups(i, config) if to_values else act_groups(i, config)
    results = i.rows * written + front + POWER_CYCLES + MULTIPLY_CYCLES + config.quantise_cycles
    return maximum + sums + results


MEANING = {
    Softmax: Meaning(softmax, kernel=True, cycles=softmax_cycles),
    OnlineSoftmax: Meaning(online_softmax, kernel=True, cycles=online_cycles),
}

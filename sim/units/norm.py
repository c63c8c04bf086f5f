"""NORM: LayerNorm and RMSNorm of rows, VALUE → VALUE."""

from __future__ import annotations

from ...arch.config import MEAN_CYCLES, MEMORY_CYCLES, MULTIPLY_CYCLES, ROW_SUM_INTERVAL, HardwareConfig, Memory
from ...arch.isa import Norm, NormKind, Statistics
from ...arch.numerics import arithmetic_of, norm_with_statistics
from ..state import State
from .meaning import Meaning
from .panel import read_groups, word_groups


def execute(instruction: Norm, state: State, config: HardwareConfig) -> None:
    """Normalised rows to VALUE, statistics to ROW."""
    i = instruction
    gamma, beta = state.pairs(i.param_address, i.columns)
    x = state.panel(Memory.VALUE, i.source_address, i.source_stride, i.rows, i.columns)
    found = norm_with_statistics(x, gamma[:, None], beta[:, None], i.reciprocal, i.epsilon, config.vector_lanes,
                                 i.kind is NormKind.LAYER, arithmetic_of(config))  # fmt: skip
    state.write_values(i.address, i.stride, found.y)
    if i.statistics is not Statistics.NONE:
        sums = i.statistics is Statistics.SUMS
        numbers = (found.sum_of_x, found.sum_of_squares) if sums else (found.mean, found.deviation)
        for place, each in enumerate(numbers[i.kind is NormKind.RMS :]):
            state.write_row_numbers(i.statistics_address + place * i.rows, each)


def cycles(instruction: Norm, config: HardwareConfig) -> int:
    """D: from start to retire; two or three passes over the panel."""
    i, groups = instruction, read_groups(instruction, config)
    sums = (i.rows - 1) * max(groups, ROW_SUM_INTERVAL) + groups + MEMORY_CYCLES
    mean = sums + config.row_sum_cycles + MEAN_CYCLES
    deviation = sums + config.subtract_cycles + MULTIPLY_CYCLES + config.row_sum_cycles + config.deviation_cycles
    output = i.rows * word_groups(i, config) + MEMORY_CYCLES + config.normalise_cycles + 1
    return (mean if i.kind is NormKind.LAYER else 0) + deviation + output


MEANING = {Norm: Meaning(execute, kernel=True, cycles=cycles)}

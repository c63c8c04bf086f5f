"""VECTOR: Map and Quantise, elementwise on panels from ACC or VALUE."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...arch.config import MEMORY_CYCLES, HardwareConfig, Memory
from ...arch.isa import Codes, Combine, Map, Quantise, Scales, Source, VectorInstruction
from ...arch.numerics import map_values, quantise
from ..state import State, in_words
from .panel import act_groups, read_groups, word_groups


def execute(instruction: Map | Quantise, state: State, config: HardwareConfig) -> None:
    """Compute x(m, n); write it, or its codes and row scales."""
    x = _values(instruction, state)
    if isinstance(instruction, Map):
        state.write_values(instruction.address, instruction.stride, x)
        return
    codes, scales = quantise(x)
    _write_codes(instruction, state, config, codes)
    _write_scales(instruction, state, scales)


def _values(i: VectorInstruction, state: State) -> NDArray[np.float32]:
    """x(m, n), (batch or 1, rows, columns)."""
    memory = Memory.ACC if i.source is Source.ACC else Memory.VALUE
    scale = offset = operand = None
    if i.scaled:
        scale, offset = (each[:, None] for each in state.pairs(i.param_address, i.columns))
    if i.combine is not Combine.NONE:
        operand = state.panel(Memory.VALUE, i.operand_address, i.operand_stride, i.rows, i.columns)
    return map_values(
        state.panel(memory, i.source_address, i.source_stride, i.rows, i.columns),
        scale=scale,
        offset=offset,
        row_scale=state.row_numbers(i.row_address, i.rows) if i.row_scaled else None,
        kind=i.activation,
        combine=i.combine,
        operand=operand,
    )


def _write_codes(i: Quantise, state: State, config: HardwareConfig, codes: NDArray[np.int8]) -> None:
    if i.codes is Codes.ACT:
        state[Memory.ACT].write(i.address, i.stride, in_words(codes, config.rows))
    elif i.codes is Codes.WEIGHT:
        words = in_words(codes, config.columns).transpose(0, 2, 1, 3)  # (batch, blocks, rows, elements)
        state[Memory.WEIGHT].write(i.address, i.stride, words)
    else:
        for block, row in enumerate(range(0, i.rows, config.columns)):
            some = codes[:, row : row + config.columns].transpose(0, 2, 1)  # (batch, columns, rows of this word)
            words = state[Memory.WEIGHT].part(i.address + block * i.stride, i.columns, codes.shape[0])
            words[..., : some.shape[-1]] = some


def _write_scales(i: Quantise, state: State, scales: NDArray[np.float32]) -> None:
    if i.scales is Scales.ROW:
        state.write_row_numbers(i.scales_address, scales)
        return
    half = 0 if i.scales is Scales.PARAM_SCALE else 1
    per_word = state.config.columns
    for word, row in enumerate(range(0, i.rows, per_word)):
        some = scales[:, row : row + per_word]
        pairs = state[Memory.PARAM].part(i.scales_address + word, 1, scales.shape[0])
        pairs[:, 0, : some.shape[-1], half] = some


def cycles(instruction: Map | Quantise, config: HardwareConfig) -> int:
    """D: from start to retire."""
    i = instruction
    front = MEMORY_CYCLES + config.vector_map_cycles
    if isinstance(i, Map):
        return i.rows * word_groups(i, config) * i.interval + front
    maximum = i.rows * read_groups(i, config) * i.interval + front + config.row_maximum_cycles + config.row_scale_cycles
    match i.codes:
        case Codes.ACT:
            groups, spacing, tail = act_groups(i, config), i.interval, 0
        case Codes.WEIGHT:
            groups, spacing, tail = word_groups(i, config), i.interval, 0
        case _:  # the lanes of a group are written one after the other
            groups, spacing = read_groups(i, config), max(i.interval, config.vector_lanes)
            tail = config.vector_lanes - 1
    codes = (i.rows * groups - 1) * spacing + i.interval + front + config.quantise_cycles + tail
    return maximum + codes

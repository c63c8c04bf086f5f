"""MATRIX: ACT × WEIGHT → ACC, tile by tile on the systolic array."""

from __future__ import annotations

from ...arch.config import HardwareConfig, Memory
from ...arch.isa import Matmul
from ...arch.numerics import matmul_int8
from ..state import State


def execute(instruction: Matmul, state: State, config: HardwareConfig) -> None:
    """All tiles at once: int32 sums wrap, so their order does not matter."""
    i = instruction
    depth = i.k_tiles * config.rows
    act = state[Memory.ACT].read(i.act_address, i.act_stride, i.rows, i.k_tiles)
    act = act.reshape(act.shape[0], i.rows, depth)  # (batch, M, K)
    weight = state[Memory.WEIGHT].read(i.weight_address, i.weight_stride, i.n_tiles, depth)
    weight = weight.transpose(0, 2, 1, 3).reshape(weight.shape[0], depth, -1)  # (batch, K, N)
    if weight.shape[0] == 1:  # the same for all inputs: one large product
        act = act.reshape(1, -1, depth)
    sums = matmul_int8(act, weight)
    sums = sums.reshape(-1, i.rows, i.n_tiles, config.columns)
    if i.accumulate:
        sums = sums + state[Memory.ACC].read(i.acc_address, i.acc_stride, i.rows, i.n_tiles)
    state[Memory.ACC].write(i.acc_address, i.acc_stride, sums)


def cycles(instruction: Matmul, config: HardwareConfig) -> int:
    """D: from start to retire."""
    i = instruction
    period = max(i.rows, config.tile_turnaround_cycles)
    return config.rows + 1 + (i.k_tiles * i.n_tiles - 1) * period + i.rows + config.matrix_drain_cycles

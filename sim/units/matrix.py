"""MATRIX: ACT × WEIGHT → ACC, tile by tile on the systolic array."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...arch.config import HardwareConfig, Memory
from ...arch.isa import Matmul
from ...arch.numerics import add, matmul_bf16, matmul_int8
from ..state import State
from .meaning import Meaning

SUMS_AT_ONCE = 1 << 18  # float32 sums that are held while tiles are multiplied side by side


def execute(instruction: Matmul, state: State, config: HardwareConfig) -> None:
    """All tiles at once: int32 sums wrap, so their order does not matter; that of bf16 products is kept."""
    i = instruction
    depth = i.k_tiles * config.rows
    act = state[Memory.ACT].read(i.act_address, i.act_stride, i.rows, i.k_tiles)
    act = act.reshape(act.shape[0], i.rows, depth)  # (batch, M, K)
    weight = state[Memory.WEIGHT].read(i.weight_address, i.weight_stride, i.n_tiles, depth)
    weight = weight.transpose(0, 2, 1, 3).reshape(weight.shape[0], depth, -1)  # (batch, K, N)
    if weight.shape[0] == 1:  # the same for all inputs: one large product
        act = act.reshape(1, -1, depth)
    shape = -1, i.rows, i.n_tiles, config.columns
    before = state[Memory.ACC].read(i.acc_address, i.acc_stride, i.rows, i.n_tiles) if i.accumulate else None
    if config.pe == "int8":
        sums = matmul_int8(act, weight).reshape(shape)
        sums = sums if before is None else sums + before
    else:
        tiles = (each.reshape(shape) for each in tile_sums(act, weight, config.rows))
        sums = next(tiles) if before is None else add(before, next(tiles))
        for each in tiles:
            sums = add(sums, each)
    state[Memory.ACC].write(i.acc_address, i.acc_stride, sums)


def tile_sums(act: NDArray[np.float32], weight: NDArray[np.float32], rows: int) -> Iterator[NDArray[np.float32]]:
    """For each tile of `rows` along K, act (batch, M, K) @ weight (batch, K, N) as `numerics.matmul_bf16` adds it.

    Products of bf16 numbers are exact in float32. Where neither they nor their sums can leave the range of normal
    numbers, there is nothing to flush, and tiles are summed side by side.
    """
    batch, count = max(act.shape[0], weight.shape[0]), act.shape[-1] // rows
    sums_of_tile = batch * act.shape[1] * weight.shape[2]
    at_once = max(1, SUMS_AT_ONCE // sums_of_tile) if _stays_normal(act, weight, rows) else 0
    if not at_once:
        for k in range(0, act.shape[-1], rows):
            yield matmul_bf16(act[..., k : k + rows], weight[:, k : k + rows], rows)
        return
    left = act.reshape(*act.shape[:2], count, rows).transpose(0, 2, 1, 3)  # (batch, tiles, M, rows)
    right = weight.reshape(weight.shape[0], count, rows, -1)  # (batch, tiles, rows, N)
    for tile in range(0, count, at_once):
        some = slice(tile, min(tile + at_once, count))
        sums = np.zeros((batch, some.stop - tile, act.shape[1], weight.shape[2]), np.float32)
        for k in range(rows):
            sums += left[:, some, :, k, None] * right[:, some, k, None, :]
        yield from sums.swapaxes(0, 1)


def _stays_normal(act: NDArray[np.float32], weight: NDArray[np.float32], rows: int) -> bool:
    """Whether all products and sums of `rows` of them are zero or normal numbers. All are multiples of 2⁻¹⁴ of the
    smallest product, a bf16 having 7 bits of fraction."""
    least, most = 1.0, float(rows)
    for operand in (act, weight):
        magnitude = np.abs(operand)
        if not np.isfinite(magnitude).all():
            return False
        most *= float(magnitude.max(initial=0))
        least *= 2.0 ** np.floor(np.log2(float(magnitude.min(initial=np.inf, where=magnitude > 0))))
    return least * 2.0**-14 >= 2.0**-126 and most < 2.0**127


def cycles(instruction: Matmul, config: HardwareConfig) -> int:
    """D: from start to retire."""
    i = instruction
    last_tile = occupied(i, config) - tile_period(i, config)
    return config.rows + 1 + last_tile + i.rows + config.matrix_drain_cycles


def occupied(instruction: Matmul, config: HardwareConfig) -> int:
    """From start to the first cycle in which the next Matmul may start, whose rows then follow without a bubble."""
    return instruction.k_tiles * instruction.n_tiles * tile_period(instruction, config)


def headway(instruction: Matmul, config: HardwareConfig) -> int:
    """How much later it starts behind another one: its first row may add to what the last row before it writes."""
    return config.accumulation_cycles - 1 if instruction.accumulate else 0


def tile_period(instruction: Matmul, config: HardwareConfig) -> int:
    """P: from the first row of a tile to that of the next."""
    return max(instruction.rows, config.tile_turnaround_cycles)


MEANING = {Matmul: Meaning(execute, kernel=True, cycles=cycles, occupied=occupied, headway=headway)}

"""MATRIX with int8 PEs, compiled. Sums of up to 1,024 products of codes are exact in float32, in any order."""

from __future__ import annotations

import numpy as np

from ...arch.config import HardwareConfig, Memory
from ...arch.isa import Matmul
from ..jit import entry, entry_contracted
from ..state import State
from .float32 import f4, i4
from .vector import place

EXACT_DEPTH = 1024  # products in one exact sum
STRIP_COLUMNS = 128  # at least, and at most the columns of one tile
BLAS_ROWS = 8  # from so many rows on that share their weights, BLAS is faster, in spite of the copies that it needs


def execute(i: Matmul, state: State, config: HardwareConfig) -> None:
    """Like `units.matrix.execute`."""
    depth, columns = i.k_tiles * config.rows, i.n_tiles * config.columns
    act = state[Memory.ACT].rows(i.act_address, i.act_stride, i.rows, i.k_tiles)
    weight = state[Memory.WEIGHT].rows(i.weight_address, i.weight_stride, i.n_tiles, depth)
    acc = state[Memory.ACC]
    before = acc.rows(i.acc_address, i.acc_stride, i.rows, i.n_tiles) if i.accumulate else None
    batch = state.batch if act[1] or weight[1] or (before and before[1]) else 1
    into = acc.rows_for(i.acc_address, i.acc_stride, i.rows, i.n_tiles, batch)
    for start in range(0, depth, EXACT_DEPTH):
        some = min(EXACT_DEPTH, depth - start)
        place_of_codes = batch, i.rows, start, some, act, weight, config.columns
        added, source = before is not None, before or into
        if batch * i.rows < BLAS_ROWS:
            strip = max(1, min(i.n_tiles, STRIP_COLUMNS // config.columns))
            deep = -(-some // 4) * 4
            buffers = np.zeros((deep, strip * config.columns), np.float32), np.zeros(deep, np.float32)
            product_rows(*place_of_codes, i.n_tiles, strip, *buffers, np.empty(strip * config.columns, np.float32),
                         added, source, into)  # fmt: skip
        else:
            left = state.scratch("left", batch, i.rows, some)
            right = state.scratch("right", batch if weight[1] else 1, some, columns)
            sums = state.scratch("sums", batch, i.rows, columns)
            unpack_codes(*place_of_codes, i.n_tiles, left, right)
            if weight[1]:
                np.matmul(left, right, out=sums)
            else:
                np.matmul(left.reshape(-1, some), right[0], out=sums.reshape(-1, columns))
            store_sums(sums, added, source, into)
        before = into


@entry
def unpack_codes(batch, rows, start, depth, act, weight, per_word, tiles, left, right):
    """Codes as matrices of float32, (batch, rows, depth) and (batch or 1, depth, columns)."""
    for b in range(batch):
        for m in range(rows):
            at = place(act, b, m) + start
            codes, row = act[0][at : at + depth], left[b, m]
            for k in range(depth):
                row[k] = f4(codes[k])
    for b in range(len(right)):
        for tile in range(tiles):
            at = place(weight, b, tile) + start * per_word
            for k in range(depth):
                word, row = weight[0][at : at + per_word], right[b, k, tile * per_word : (tile + 1) * per_word]
                for n in range(per_word):
                    row[n] = f4(word[n])
                at += per_word


@entry
def store_sums(sums, added, before, into):
    """Sums (batch, rows, columns) to ACC."""
    batch, rows, columns = sums.shape
    for b in range(batch):
        for m in range(rows):
            at = place(into, b, m)
            result, row = into[0][at : at + columns], sums[b, m]
            if added:
                at = place(before, b, m)
                old = before[0][at : at + columns]
                for n in range(columns):
                    result[n] = i4(old[n] + i4(row[n]))
            else:
                for n in range(columns):
                    result[n] = i4(row[n])


@entry_contracted
def product_rows(batch, rows, start, depth, act, weight, per_word, tiles, strip, right, left, sums, added, before,
                 into):  # fmt: skip
    """Products of each row with weights of its own input, strips of some tiles one after the other."""
    for b in range(batch):
        for first in range(0, tiles, strip):
            count = min(strip, tiles - first)
            columns = count * per_word
            for tile in range(count):
                at = place(weight, b, first + tile) + start * per_word
                codes = weight[0][at : at + depth * per_word]
                for k in range(depth):
                    word = codes[k * per_word : (k + 1) * per_word]
                    part = right[k, tile * per_word : (tile + 1) * per_word]
                    for n in range(per_word):
                        part[n] = f4(word[n])
            for m in range(rows):
                at = place(act, b, m) + start
                codes = act[0][at : at + depth]
                for k in range(depth):
                    left[k] = f4(codes[k])
                for n in range(columns):
                    sums[n] = f4(0)
                for k in range(0, len(left), 4):
                    a0, a1, a2, a3 = left[k], left[k + 1], left[k + 2], left[k + 3]
                    w0, w1, w2, w3 = right[k], right[k + 1], right[k + 2], right[k + 3]
                    for n in range(columns):
                        sums[n] += a0 * w0[n] + a1 * w1[n] + a2 * w2[n] + a3 * w3[n]
                at = place(into, b, m) + first * per_word
                result = into[0][at : at + columns]
                if added:
                    at = place(before, b, m) + first * per_word
                    old = before[0][at : at + columns]
                    for n in range(columns):
                        result[n] = i4(old[n] + i4(sums[n]))
                else:
                    for n in range(columns):
                        result[n] = i4(sums[n])

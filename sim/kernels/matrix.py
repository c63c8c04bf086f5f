"""MATRIX with int8 PEs, compiled: codes as int16, of which CPUs add two products to a sum in one instruction."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ...arch.config import HardwareConfig, Memory
from ...arch.isa import Matmul
from ..jit import entry, inlined_late
from ..state import State
from .float32 import i4
from .kernel import Kernel
from .vector import place

_intrinsic: Any = intrinsic  # pyright takes what it makes for what it is made of
ROWS, LANES = 8, 16  # of a block whose sums stay in registers
STRIP_COLUMNS, STRIP_DEPTH = 128, 1024  # of the weights that are unpacked at a time; at least a tile
LEFT_COLUMNS = STRIP_DEPTH + 32  # from row to row of what is unpacked: not a power of two apart


def execute(i: Matmul, state: State, config: HardwareConfig) -> None:
    """Like `units.matrix.execute`."""
    depth = i.k_tiles * config.rows
    act = state[Memory.ACT].rows(i.act_address, i.act_stride, i.rows, i.k_tiles)
    weight = state[Memory.WEIGHT].rows(i.weight_address, i.weight_stride, i.n_tiles, depth)
    acc = state[Memory.ACC]
    before = acc.rows(i.acc_address, i.acc_stride, i.rows, i.n_tiles) if i.accumulate else None
    batch = state.batch if act[1] or weight[1] or (before and before[1]) else 1
    into = acc.rows_for(i.acc_address, i.acc_stride, i.rows, i.n_tiles, batch)
    strip = max(1, min(i.n_tiles, STRIP_COLUMNS // config.columns))
    pairs = -(-min(depth, STRIP_DEPTH) // 2)
    columns = (-(-strip * config.columns // LANES) | 1) * LANES  # an odd number of vectors: not a power of two apart
    multiply_rows(batch, i.rows, depth, act, weight, config.columns, i.n_tiles, strip, before is not None,
                  before or into, into, state.scratch("left", np.int16, ROWS, LEFT_COLUMNS),
                  state.scratch("right", np.int32, pairs, columns),
                  state.scratch("sums", np.int32, ROWS, columns))  # fmt: skip


EXECUTE = {Matmul: Kernel(execute, bf16=False)}


@_intrinsic
def sum_products(typing: Any, left: Any, right: Any, pairs: Any, first: Any, sums: Any) -> Any:
    """sums[m, n] = Σ_k left[m, 2k] · low(right[k, n]) + left[m, 2k + 1] · high(right[k, n]), k < pairs, for ROWS rows m
    and LANES columns n from `first` on. left (ROWS, LEFT_COLUMNS) int16, right (≥ pairs, columns) and sums int32."""
    return types.void(left, right, pairs, first, sums), _sum_products


def _sum_products(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    """Written so that LLVM finds vpdpwssd or vpmaddwd. With rows a constant apart, all addresses are known at the same
    time; otherwise it would take products and sums apart again, to be done sooner."""
    half, word, index = ir.IntType(16), ir.IntType(32), ir.IntType(64)
    lanes, halves, wide = (ir.VectorType(*each) for each in ((word, LANES), (half, 2 * LANES), (word, 2 * LANES)))
    left, right, sums = (context.make_array(signature.args[n])(context, builder, given[n]) for n in (0, 1, 4))
    pairs, first, left_step = given[2], given[3], ir.Constant(index, 2 * LEFT_COLUMNS)

    def address(array: Any, kind: Any, m: Any, n: Any, step: Any = None) -> Any:
        """Of [m, n], of 4 bytes each."""
        row = builder.mul(m, step or builder.extract_value(array.strides, 0))
        offset = builder.add(row, builder.mul(n, ir.Constant(index, 4)))
        return builder.inttoptr(builder.add(builder.ptrtoint(array.data, index), offset), kind.as_pointer())

    def chosen(vector: Any, places: Any) -> Any:
        mask = ir.Constant(ir.VectorType(word, len(places)), list(places))
        return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)

    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    k, totals = builder.phi(index), [builder.phi(lanes) for _ in range(ROWS)]
    weights = builder.sext(builder.load(address(right, halves, k, first), align=4), wide)
    results = []
    for m, total in enumerate(totals):
        pair = builder.load(address(left, word, ir.Constant(index, m), k, left_step), align=4)
        one = builder.insert_element(ir.Constant(lanes, ir.Undefined), pair, ir.Constant(word, 0))
        codes = builder.sext(builder.bitcast(chosen(one, [0] * LANES), halves), wide)
        products = builder.mul(codes, weights)
        even, odd = (chosen(products, range(start, 2 * LANES, 2)) for start in (0, 1))
        results.append(builder.add(total, builder.add(even, odd)))
        total.add_incoming(ir.Constant(lanes, [0] * LANES), before)
        total.add_incoming(results[m], loop)
    following = builder.add(k, ir.Constant(index, 1))
    k.add_incoming(ir.Constant(index, 0), before)
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, pairs), loop, after)
    builder.position_at_end(after)
    for m, result in enumerate(results):
        builder.store(result, address(sums, lanes, ir.Constant(index, m), first), align=4)
    return context.get_dummy_value()


@entry
def multiply_rows(batch, rows, depth, act, weight, per_word, tiles, strip, added, before, into, left, right,
                  sums):  # fmt: skip
    """Products of rows with weights, a part of the depth and a strip of tiles at a time."""
    groups, together = (batch, rows) if weight[1] else (1, batch * rows)  # rows with the same weights
    for start in range(0, depth, STRIP_DEPTH):
        some = min(STRIP_DEPTH, depth - start)
        pairs = (some + 1) // 2
        for begin in range(0, tiles, strip):
            count = min(strip, tiles - begin)
            columns = count * per_word
            for group in range(groups):
                for tile in range(count):
                    at = place(weight, group, begin + tile) + start * per_word
                    _unpack_tile(weight[0][at : at + some * per_word], some, per_word, right, tile * per_word)
                for first in range(0, together, ROWS):
                    here = min(ROWS, together - first)
                    for m in range(here):
                        at = _place(act, group, rows, first + m) + start
                        codes, row = act[0][at : at + some], left[m]
                        for k in range(some):
                            row[k] = codes[k]
                        if some % 2:
                            row[some] = 0
                    for n in range(0, columns, LANES):  # up to the end of the last vector
                        sum_products(left, right, pairs, n, sums)
                    for m in range(here):
                        at = _place(into, group, rows, first + m) + begin * per_word
                        result, row = into[0][at : at + columns], sums[m]
                        if added or start:
                            other = into if start else before
                            at = _place(other, group, rows, first + m) + begin * per_word
                            old = other[0][at : at + columns]
                            for n in range(columns):
                                result[n] = i4(old[n] + row[n])
                        else:
                            for n in range(columns):
                                result[n] = row[n]


@inlined_late
def _place(words, group, rows, m):
    """Where row m begins from the input `group` on, the rows of inputs one after the other."""
    return place(words, group + m // rows, m % rows)


@inlined_late
def _unpack_tile(codes, depth, per_word, right, column):
    """Words k and k + 1 as int32: int16 of one below int16 of the other, which is 0 behind the last."""
    for k in range(0, depth, 2):
        row = right[k // 2, column : column + per_word]
        low = codes[k * per_word : (k + 1) * per_word]
        if k + 1 < depth:
            high = codes[(k + 1) * per_word : (k + 2) * per_word]
            for n in range(per_word):
                row[n] = i4(i4(low[n] & i4(0xFFFF)) | i4(i4(high[n]) << 16))
        else:
            for n in range(per_word):
                row[n] = i4(low[n] & i4(0xFFFF))

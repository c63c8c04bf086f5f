"""Arithmetic on INDEX, which LOAD does: what it changes, and how long it takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...arch.config import HardwareConfig
from ...arch.isa import IndexMap, IndexOperation
from ..state import State
from .meaning import Meaning

TAIL_CYCLES = 3  # from the last read to the retirement: the numbers, the result, and one
QUIET = 1 << 40  # cycles: it waits until nothing is in flight


def execute(instruction: IndexMap, state: State, config: HardwareConfig) -> None:
    """Results to INDEX."""
    i = instruction
    x = state.index_numbers(i.source_address, i.count) if i.source else None
    y = state.index_numbers(i.operand_address, i.count) if i.operand else None
    state.write_index_numbers(i.address, np.atleast_2d(_result(i, x, y)))


def results(i: IndexMap, table: NDArray[np.int32]) -> NDArray[np.int32]:
    """(count,), where INDEX holds the elements of `table`."""
    x = table[i.source_address : i.source_address + i.count] if i.source else None
    y = table[i.operand_address : i.operand_address + i.count] if i.operand else None
    return _result(i, x, y)


def _result(i: IndexMap, source: NDArray[np.int32] | None, operand: NDArray[np.int32] | None) -> NDArray[np.int32]:
    """(…, count), of vectors (…, count) where there are any."""
    x = np.zeros(i.count, np.int64) if source is None else source.astype(np.int64)
    ramp = wrap_int32(i.number + np.arange(i.count, dtype=np.int64) * i.step)
    y = (ramp if operand is None else operand).astype(np.int64)
    match i.operation:
        case IndexOperation.ADD:
            return wrap_int32(x + y)
        case IndexOperation.LESS:
            return (x < y).astype(np.int32)
        case IndexOperation.LESS_EQUAL:
            return (x <= y).astype(np.int32)
        case IndexOperation.EQUAL:
            return (x == y).astype(np.int32)


def wrap_int32(x: NDArray[np.int64]) -> NDArray[np.int32]:
    """The int32 that is congruent modulo 2³²."""
    return x.astype(np.uint32).view(np.int32)


def cycles(instruction: IndexMap, config: HardwareConfig) -> int:
    """D: an element a cycle, or in two where two are read for it."""
    return instruction.count * max(1, instruction.source + instruction.operand) + TAIL_CYCLES


MEANING = {IndexMap: Meaning(execute, kernel=False, cycles=cycles, headway=lambda instruction, config: QUIET)}

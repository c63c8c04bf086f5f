"""NORM: normalised rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from ..config import Memory, Unit
from ..operands import Read, Write
from .instruction import ADDRESS, COLUMNS, ROWS, STRIDE, Instruction, bits, size


class NormKind(IntEnum):
    """Which normalisation."""

    LAYER = 0
    RMS = 1


class Statistics(IntEnum):
    """What NORM writes to ROW besides its results."""

    NONE = 0
    MOMENTS = 1  # means and 1/σ
    SUMS = 2  # Σx and Σd²


@dataclass(frozen=True)
class Norm(Instruction):
    """value[address + m·stride + word(n)] = (d·r)·γ[n] + β[n], rounded to the format of VALUE.

    x = value[source_address + m·source_stride + word(n)]. LAYER: d = x - (Σx)·reciprocal; RMS: d = x.
    r = rsqrt(v) with one Newton step, v = (Σ d²)·reciprocal + epsilon; a finite v is held between 2⁻¹²⁵ and 2¹²⁶.
    statistics MOMENTS: row[statistics_address + m] = (Σx)·reciprocal, row[statistics_address + rows + m] = r; SUMS: Σx
    and Σ d² likewise. RMS has no mean and no Σx: row[statistics_address + m] = r, or Σ d².
    (γ, β)[n] = param[param_address + word(n)].
    `reciprocal` is 1 / columns in float32. Sums are row sums (numerics.row_sum). Columns at or beyond `columns`,
    up to the end of the word, are +0.
    Products and sums saturate at the largest float32, so finite rows give finite rows. Where Σ d² is beyond it (|d|
    above 2⁶⁴ / √columns will do), the row is divided by √(2¹²⁸·reciprocal), at most 2⁶³, which is less than its
    deviation: the result is proportional to d, but greater than it should be. Where Σ|x| is beyond it, LAYER takes the
    saturated sum for its mean. A row without variance and epsilon gives β.
    """

    opcode: ClassVar[int] = 7
    in_place: ClassVar[bool] = True
    unit: ClassVar[Unit | None] = Unit.NORM
    rows: int = size(ROWS)
    columns: int = size(COLUMNS)
    kind: NormKind = bits(1, NormKind, default=NormKind.LAYER)
    source_address: int = bits(ADDRESS)
    source_stride: int = bits(STRIDE)
    param_address: int = bits(ADDRESS)
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    reciprocal: float = bits(32, float, default=1.0)
    epsilon: float = bits(32, float, default=0.0)
    statistics: Statistics = bits(2, Statistics, default=Statistics.NONE)
    statistics_address: int = bits(ADDRESS)

    operands = (
        Read(Memory.VALUE, at="source_address", words="in_words(columns)", stride="source_stride", count="rows",
             passes="3 if kind == NormKind.LAYER else 2"),
        Read(Memory.PARAM, at="param_address", words="in_words(columns)", passes="rows"),
        Write(Memory.VALUE, at="address", words="in_words(columns)", stride="stride", count="rows"),
        Write(Memory.ROW, at="statistics_address", words="rows * (2 if kind == NormKind.LAYER else 1)",
              when="statistics != Statistics.NONE"),
    )  # fmt: skip


INSTRUCTIONS: list[type[Instruction]] = [Norm]

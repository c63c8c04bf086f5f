"""SOFTMAX: of all columns of a row at once, or block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar

from ..config import HardwareConfig, Memory, Unit
from ..errors import HeddleError
from ..operands import FLAG, Read, Write
from .instruction import ADDRESS, COLUMNS, REGISTER, ROWS, STRIDE, Instruction, bits, clamp, size
from .vector import Source

# What both read in three passes, for maxima, sums and results, and what they write of it.
COLUMN_SCALES = Read(Memory.PARAM, at="param_address", words="in_words(columns)", passes="3 * rows")
SCORES = (
    Read(Memory.ACC, at="source_address", words="in_words(columns)", stride="source_stride", count="rows", passes="3"),
    COLUMN_SCALES,
    Read(Memory.ROW, at="row_address", words="rows", passes="3"),
)
CODES = Write(Memory.ACT, at="address", words="in_act_words(columns)", stride="stride", count="rows")


class Masking(IntEnum):
    """What SOFTMAX reads besides scores."""

    NONE = 0
    ADDITIVE = 1  # a number for each score, in VALUE
    LENGTHS = 2  # how many columns each row sees, in INDEX


class Result(IntEnum):
    """What SOFTMAX makes of scores."""

    CODES = 0  # un-normalised probabilities in ACT, with scales in ROW
    VALUES = 1  # probabilities in VALUE


@dataclass(frozen=True)
class Softmax(Instruction):
    """Scores → un-normalised probabilities as int8 codes in ACT, normalisation folded into the row scale; or VALUES.

    t = (float32(acc[source_address + m·source_stride + word(n)])·ks[n])·row[row_address + m], in units of log2; with
    source value: t = value[source_address + m·source_stride + word(n)]·ks[n]. A score t is a float32; arch/scores.py
    says how it comes about, and how p and Σ p do.
    mask ADDITIVE: t = t + value[operand_address + m·operand_stride + word(n)], not with source value, as VALUE has one
    port. LENGTHS: row m sees no column n with n >= index[operand_address + m], where operand_address counts int32
    elements.
    Column n is seen by row m if n < columns, and, if causal, n <= m + offset, and, if window, n > m + offset - window.
    g = max(max_n t, lowest finite number); p = exp2(t - g), 0 where not seen, or where t is −∞; l = Σ_n p, and 1 more
    if that is below 1; q = p·vs[n], 0 where p is for one of these reasons; a = max(max_n q, 2⁻⁶⁰);
    codes = int8(q·((127/128)·rcp(a/128))) → act[address + m·stride + n // rows];
    row[scales_address + m] = (a·(1/127))·rcp(l).
    result VALUES: value[address + m·stride + word(n)] = q·rcp(l), rounded to the format of VALUE, nothing to ROW.
    (ks, vs)[n] = param[param_address + word(n)], element n % columns: the scales of K and V per token.
    Columns not seen, and those up to the end of the last word of ACT, get code 0. A row that sees nothing gives zeros,
    and so does one to all of which −∞ is added. So it is with VALUES, too, up to the end of the last word of VALUE.
    With bf16 PEs: codes = bf16(q); row[scales_address + m] = rcp(l).
    Products and sums saturate: scores beyond the largest float32 count as that, so two of them weigh the same, and
    nothing finite gives NaN. A score of +∞ or NaN makes NaN of all that its row sees.
    """

    opcode: ClassVar[int] = 6
    unit: ClassVar[Unit | None] = Unit.SOFTMAX
    in_place: ClassVar[bool] = True
    # What OnlineSoftmax has too stands where it has it.
    rows: int = size(ROWS)
    columns: int = size(COLUMNS)
    source_address: int = bits(ADDRESS)
    source_stride: int = bits(STRIDE)
    param_address: int = bits(ADDRESS)
    row_address: int = bits(ADDRESS)
    causal: int = bits(FLAG)
    offset: int = bits(17, signed=True)
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    scales_address: int = bits(ADDRESS)
    window: int = bits(15)  # 0: unlimited
    source: Source = bits(1, Source, default=Source.ACC)
    mask: Masking = bits(2, Masking, default=Masking.NONE)
    operand_address: int = bits(ADDRESS)
    operand_stride: int = bits(STRIDE)
    result: Result = bits(1, Result, default=Result.CODES)

    operands = (
        Read(Memory.ACC, at="source_address", words="in_words(columns)", stride="source_stride", count="rows",
             passes="3", when="source == Source.ACC"),
        Read(Memory.VALUE, at="source_address", words="in_words(columns)", stride="source_stride", count="rows",
             passes="3", when="source == Source.VALUE"),
        COLUMN_SCALES,
        Read(Memory.ROW, at="row_address", words="rows", passes="3", when="source == Source.ACC"),
        Read(Memory.VALUE, at="operand_address", words="in_words(columns)", stride="operand_stride", count="rows",
             passes="3", when="mask == Masking.ADDITIVE"),
        Read(Memory.INDEX, at="operand_address", elements="rows", passes="3", when="mask == Masking.LENGTHS"),
        Write(Memory.ACT, at="address", words="in_act_words(columns)", stride="stride", count="rows",
              when="result == Result.CODES"),
        Write(Memory.ROW, at="scales_address", words="rows", when="result == Result.CODES"),
        Write(Memory.VALUE, at="address", words="in_words(columns)", stride="stride", count="rows",
              when="result == Result.VALUES"),
    )  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.mask is Masking.ADDITIVE and self.source is Source.VALUE:
            raise HeddleError("softmax: mask must not be additive with source=value")


@dataclass(frozen=True)
class OnlineSoftmax(Instruction):
    """One block of columns of a softmax whose columns come block by block (Milakov and Gimelshein, 2018).

    t = (float32(acc[source_address + m·source_stride + word(n)])·ks[n])·row[row_address + m], in units of log2, as in
    `softmax`. Row m stands at m' = offset + (0 if together else m): it sees column n if n < columns, and, if causal,
    n <= m', and, if window, n > m' - window. Before: g = row[state_address + m], but the lowest finite number at least,
    and l = row[state_address + rows + m], or that number and +0 if first. G = max(max_n t, g); p = exp2(t - G), 0 where
    not seen; kept = l·exp2(g - G); L = Σ_n p + |kept|, and 1 more if that is below 1; q = p·vs[n];
    a = max(max_n q, 2⁻⁶⁰); i = rcp(L).
    codes = int8(q·((127/128)·rcp(a/128))) → act[address + m·stride + n // rows];
    row[scales_address + m] = (a·(1/127))·i;
    row[scales_address + rows + m] = kept·i; row[state_address + m] = G; row[state_address + rows + m] = L.
    So if o is the attention over the blocks before, o·row[scales_address + rows + m] +
    (codes @ v)·row[scales_address + m] is that over these and this one. Columns not seen get code 0, and products and
    sums saturate, as in `softmax`.
    With a register: offset = clamp(offset + scalar[register], -65536, 65535), and then
    columns = clamp(offset + (1 if together else rows), 1, columns).
    """

    opcode: ClassVar[int] = 11
    unit: ClassVar[Unit | None] = Unit.SOFTMAX
    in_place: ClassVar[bool] = True  # the state
    rows: int = size(ROWS)
    columns: int = size(COLUMNS)
    source_address: int = bits(ADDRESS)
    source_stride: int = bits(STRIDE)
    param_address: int = bits(ADDRESS)
    row_address: int = bits(ADDRESS)
    causal: int = bits(FLAG)
    offset: int = bits(17, signed=True)
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    scales_address: int = bits(ADDRESS)
    window: int = bits(16)  # 0: unlimited
    together: int = bits(FLAG)
    first: int = bits(FLAG)
    state_address: int = bits(ADDRESS)
    register: int = bits(REGISTER)

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        if not self.register:
            return self
        offset = clamp(self.offset + scalar[self.register], -65536, 65535)
        columns = clamp(offset + (1 if self.together else self.rows), 1, self.columns)
        return replace(self, register=0, offset=offset, columns=columns)

    operands = (
        *SCORES,
        Read(Memory.ROW, at="state_address", words="2 * rows", when="not first"),
        Write(Memory.ROW, at="state_address", words="2 * rows"),
        CODES,
        Write(Memory.ROW, at="scales_address", words="2 * rows"),
    )

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if abs(self.scales_address - self.state_address) < 2 * self.rows:
            raise HeddleError(f"onlinesoftmax: its scales (ROW words from {self.scales_address}) overlap its state "
                              f"(from {self.state_address})")  # fmt: skip


INSTRUCTIONS: list[type[Instruction]] = [Softmax, OnlineSoftmax]

"""The instruction set: each instruction is one dataclass that holds its opcode, its fields and its equation.

Encoding and listing (encoding.py), docs/isa.md and the RTL's field layout all derive from these classes, so each bit
position exists once. Notation: `m` counts rows, `n` columns, `k` the reduction; addresses are in words of the memory
named; `word(n) = n // columns`. Every instruction waits for one token from each unit in `wait` before it starts and
sends one token to each unit in `signal` when it retires.

`scalar[r]` are the scalar registers, which the host writes before a run. A field `…_register` that is not 0 lets one of
them change a size or a place: `Instruction.resolved` says how. That happens at dispatch, so units see plain numbers.

An instruction is illegal if a field as written holds what stands in no table here (a size of 0, a memory that the unit
does not reach), if `wait` or `signal` names a unit that there is not, or any, where dispatch itself executes it (halt,
guard): the machine stops with ILLEGAL_INSTRUCTION (UNKNOWN_OPCODE where there is no such opcode), and nothing of it is
done. What else it stops at, docs/architecture.md says ("The life of a run"); mistakes beyond those it does not see.

DRAM addresses of `load` and `store` are offsets into the region that the host gives (DRAM_BASE), places of the cache
into that of KV_BASE.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from functools import cache
from numbers import Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from .config import HardwareConfig, Memory, Unit
from .errors import HeddleError
from .ranges import is_whole


class Source(IntEnum):
    """Where a VECTOR instruction reads its first operand."""

    ACC = 0
    VALUE = 1


class Activation(IntEnum):
    """Functions of one value; `numerics.ACTIVATIONS` defines each."""

    NONE = 0
    RELU = 1
    GELU = 2
    GELU_TANH = 3
    SILU = 4
    SIGMOID = 5
    TANH = 6


class Combine(IntEnum):
    """How the second operand of a VECTOR instruction, read from VALUE, enters."""

    NONE = 0
    ADD = 1
    MULTIPLY = 2
    ROTATE = 3  # rotary position embedding of the first operand, by cosines and sines


class Codes(IntEnum):
    """Where a QUANTISE instruction writes its codes."""

    ACT = 0  # row m, column n → act[address + m·stride + n // rows], byte n % rows: the moving operand
    WEIGHT = 1  # → weight[address + (n // columns)·stride + m], byte n % columns: stationary, k = m (V)
    WEIGHT_TRANSPOSED = 2  # → weight[address + (m // columns)·stride + n], byte m % columns: stationary, k = n (K)


class Digit(IntEnum):
    """What of its codes a QUANTISE instruction writes. High and low digits make codes of 16 bits: 256·high + low."""

    WHOLE = 0  # codes of one digit, ±127; the only choice where a code is a bf16
    HIGH = 1
    LOW = 2


class Scales(IntEnum):
    """Where a QUANTISE instruction writes its row scales."""

    ROW = 0  # row[address + m]
    PARAM_SCALE = 1  # the scale half of pair m: param[address + m // columns], element m % columns
    PARAM_OFFSET = 2  # the offset half of pair m
    PARAM_PAIR = 3  # both halves of pair m: keys that are values too


class NormKind(IntEnum):
    """Which normalisation."""

    LAYER = 0
    RMS = 1


class Part(IntEnum):
    """What of a cached token an APPEND or STREAM moves."""

    KEYS = 0  # codes, transposed on their way to WEIGHT (STREAM only)
    VALUES = 1  # codes, straight
    PAIRS = 2  # (scale of K, scale of V) of the token, in PARAM


@dataclass(frozen=True)
class Field:
    """One field of the encoding: its width, the enumeration or format that its bits stand for, and which of its values
    a unit can execute. With any other the instruction is illegal: `Instruction.check` refuses it, and the RTL stops."""

    bits: int
    kind: type | None = None  # an IntEnum, float (IEEE single) or None (unsigned)
    signed: bool = False
    least: int = 0  # 1 for a size
    only: tuple[int, ...] = ()  # the legal values, if they are few: of an enumeration all its members, if not said


def bits(
    width: int, kind: type | None = None, *, signed: bool = False, default: Any = 0, least: int = 0,
    only: Sequence[int] = (),
) -> Any:  # fmt: skip
    """Declare an instruction field of `width` bits."""
    members = tuple(kind) if kind is not None and issubclass(kind, IntEnum) else ()
    return field(default=default, metadata={"field": Field(width, kind, signed, least, tuple(only) or members)})


def size(width: int) -> Any:
    """Declare a field that counts something: nothing of it would be no work, which no unit can end."""
    return bits(width, default=1, least=1)


class Access(NamedTuple):
    """Words that an instruction may touch: `count` blocks of `length` words, `stride` apart. Conservative."""

    memory: Memory
    write: bool
    start: int
    length: int
    stride: int = 0
    count: int = 1

    @property
    def stop(self) -> int:
        """One past the last word."""
        return self.start + (self.count - 1) * self.stride + self.length

    def bank_mask(self, config: HardwareConfig) -> int:
        """The banks of its memory that hold these words, one bit each."""
        size, mask = config.bank_words(self.memory), 0
        if self.stride <= size:  # no bank between the first and the last word can be skipped
            return (1 << ((self.stop - 1) // size + 1)) - (1 << (self.start // size))
        for start in range(self.start, self.start + self.count * self.stride, self.stride):
            mask |= (1 << ((start + self.length - 1) // size + 1)) - (1 << (start // size))
        return mask

    def overlaps(self, other: Access) -> bool:
        """Whether the two may touch one word. Exact for blocks of one stride, such as parts of the same rows."""
        if self.memory is not other.memory or self.start >= other.stop or other.start >= self.stop:
            return False
        if self.count == 1 or other.count == 1 or self.stride != other.stride:
            return True
        behind = (other.start - self.start) % self.stride if self.stride else 0
        return behind < self.length or self.stride - behind < other.length


ADDRESS, STRIDE, ROWS, COLUMNS, TILES, FLAG, REGISTER = 20, 16, 13, 16, 12, 1, 5
STORABLE = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.INDEX)
NOT_ON_CHIP = {"wait", "signal", "dram_address", "dram_stride"}  # fields that do not change what is touched on chip
BLOCK = 20  # bits of a place in a sequence, in blocks of `config.columns` tokens


@dataclass(frozen=True)
class Instruction:
    """What all instructions share: the header."""

    opcode: ClassVar[int]
    unit: ClassVar[Unit | None]
    in_place: ClassVar[bool] = False  # whether it may write the very words that it reads
    wait: int = bits(8)  # a token is taken from each unit u with bit u set, before the start
    signal: int = bits(8)  # a token is sent to each unit u with bit u set, at the end

    def __post_init__(self) -> None:
        """Numbers of numpy become plain ones, numbers of an enumeration its members. Raises HeddleError for what is
        no number of the kind that a field holds. Whether it fits into its bits, `check` says."""
        if tuple(map(type, self.__dict__.values())) != _types(type(self)):
            for each in fields(self):
                value = _as_kind(self, each.name, each.metadata["field"], getattr(self, each.name))
                object.__setattr__(self, each.name, value)

    def changed(self, **fields: int) -> Self:
        """The same with other values in some fields, as `replace` gives it in four times the time."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, **fields)
        return other

    def accesses(self, config: HardwareConfig) -> list[Access]:
        """On-chip words read and written. Which operands there are hangs on flags and enumerations only; all else is
        arithmetic, that holds for arrays of sizes and addresses too (accesses.py)."""
        return []

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        """The instruction that a unit gets when the scalar registers hold `scalar`. Sizes never grow, so what
        `accesses` says of the instruction as written holds for any registers."""
        return self

    def check(self, config: HardwareConfig) -> None:
        """Raise HeddleError unless the machine of `config` can execute this instruction."""
        self.check_encoding()
        self.check_fields(config)
        self.check_accesses(config)

    def check_encoding(self) -> None:
        """The part of it that is the same for all machines: each number fits into its bits and is one that a unit can
        execute, tokens come from units that there are, and what dispatch does itself has none. But for what has too
        many bits, the RTL stops at an instruction of which this is not true."""
        for each in fields(self):
            check_bits(self, each.name, each.metadata["field"])
        for name, legal in _limited_fields(type(self)):
            value = getattr(self, name)
            if value < legal.least:
                raise HeddleError(f"{self.name}: {name} must be at least {legal.least}, not {value}")
            if legal.only and value not in legal.only:
                names = ", ".join(_name_of(each) for each in legal.only)
                raise HeddleError(f"{self.name}: {name} must be one of {names}, not {_name_of(value)}")
        for name in ("wait", "signal"):
            mask = getattr(self, name)
            if self.unit is None and mask:
                raise HeddleError(f"{self.name}: {name} must be 0, not {mask:#x}: it is dispatched to no unit")
            if mask >> len(Unit):
                raise HeddleError(f"{self.name}: {name} must name units of {', '.join(unit.name for unit in Unit)} "
                                  f"(bits 0 to {len(Unit) - 1}), not {mask:#x}")  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        """The part of it that is no matter of single words."""
        rows = getattr(self, "rows", 1)
        if self.unit in (Unit.VECTOR, Unit.SOFTMAX, Unit.NORM) and rows > config.panel_rows:
            raise HeddleError(f"{self.name}: rows must be at most {config.panel_rows} on {config.title}, not {rows}")

    def check_accesses(self, config: HardwareConfig) -> None:
        """The other part: words that there are, and none that is written and read. See also accesses.may_be_wrong."""
        accesses = self.accesses(config)
        for access in accesses:
            if access.stop > config.words(access.memory):
                raise HeddleError(
                    f"{self.name}: {access.memory.name} words up to {access.stop - 1} are used, "
                    f"but {config.title} has {config.words(access.memory)}"
                )
        self._check_overlap(accesses)

    def _check_overlap(self, accesses: list[Access]) -> None:
        """What an instruction writes it must not read, or the result would hang on the depth of its pipeline. It may
        replace a word by its own result where `in_place` says so."""
        reads = [access for access in accesses if not access.write]
        for write in (access for access in accesses if access.write):
            for read in reads:
                if read.memory is not write.memory or not read.overlaps(write):
                    continue
                same = (read.start, read.length, read.stride, read.count) == (
                    write.start, write.length, write.stride, write.count)  # fmt: skip
                rows_apart = write.count == 1 or write.stride >= write.length
                if not (self.in_place and same and rows_apart):
                    raise HeddleError(f"{self.name}: it writes words of {write.memory.name} (from {write.start}) that "
                                      f"it also reads (from {read.start})")  # fmt: skip

    @property
    def name(self) -> str:
        """The mnemonic."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Halt(Instruction):
    """End of program: when every unit is idle and every queue is empty, set `done`."""

    opcode: ClassVar[int] = 0
    unit: ClassVar[Unit | None] = None


@dataclass(frozen=True)
class Guard(Instruction):
    """The next `count` instructions are void unless scalar[register] > threshold.

    A void instruction goes to its unit, waits and signals like any other, but does nothing and takes one cycle. Carried
    out at dispatch, like `halt`; a guard within the reach of another starts its own count.
    """

    opcode: ClassVar[int] = 8
    unit: ClassVar[Unit | None] = None
    register: int = bits(REGISTER)
    threshold: int = bits(BLOCK)
    count: int = bits(12)


@dataclass(frozen=True)
class Load(Instruction):
    """DRAM → on-chip memory, `segments` pieces of `words` words.

    memory[address + i·stride + w] = dram[dram_address + s(i)·dram_stride + w·word_bytes],
    s(i) = index[index_address + i] if gather else i. `index_address` counts int32 elements.
    A gather starts when no earlier LOAD is in flight.
    """

    opcode: ClassVar[int] = 1
    unit: ClassVar[Unit | None] = Unit.LOAD
    memory: Memory = bits(3, Memory, default=Memory.ACT, only=(*STORABLE, Memory.PAGE))
    dram_address: int = bits(40)
    dram_stride: int = bits(32)
    segments: int = size(16)
    words: int = size(20)
    address: int = bits(ADDRESS)
    stride: int = bits(ADDRESS)
    gather: int = bits(FLAG)
    index_address: int = bits(20)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        written = Access(self.memory, True, self.address, self.words, self.stride, self.segments)
        per_word = config.word_elements(Memory.INDEX)
        first, last = self.index_address // per_word, (self.index_address + self.segments - 1) // per_word
        return [written] + [Access(Memory.INDEX, False, first, last - first + 1)] * self.gather

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        _check_dma(self, config)
        if self.gather and (self.dram_address % config.burst_bytes or self.dram_stride % config.burst_bytes):
            # So that every row splits into the same bursts, and the timing does not depend on the indices.
            raise HeddleError(f"load: a gathered table must start at, and its rows be, multiples of "
                              f"{config.burst_bytes} bytes on {config.title}")  # fmt: skip


@dataclass(frozen=True)
class Store(Instruction):
    """On-chip memory (ACT, WEIGHT, PARAM, VALUE or INDEX) → DRAM, `segments` pieces of `words` words.

    dram[dram_address + i·dram_stride + w·word_bytes] = memory[address + i·stride + w]. Padding bytes are zero.
    """

    opcode: ClassVar[int] = 2
    unit: ClassVar[Unit | None] = Unit.STORE
    memory: Memory = bits(3, Memory, default=Memory.VALUE, only=STORABLE)
    dram_address: int = bits(40)
    dram_stride: int = bits(32)
    segments: int = size(16)
    words: int = size(20)
    address: int = bits(ADDRESS)
    stride: int = bits(ADDRESS)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        return [Access(self.memory, False, self.address, self.words, self.stride, self.segments)]

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        _check_dma(self, config)


@dataclass(frozen=True)
class Matmul(Instruction):
    """acc[acc_address + m·acc_stride + n] (+)= Σ_k act[act_address + m·act_stride + k] @ tile(k, n), in int32.

    m < rows; k < k_tiles and n < n_tiles count tiles; tile(k, n) is the `config.rows` words of WEIGHT from
    weight_address + n·weight_stride + k·config.rows. `accumulate` adds to what ACC holds instead of replacing it.
    Order: for n: for k: for m. With bf16 PEs the sums are float32: within a tile the products are added from +0 in the
    order of its rows, and the sums of tiles in the order of k (`numerics.matmul_bf16`); products and sums saturate.
    With registers: n_tiles = clamp(scalar[n_register] - n_offset, 1, n_tiles), and k_tiles alike.
    """

    opcode: ClassVar[int] = 3
    in_place: ClassVar[bool] = True  # a sum is read, added to and written
    unit: ClassVar[Unit | None] = Unit.MATRIX
    rows: int = size(ROWS)
    k_tiles: int = size(TILES)
    n_tiles: int = size(TILES)
    act_address: int = bits(ADDRESS)
    act_stride: int = bits(STRIDE)
    weight_address: int = bits(ADDRESS)
    weight_stride: int = bits(ADDRESS)
    acc_address: int = bits(ADDRESS)
    acc_stride: int = bits(STRIDE)
    accumulate: int = bits(FLAG)
    n_register: int = bits(REGISTER)
    n_offset: int = bits(TILES)
    k_register: int = bits(REGISTER)
    k_offset: int = bits(TILES)

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        return replace(
            self, n_register=0, k_register=0,
            n_tiles=_sized(self.n_tiles, scalar, self.n_register, self.n_offset),
            k_tiles=_sized(self.k_tiles, scalar, self.k_register, self.k_offset),
        )  # fmt: skip

    def accesses(self, config: HardwareConfig) -> list[Access]:
        return [
            Access(Memory.ACT, False, self.act_address, self.k_tiles, self.act_stride, self.rows),
            Access(Memory.WEIGHT, False, self.weight_address, self.k_tiles * config.rows, self.weight_stride,
                   self.n_tiles),
            # Each sum is read, added to and written: both ports of the bank are in use.
            Access(Memory.ACC, False, self.acc_address, self.n_tiles, self.acc_stride, self.rows),
            Access(Memory.ACC, True, self.acc_address, self.n_tiles, self.acc_stride, self.rows),
        ]  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.rows > 1 and self.acc_stride < self.n_tiles:
            raise HeddleError(f"matmul: acc_stride must be at least n_tiles ({self.n_tiles}), not {self.acc_stride}: "
                              f"rows of sums must not overlap")  # fmt: skip


@dataclass(frozen=True)
class VectorInstruction(Instruction):
    """The elementwise front that Map and Quantise share; each step is one float32 operation.

    x = float32(acc or value); for p = 1 … planes: x = x·256 + float32(acc_p), acc_p being another panel of sums,
    p·rows·source_stride words on (products of digits, the highest first);
    if scaled: x = x·scale[n]; if row_scaled: x = x·row[row_address + m]; if scaled: x = x + offset[n];
    x = activation(x); x = x (+ or ·) value[operand_address + m·operand_stride + word(n)].
    ROTATE: x(m, n) = value(m, n)·cos(m, n) + value(m, n')·sin(m, n), the partner n' is columns / 2 on from n (or
    back), whole groups of `vector_lanes`; cos = value[operand_address + m·operand_stride + word(n)], sin as many words
    on as a row has.
    (scale, offset)[n] = param[param_address + word(n)], element n % columns. A value read is cleaned (subnormals become
    zeros, NaN the quiet NaN). Columns at or beyond `columns`, up to the end of the word, are +0. Each step saturates:
    of finite numbers it makes finite ones, at most the largest float32, 2¹²⁸·(1 − 2⁻²⁴).
    """

    unit: ClassVar[Unit | None] = Unit.VECTOR
    rows: int = size(ROWS)
    columns: int = size(COLUMNS)
    source: Source = bits(1, Source, default=Source.ACC)
    source_address: int = bits(ADDRESS)
    source_stride: int = bits(STRIDE)
    scaled: int = bits(FLAG)
    param_address: int = bits(ADDRESS)
    row_scaled: int = bits(FLAG)
    row_address: int = bits(ADDRESS)
    activation: Activation = bits(3, Activation, default=Activation.NONE)
    combine: Combine = bits(2, Combine, default=Combine.NONE)
    operand_address: int = bits(ADDRESS)
    operand_stride: int = bits(STRIDE)
    planes: int = bits(2, only=(0, 1, 2))  # panels of sums besides the first

    def accesses(self, config: HardwareConfig) -> list[Access]:
        words = -(-self.columns // config.columns)
        memory = Memory.ACC if self.source is Source.ACC else Memory.VALUE
        reads = [Access(memory, False, self.source_address, words, self.source_stride, self.rows * (1 + self.planes))]
        if self.scaled:
            reads.append(Access(Memory.PARAM, False, self.param_address, words))
        if self.row_scaled:
            reads.append(Access(Memory.ROW, False, self.row_address, self.rows))
        if self.combine is not Combine.NONE:
            length = 2 * words if self.combine is Combine.ROTATE else words
            reads.append(Access(Memory.VALUE, False, self.operand_address, length, self.operand_stride, self.rows))
        return reads

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.planes and (self.source is not Source.ACC or config.pe != "int8"):
            raise HeddleError(f"{self.name}: planes must be 0, but for a source in ACC of a machine with int8 PEs, "
                              f"not {self.planes}")  # fmt: skip
        if self.combine is Combine.ROTATE:
            if self.source is not Source.VALUE or self.scaled or self.row_scaled or self.activation:
                raise HeddleError(f"{self.name}: with combine=rotate the source must be value, unscaled and inactive")
            if self.columns % config.columns or self.columns % (2 * config.vector_lanes):
                raise HeddleError(f"{self.name}: with combine=rotate columns must be whole words of {config.columns}, "
                                  f"and half of them groups of {config.vector_lanes}, not {self.columns}")  # fmt: skip

    @property
    def interval(self) -> int:
        """Cycles per group: one for each read at the port of VALUE or ACC that is read most, as each has one."""
        if self.combine is Combine.ROTATE:
            return 4
        return max(1 + self.planes, 2 if self.source is Source.VALUE and self.combine is not Combine.NONE else 1)


@dataclass(frozen=True)
class Map(VectorInstruction):
    """value[address + m·stride + word(n)] = x(m, n), rounded to the format of VALUE, finite numbers to finite ones.

    If operand_scaled, the operand of ADD or MULTIPLY is first multiplied by row[operand_row_address + m].
    """

    opcode: ClassVar[int] = 4
    in_place: ClassVar[bool] = True
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    operand_scaled: int = bits(FLAG)
    operand_row_address: int = bits(ADDRESS)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        words = -(-self.columns // config.columns)
        factors = [Access(Memory.ROW, False, self.operand_row_address, self.rows)] * self.operand_scaled
        return (
            super().accesses(config)
            + factors
            + [Access(Memory.VALUE, True, self.address, words, self.stride, self.rows)]
        )

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.combine is Combine.ROTATE:
            source, *_, written = self.accesses(config)
            if source.overlaps(written):
                raise HeddleError("map: with combine=rotate the result must not replace its source: it is read twice")
        if self.operand_scaled and self.combine not in (Combine.ADD, Combine.MULTIPLY):
            raise HeddleError(f"map: operand_scaled needs combine=add or multiply, not {self.combine.name.lower()}")

    @property
    def interval(self) -> int:
        """Two also where ROW, which has one port, is read twice for a group."""
        return max(super().interval, 1 + self.operand_scaled)


@dataclass(frozen=True)
class Quantise(VectorInstruction):
    """codes(m, n) = int8(x(m, n)·((127/128)·rcp(a/128))), scales(m) = a·(1/127), a = max(max_n |x(m, n)|, 2⁻⁶⁰).

    x is computed twice: for the maximum, then for the codes. `codes` and `scales` say where they go. A row of ACT is
    filled with zero codes up to the end of its last word. With digit high or low: code = x·((32639/128)·rcp(a/128))
    rounded to ±32639, low = the int8 that is congruent to it modulo 256, high = (code - low) / 256; one of them is
    written, and scales(m) = a·(1/32639). With bf16 PEs: codes = bf16(x), finite numbers as finite ones, scales = 1.
    The division by 128 changes no bit; with it rows up to the largest float32 have exact scales and codes.
    """

    opcode: ClassVar[int] = 5
    codes: Codes = bits(2, Codes, default=Codes.ACT)
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    scales: Scales = bits(2, Scales, default=Scales.ROW)
    scales_address: int = bits(ADDRESS)
    digit: Digit = bits(2, Digit, default=Digit.WHOLE)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        words = -(-self.columns // config.columns)
        row_words = -(-self.rows // config.columns)
        codes = {
            Codes.ACT: Access(Memory.ACT, True, self.address, -(-self.columns // config.rows), self.stride, self.rows),
            Codes.WEIGHT: Access(Memory.WEIGHT, True, self.address, self.rows, self.stride, words),
            Codes.WEIGHT_TRANSPOSED: Access(
                Memory.WEIGHT, True, self.address, self.columns, self.stride, row_words
            ),
        }[self.codes]  # fmt: skip
        scales = (
            Access(Memory.ROW, True, self.scales_address, self.rows)
            if self.scales is Scales.ROW
            else Access(Memory.PARAM, True, self.scales_address, row_words)
        )
        return super().accesses(config) + [codes, scales]

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.digit is not Digit.WHOLE and config.pe != "int8":
            raise HeddleError(f"quantise: digit must be whole with {config.pe} PEs, not {self.digit.name.lower()}")


@dataclass(frozen=True)
class Softmax(Instruction):
    """Scores in ACC → un-normalised probabilities as int8 codes in ACT, normalisation folded into the row scale.

    t = (float32(acc[source_address + m·source_stride + word(n)])·ks[n])·row[row_address + m], in units of log2;
    if additive: t = t + value[operand_address + m·operand_stride + word(n)].
    Column n is seen by row m if n < columns, and, if causal, n <= m + offset, and, if window, n > m + offset - window.
    g = max(max_n t, lowest finite number); p = exp2(t - g), 0 where not seen; l = max(Σ_n p, 1); q = p·vs[n];
    a = max(max_n q, 2⁻⁶⁰); codes = int8(q·((127/128)·rcp(a/128))) → act[address + m·stride + n // rows];
    row[scales_address + m] = (a·(1/127))·rcp(l).
    (ks, vs)[n] = param[param_address + word(n)], element n % columns: the scales of K and V per token.
    Columns not seen, and those up to the end of the last word of ACT, get code 0. A row that sees nothing gives zeros,
    and so does one to all of which −∞ is added. With bf16 PEs: codes = bf16(q); row[scales_address + m] = rcp(l).
    Products and sums saturate: scores beyond the largest float32 count as that, so two of them weigh the same, and
    nothing finite gives NaN.
    """

    opcode: ClassVar[int] = 6
    unit: ClassVar[Unit | None] = Unit.SOFTMAX
    rows: int = size(ROWS)
    columns: int = size(COLUMNS)
    source_address: int = bits(ADDRESS)
    source_stride: int = bits(STRIDE)
    param_address: int = bits(ADDRESS)
    row_address: int = bits(ADDRESS)
    causal: int = bits(FLAG)
    offset: int = bits(17, signed=True)
    window: int = bits(16)  # 0: unlimited
    additive: int = bits(FLAG)
    operand_address: int = bits(ADDRESS)
    operand_stride: int = bits(STRIDE)
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    scales_address: int = bits(ADDRESS)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        words = -(-self.columns // config.columns)
        reads = [
            Access(Memory.ACC, False, self.source_address, words, self.source_stride, self.rows),
            Access(Memory.PARAM, False, self.param_address, words),
            Access(Memory.ROW, False, self.row_address, self.rows),
        ]
        if self.additive:
            reads.append(Access(Memory.VALUE, False, self.operand_address, words, self.operand_stride, self.rows))
        return reads + [
            Access(Memory.ACT, True, self.address, -(-self.columns // config.rows), self.stride, self.rows),
            Access(Memory.ROW, True, self.scales_address, self.rows),
        ]


@dataclass(frozen=True)
class Argmax(VectorInstruction):
    """index[address + m] = the least n with x(m, n) = max x(m, ·), in the order of `numerics.maximum`.

    `address` counts int32 elements. x is not rounded to the format of VALUE.
    """

    opcode: ClassVar[int] = 12
    address: int = bits(ADDRESS)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        per_word = config.word_elements(Memory.INDEX)
        first, last = self.address // per_word, (self.address + self.rows - 1) // per_word
        return super().accesses(config) + [Access(Memory.INDEX, True, first, last - first + 1)]


@dataclass(frozen=True)
class OnlineSoftmax(Instruction):
    """One block of columns of a softmax whose columns come block by block (Milakov and Gimelshein, 2018).

    t = (float32(acc[source_address + m·source_stride + word(n)])·ks[n])·row[row_address + m], in units of log2.
    Row m stands at m' = offset + (0 if together else m): it sees column n if n < columns, and, if causal, n <= m', and,
    if window, n > m' - window. Before: g = row[state_address + m] and l = row[state_address + rows + m], or the lowest
    finite number and +0 if first. G = max(max_n t, g); p = exp2(t - G), 0 where not seen; kept = l·exp2(g - G);
    L = max(Σ_n p + kept, 1); q = p·vs[n]; a = max(max_n q, 2⁻⁶⁰); i = rcp(L).
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
    together: int = bits(FLAG)
    offset: int = bits(17, signed=True)
    window: int = bits(16)  # 0: unlimited
    first: int = bits(FLAG)
    state_address: int = bits(ADDRESS)
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    scales_address: int = bits(ADDRESS)
    register: int = bits(REGISTER)

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        if not self.register:
            return self
        offset = _clamp(self.offset + scalar[self.register], -65536, 65535)
        columns = _clamp(offset + (1 if self.together else self.rows), 1, self.columns)
        return replace(self, register=0, offset=offset, columns=columns)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        words = -(-self.columns // config.columns)
        state = [Access(Memory.ROW, write, self.state_address, 2 * self.rows) for write in (False, True)]
        return [
            Access(Memory.ACC, False, self.source_address, words, self.source_stride, self.rows),
            Access(Memory.PARAM, False, self.param_address, words),
            Access(Memory.ROW, False, self.row_address, self.rows),
            *state[self.first :],
            Access(Memory.ACT, True, self.address, -(-self.columns // config.rows), self.stride, self.rows),
            Access(Memory.ROW, True, self.scales_address, 2 * self.rows),
        ]

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if abs(self.scales_address - self.state_address) < 2 * self.rows:
            raise HeddleError(f"onlinesoftmax: its scales (ROW words from {self.scales_address}) overlap its state "
                              f"(from {self.state_address})")  # fmt: skip


@dataclass(frozen=True)
class KvInstruction(Instruction):
    """Where the tokens of a paged cache are; DRAM addresses count from the start of the cache region (CSR KV_BASE).

    A sequence is cut into blocks of C = `config.columns` tokens, a page holds 2^page_blocks blocks. Block b is on the
    page p = page[table + (b >> page_blocks)], where b >> page_blocks must be below `pages`, and begins at
    block(b) = dram_address + p·page_bytes + (b mod 2^page_blocks)·block_bytes. Codes: a block is token_words·C words
    of WEIGHT, word w of token t is number w·C + t; PAIRS: a block is a word of PARAM, 8 bytes for each token.
    `table` counts int32 elements. An access beyond the region stops the machine with an error, and is not made.
    """

    unit: ClassVar[Unit | None] = Unit.KV
    part: Part = bits(2, Part, default=Part.VALUES)
    token_words: int = size(8)
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    dram_address: int = bits(32)
    page_bytes: int = bits(24)
    table: int = bits(14)
    pages: int = size(12)
    page_blocks: int = bits(4)

    def block_bytes(self, config: HardwareConfig) -> int:
        """DRAM bytes from a block to the next on its page."""
        if self.part is Part.PAIRS:
            return config.dram_word_bytes(Memory.PARAM)
        return self.token_words * config.columns * config.dram_word_bytes(Memory.WEIGHT)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        per_word = config.word_elements(Memory.PAGE)
        first, last = self.table // per_word, (self.table + self.pages - 1) // per_word
        return [Access(Memory.PAGE, False, first, last - first + 1)]

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        unit = max(config.axi_bytes, 8)
        if self.dram_address % unit:
            raise HeddleError(f"{self.name}: dram_address must be a multiple of {unit} bytes, not {self.dram_address}")
        # So that the bursts of a page do not depend on which page it is, and no word is astride two.
        aligned = max(config.burst_bytes, config.dram_word_bytes(Memory.WEIGHT))
        if self.page_bytes % aligned:
            raise HeddleError(f"{self.name}: page_bytes must be a multiple of {aligned} on {config.title}, "
                              f"not {self.page_bytes}")  # fmt: skip


@dataclass(frozen=True)
class Append(KvInstruction):
    """New tokens into the cache. For h < heads: for t < tokens: for w < token_words (PAIRS: once):

    VALUES: dram[block(b) + h·head_bytes + (w·C + s)·word_bytes] = weight[address + h·head_step + w·stride + t];
    PAIRS: dram[block(b) + h·head_bytes + s·8] = pair number address + h·head_step + t of PARAM; `address` counts pairs.
    Token t stands in block b = block + (slot + t) // C at s = (slot + t) mod C. With registers:
    block = clamp(block + scalar[block_register], 0, 2^20 - 1), slot = clamp(slot + scalar[slot_register], 0, C - 1).
    """

    opcode: ClassVar[int] = 9
    part: Part = bits(2, Part, default=Part.VALUES, only=(Part.VALUES, Part.PAIRS))  # keys are transposed later
    tokens: int = size(ROWS)
    heads: int = size(8)
    head_step: int = bits(STRIDE)
    head_bytes: int = bits(24)
    block: int = bits(BLOCK)
    block_register: int = bits(REGISTER)
    slot: int = bits(8)
    slot_register: int = bits(REGISTER)

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        block, slot = self.block, self.slot
        if self.block_register:
            block = _clamp(block + scalar[self.block_register], 0, (1 << BLOCK) - 1)
        if self.slot_register:
            slot = _clamp(slot + scalar[self.slot_register], 0, config.columns - 1)
        return replace(self, block=block, slot=slot, block_register=0, slot_register=0)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        if self.part is Part.PAIRS:
            first = self.address // config.columns
            last = (self.address + (self.heads - 1) * self.head_step + self.tokens - 1) // config.columns
            read = [Access(Memory.PARAM, False, first, last - first + 1)]
        else:
            span = (self.heads - 1) * self.head_step + self.tokens
            read = [Access(Memory.WEIGHT, False, self.address, span, self.stride, self.token_words)]
        return super().accesses(config) + read

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.slot >= config.columns:
            raise HeddleError(f"append: slot must be below {config.columns} on {config.title}, not {self.slot}")
        item = 8 if self.part is Part.PAIRS else config.dram_word_bytes(Memory.WEIGHT)
        unit = max(config.axi_bytes, item)  # so that no item crosses a burst boundary
        for name in ("dram_address", "head_bytes"):
            if getattr(self, name) % unit:
                raise HeddleError(f"append: {name} must be a multiple of {unit} bytes on {config.title}, "
                                  f"not {getattr(self, name)}")  # fmt: skip


@dataclass(frozen=True)
class Stream(KvInstruction):
    """Cached tokens to the memories of the array, `blocks` blocks from `first` on. For j < blocks, b = first + j:

    KEYS: weight[address + j·stride + w·C + i], element t = element i of word w of token t (C × C transposed);
    VALUES: weight[address + w·stride + j·C + t] = word w of token t; for w < words, t < C.
    PAIRS: param[address + j] = the pairs of block b. With registers: blocks = clamp(scalar[count_register]
    - count_offset, 1, blocks), first = clamp(first + scalar[first_register], 0, 2^20 - 1).
    """

    opcode: ClassVar[int] = 10
    blocks: int = size(TILES)
    words: int = size(8)
    first: int = bits(BLOCK)
    first_register: int = bits(REGISTER)
    count_register: int = bits(REGISTER)
    count_offset: int = bits(TILES)

    def resolved(self, scalar: Sequence[int], config: HardwareConfig) -> Instruction:
        first = self.first
        if self.first_register:
            first = _clamp(first + scalar[self.first_register], 0, (1 << BLOCK) - 1)
        blocks = _sized(self.blocks, scalar, self.count_register, self.count_offset)
        return replace(self, first=first, blocks=blocks, first_register=0, count_register=0)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        tokens, words = config.columns, self.words
        written = {
            Part.KEYS: Access(Memory.WEIGHT, True, self.address, words * tokens, self.stride, self.blocks),
            Part.VALUES: Access(Memory.WEIGHT, True, self.address, self.blocks * tokens, self.stride, words),
            Part.PAIRS: Access(Memory.PARAM, True, self.address, self.blocks),
        }[self.part]
        return super().accesses(config) + [written]

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.part is not Part.PAIRS and self.words > self.token_words:
            raise HeddleError(f"stream: words must be at most token_words ({self.token_words}), not {self.words}")


@dataclass(frozen=True)
class Norm(Instruction):
    """value[address + m·stride + word(n)] = (d·r)·γ[n] + β[n], rounded to the format of VALUE.

    x = value[source_address + m·source_stride + word(n)]. LAYER: d = x - (Σx)·reciprocal; RMS: d = x.
    r = rsqrt(v) with one Newton step, v = (Σ d²)·reciprocal + epsilon; a finite v is held between 2⁻¹²⁵ and 2¹²⁶.
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

    def accesses(self, config: HardwareConfig) -> list[Access]:
        words = -(-self.columns // config.columns)
        return [
            Access(Memory.VALUE, False, self.source_address, words, self.source_stride, self.rows),
            Access(Memory.PARAM, False, self.param_address, words),
            Access(Memory.VALUE, True, self.address, words, self.stride, self.rows),
        ]


INSTRUCTIONS: list[type[Instruction]] = [
    Halt, Guard, Load, Store, Append, Stream, Matmul, Map, Quantise, Argmax, Softmax, OnlineSoftmax, Norm,
]  # fmt: skip


@cache
def units_in(mask: int) -> tuple[Unit, ...]:
    """The units whose bits are set in a `wait` or `signal` mask."""
    return tuple(unit for unit in Unit if mask >> unit & 1)


@cache
def _types(instruction: type[Instruction]) -> tuple[type, ...]:
    """Of what each field holds."""
    return tuple(each.metadata["field"].kind or int for each in fields(instruction))


def _as_kind(instruction: Instruction, name: str, kind: Field, value: Any) -> Any:
    """A value as a field holds it; of one bit, False and True too."""
    if kind.kind is float:
        if isinstance(value, Real) and not isinstance(value, bool):
            return _as_single(instruction, name, value)
        raise HeddleError(f"{instruction.name}: {name} must be a number, not {value!r}")
    if not is_whole(value) and not (kind.bits == FLAG and kind.kind is None and isinstance(value, (bool, np.bool_))):
        raise HeddleError(f"{instruction.name}: {name} must be a whole number, not {value!r}")
    if kind.kind is None:
        return int(value)
    try:
        return kind.kind(int(value))
    except ValueError:
        known = ", ".join(f"{each.value} ({each.name.lower()})" for each in kind.kind)  # type: ignore[attr-defined]
        raise HeddleError(f"{instruction.name}: {name} must be one of {known}, not {value}") from None


def _as_single(instruction: Instruction, name: str, value: Any) -> float:
    """The float32 next to a number, as a float."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except (OverflowError, struct.error):
        raise HeddleError(f"{instruction.name}: {name} must be within the range of float32, not {value!r}") from None


def check_bits(instruction: Instruction, name: str, kind: Field) -> None:
    """Raise HeddleError unless a value fits into the bits of its field."""
    value = getattr(instruction, name)
    if kind.kind is float:
        _as_single(instruction, name, value)
    if kind.kind is not None:
        return
    low, high = (-(1 << kind.bits - 1), (1 << kind.bits - 1) - 1) if kind.signed else (0, (1 << kind.bits) - 1)
    if not low <= value <= high:
        raise HeddleError(f"{instruction.name}: {name} = {value} does not fit in {kind.bits} bits")


@cache
def _limited_fields(instruction: type[Instruction]) -> list[tuple[str, Field]]:
    """The fields of which not every value is legal, but for `wait` and `signal`."""
    limits = [(each.name, each.metadata["field"]) for each in fields(instruction)]
    return [(name, limit) for name, limit in limits if limit.least or limit.only]


def _name_of(value: int) -> str:
    return value.name if isinstance(value, IntEnum) else str(value)


def _check_dma(instruction: Load | Store, config: HardwareConfig) -> None:
    for name in ("dram_address", "dram_stride"):
        if getattr(instruction, name) % config.axi_bytes:
            raise HeddleError(f"{instruction.name}: {name} must be a multiple of {config.axi_bytes} bytes "
                              f"on {config.title}, not {getattr(instruction, name)}")  # fmt: skip


def _clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


def _sized(size: int, scalar: Sequence[int], register: int, offset: int) -> int:
    """A size of at most `size` by a register, at least 1; as it stands with register 0."""
    return _clamp(scalar[register] - offset, 1, size) if register else size

"""The instruction set: each instruction is one dataclass that holds its opcode, its fields and its equation.

Encoding, decoding, the listing, docs/isa.md and the RTL's field layout all derive from these classes, so each bit
position exists once. Notation: `m` counts rows, `n` columns, `k` the reduction; addresses are in words of the memory
named; `word(n) = n // columns`. Every instruction waits for one token from each unit in `wait` before it starts and
sends one token to each unit in `signal` when it retires.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import cache
from typing import Any, ClassVar

from .config import INSTRUCTION_BITS, INSTRUCTION_BYTES, HardwareConfig, Memory, Unit
from .errors import HeddleError


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


class Codes(IntEnum):
    """Where a QUANTISE instruction writes its codes."""

    ACT = 0  # row m, column n → act[address + m·stride + n // rows], byte n % rows: the moving operand
    WEIGHT = 1  # → weight[address + (n // columns)·stride + m], byte n % columns: stationary, k = m (V)
    WEIGHT_TRANSPOSED = 2  # → weight[address + (m // columns)·stride + n], byte m % columns: stationary, k = n (K)


class Scales(IntEnum):
    """Where a QUANTISE instruction writes its row scales."""

    ROW = 0  # row[address + m]
    PARAM_SCALE = 1  # the scale half of pair m: param[address + m // columns], element m % columns
    PARAM_OFFSET = 2  # the offset half of pair m


class NormKind(IntEnum):
    """Which normalisation."""

    LAYER = 0
    RMS = 1


@dataclass(frozen=True)
class Field:
    """One field of the encoding: its width, and the enumeration or format that its bits stand for."""

    bits: int
    kind: type | None = None  # an IntEnum, float (IEEE single) or None (unsigned)
    signed: bool = False


def bits(width: int, kind: type | None = None, *, signed: bool = False, default: Any = 0) -> Any:
    """Declare an instruction field of `width` bits."""
    return field(default=default, metadata={"field": Field(width, kind, signed)})


@dataclass(frozen=True)
class Access:
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


ADDRESS, STRIDE, ROWS, COLUMNS, TILES, FLAG = 20, 16, 13, 16, 12, 1


@dataclass(frozen=True)
class Instruction:
    """What all instructions share: the header."""

    opcode: ClassVar[int]
    unit: ClassVar[Unit | None]
    in_place: ClassVar[bool] = False  # whether it may write the very words that it reads
    wait: int = bits(8)  # a token is taken from each unit u with bit u set, before the start
    signal: int = bits(8)  # a token is sent to each unit u with bit u set, at the end

    def accesses(self, config: HardwareConfig) -> list[Access]:
        """On-chip words read and written."""
        return []

    def check(self, config: HardwareConfig) -> None:
        """Raise HeddleError unless the machine of `config` can execute this instruction."""
        for access in self.accesses(config):
            if access.length < 1 or access.count < 1:
                raise HeddleError(f"{self.name}: every size must be at least 1")
            if access.stop > config.words(access.memory):
                raise HeddleError(
                    f"{self.name}: {access.memory.name} words up to {access.stop - 1} are used, "
                    f"but {config.name} has {config.words(access.memory)}"
                )
        self._check_overlap(config)
        rows = getattr(self, "rows", 1)
        if self.unit in (Unit.VECTOR, Unit.SOFTMAX, Unit.NORM) and rows > config.panel_rows:
            raise HeddleError(f"{self.name}: rows must be at most {config.panel_rows} on {config.name}, not {rows}")

    def _check_overlap(self, config: HardwareConfig) -> None:
        """What an instruction writes it must not read, or the result would hang on the depth of its pipeline. It may
        replace a word by its own result where `in_place` says so."""
        accesses = self.accesses(config)
        for write in (access for access in accesses if access.write):
            for read in (access for access in accesses if not access.write and access.overlaps(write)):
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
class Load(Instruction):
    """DRAM → on-chip memory, `segments` pieces of `words` words.

    memory[address + i·stride + w] = dram[dram_address + s(i)·dram_stride + w·word_bytes],
    s(i) = index[index_address + i] if gather else i. `index_address` counts int32 elements.
    A gather starts when no earlier LOAD is in flight.
    """

    opcode: ClassVar[int] = 1
    unit: ClassVar[Unit | None] = Unit.LOAD
    memory: Memory = bits(3, Memory, default=Memory.ACT)
    dram_address: int = bits(40)
    dram_stride: int = bits(32)
    segments: int = bits(16, default=1)
    words: int = bits(20, default=1)
    address: int = bits(ADDRESS)
    stride: int = bits(ADDRESS)
    gather: int = bits(FLAG)
    index_address: int = bits(20)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        written = Access(self.memory, True, self.address, self.words, self.stride, self.segments)
        per_word = config.word_elements(Memory.INDEX)
        first, last = self.index_address // per_word, (self.index_address + self.segments - 1) // per_word
        return [written] + [Access(Memory.INDEX, False, first, last - first + 1)] * self.gather

    def check(self, config: HardwareConfig) -> None:
        super().check(config)
        _check_dma(self, config, Memory.INDEX)
        if self.gather and (self.dram_address % config.burst_bytes or self.dram_stride % config.burst_bytes):
            # So that every row splits into the same bursts, and the timing does not depend on the indices.
            raise HeddleError(f"load: a gathered table must start at, and its rows be, multiples of "
                              f"{config.burst_bytes} bytes on {config.name}")  # fmt: skip


@dataclass(frozen=True)
class Store(Instruction):
    """On-chip memory (ACT, WEIGHT, PARAM or VALUE) → DRAM, `segments` pieces of `words` words.

    dram[dram_address + i·dram_stride + w·word_bytes] = memory[address + i·stride + w]. Padding bytes are zero.
    """

    opcode: ClassVar[int] = 2
    unit: ClassVar[Unit | None] = Unit.STORE
    memory: Memory = bits(3, Memory, default=Memory.VALUE)
    dram_address: int = bits(40)
    dram_stride: int = bits(32)
    segments: int = bits(16, default=1)
    words: int = bits(20, default=1)
    address: int = bits(ADDRESS)
    stride: int = bits(ADDRESS)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        return [Access(self.memory, False, self.address, self.words, self.stride, self.segments)]

    def check(self, config: HardwareConfig) -> None:
        super().check(config)
        _check_dma(self, config, Memory.VALUE)


@dataclass(frozen=True)
class Matmul(Instruction):
    """acc[acc_address + m·acc_stride + n] (+)= Σ_k act[act_address + m·act_stride + k] @ tile(k, n), in int32.

    m < rows; k < k_tiles and n < n_tiles count tiles; tile(k, n) is the `config.rows` words of WEIGHT from
    weight_address + n·weight_stride + k·config.rows. `accumulate` adds to what ACC holds instead of replacing it.
    Order: for n: for k: for m.
    """

    opcode: ClassVar[int] = 3
    in_place: ClassVar[bool] = True  # a sum is read, added to and written
    unit: ClassVar[Unit | None] = Unit.MATRIX
    rows: int = bits(ROWS, default=1)
    k_tiles: int = bits(TILES, default=1)
    n_tiles: int = bits(TILES, default=1)
    act_address: int = bits(ADDRESS)
    act_stride: int = bits(STRIDE)
    weight_address: int = bits(ADDRESS)
    weight_stride: int = bits(ADDRESS)
    acc_address: int = bits(ADDRESS)
    acc_stride: int = bits(STRIDE)
    accumulate: int = bits(FLAG)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        return [
            Access(Memory.ACT, False, self.act_address, self.k_tiles, self.act_stride, self.rows),
            Access(Memory.WEIGHT, False, self.weight_address, self.k_tiles * config.rows, self.weight_stride,
                   self.n_tiles),
            # Each sum is read, added to and written: both ports of the bank are in use.
            Access(Memory.ACC, False, self.acc_address, self.n_tiles, self.acc_stride, self.rows),
            Access(Memory.ACC, True, self.acc_address, self.n_tiles, self.acc_stride, self.rows),
        ]  # fmt: skip

    def check(self, config: HardwareConfig) -> None:
        if self.rows > 1 and self.acc_stride < self.n_tiles:
            raise HeddleError(f"matmul: acc_stride must be at least n_tiles ({self.n_tiles}), not {self.acc_stride}: "
                              f"rows of sums must not overlap")  # fmt: skip
        super().check(config)


@dataclass(frozen=True)
class VectorInstruction(Instruction):
    """The elementwise front that Map and Quantise share; each step is one float32 operation.

    x = float32(acc or value); if scaled: x = x·scale[n]; if row_scaled: x = x·row[row_address + m];
    if scaled: x = x + offset[n]; x = activation(x); x = x (+ or ·) value[operand_address + m·operand_stride + word(n)].
    (scale, offset)[n] = param[param_address + word(n)], element n % columns. A value read is cleaned (subnormals become
    zeros, NaN the quiet NaN). Columns at or beyond `columns`, up to the end of the word, are +0.
    """

    unit: ClassVar[Unit | None] = Unit.VECTOR
    rows: int = bits(ROWS, default=1)
    columns: int = bits(COLUMNS, default=1)
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

    def accesses(self, config: HardwareConfig) -> list[Access]:
        words = -(-self.columns // config.columns)
        memory = Memory.ACC if self.source is Source.ACC else Memory.VALUE
        reads = [Access(memory, False, self.source_address, words, self.source_stride, self.rows)]
        if self.scaled:
            reads.append(Access(Memory.PARAM, False, self.param_address, words))
        if self.row_scaled:
            reads.append(Access(Memory.ROW, False, self.row_address, self.rows))
        if self.combine is not Combine.NONE:
            reads.append(Access(Memory.VALUE, False, self.operand_address, words, self.operand_stride, self.rows))
        return reads

    @property
    def interval(self) -> int:
        """Cycles per group: two where both operands come from VALUE, which has one read port."""
        return 2 if self.source is Source.VALUE and self.combine is not Combine.NONE else 1


@dataclass(frozen=True)
class Map(VectorInstruction):
    """value[address + m·stride + word(n)] = x(m, n), rounded to the format of VALUE."""

    opcode: ClassVar[int] = 4
    in_place: ClassVar[bool] = True
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)

    def accesses(self, config: HardwareConfig) -> list[Access]:
        words = -(-self.columns // config.columns)
        return super().accesses(config) + [
            Access(Memory.VALUE, True, self.address, words, self.stride, self.rows)
        ]


@dataclass(frozen=True)
class Quantise(VectorInstruction):
    """codes(m, n) = int8(x(m, n)·(127·rcp(a))), scales(m) = a·(1/127), a = max(max_n |x(m, n)|, 2⁻⁶⁰).

    x is computed twice: for the maximum, then for the codes. `codes` and `scales` say where they go. A row of ACT is
    filled with zero codes up to the end of its last word.
    """

    opcode: ClassVar[int] = 5
    codes: Codes = bits(2, Codes, default=Codes.ACT)
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    scales: Scales = bits(2, Scales, default=Scales.ROW)
    scales_address: int = bits(ADDRESS)

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


@dataclass(frozen=True)
class Softmax(Instruction):
    """Scores in ACC → un-normalised probabilities as int8 codes in ACT, normalisation folded into the row scale.

    t = (float32(acc[source_address + m·source_stride + word(n)])·ks[n])·row[row_address + m], in units of log2;
    if additive: t = t + value[operand_address + m·operand_stride + word(n)].
    Column n is seen by row m if n < columns, and, if causal, n <= m + offset, and, if window, n > m + offset - window.
    g = max(max_n t, lowest finite number); p = exp2(t - g), 0 where not seen; l = max(Σ_n p, 1); q = p·vs[n];
    a = max(max_n q, 2⁻⁶⁰);
    codes = int8(q·(127·rcp(a))) → act[address + m·stride + n // rows]; row[scales_address + m] = (a·(1/127))·rcp(l).
    (ks, vs)[n] = param[param_address + word(n)], element n % columns: the scales of K and V per token.
    Columns not seen, and those up to the end of the last word of ACT, get code 0. A row that sees nothing gives zeros.
    """

    opcode: ClassVar[int] = 6
    unit: ClassVar[Unit | None] = Unit.SOFTMAX
    rows: int = bits(ROWS, default=1)
    columns: int = bits(COLUMNS, default=1)
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
class Norm(Instruction):
    """value[address + m·stride + word(n)] = (d·r)·γ[n] + β[n], rounded to the format of VALUE.

    x = value[source_address + m·source_stride + word(n)]. LAYER: d = x - (Σx)·reciprocal; RMS: d = x.
    r = rsqrt((Σ d²)·reciprocal + epsilon) with one Newton step. (γ, β)[n] = param[param_address + word(n)].
    `reciprocal` is 1 / columns in float32. Sums are row sums (numerics.row_sum). Columns at or beyond `columns`,
    up to the end of the word, are +0.
    """

    opcode: ClassVar[int] = 7
    in_place: ClassVar[bool] = True
    unit: ClassVar[Unit | None] = Unit.NORM
    rows: int = bits(ROWS, default=1)
    columns: int = bits(COLUMNS, default=1)
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


INSTRUCTIONS: list[type[Instruction]] = [Halt, Load, Store, Matmul, Map, Quantise, Softmax, Norm]
OPCODE_BITS = 6
OPCODES = {instruction.opcode: instruction for instruction in INSTRUCTIONS}


@cache
def encoding(instruction: type[Instruction]) -> dict[str, tuple[int, Field]]:
    """Field name → (lowest bit, Field), opcode excluded (it is bits 0 to OPCODE_BITS - 1), in order of bits."""
    layout, position = {}, OPCODE_BITS
    for each in fields(instruction):
        layout[each.name] = (position, each.metadata["field"])
        position += each.metadata["field"].bits
    if position > INSTRUCTION_BITS:
        raise HeddleError(f"{instruction.__name__} takes {position} bits, more than {INSTRUCTION_BITS}")
    return layout


def encode(instruction: Instruction) -> bytes:
    """The INSTRUCTION_BYTES bytes of `instruction`, little-endian. Raises HeddleError for a value that does not fit."""
    word = instruction.opcode
    for name, (position, kind) in encoding(type(instruction)).items():
        value = getattr(instruction, name)
        raw = struct.unpack("<I", struct.pack("<f", value))[0] if kind.kind is float else int(value)
        low, high = (-(1 << kind.bits - 1), (1 << kind.bits - 1) - 1) if kind.signed else (0, (1 << kind.bits) - 1)
        if not low <= raw <= high:
            raise HeddleError(f"{instruction.name}: {name} = {value} does not fit in {kind.bits} bits")
        word |= (raw & ((1 << kind.bits) - 1)) << position
    return word.to_bytes(INSTRUCTION_BYTES, "little")


def decode(code: bytes) -> Instruction:
    """The inverse of `encode`. Raises HeddleError for an unknown opcode or an impossible field."""
    word = int.from_bytes(code, "little")
    opcode = word & ((1 << OPCODE_BITS) - 1)
    if opcode not in OPCODES:
        raise HeddleError(f"unknown opcode {opcode}; known are {', '.join(map(str, OPCODES))}")
    instruction, values = OPCODES[opcode], {}
    for name, (position, kind) in encoding(instruction).items():
        raw: Any = word >> position & ((1 << kind.bits) - 1)
        if kind.signed and raw >> (kind.bits - 1):
            raw -= 1 << kind.bits
        try:
            if kind.kind is float:
                raw = struct.unpack("<f", struct.pack("<I", raw))[0]
            elif kind.kind is not None:
                raw = kind.kind(raw)
        except ValueError:
            raise HeddleError(f"{instruction.__name__.lower()}: {name} has the unknown code {raw}") from None
        values[name] = raw
    return instruction(**values)


def units_in(mask: int) -> Iterator[Unit]:
    """The units whose bits are set in a `wait` or `signal` mask."""
    return (unit for unit in Unit if mask >> unit & 1)


def listing(instruction: Instruction) -> str:
    """One line: the mnemonic, the fields that differ from their defaults, then what it waits for and signals."""
    parts = [f"{instruction.name:<9}"]
    for each in fields(instruction):
        value = getattr(instruction, each.name)
        if each.name in ("wait", "signal") or (value == each.default and each.name not in ("rows", "memory")):
            continue
        if isinstance(value, IntEnum):
            parts.append(f"{each.name}={value.name.lower()}")
        else:
            parts.append(f"{each.name}={value:#x}" if each.name == "dram_address" else f"{each.name}={value:g}")
    for word, mask in (("wait", instruction.wait), ("signal", instruction.signal)):
        if mask:
            parts.append(f"{word}:" + ",".join(unit.name.lower() for unit in units_in(mask)))
    return " ".join(parts)


def _check_dma(instruction: Load | Store, config: HardwareConfig, last: Memory) -> None:
    if instruction.memory > last:
        raise HeddleError(f"{instruction.name}: memory must be ACT to {last.name}, not {instruction.memory.name}")
    for name in ("dram_address", "dram_stride"):
        if getattr(instruction, name) % config.axi_bytes:
            raise HeddleError(f"{instruction.name}: {name} must be a multiple of {config.axi_bytes} bytes "
                              f"on {config.name}, not {getattr(instruction, name)}")  # fmt: skip

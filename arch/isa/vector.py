"""VECTOR: elementwise work on a panel, what becomes of it, and the tables of its functions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from ..config import HardwareConfig, Memory, Unit
from ..errors import HeddleError
from ..functions import PLACE_COUNT
from ..operands import FLAG, Read, Write, repeated
from .instruction import ADDRESS, COLUMNS, ROWS, STRIDE, Instruction, bits, size

COUNT = 7  # bits of how many of the greatest numbers are wanted
SHIFT = 9  # bits of a shift of columns


class Source(IntEnum):
    """Where a VECTOR instruction reads its first operand."""

    ACC = 0
    VALUE = 1


class Function(IntEnum):
    """A function of one value: that of a table, which a program has set (`tables`), or relu, which needs none."""

    NONE = 0
    TABLE_0 = 1
    TABLE_1 = 2
    TABLE_2 = 3
    TABLE_3 = 4
    RELU = 7  # maximum(x, +0)


class Combine(IntEnum):
    """How the second operand y of a VECTOR instruction enters: what x becomes."""

    NONE = 0
    ADD = 1
    MULTIPLY = 2
    ROTATE = 3  # rotary position embedding of the first operand, by cosines and sines
    SUBTRACT = 4  # x − y
    SUBTRACT_FROM = 5  # y − x
    MAXIMUM = 6  # NaN if either is
    MINIMUM = 7  # likewise
    LESS = 8  # 1 if x < y, else 0, as if either is NaN
    LESS_EQUAL = 9  # x ≤ y
    EQUAL = 10  # x = y, as are zeros of either sign
    SELECT = 11  # x, but where y = 0 Map leaves what is there


class SecondOperand(IntEnum):
    """Where a VECTOR instruction reads its second operand."""

    VALUE = 0  # value[operand_address + m·operand_stride + word(n)]; a stride of 0 makes it one row for all
    COLUMN = 1  # row[operand_address + m], for all columns
    SCALAR = 2  # row[operand_address], for all rows and columns


class Layout(IntEnum):
    """Where a MAP instruction writes its values. Whole words at a time, or else an element, and others stay."""

    ROWS = 0  # row m, column n → value[address + m·stride + n // columns], element n % columns, +0 behind the last
    TRANSPOSED = 1  # → value[address + n·stride + m // columns], element m % columns
    SHIFTED = 2  # → value[address + m·stride + p // columns], element p % columns, p = n + shift; not if p < 0


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


class Reduction(IntEnum):
    """What REDUCE makes of many numbers."""

    SUM = 0
    MAXIMUM = 1
    MINIMUM = 2


class Axis(IntEnum):
    """What REDUCE makes one number of."""

    COLUMNS = 0  # those of each row
    ROWS = 1  # those of each column


class Results(IntEnum):
    """Where a REDUCE instruction writes its numbers."""

    NONE = 0
    ROW = 1
    VALUE = 2


@dataclass(frozen=True)
class VectorInstruction(Instruction):
    """The elementwise front that Map and Quantise share; each step is one float32 operation.

    x = value, or acc, or with planes acc·256 + acc_1, or (acc·256 + acc_1)·256 + acc_2: an integer, rounded once, acc_p
    being another panel of sums, p·rows·source_stride words on (products of digits, the highest first);
    if scaled: x = x·scale[n]; if row_scaled: x = x·row[row_address + m]; if scaled: x = x + offset[n];
    x = function(x); x = x combined with y, y as `operand` says: value[operand_address + m·operand_stride + word(n)],
    row[operand_address + m] or row[operand_address].
    ROTATE: x(m, n) = value(m, n)·cos(m, n) + value(m, n')·sin(m, n), the partner n' is columns / 2 on from n (or
    back), whole groups of `vector_lanes`; cos = value[operand_address + m·operand_stride + word(n)], sin as many words
    on as a row has.
    (scale, offset)[n] = param[param_address + word(n)], element n % columns. A value read is cleaned (subnormals become
    zeros, NaN the quiet NaN). Columns at or beyond `columns`, up to the end of the word, are +0. Each step saturates:
    of finite numbers it makes finite ones, at most the largest float32, 2¹²⁸·(1 − 2⁻²⁴). A function by table is that
    of `functions.evaluate`, which gives 16 significant bits, or as many as vector arithmetic has.
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
    function: Function = bits(3, Function, default=Function.NONE)
    combine: Combine = bits(4, Combine, default=Combine.NONE)
    operand: SecondOperand = bits(2, SecondOperand, default=SecondOperand.VALUE)
    operand_address: int = bits(ADDRESS)
    operand_stride: int = bits(STRIDE)
    planes: int = bits(2, only=(0, 1, 2))  # panels of sums besides the first

    operands = (
        Read(Memory.ACC, at="source_address", words="in_words(columns)", stride="source_stride",
             count="rows * (1 + planes)", when="source == Source.ACC"),
        Read(Memory.VALUE, at="source_address", words="in_words(columns)", stride="source_stride",
             count="rows * (1 + planes)", when="source == Source.VALUE",
             passes="2 if combine == Combine.ROTATE else 1"),
        Read(Memory.PARAM, at="param_address", words="in_words(columns)", passes="rows", when="scaled"),
        Read(Memory.ROW, at="row_address", words="rows", when="row_scaled"),
        Read(Memory.VALUE, at="operand_address", words="in_words(columns) * (2 if combine == Combine.ROTATE else 1)",
             stride="operand_stride", count="rows",
             when="combine != Combine.NONE and operand == SecondOperand.VALUE"),
        Read(Memory.ROW, at="operand_address", words="rows",
             when="combine != Combine.NONE and operand == SecondOperand.COLUMN"),
        Read(Memory.ROW, at="operand_address",
             when="combine != Combine.NONE and operand == SecondOperand.SCALAR"),
    )  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.planes and (self.source is not Source.ACC or config.pe != "int8"):
            raise HeddleError(f"{self.name}: planes must be 0, but for a source in ACC of a machine with int8 PEs, "
                              f"not {self.planes}")  # fmt: skip
        if self.combine is Combine.SELECT and not isinstance(self, Map):
            raise HeddleError(f"{self.name}: combine must not be select: only map can leave a value as it is")
        if self.combine is Combine.ROTATE:
            if self.operand is not SecondOperand.VALUE:
                raise HeddleError(f"{self.name}: with combine=rotate the operand must be value, not "
                                  f"{self.operand.name.lower()}")  # fmt: skip
            if self.source is not Source.VALUE or self.scaled or self.row_scaled or self.function:
                raise HeddleError(f"{self.name}: with combine=rotate the source must be value, unscaled and as it is")
            if self.columns % config.columns or self.columns % (2 * config.vector_lanes):
                raise HeddleError(f"{self.name}: with combine=rotate columns must be whole words of {config.columns}, "
                                  f"and half of them groups of {config.vector_lanes}, not {self.columns}")  # fmt: skip

    @property
    def interval(self) -> int:
        """Cycles per group: one for each read at the port of VALUE, ROW or ACC that is read most, as each has one."""
        if self.combine is Combine.ROTATE:
            return 4
        of_value = self.source is Source.VALUE and self.operand_memory is Memory.VALUE
        return max(1 + self.planes, 2 if of_value or self.row_scaled and self.operand_memory is Memory.ROW else 1)

    @property
    def operand_memory(self) -> Memory | None:
        """What the second operand is read from, if there is one."""
        if self.combine is Combine.NONE:
            return None
        return Memory.VALUE if self.operand is SecondOperand.VALUE else Memory.ROW


@dataclass(frozen=True)
class Map(VectorInstruction):
    """value[address + m·stride + word(n)] = x(m, n), rounded to the format of VALUE, finite numbers to finite ones.

    If operand_scaled, an operand from VALUE (not of ROTATE) is first multiplied by row[operand_row_address + m]. With
    SELECT, columns below `columns` whose y is zero are not written. `layout` may say another place: rows that become
    columns, or that begin at any element of a word. So rows are cut and joined at any column: to the left by a negative
    `shift`, of which the first elements are left out, then to the right.
    """

    opcode: ClassVar[int] = 4
    in_place: ClassVar[bool] = True
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    operand_scaled: int = bits(FLAG)
    operand_row_address: int = bits(ADDRESS)
    layout: Layout = bits(2, Layout, default=Layout.ROWS)
    shift: int = bits(SHIFT, signed=True)  # in columns, less than a word either way

    operands = (
        *VectorInstruction.operands,
        Read(Memory.ROW, at="operand_row_address", words="rows", when="operand_scaled"),
        Write(Memory.VALUE, at="address", words="in_words(columns)", stride="stride", count="rows",
              when="layout == Layout.ROWS"),
        Write(Memory.VALUE, at="address", words="in_words(rows)", stride="stride", count="columns",
              moved="rows * columns", when="layout == Layout.TRANSPOSED"),  # an element of a word at a time
        Write(Memory.VALUE, at="address", words="in_words(columns + shift)", stride="stride", count="rows",
              moved="rows * (columns + shift * (shift < 0))", when="layout == Layout.SHIFTED"),
    )  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if not -min(config.columns, self.columns) < self.shift < config.columns:
            raise HeddleError(f"map: shift must be less than a word of {config.columns}, and leave some of "
                              f"{self.columns} columns, not {self.shift}")  # fmt: skip
        if self.combine is Combine.ROTATE or self.layout is not Layout.ROWS:
            *read, written = self.accesses(config)
            if any(each.overlaps(written) for each in read):
                raise HeddleError("map: the result must not replace what it is made of, as it does not come in the "
                                  "order in which that is read")  # fmt: skip
        if self.combine is Combine.SELECT and self.layout is not Layout.ROWS:
            raise HeddleError(f"map: with combine=select layout must be rows, not {self.layout.name.lower()}")
        if self.operand_scaled and (self.combine is Combine.ROTATE or self.operand_memory is not Memory.VALUE):
            raise HeddleError("map: operand_scaled needs an operand from VALUE that is combined in another way than by "
                              "rotate")  # fmt: skip

    @property
    def interval(self) -> int:
        """Two also where ROW, which has one port, is read twice for a group, or one multiplier takes two products."""
        twice = self.operand_scaled and (self.row_scaled or self.combine is Combine.MULTIPLY)
        return max(super().interval, 2 if twice else 1)


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

    operands = (
        *repeated(VectorInstruction.operands, 2),
        Write(Memory.ACT, at="address", words="in_act_words(columns)", stride="stride", count="rows",
              when="codes == Codes.ACT"),
        Write(Memory.WEIGHT, at="address", words="rows", stride="stride", count="in_words(columns)",
              when="codes == Codes.WEIGHT"),
        Write(Memory.WEIGHT, at="address", words="columns", stride="stride", count="in_words(rows)",
              moved="rows * columns", when="codes == Codes.WEIGHT_TRANSPOSED"),  # a byte of a word at a time
        Write(Memory.ROW, at="scales_address", words="rows", when="scales == Scales.ROW"),
        Write(Memory.PARAM, at="scales_address", words="in_words(rows)", moved="rows", when="scales != Scales.ROW"),
    )  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.digit is not Digit.WHOLE and config.pe != "int8":
            raise HeddleError(f"quantise: digit must be whole with {config.pe} PEs, not {self.digit.name.lower()}")


@dataclass(frozen=True)
class Reduce(VectorInstruction):
    """Along the columns, for each row: its sum, or its `count` greatest or least numbers and their places.

    SUM: r(m, 0) = the sum of x(m, ·) (`numerics.running_row_sum`), in float32. MAXIMUM, MINIMUM: r(m, j) = x(m, n) and
    place(m, j) = n, for j < count ≤ columns the n that comes after j others. A greater number comes before a lesser
    one, or after it for MINIMUM; of equal ones that with the lesser n comes first. Zeros are equal, and +0 as a result;
    NaN comes before every number. So it is the order of a stable descending sort in PyTorch (torch.topk does not say
    which of equal numbers it takes), and of a stable ascending one but for NaN, which torch.amin and argmin prefer too.
    results ROW: row[address + m·count + j] = r(m, j); VALUE: value[address + m·stride + word(j)], element j % columns,
    is r(m, j), rounded to the format of VALUE; other elements stay. placed: index[index_address + m·count + j] =
    place(m, j); `index_address` counts int32 elements. x is not rounded before. It is computed `count` times over.

    Along the rows, for each column: value[address + word(n)] = r(n), rounded, as one row of a Map; the sum is
    ((+0 + x(0, n)) + x(1, n)) + …, in float32.
    """

    opcode: ClassVar[int] = 12
    address: int = bits(ADDRESS)
    stride: int = bits(STRIDE)
    kind: Reduction = bits(2, Reduction, default=Reduction.SUM)
    axis: Axis = bits(1, Axis, default=Axis.COLUMNS)
    count: int = size(COUNT)
    results: Results = bits(2, Results, default=Results.NONE)
    placed: int = bits(FLAG)
    index_address: int = bits(ADDRESS)

    operands = (
        *repeated(VectorInstruction.operands, "count"),
        Write(Memory.ROW, at="address", words="rows * count", when="results == Results.ROW"),
        Write(Memory.VALUE, at="address", words="in_words(count)", stride="stride", count="rows", moved="rows * count",
              when="results == Results.VALUE and axis == Axis.COLUMNS"),  # an element of a word at a time
        Write(Memory.VALUE, at="address", words="in_words(columns)",
              when="results == Results.VALUE and axis == Axis.ROWS"),
        Write(Memory.INDEX, at="index_address", elements="rows * count", when="placed"),
    )  # fmt: skip

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if not self.placed and self.results is Results.NONE:
            raise HeddleError("reduce: results must be row or value, or it must be placed: nothing is written")
        if self.axis is Axis.ROWS and (self.results is not Results.VALUE or self.placed or self.count > 1):
            raise HeddleError("reduce: along the rows results must be value, one for each column, and not placed")
        if self.kind is Reduction.SUM and (self.placed or self.count > 1):
            raise HeddleError("reduce: a sum has no place, and there is one")
        if self.axis is Axis.COLUMNS and self.count > self.columns:
            raise HeddleError(f"reduce: count must be at most {self.columns}, the columns, not {self.count}")


@dataclass(frozen=True)
class Tables(Instruction):
    """table[place + i] = entry i of param[param_address …], i < entries: parts of functions by table.

    Entry i is the low 36 bits of pair i % columns of word param_address + i // columns: scale is the low 32 of them.
    Places are 0 to 511 for descriptors (128 for each of the four tables), 512 to 1023 for words, which all tables
    share, and 1024 to 1027 for headers. `arch/functions.py` says what these hold; what others do is not defined.
    """

    opcode: ClassVar[int] = 15
    unit: ClassVar[Unit | None] = Unit.VECTOR
    param_address: int = bits(ADDRESS)
    entries: int = size(11)
    place: int = bits(11)

    operands = (Read(Memory.PARAM, at="param_address", words="in_words(entries)"),)

    def check_fields(self, config: HardwareConfig) -> None:
        super().check_fields(config)
        if self.place + self.entries > PLACE_COUNT:
            raise HeddleError(f"tables: places up to {self.place + self.entries - 1} are written, but the last is "
                              f"{PLACE_COUNT - 1}")  # fmt: skip


INSTRUCTIONS: list[type[Instruction]] = [Tables, Map, Quantise, Reduce]

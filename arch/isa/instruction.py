"""What all instructions share: how fields are declared, the header, and what makes an instruction illegal."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import cache
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np

from .. import operands
from ..config import HardwareConfig, Unit
from ..errors import HeddleError
from ..operands import FLAG, Access, Dram, Operand, Transfer
from ..ranges import is_whole

ADDRESS, STRIDE, ROWS, COLUMNS, TILES, REGISTER = 20, 16, 13, 16, 12, 5  # bits of fields
PANEL_UNITS = (Unit.VECTOR, Unit.SOFTMAX, Unit.NORM)  # whose instructions have at most `panel_rows` rows
BLOCK = 20  # bits of a place in a sequence, in blocks of `config.columns` tokens


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


@dataclass(frozen=True)
class Instruction:
    """What all instructions share: the header."""

    opcode: ClassVar[int]
    unit: ClassVar[Unit | None]
    in_place: ClassVar[bool] = False  # whether it may write the very words that it reads
    operands: ClassVar[tuple[Operand, ...]] = ()  # what it reads and writes on chip
    dram: ClassVar[Dram | None] = None  # what it moves to or from DRAM
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
        """On-chip words read and written."""
        return operands.accesses(self, config)

    def transfer(self, config: HardwareConfig) -> Transfer:
        """What it moves to or from DRAM, if `dram` says that it moves anything."""
        return operands.transfer(self, config)

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
        if self.unit in PANEL_UNITS and rows > config.panel_rows:
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


def clamp(value: int, low: int, high: int) -> int:
    """The nearest number from `low` to `high`."""
    return min(max(value, low), high)


def sized(size: int, scalar: Sequence[int], register: int, offset: int) -> int:
    """A size of at most `size` by a register, at least 1; as it stands with register 0."""
    return clamp(scalar[register] - offset, 1, size) if register else size

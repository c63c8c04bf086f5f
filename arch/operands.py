"""What an instruction touches, as data: its class declares each operand once, in expressions over its fields.

An expression is Python as text. It may name the fields of the instruction, `config` of the machine, the enumerations of
the fields, and
    in_words(n)      words that n columns take in ACC, VALUE, WEIGHT and PARAM: `config.columns` each
    in_act_words(n)  words that n columns take in ACT: `config.rows` each
    word_bytes(m)    bytes of DRAM that a word of memory m takes.
As text it stands in docs/isa.md as it is here, and holds for one instruction as for arrays of sizes and addresses
(accesses.py); what decides which operands there are, flags and enumerations, is always of one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import cache
from operator import attrgetter
from types import CodeType
from typing import Any, ClassVar, NamedTuple

from .config import HardwareConfig, Memory
from .errors import HeddleError

FLAG = 1  # bits of a field that is one
_NAMES: dict[type, tuple[HardwareConfig, dict[str, Any]]] = {}
GIVEN = "config", "in_words", "in_act_words", "word_bytes"  # what expressions may name besides fields and enumerations


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


# -- as declared -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operand:
    """`count` blocks of `words` words, `stride` apart, from the one that field `at` names. Or, with `elements`, so many
    elements of words, the first of which `at` counts; then all that may be touched are the words that hold them.

    Each word goes `passes` times through the port of the memory. `moved` are those of a pass, where they are not each
    word, or each element, once.
    """

    memory: Memory | str  # or the field that names it
    at: str
    words: str = "1"
    stride: str = "0"
    count: str = "1"
    elements: str = ""
    when: str = ""  # the condition under which there is this operand; always, if there is none
    passes: str = "1"
    moved: str = ""
    write: ClassVar[bool]

    @property
    def start(self) -> str:
        """The first word."""
        return f"({self.at}) // {self._per_word}" if self.elements else self.at

    @property
    def length(self) -> str:
        """Words of a block."""
        if not self.elements:
            return self.words
        return f"({self.at} + {self.elements} - 1) // {self._per_word} - {self.at} // {self._per_word} + 1"

    @property
    def traffic(self) -> str:
        """Words through the port, in all."""
        moved = self.moved or self.elements or f"({self.words}) * ({self.count})"
        return f"({moved}) * ({self.passes})"

    @property
    def _per_word(self) -> str:
        name = f"Memory.{self.memory.name}" if isinstance(self.memory, Memory) else self.memory
        return f"config.word_elements({name})"


class Read(Operand):
    """One that is read."""

    write = False


class Write(Operand):
    """One that is written."""

    write = True


def repeated(operands: tuple[Operand, ...], times: int | str) -> tuple[Operand, ...]:
    """Operands for work that is done so many times over, a number or an expression."""
    return tuple(replace(each, passes=_times(times, each.passes)) for each in operands)


def _times(times: int | str, passes: str) -> str:
    return str(times) if passes == "1" else f"{times} * ({passes})"


@dataclass(frozen=True)
class Dram:
    """What an instruction moves to or from DRAM: `pieces` of `piece_bytes` bytes each, `stride` bytes apart from field
    `dram_address` on. If `chosen`, data (indices, page numbers) say how far from there each is. With `cache`, addresses
    count from the start of the KV cache, and none leaves it."""

    write: bool
    pieces: str
    piece_bytes: str
    stride: str = "0"
    chosen: str = "1"  # a condition
    cache: bool = False


class Transfer(NamedTuple):
    """The same with numbers."""

    write: bool
    cache: bool
    chosen: bool
    address: int
    pieces: int
    piece_bytes: int
    stride: int

    @property
    def moved_bytes(self) -> int:
        """All that it moves."""
        return self.pieces * self.piece_bytes

    @property
    def starts(self) -> list[int]:
        """The first byte of each piece, if data choose nothing."""
        return [self.address + place * self.stride for place in range(self.pieces)]

    @property
    def span_bytes(self) -> int:
        """From its first byte to one past its last; of pieces that data choose, of one."""
        return self.piece_bytes if self.chosen else (self.pieces - 1) * self.stride + self.piece_bytes

    @property
    def stop(self) -> int:
        """One past the last byte, if data choose nothing."""
        return self.address + self.span_bytes


# -- of an instruction -------------------------------------------------------------------------------------------------


def accesses(instruction: Any, config: HardwareConfig, columns: Mapping[str, Any] | None = None) -> list[Access]:
    """On-chip words that it reads and writes, as written. `columns` may hold arrays for fields that are sizes or places
    (`size_names`), of instructions that agree in the others (`choices_of`); then so do the accesses."""
    plan = plan_of(instruction)
    names = {**instruction.__dict__, **columns} if columns else instruction.__dict__
    numbers = eval(plan.numbers, _names(type(instruction), config), names)
    return [Access(*where, *each) for where, each in zip(plan.memories, numbers, strict=True)]


class Block(NamedTuple):
    """An operand in numbers: `count` blocks of `length` words of a memory, or elements if it counts those."""

    operand: Operand
    memory: Memory
    length: int
    count: int


def blocks(instruction: Any, config: HardwareConfig) -> list[Block]:
    """The operands that an instruction has."""
    plan = plan_of(instruction)
    sizes = eval(plan.sizes, _names(type(instruction), config), instruction.__dict__)
    return [
        Block(operand, memory, *size)
        for operand, (memory, _), size in zip(plan.operands, plan.memories, sizes, strict=True)
    ]


def port_words(instruction: Any, config: HardwareConfig) -> list[tuple[Memory, bool, int]]:
    """(memory, written?, words through its port) of each operand."""
    plan = plan_of(instruction)
    numbers = eval(plan.traffic, _names(type(instruction), config), instruction.__dict__)
    return [(*where, each) for where, each in zip(plan.memories, numbers, strict=True)]


def element_ranges(
    instruction: Any, config: HardwareConfig, memory: Memory, write: bool
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """(first, count) of the elements of a memory that it reads, or writes: exact where an operand counts elements."""
    if (memory, write) not in reach_of(type(instruction)):
        return
    per_word = config.word_elements(memory)
    for block, access in zip(blocks(instruction, config), accesses(instruction, config), strict=True):
        if (access.memory, access.write) != (memory, write):
            continue
        if block.operand.elements:
            yield getattr(instruction, block.operand.at), block.length
        else:
            starts = (access.start + number * access.stride for number in range(access.count))
            yield from ((start * per_word, access.length * per_word) for start in starts)


def transfer(instruction: Any, config: HardwareConfig) -> Transfer:
    """What it moves to or from DRAM. Raises HeddleError if it moves nothing there."""
    plan, dram = plan_of(instruction), instruction.dram
    if plan.dram is None:
        raise HeddleError(f"{instruction.name} moves nothing to or from DRAM")
    numbers = eval(plan.dram, _names(type(instruction), config), instruction.__dict__)
    return Transfer(dram.write, dram.cache, plan.chosen, instruction.dram_address, *numbers)


def is_chosen(instruction: Any) -> bool:
    """Whether data choose where in DRAM it moves something."""
    return instruction.dram is not None and plan_of(instruction).chosen


def address_fields(instruction: Any) -> dict[str, tuple[Memory, bool]]:
    """The fields that hold on-chip addresses in use → the memory that each means, and whether it counts elements."""
    plan = plan_of(instruction)
    pairs = zip(plan.operands, plan.memories, strict=True)
    return {each.at: (memory, bool(each.elements)) for each, (memory, _) in pairs}


def address_names(kind: Any) -> set[str]:
    """All fields that hold addresses, on chip or in DRAM, in use or not."""
    return {each.at for each in kind.operands} | ({"dram_address"} if kind.dram else set())


@cache
def reach_of(kind: Any) -> set[tuple[Memory, bool]]:
    """(memory, written?) of all that instructions of a class may touch."""
    named = {each.name: each.metadata["field"].only for each in fields(kind)}
    return {
        (memory, each.write)
        for each in kind.operands
        for memory in ([each.memory] if isinstance(each.memory, Memory) else named[each.memory])
    }


class Plan(NamedTuple):
    """The operands of instructions of a class that agree in flags and enumerations."""

    operands: tuple[Operand, ...]
    memories: tuple[tuple[Memory, bool], ...]  # and whether they are written
    numbers: CodeType  # (first word, words, stride, count) of each
    sizes: CodeType  # (words of a block or elements, count) of each
    traffic: CodeType  # words through the port, of each
    dram: CodeType | None  # (pieces, piece_bytes, stride)
    chosen: bool  # whether data choose the places of these


def plan_of(instruction: Any) -> Plan:
    """That of one instruction."""
    kind = type(instruction)
    return _plan(kind, choices_of(kind)(instruction))


@cache
def choices_of(kind: type) -> Callable[[Any], Any]:
    """The flags and enumerations that decide which operands an instruction has and how large they are; its opcode, if
    none does."""
    return attrgetter(*choice_names(kind) or ("opcode",))


def choice_names(kind: type) -> tuple[str, ...]:
    """The names of those, in the order of the encoding."""
    return _named(kind, choices=True)


def size_names(kind: type) -> tuple[str, ...]:
    """The names of the fields that are sizes or places of operands, likewise."""
    return _named(kind, choices=False)


@cache
def _plan(kind: Any, choices: Any) -> Plan:
    names = choice_names(kind)
    given = dict(zip(names, choices if len(names) > 1 else (choices,), strict=False))
    shared = {"__builtins__": {}, **_enumerations(kind)}
    used = tuple(each for each in kind.operands if not each.when or eval(each.when, shared, given))
    memories = tuple((given.get(each.memory, each.memory), each.write) for each in used)
    numbers = _tuple_of([f"({each.start}, {each.length}, {each.stride}, {each.count})" for each in used], kind)
    sizes = _tuple_of([f"({each.elements or each.words}, {each.count})" for each in used], kind)
    traffic, dram = _tuple_of([each.traffic for each in used], kind), kind.dram
    chosen = dram is not None and bool(eval(dram.chosen, shared, given))
    moved = dram and _tuple_of([dram.pieces, dram.piece_bytes, "0" if chosen else dram.stride], kind)
    return Plan(used, memories, numbers, sizes, traffic, moved, chosen)


def _names(kind: Any, config: HardwareConfig) -> dict[str, Any]:
    """What expressions of a class may name besides fields; kept for the machine that was last asked about."""
    known = _NAMES.get(kind)
    if known is None or known[0] is not config:
        given = config, lambda n: -(-n // config.columns), lambda n: -(-n // config.rows), config.dram_word_bytes
        names = {"__builtins__": {}, **_enumerations(kind), **dict(zip(GIVEN, given, strict=True))}
        known = _NAMES[kind] = config, names
    return known[1]


def _tuple_of(expressions: list[str], kind: type) -> CodeType:
    return compile(f"({''.join(f'{each}, ' for each in expressions)})", f"<operands of {kind.__name__}>", "eval")


@cache
def _named(kind: Any, choices: bool) -> tuple[str, ...]:
    """The fields that the operands on chip name: flags and enumerations, or all others. Raises HeddleError for a name
    that stands for nothing, and for a condition on what is no flag or enumeration."""
    fields_of = {each.name: _is_choice(each.metadata["field"]) for each in fields(kind)}
    dram = kind.dram
    used, conditions = set(), _names_in(dram.chosen) if dram else set()
    moved = _names_in(dram.pieces, dram.piece_bytes, dram.stride) if dram else set()
    for each in kind.operands:
        used |= _names_in(each.at, each.length, each.stride, each.count, each.traffic)
        conditions |= _names_in(each.when or "1", each.memory if isinstance(each.memory, str) else "1")
    wrong = (used | conditions | moved) - {*fields_of, *GIVEN, *_enumerations(kind)}
    wrong |= {name for name in conditions if not fields_of.get(name, True)}
    if wrong:
        names = ", ".join(sorted(wrong))
        raise HeddleError(f"{kind.__name__}: its operands name {names}: expressions may name fields, enumerations and "
                          f"{', '.join(GIVEN)}, conditions only flags and enumerations")  # fmt: skip
    found = used | conditions
    return tuple(name for name, is_choice in fields_of.items() if name in found and is_choice == choices)


def _names_in(*expressions: str) -> set[str]:
    return {node.id for text in expressions for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _enumerations(kind: Any) -> dict[str, type[IntEnum]]:
    """Those of its fields, by name."""
    kinds = [each.metadata["field"].kind for each in fields(kind)]
    return {each.__name__: each for each in (*kinds, Memory) if each is not None and issubclass(each, IntEnum)}


def _is_choice(field: Any) -> bool:
    return field.bits == FLAG or field.kind not in (None, float)

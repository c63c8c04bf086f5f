"""Instructions as bits and as text, both derived from the fields of isa."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import fields
from enum import IntEnum
from functools import cache
from typing import Any, TypeGuard

from .config import INSTRUCTION_BITS, INSTRUCTION_BYTES
from .errors import HeddleError
from .isa import INSTRUCTIONS, Field, Instruction, check_bits, units_in

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


@cache
def instruction_set_fingerprint() -> int:
    """32 bits that identify the encoding: opcodes, fields and what their bits stand for."""
    content = [
        (each.__name__, each.opcode, name, position, field.bits, field.signed,
         [(value.name, value.value) for value in field.kind] if _is_enumeration(field.kind) else field.kind is float)
        for each in INSTRUCTIONS for name, (position, field) in encoding(each).items()
    ]  # fmt: skip
    return int.from_bytes(hashlib.sha256(repr(content).encode()).digest()[:4], "big")


def _is_enumeration(kind: type | None) -> TypeGuard[type[IntEnum]]:
    return kind is not None and issubclass(kind, IntEnum)


def encode(instruction: Instruction) -> bytes:
    """The INSTRUCTION_BYTES bytes of `instruction`, little-endian. Raises HeddleError for a value that does not fit."""
    word = instruction.opcode
    for name, (position, kind) in encoding(type(instruction)).items():
        value = getattr(instruction, name)
        check_bits(instruction, name, kind)
        raw = struct.unpack("<I", struct.pack("<f", value))[0] if kind.kind is float else value
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

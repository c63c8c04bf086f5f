"""The RTL's view of an instruction word: the fields that `arch.encoding` places, as Amaranth values.

No bit position is written down here; every unit reads its instruction through `fields_of`.
"""

from types import SimpleNamespace

from amaranth.hdl import Const, Value

from ..arch.config import INSTRUCTION_BITS, INSTRUCTION_BYTES, Unit
from ..arch.encoding import OPCODE_BITS, encode, encoding
from ..arch.isa import INSTRUCTIONS, Instruction

UNIT_MASK_BITS = 8  # of the `wait` and `signal` masks; bit u is unit u of `arch.config.Unit`
UNITS = [unit for unit in Unit if any(each.unit is unit for each in INSTRUCTIONS)]  # those that this machine has


def fields_of(instruction: type[Instruction], bits: Value) -> SimpleNamespace:
    """Field name → Value, for the fields of `instruction` in the word `bits` (INSTRUCTION_BITS wide).

    Enumerations and floats come as plain unsigned numbers, signed fields as signed ones.
    """
    assert len(bits) == INSTRUCTION_BITS
    values = SimpleNamespace()
    for name, (position, field) in encoding(instruction).items():
        value = Value.cast(bits[position : position + field.bits])
        setattr(values, name, value.as_signed() if field.signed else value)
    return values


def opcode_of(bits: Value) -> Value:
    """The opcode of the instruction word `bits`."""
    return Value.cast(bits[:OPCODE_BITS])


def is_rather(bits: Value, kind: type[Instruction], *others: type[Instruction]) -> Value:
    """Whether the instruction word `bits` is of `kind`, if it is of one of these: by one bit of the opcode, if there is
    one in which that differs from all others."""
    for place in range(OPCODE_BITS):
        if all((kind.opcode ^ other.opcode) >> place & 1 for other in others):
            return Value.cast(bits[place] == (kind.opcode >> place & 1))
    return opcode_of(bits) == kind.opcode


def opcodes_of(unit: Unit | None) -> list[int]:
    """The opcodes that `unit` executes; None: those that dispatch itself does (halt, guard)."""
    return [each.opcode for each in INSTRUCTIONS if each.unit is unit]


def encoded(instruction: Instruction) -> Const:
    """`instruction` as a constant word, for tests that drive a unit directly."""
    word = encode(instruction)
    assert len(word) == INSTRUCTION_BYTES
    return Const(int.from_bytes(word, "little"), INSTRUCTION_BITS)

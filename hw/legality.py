"""Whether the machine can execute an instruction word, by what arch/isa says of its opcode and its fields.

What this does not let through would never end, or be done by each unit in its own way. It looks at one field at a time.
"""

from amaranth import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS
from ..arch.encoding import encoding
from ..arch.isa import INSTRUCTIONS, Field, Instruction
from .instructions import UNITS, fields_of, opcode_of


class Legality(wiring.Component):
    """Combinational. `known`: the word `i` has the opcode of an instruction; `illegal`: and a field that is illegal."""

    def __init__(self):
        super().__init__({"i": In(INSTRUCTION_BITS), "known": Out(1), "illegal": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        with m.Switch(opcode_of(self.i)):
            for instruction in INSTRUCTIONS:
                view = fields_of(instruction, self.i)
                wrong = Signal(len(encoding(instruction)), name=f"wrong_of_{instruction.__name__.lower()}")
                for place, (name, (_, field)) in enumerate(encoding(instruction).items()):
                    value = getattr(view, name)
                    is_mask = name in ("wait", "signal")
                    m.d.comb += wrong[place].eq(
                        _names_no_unit(instruction, value) if is_mask else _is_illegal(field, value)
                    )
                with m.Case(instruction.opcode):
                    m.d.comb += [self.known.eq(1), self.illegal.eq(wrong.any())]
        return m


def _names_no_unit(instruction: type[Instruction], mask: Value) -> Value:
    """Halt and guard are executed by no unit, and neither wait nor signal."""
    legal = 0 if instruction.unit is None else sum(1 << unit for unit in UNITS)
    return (mask & ~legal & (1 << len(mask)) - 1).any()


def _is_illegal(field: Field, value: Value) -> Value | int:
    if field.least == 1:
        return ~value.any()  # for less than the carry chain of a comparison
    if field.least:
        return value < field.least
    if field.only and len(field.only) < 1 << field.bits:
        return ~value.matches(*(int(each) for each in field.only))
    return 0

"""Decoding: what dispatch wants to know of an instruction word, found out as it arrives and kept for its turn."""

from amaranth import Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS, HardwareConfig
from ..arch.encoding import encoding
from ..arch.isa import Guard, Halt, Instruction
from .instructions import UNIT_MASK_BITS, UNITS, fields_of, opcode_of, opcodes_of
from .legality import Legality
from .scalars import ADJUSTED, ADJUSTMENTS, LOOKUPS, NUMBER, SCALAR_BITS, TARGETS, adjustments, kept

DECODED = data.StructLayout({
    "units": unsigned(len(UNITS)),  # bit u: it goes to unit u
    "halts": unsigned(1),
    "guards": unsigned(1),
    "illegal": unsigned(1),  # see Legality
    "wait": unsigned(UNIT_MASK_BITS),
    "count": unsigned(encoding(Guard)["count"][1].bits),  # of a guard
    "adjustments": ADJUSTMENTS,
})  # fmt: skip


class Decode(wiring.Component):
    """`o` tells all about the instruction word `i`, with `scalars` the registers of `numbers`. Combinational.

    An opcode that is not known is that of no unit, and neither halt nor guard.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "i": In(INSTRUCTION_BITS),
            "numbers": Out(NUMBER).array(LOOKUPS),
            "scalars": In(SCALAR_BITS).array(LOOKUPS),
            "o": Out(DECODED),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.legality = legality = Legality()
        opcode = opcode_of(self.i)
        m.d.comb += [
            legality.i.eq(self.i),
            self.o.illegal.eq(legality.illegal),
            self.o.wait.eq(fields_of(Instruction, self.i).wait),
            self.o.count.eq(fields_of(Guard, self.i).count),
            self.o.halts.eq(opcode == Halt.opcode),
            self.o.guards.eq(opcode == Guard.opcode),
            *(self.o.units[unit].eq(opcode.matches(*opcodes_of(unit))) for unit in UNITS),
        ]
        self._adjust(m)
        return m

    def _adjust(self, m: Module) -> None:
        found = self.o.adjustments["values"]
        m.d.comb += [each.scalar.eq(kept(scalar)) for each, scalar in zip(found, self.scalars, strict=True)]
        with m.Switch(opcode_of(self.i)):
            for instruction in (Guard, *ADJUSTED):
                with m.Case(instruction.opcode):
                    for place, change in enumerate(adjustments(self._config, instruction, self.i)):
                        m.d.comb += [
                            self.numbers[place].eq(change.register),
                            found[place].least.eq(change.least),
                            found[place].lack.eq(change.lack),
                            found[place].excess.eq(change.excess),
                        ]
                        if instruction in ADJUSTED:
                            bit = TARGETS.index((instruction, place))
                            m.d.comb += self.o.adjustments.changes[bit].eq(change.register != 0)

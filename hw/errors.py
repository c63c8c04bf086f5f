"""The error register: what went wrong first, and which instructions were at fault."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import Memory, Unit
from ..arch.registers import ErrorKind, Register
from .csr import register_content
from .instructions import UNIT_MASK_BITS, UNITS
from .lane import INDEX_BITS


class ErrorRegister(wiring.Component):
    """Keeps the first error until `clear`: from the cycle after it, `error` is up and `code` is the ERROR register.

    conflict[k]          memory k had a bank conflict in the cycle before, by conflict_units[k]
    overflow             a semaphore overflows, between overflow_units
    unknown              the next instruction, next_index, has no known opcode
    response             an AXI response in the cycle before was not OKAY, for response_units (none: FETCH)
    beyond               KV wants a burst beyond the cache region, or a page that is not one
    beyond_dram          FETCH or one of beyond_dram_units wants a burst beyond the DRAM region (none: FETCH)
    executing[u]         index of the instruction that unit u executes, the oldest if there are several
    newest[u]            index of the instruction that unit u has started last: only that may go beyond

    `instructions` are those of the lowest and of the highest unit involved: the same if only one is.
    """

    def __init__(self):
        super().__init__({
            "clear": In(1),
            "conflict": In(1).array(len(Memory)),
            "conflict_units": In(UNIT_MASK_BITS).array(len(Memory)),
            "overflow": In(1),
            "overflow_units": In(UNIT_MASK_BITS),
            "unknown": In(1),
            "next_index": In(INDEX_BITS),
            "response": In(1),
            "response_units": In(UNIT_MASK_BITS),
            "beyond": In(1),
            "beyond_dram": In(1),
            "beyond_dram_units": In(UNIT_MASK_BITS),
            "executing": In(INDEX_BITS).array(UNIT_MASK_BITS),
            "newest": In(INDEX_BITS).array(UNIT_MASK_BITS),
            "error": Out(1),
            "code": Out(Register.ERROR.bits),
            "instructions": Out(INDEX_BITS).array(2),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        raised, kind, memory, units = Signal(), Signal(4), Signal(3), Signal(UNIT_MASK_BITS)
        sources = [
            *((self.conflict[each], ErrorKind.BANK_CONFLICT, each, self.conflict_units[each]) for each in Memory),
            (self.overflow, ErrorKind.SEMAPHORE_OVERFLOW, 0, self.overflow_units),
            (self.response, ErrorKind.AXI_RESPONSE, 0, self.response_units),
            (self.beyond, ErrorKind.BEYOND_CACHE, 0, 1 << Unit.KV),
            (self.beyond_dram, ErrorKind.BEYOND_DRAM, 0, self.beyond_dram_units),
            (self.unknown, ErrorKind.UNKNOWN_OPCODE, 0, 0),
        ]
        for condition, its_kind, its_memory, its_units in reversed(sources):  # the first in the list wins
            with m.If(condition):
                m.d.comb += [raised.eq(1), kind.eq(its_kind), memory.eq(its_memory), units.eq(its_units)]
        goes_beyond = kind == ErrorKind.BEYOND_DRAM
        guilty = [Mux(goes_beyond, new, old) for old, new in zip(self.executing, self.newest, strict=True)]
        instructions = [self._of_first(guilty, units, UNITS), self._of_first(guilty, units, reversed(UNITS))]
        with m.If(self.clear):
            m.d.sync += [self.error.eq(0), self.code.eq(0), *(each.eq(0) for each in self.instructions)]
        with m.Elif(raised & ~self.error):
            m.d.sync += [
                self.error.eq(1),
                self.code.eq(register_content(Register.ERROR, kind=kind, memory=memory, units=units)),
                *(register.eq(value) for register, value in zip(self.instructions, instructions, strict=True)),
            ]
        return m

    def _of_first(self, instructions: list[Value], units: Value, order) -> Value:
        """The instruction of the first unit of `units` in `order`; without any, the next one."""
        index: Value = self.next_index
        for unit in reversed(list(order)):
            index = Mux(units[unit], instructions[unit], index)
        return index

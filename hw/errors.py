"""The error register: what went wrong first, and which instructions were at fault."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import Memory, Unit
from ..arch.registers import ErrorKind, Register
from .csr import register_content
from .instructions import UNIT_MASK_BITS, UNITS
from .lane import INDEX_BITS


class ErrorRegister(wiring.Component):
    """Keeps the first error of a run until `clear`: from the cycle after it, `error` is up and ERROR reads `code`.

    Only what comes in a cycle with `watch` is an error; `raised` says that one does, and it wins over `clear`.

    conflict[k]          memory k had a bank conflict in the cycle before, by conflict_units[k]
    overflow             a semaphore overflowed in the cycle before, between overflow_units
    response             an AXI response in the cycle before was not OKAY, for response_units
    beyond               KV wants a burst beyond the cache region, or a page that is not one
    beyond_dram          beyond_dram_units want a burst beyond the DRAM region, or (none) the next instruction is there
    unread               the next instruction, next_index, came with an AXI response that was not OKAY
    unknown, illegal     the next instruction is not one that the machine can execute
    no_program, no_halt  there are no groups; there is no instruction after the last one, and that was no halt
    deadlock             nothing goes on any more, because the units `waiting` lack tokens
    executing[u]         index of the instruction that unit u executed in the cycle before (the oldest), or last
    newest[u]            index of the one that it started last: only that goes beyond
    heads[u]             index of the one that it executes next

    `instruction` is that of the lowest unit involved, with `number` 1 of the highest: the same if only one is. If none
    is, that is next_index.
    """

    def __init__(self):
        super().__init__({
            "clear": In(1),
            "watch": In(1),
            "conflict": In(1).array(len(Memory)),
            "conflict_units": In(UNIT_MASK_BITS).array(len(Memory)),
            "overflow": In(1),
            "overflow_units": In(UNIT_MASK_BITS),
            "response": In(1),
            "response_units": In(UNIT_MASK_BITS),
            "beyond": In(1),
            "beyond_dram": In(1),
            "beyond_dram_units": In(UNIT_MASK_BITS),
            "unread": In(1),
            "unknown": In(1),
            "illegal": In(1),
            "no_program": In(1),
            "no_halt": In(1),
            "deadlock": In(1),
            "waiting": In(UNIT_MASK_BITS),
            "next_index": In(INDEX_BITS),
            "executing": In(INDEX_BITS).array(UNIT_MASK_BITS),
            "newest": In(INDEX_BITS).array(UNIT_MASK_BITS),
            "heads": In(INDEX_BITS).array(UNIT_MASK_BITS),
            "raised": Out(1),
            "error": Out(1),
            "code": Out(Register.ERROR.bits),
            "number": In(1),
            "instruction": Out(INDEX_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        kind, memory, units = Signal(4), Signal(3), Signal(UNIT_MASK_BITS)
        sources = [
            *((self.conflict[each], ErrorKind.BANK_CONFLICT, each, self.conflict_units[each]) for each in Memory),
            (self.overflow, ErrorKind.SEMAPHORE_OVERFLOW, 0, self.overflow_units),
            (self.response, ErrorKind.AXI_RESPONSE, 0, self.response_units),
            (self.beyond, ErrorKind.BEYOND_CACHE, 0, 1 << Unit.KV),
            (self.beyond_dram, ErrorKind.BEYOND_DRAM, 0, self.beyond_dram_units),
            (self.unread, ErrorKind.AXI_RESPONSE, 0, 0),
            (self.unknown, ErrorKind.UNKNOWN_OPCODE, 0, 0),
            (self.illegal, ErrorKind.ILLEGAL_INSTRUCTION, 0, 0),
            (self.no_program, ErrorKind.NO_PROGRAM, 0, 0),
            (self.no_halt, ErrorKind.NO_HALT, 0, 0),
            (self.deadlock, ErrorKind.DEADLOCK, 0, self.waiting),
        ]
        found = Signal()
        for condition, its_kind, its_memory, its_units in reversed(sources):  # the first in the list wins
            with m.If(condition):
                m.d.comb += [found.eq(1), kind.eq(its_kind), memory.eq(its_memory), units.eq(its_units)]
        m.d.comb += self.raised.eq(found & self.watch & (~self.error | self.clear))
        # Which of the units are the lowest and the highest; beyond them stands the next instruction. That is known in
        # the cycle of the error, and what they executed then is kept, so that their numbers are looked up after it.
        first, last = (Signal(len(UNITS) + 1, name=name) for name in ("first", "last"))
        involved = Cat(units[unit] for unit in UNITS)
        with m.If(self.raised):
            m.d.sync += [
                self.error.eq(1),
                self.code.eq(register_content(Register.ERROR, kind=kind, memory=memory, units=units)),
                first.eq(Cat(_lowest(involved), ~involved.any())),
                last.eq(Cat(_lowest(involved[::-1])[::-1], ~involved.any())),
            ]
        with m.Elif(self.clear):
            m.d.sync += [self.error.eq(0), self.code.eq(0), first.eq(0), last.eq(0)]
        numbers = [*self._numbers(m, kind), _kept(m, self.next_index, ~self.error | self.clear, "next_index_then")]
        m.d.comb += self.instruction.eq(_chosen(Mux(self.number, last, first), numbers))
        return m

    def _numbers(self, m: Module, kind: Signal) -> list[Value]:
        """The instruction of each unit that an error is about, from the cycle after it on."""
        numbers: list[Value] = []
        for unit in UNITS:
            number = Mux(kind == ErrorKind.DEADLOCK, self.heads[unit], self.executing[unit])
            if unit == Unit.LOAD:  # of the others that ask, one at a time is under way
                number = Mux(kind == ErrorKind.BEYOND_DRAM, self.newest[unit], number)
            numbers.append(_kept(m, number, ~self.error | self.clear, f"guilty_{unit}"))
        return numbers


def _kept(m: Module, value: Value, follows: Value, name: str) -> Signal:
    """`value` as it was in the last cycle in which `follows` was up."""
    kept = Signal.like(value, name=name, reset_less=True)
    with m.If(follows):
        m.d.sync += kept.eq(value)
    return kept


def _lowest(mask: Value) -> Value:
    """The lowest bit of `mask` that is set, alone."""
    return (mask & (~mask + 1))[: len(mask)]


def _chosen(places: Signal, values: list[Value]) -> Value:
    """The value at the one bit of `places` that is set, if any is."""
    chosen: Value = Const(0)
    for bit, value in enumerate(values):
        chosen = chosen | Mux(places[bit], value, 0)
    return chosen

"""Arithmetic on the numbers in INDEX, one after the other.

    INDEX ─ x ─┬─ + ─────────┐
    INDEX ─┐   │             ├─ register ─► INDEX
    ramp ──┴ y ┴─ <, ≤, = ───┘
"""

from amaranth import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS, HardwareConfig, Memory
from ..arch.isa import IndexMap, IndexOperation
from .instructions import fields_of
from .memories import read_signature, write_signature
from .panel import spread
from .pipeline import register

NUMBER_BITS = 32
HELD = ("count", "operation", "source", "operand", "source_address", "operand_address", "address", "step")


class IndexArithmetic(wiring.Component):
    """Executes one IndexMap: `start` at s with `instruction`, the first read in s + 1, the last write with `done`.

    Element i is read in s + 1 + i·k, and in the cycle after if k, the numbers that are read for each, is 2 (k is 1 if
    there are none). It is computed in the cycle after its last read, and written in the next.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "done": Out(1),
            "index_read": Out(read_signature(config, Memory.INDEX, NUMBER_BITS)),
            "index_write": Out(write_signature(config, Memory.INDEX, NUMBER_BITS)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        given = fields_of(IndexMap, self.instruction)
        held = {name: Signal.like(getattr(given, name), name=name) for name in HELD}
        ramp = Signal(NUMBER_BITS)  # what y is without an operand
        reads, second = Signal(), Signal()  # for an element; its operand, after its source
        whole, computes, writes = Signal(), Signal(), Signal()  # all of it is read; a cycle later; two
        both = held["source"] & held["operand"]
        m.d.comb += [whole.eq(reads & (second | ~both)), self.done.eq(writes & ~computes & ~reads)]
        m.d.sync += [second.eq(reads & both & ~second), computes.eq(whole), writes.eq(computes)]
        with m.If(whole):
            m.d.sync += [
                reads.eq(held["count"] != 1),
                held["count"].eq(held["count"] - 1),
                held["source_address"].eq(held["source_address"] + 1),
                held["operand_address"].eq(held["operand_address"] + 1),
                ramp.eq(ramp + held["step"]),
            ]
        with m.If(writes):
            m.d.sync += held["address"].eq(held["address"] + 1)
        with m.If(self.start):
            m.d.sync += [each.eq(getattr(given, name)) for name, each in held.items()]
            m.d.sync += [ramp.eq(given.number), reads.eq(1)]
        self._read(m, held, reads, second)
        self._write(m, held, writes, self._compute(m, held, ramp))
        return m

    def _read(self, m: Module, held: dict[str, Signal], reads: Signal, second: Signal) -> None:
        element = Mux(second | ~held["source"], held["operand_address"], held["source_address"])
        low = (self._config.word_elements(Memory.INDEX) - 1).bit_length()
        m.d.comb += [
            self.index_read.en.eq(reads & (held["source"] | held["operand"])),
            self.index_read.address.eq(element[low:]),
            self.index_read.part.eq(element[:low]),
        ]

    def _compute(self, m: Module, held: dict[str, Signal], ramp: Signal) -> Signal:
        """The result of the element that was read in the cycle before, a cycle later."""
        data, x, y, result = self.index_read.data, *(Signal(NUMBER_BITS, name=name) for name in ("x", "y", "result"))
        before = register(m, data, "source_before")
        m.d.comb += [
            x.eq(Mux(held["source"], Mux(held["operand"], before, data), 0)),
            y.eq(Mux(held["operand"], data, register(m, ramp, "ramp_then"))),
        ]
        less, equal = x.as_signed() < y.as_signed(), x == y
        with m.Switch(held["operation"]):
            with m.Case(IndexOperation.ADD):
                m.d.sync += result.eq(x + y)
            with m.Case(IndexOperation.LESS):
                m.d.sync += result.eq(less)
            with m.Case(IndexOperation.LESS_EQUAL):
                m.d.sync += result.eq(less | equal)
            with m.Default():
                m.d.sync += result.eq(equal)
        return result

    def _write(self, m: Module, held: dict[str, Signal], writes: Signal, result: Signal) -> None:
        per_word = self._config.word_elements(Memory.INDEX)
        low = (per_word - 1).bit_length()
        m.d.comb += [
            self.index_write.en.eq(writes),
            self.index_write.address.eq(held["address"][low:]),
            self.index_write.mask.eq(spread(m, held["address"][:low], Const(1, 1), per_word, name="element_mask")),
            self.index_write.data.eq(result),
        ]

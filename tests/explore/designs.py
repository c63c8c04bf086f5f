"""Designs so small that what they take is counted by hand."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from heddle.explore.units import Shell
from heddle.hw.pipeline import register
from heddle.hw.ram import Ram
from heddle.hw.verilog import to_verilog


class Gates(wiring.Component):
    """Eight NAND2, each before a register."""

    def __init__(self):
        super().__init__({"a": In(8), "b": In(8), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(register(m, ~(self.a & self.b), "inverted"))
        return m


class Product(wiring.Component):
    """A multiplier of 18 × 18, and a register."""

    def __init__(self):
        super().__init__({"a": In(18), "b": In(18), "o": Out(36)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(register(m, self.a * self.b, "product"))
        return m


class SmallMemory(wiring.Component):
    """16 words of 4 bits, read without a clock."""

    def __init__(self):
        super().__init__({"to": In(4), "i": In(4), "write": In(1), "at": In(4), "o": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Memory(shape=4, depth=16, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        m.d.comb += [write.addr.eq(self.to), write.data.eq(self.i), write.en.eq(self.write)]
        m.d.comb += [read.addr.eq(self.at), self.o.eq(read.data)]
        return m


class Several(wiring.Component):
    """One of each, and a RAM of 256 words of 8 bits before a register."""

    def __init__(self):
        super().__init__({"a": In(18), "b": In(18), "at": In(8), "nands": Out(8), "kept": Out(8), "product": Out(36),
                          "word": Out(4)})  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Ram(8, 256)
        m.submodules.gates = gates = Gates()
        m.submodules.times = times = Product()
        m.submodules.small = small = SmallMemory()
        m.d.comb += [
            ram.read_en.eq(1), ram.read_address.eq(self.at), ram.write_address.eq(self.a), ram.write_data.eq(self.b),
            ram.write_mask.eq(self.b[8]), self.kept.eq(register(m, ram.read_data, "kept")),
            gates.a.eq(self.a), gates.b.eq(self.b), self.nands.eq(gates.o),
            times.a.eq(self.a), times.b.eq(self.b), self.product.eq(times.o),
            small.to.eq(self.a), small.i.eq(self.b), small.write.eq(self.b[9]), small.at.eq(self.at),
            self.word.eq(small.o),
        ]  # fmt: skip
        return m


def write(design, folder):
    """unit.v in the folder."""
    (folder / "unit.v").write_text(to_verilog(Shell(design), name="unit"))

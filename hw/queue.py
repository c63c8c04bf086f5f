"""A first-in first-out queue in a small RAM with asynchronous read: instructions, burst descriptors, bookkeeping. One
for a single word is a register."""

from amaranth import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class Queue(wiring.Component):
    """Holds up to `depth` words of `width` bits. `depth` is a power of two.

    A word put in at cycle t (`put`, `i`) is counted in `level`, and shows as `o` if it is the head, from t + 1. `take`
    removes the head; both may happen in one cycle. Never put into a full queue or take from an empty one. `clear`
    empties it. Of depth 1, `o` stays as it was until the next word comes, and is zero after `clear`.
    """

    def __init__(self, width: int, depth: int):
        assert depth & (depth - 1) == 0, f"depth must be a power of two, not {depth}"
        self._width = width
        self._depth = depth
        super().__init__({
            "clear": In(1),
            "put": In(1),
            "i": In(width),
            "take": In(1),
            "o": Out(width),
            "level": Out(range(depth + 1)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        if self._depth == 1:
            return self._register(m)
        m.submodules.words = words = Memory(shape=unsigned(self._width), depth=self._depth, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        first, last = Signal(range(self._depth)), Signal(range(self._depth))
        m.d.comb += [
            write.en.eq(self.put),
            write.addr.eq(last),
            write.data.eq(self.i),
            read.addr.eq(first),
            self.o.eq(read.data),
        ]
        m.d.sync += [
            first.eq(first + self.take),
            last.eq(last + self.put),
            self.level.eq(self.level + self.put - self.take),
        ]
        with m.If(self.clear):
            m.d.sync += [first.eq(0), last.eq(0), self.level.eq(0)]
        return m

    def _register(self, m: Module) -> Module:
        with m.If(self.put):
            m.d.sync += self.o.eq(self.i)
        m.d.sync += self.level.eq(self.put | (self.level & ~self.take))
        with m.If(self.clear):
            m.d.sync += [self.o.eq(0), self.level.eq(0)]
        return m

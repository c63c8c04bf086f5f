"""A long delay for wide data: a RAM that is read and then overwritten in a circle, instead of registers in a row."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .ram import Ram


class DelayLine(wiring.Component):
    """`o` is `i` as it was `cycles` cycles (at least 2) earlier; zero until then.

    The word that is read has been in the RAM for `cycles` − 1 cycles, and its place is taken by `i`: a read sees what
    was there before a write in the same cycle. After a reset `o` is old data for `cycles` cycles: delay a `valid` in
    registers.
    """

    def __init__(self, width: int, cycles: int):
        if cycles < 2:
            raise ValueError(f"a delay line must be at least 2 cycles long, not {cycles}")
        self._cycles = cycles
        self._width = width
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform) -> Module:
        m = Module()
        depth = self._cycles - 1
        m.submodules.words = words = Ram(self._width, depth)
        place = Signal(range(depth))
        m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1))
        m.d.comb += [
            words.read_en.eq(1),
            words.read_address.eq(place),
            words.write_mask.eq(1),
            words.write_address.eq(place),
            words.write_data.eq(self.i),
            self.o.eq(words.read_data),
        ]
        return m

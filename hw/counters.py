"""Performance counters: what a run did and how long units worked or waited. All are of 32 bits and wrap."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .instructions import UNIT_MASK_BITS


class Counters(wiring.Component):
    """Counts events since `clear`, in the cycles in which `run` is up. Bit u of a mask is unit u.

    `instructions` counts the bits of `retired`; `busy_cycles[u]` the cycles of `busy` (from start to retire, both
    counted), `waiting_cycles[u]` those of `starved` (nothing runs, and the next could start but for its tokens).
    """

    def __init__(self):
        super().__init__({
            "clear": In(1),
            "run": In(1),
            "retired": In(UNIT_MASK_BITS),
            "busy": In(UNIT_MASK_BITS),
            "starved": In(UNIT_MASK_BITS),
            "read_beat": In(1),
            "write_beat": In(1),
            "instructions": Out(32),
            "read_beats": Out(32),
            "write_beats": Out(32),
            "busy_cycles": Out(32).array(UNIT_MASK_BITS),
            "waiting_cycles": Out(32).array(UNIT_MASK_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        retired_count = Signal(range(UNIT_MASK_BITS + 1))
        m.d.comb += retired_count.eq(sum(self.retired[1:], self.retired[0]))
        counters = [
            (self.instructions, retired_count),
            (self.read_beats, self.read_beat),
            (self.write_beats, self.write_beat),
            *zip(self.busy_cycles, self.busy, strict=True),
            *zip(self.waiting_cycles, self.starved, strict=True),
        ]
        for counter, increment in counters:
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.Elif(self.run):
                m.d.sync += counter.eq(counter + increment)
        return m

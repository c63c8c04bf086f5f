"""The phases of a panel instruction of SOFTMAX or NORM: a walk each, begun when the previous one is complete."""

from collections.abc import Sequence
from enum import IntEnum

from amaranth import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Phases(wiring.Component):
    """Goes through the members of `kind`, numbered from 0, from `initial` (given with `start`) to the last.

    `begin` is up in the cycle before the first group of a phase, `issued` comes with its last group, and the phase is
    complete `tails[phase]` cycles after that: then the next one begins, or `retire` is up. `during[phase]`, a register,
    is up from the cycle after `begin` until the phase is complete. `ready`: nothing is under way. An instruction that
    comes in variants has a list of `tails` for each; `variant`, from the cycle after `start` on, tells which one holds.
    """

    def __init__(self, kind: type[IntEnum], *tails: Sequence[int]):
        self._kind = kind
        self._tails = tails
        super().__init__({
            "start": In(1),
            "initial": In(kind),
            "variant": In(range(len(tails))),
            "issued": In(1),
            "during": Out(len(kind)),
            "begin": Out(1),
            "retire": Out(1),
            "ready": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        busy, complete, final = Signal(), Signal(), Signal()
        longest = max(max(tails) for tails in self._tails)
        remaining = Signal(range(longest + 1))  # cycles until the phase is complete; 0: not all is issued
        m.d.comb += [
            complete.eq(remaining == 1),
            final.eq(self.during[-1]),
            self.begin.eq(self.start | (complete & ~final)),
            self.retire.eq(complete & final),
            self.ready.eq(~busy),
        ]
        with m.If(self.start):
            m.d.sync += [busy.eq(1), self.during.eq(Cat(self.initial == phase for phase in self._kind))]
        with m.Elif(self.begin):
            m.d.sync += self.during.eq(self.during << 1)
        with m.Elif(self.retire):
            m.d.sync += busy.eq(0)
        with m.If(self.issued):
            for phase in self._kind:
                with m.If(self.during[phase]):
                    m.d.sync += remaining.eq(Array(tails[phase] for tails in self._tails)[self.variant])
        with m.Elif(remaining != 0):
            m.d.sync += remaining.eq(remaining - 1)
        return m

"""Dispatch: hands each instruction to the queue of its unit, in program order, and starts units as tokens allow."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS, HardwareConfig, Unit
from .decode import DECODED
from .instructions import UNIT_MASK_BITS, UNITS
from .lane import CYCLE_BITS, INDEX_BITS, Lane, unit_signature
from .scalars import Adjust
from .semaphores import Semaphores


def unit_name(unit: Unit) -> str:
    """How `unit` is called in port names."""
    return unit.name.lower()


class Dispatch(wiring.Component):
    """One instruction a cycle from `i_*` to the queue of its unit, until halt, an unknown opcode or the end of `run`.

    `i_decoded` is what `Decode` says of it. Its word `arrives` in an earlier cycle, for the `word_units` of which bit u
    is unit u. On its way an instruction takes what scalar registers change of it. A guard goes to no queue: it makes
    what follows void.

    `clear` (the cycle of the start pulse) empties the queues, zeroes the semaphores and the instruction count; it needs
    `quiet`, while `run` is low: no unit executes. Then nothing is dispatched or started; what has started runs to its
    end.

    For each unit: `<unit>`, its control ports, and the retire port `retire_<unit>_valid`, `_index`, `_start`.
    `executing[u]` is the index of the oldest instruction that ran in unit u in the cycle before, or of the last one
    that did, `newest[u]` of the one it started last. `busy`, `starved`: see Lane, bit u is unit u. `finish` is up in
    the cycle in which the program is over: halt has come, and all has retired; `halted` from the cycle after that of
    the halt. Of the next instruction, whose index is `next_index`: `unread`: it came with an error (`i_bad`);
    `unknown`, `illegal`: see Legality. Told a cycle late: `overflow`: see Semaphores; `deadlock`: the machine would
    stay as it is for ever, for nothing runs, what is queued lacks tokens, and dispatch is at its end or before a full
    queue; `heads[u]` is the index of what waits in the queue of unit u.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        ports = {}
        for unit in UNITS:
            name = unit_name(unit)
            ports |= {
                name: Out(unit_signature()),
                f"retire_{name}_valid": Out(1),
                f"retire_{name}_index": Out(INDEX_BITS),
                f"retire_{name}_start": Out(CYCLE_BITS),
            }
        super().__init__({
            "clear": In(1),
            "run": In(1),
            "cycle": In(CYCLE_BITS),
            "arrives": In(1),
            "word": In(INSTRUCTION_BITS),
            "word_units": In(len(UNITS)),
            "i_valid": In(1),
            "i_decoded": In(DECODED),
            "i_bad": In(1),
            "i_take": Out(1),
            **ports,
            "executing": Out(INDEX_BITS).array(UNIT_MASK_BITS),
            "newest": Out(INDEX_BITS).array(UNIT_MASK_BITS),
            "heads": Out(INDEX_BITS).array(UNIT_MASK_BITS),
            "next_index": Out(INDEX_BITS),
            "busy": Out(UNIT_MASK_BITS),
            "starved": Out(UNIT_MASK_BITS),
            "quiet": Out(1),
            "finish": Out(1),
            "halted": Out(1),
            "unread": Out(1),
            "unknown": Out(1),
            "illegal": Out(1),
            "deadlock": Out(1),
            "overflow": Out(1),
            "overflow_units": Out(UNIT_MASK_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.semaphores = semaphores = Semaphores()
        m.submodules.adjust = adjust = Adjust(self._config)
        lanes = {unit: Lane(self._config, unit) for unit in UNITS}
        decoded = self.i_decoded
        offered, halts, guards, known, void = Signal(), Signal(), Signal(), Signal(), Signal()
        word_index = Signal(INDEX_BITS)
        m.d.comb += [
            offered.eq(self.i_valid & self.run & ~self.halted),
            halts.eq(offered & decoded.halts),
            guards.eq(offered & decoded.guards),
            known.eq(decoded.units.any() | decoded.halts | decoded.guards),
            adjust.adjustments.eq(decoded.adjustments),
        ]
        for unit, lane in lanes.items():
            m.submodules[f"lane_{unit_name(unit)}"] = lane
            m.d.comb += [
                lane.arrives.eq(self.arrives & self.word_units[unit]),
                lane.word.eq(self.word),
                lane.word_index.eq(word_index),
                lane.put.eq(offered & decoded.units[unit] & ~lane.full),
                lane.waits.eq(decoded.wait),
                lane.void.eq(void),
                lane.replacements.eq(adjust.o),
            ]
            self._connect(m, unit, lane, semaphores)
        held_up = offered & known & ~self.i_take
        at_rest = Cat(lane.idle | lane.starved for lane in lanes.values()).all()
        m.d.comb += [
            self.i_take.eq(halts | guards | Cat(lane.put for lane in lanes.values()).any()),
            self.unread.eq(offered & self.i_bad),
            self.unknown.eq(offered & ~known),
            self.illegal.eq(offered & decoded.illegal),
            self.finish.eq(self.run & (self.halted | halts) & Cat(lane.idle for lane in lanes.values()).all()),
            self.quiet.eq(~Cat(lane.has_begun for lane in lanes.values()).any()),
            semaphores.clear.eq(self.clear),
            self.overflow.eq(semaphores.overflow),
            self.overflow_units.eq(semaphores.overflow_units),
            void.eq(self._guarded(m, guards, adjust.holds)),
        ]
        m.d.sync += [
            self.halted.eq(self.halted | halts),
            word_index.eq(word_index + self.arrives),
            self.next_index.eq(self.next_index + self.i_take),
            self.deadlock.eq((self.halted | held_up) & at_rest & self.starved.any() & ~self.clear),
        ]
        with m.If(self.clear):
            m.d.sync += [self.halted.eq(0), self.next_index.eq(0), word_index.eq(0)]
        return m

    def _guarded(self, m: Module, guards: Signal, holds: Signal) -> Value:
        """Whether the next instruction is within the reach of a guard that does not hold."""
        count = self.i_decoded.count
        left = Signal.like(count, name="void_left")
        with m.If(self.clear):
            m.d.sync += left.eq(0)
        with m.Elif(guards):
            m.d.sync += left.eq(Mux(holds, 0, count))
        with m.Elif(self.i_take & (left != 0)):
            m.d.sync += left.eq(left - 1)
        return left != 0

    def _connect(self, m: Module, unit: Unit, lane: Lane, semaphores: Semaphores) -> None:
        name = unit_name(unit)
        m.d.sync += self.executing[unit].eq(lane.index)
        wiring.connect(m, lane.unit, wiring.flipped(getattr(self, name)))
        m.d.comb += [
            lane.clear.eq(self.clear),
            lane.run.eq(self.run),
            lane.cycle.eq(self.cycle),
            lane.tokens.eq(semaphores.ready[unit]),
            semaphores.wait[unit].eq(lane.wait),
            semaphores.take[unit].eq(lane.starts),
            semaphores.signal[unit].eq(lane.signal),
            self.newest[unit].eq(lane.newest),
            self.heads[unit].eq(lane.head_index),
            self.busy[unit].eq(lane.busy),
            self.starved[unit].eq(lane.starved),
            getattr(self, f"retire_{name}_valid").eq(lane.retires),
            getattr(self, f"retire_{name}_index").eq(lane.index),
            getattr(self, f"retire_{name}_start").eq(lane.started_at),
        ]

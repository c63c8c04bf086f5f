"""The token counters that order units: one for each (from, to) pair, and the rule of when a unit may start."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import SEMAPHORE_LIMIT, Unit
from .instructions import UNIT_MASK_BITS, UNITS


class Semaphores(wiring.Component):
    """Counters of tokens, from 0 to SEMAPHORE_LIMIT. Ports are arrays over `Unit` numbers.

    signal[u]  the units that unit u sends a token to in this cycle: they can be used from the next cycle on
    wait[u]    the units that the next instruction of u wants a token from; `ready[u]` tells that all are there
    take[u]    the tokens of `wait[u]` are taken in this cycle; only with `ready[u]`
    overflow   a counter has gone beyond the limit, and `overflow_units` holds both units; what it counts then, until
               `clear`, means nothing

    Tokens to or from a unit that this machine does not have are lost, and never there.
    """

    def __init__(self):
        super().__init__({
            "clear": In(1),
            "signal": In(UNIT_MASK_BITS).array(UNIT_MASK_BITS),
            "wait": In(UNIT_MASK_BITS).array(UNIT_MASK_BITS),
            "ready": Out(1).array(UNIT_MASK_BITS),
            "take": In(1).array(UNIT_MASK_BITS),
            "overflow": Out(1),
            "overflow_units": Out(UNIT_MASK_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        overflows = {}
        for target in UNITS:
            missing = []
            for source in UNITS:
                available, overflow = self._counter(m, source, target)
                missing.append(self.wait[target][source] & ~available)
                overflows[source, target] = overflow
            absent = Cat(self.wait[target][bit] for bit in range(UNIT_MASK_BITS) if bit not in UNITS)
            m.d.comb += self.ready[target].eq(~(Cat(missing).any() | absent.any()))
        m.d.comb += self.overflow.eq(Cat(overflows.values()).any())
        for unit in UNITS:
            involved = [overflow for pair, overflow in overflows.items() if unit in pair]
            m.d.comb += self.overflow_units[unit].eq(Cat(involved).any())
        return m

    def _counter(self, m: Module, source: Unit, target: Unit) -> tuple[Signal, Signal]:
        """The counter from `source` to `target`: whether it has a token, and whether it is beyond the limit."""
        name = f"{source.name.lower()}_to_{target.name.lower()}"
        # One less than there are, so that its sign tells that there are none.
        count = Signal(range(-1, SEMAPHORE_LIMIT), init=-1, name=name)
        available, overflow = Signal(name=f"{name}_available"), Signal(name=f"{name}_overflow")
        sent = self.signal[source][target]
        taken = self.take[target] & self.wait[target][source]
        m.d.comb += [available.eq(count >= 0), overflow.eq(count == SEMAPHORE_LIMIT)]
        with m.If(sent ^ taken):  # one adder for both ways: −1 is all ones; what is sent is known sooner
            m.d.sync += count.eq(count + Cat(Const(1, 1), (~sent).replicate(len(count) - 1)))
        with m.If(self.clear):
            m.d.sync += count.eq(count.init)
        return available, overflow

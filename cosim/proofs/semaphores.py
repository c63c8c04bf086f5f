"""A semaphore has the tokens that were sent and not taken: none is lost or made, none is taken that is not there."""

from __future__ import annotations

from amaranth import Cat, Mux, Signal
from amaranth.hdl import Fragment

from ...arch.config import SEMAPHORE_LIMIT
from ...hw.instructions import UNIT_MASK_BITS, UNITS
from ...hw.semaphores import Semaphores
from .engine import Design, inner
from .registry import proof


@proof("semaphores", slow=True)
def semaphores() -> Design:
    """Beside each counter one that counts what is sent and taken, until one has gone beyond the limit."""
    d = Design()
    component = Semaphores()
    fragment = Fragment.get(component, None)
    d.place(component, fragment=fragment)
    sound = Signal(init=1)
    d.m.d.sync += sound.eq(component.clear | (sound & ~component.overflow))
    counts, agree, enough = {}, [], []
    for source in UNITS:
        for target in UNITS:
            name = f"{source.name.lower()}_to_{target.name.lower()}"
            count = Signal(range(SEMAPHORE_LIMIT + 2), name=f"{name}_tokens")
            sent = component.signal[source][target]
            taken = component.take[target] & component.wait[target][source]
            d.m.d.sync += count.eq(Mux(component.clear, 0, count + sent - taken))
            counts[source, target] = count
            agree.append(inner(fragment, name) == count.as_unsigned() - 1)
            enough.append(~taken | (count != 0))
    ready = []
    for target in UNITS:
        there = Cat(counts[source, target] != 0 for source in UNITS)
        wanted = Cat(component.wait[target][source] for source in UNITS)
        absent = Cat(component.wait[target][bit] for bit in range(UNIT_MASK_BITS) if bit not in UNITS)
        ready.append(component.ready[target] == ((wanted & ~there == 0) & ~absent.any()))
        d.assume(~component.take[target] | component.ready[target])
    beyond = {pair: count > SEMAPHORE_LIMIT for pair, count in counts.items()}
    units = [component.overflow_units[unit] == Cat(each for pair, each in beyond.items() if unit in pair).any()
             for unit in UNITS]  # fmt: skip
    d.properties |= {
        "a counter has what was sent and not taken": ~sound | Cat(agree).all(),
        "no token is taken that is not there": ~sound | Cat(enough).all(),
        "a unit is ready if all its tokens are there, and only then": ~sound | Cat(ready).all(),
        "a counter is never beyond one more than the limit": ~sound | Cat(
            count <= SEMAPHORE_LIMIT + 1 for count in counts.values()).all(),
        "a counter beyond the limit is told": ~sound | (component.overflow == Cat(beyond.values()).any()),
        "and between which units": ~sound | Cat(units).all(),
    }
    first = next(iter(counts.values()))
    d.covers |= {
        "two tokens are there, and one is taken": (first == 1) & (d.register(len(first), "before", first) == 2),
    }
    return d

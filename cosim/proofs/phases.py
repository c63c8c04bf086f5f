"""The phases of an instruction come one after the other, each as long as is said, and then it retires."""

from __future__ import annotations

from enum import IntEnum

from amaranth import Array, Signal
from amaranth.hdl import Fragment

from ...hw.phases import Phases
from .engine import Design, inner
from .registry import proof

TAILS = (2, 4, 1)


class Step(IntEnum):
    """As SOFTMAX and NORM have them."""

    FIRST = 0
    SECOND = 1
    THIRD = 2


@proof("phases")
def phases() -> Design:
    """Of three, begun with any; a group is issued as the last one in any cycle of a phase, once."""
    d = Design()
    component = Phases(Step, TAILS)
    fragment = Fragment.get(component, None)
    d.place(component, fragment=fragment)
    during, waiting, left = component.during, Signal(), Signal(range(max(TAILS) + 1))
    phase = Signal(range(len(Step)))
    number = Array([0, 0, 1, 0, 2, 0, 0, 0])[during]
    d.m.d.comb += phase.eq(number)
    walks = Signal()  # a phase has begun and is not complete
    with d.m.If(component.begin):
        d.m.d.sync += [walks.eq(1), waiting.eq(1)]
    with d.m.Elif(component.retire):
        d.m.d.sync += walks.eq(0)
    with d.m.If(component.issued):
        d.m.d.sync += [waiting.eq(0), left.eq(Array(TAILS)[phase])]
    with d.m.Elif(left != 0):
        d.m.d.sync += left.eq(left - 1)
    d.assume(~component.start | component.ready, component.initial <= 2, ~component.issued | (walks & waiting))
    over = left == 1
    one_hot = (during == 1) | (during == 2) | (during == 4)
    d.properties |= {
        "it is ready when no phase is under way": component.ready == ~walks,
        "one phase at a time": ~walks | one_hot,
        "a phase ends as long after its last group as is said": (component.begin | component.retire) == (
            component.start | over
        ),
        "it retires after the last phase, and then alone": component.retire == (over & during[2]),
        "only what is under way counts down": (left == inner(fragment, "remaining")) & (
            (left == 0) | (walks & ~waiting)
        ),
        "what is under way is issued or counts down": ~walks | waiting | (left != 0),
    }
    seen = Signal()
    d.m.d.sync += seen.eq((seen | (component.start & (component.initial == 0))) & ~component.retire)
    d.covers |= {"all three phases, one after the other": component.retire & seen}
    return d

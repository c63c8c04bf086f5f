"""A RAM that is read and overwritten in a circle delays as registers in a row do."""

from __future__ import annotations

from amaranth import Const

from ...hw.delay_line import DelayLine
from .engine import Design
from .registry import proof


@proof("delay line of 5", 5, depth=8)
@proof("delay line of 2", 2, depth=8)
def delay_line(cycles: int) -> Design:
    """What comes out is what came in so many cycles before."""
    d = Design()
    component = d.place(DelayLine(2, cycles))
    value, came = component.i, Const(1, 1)
    for stage in range(cycles):
        value, came = d.register(2, f"stage_{stage}", value), d.register(1, f"came_{stage}", came)
    d.properties |= {"what went in comes out, so many cycles later": ~came | (component.o == value)}
    d.covers |= {"something comes out": came & (component.o == 3)}
    return d

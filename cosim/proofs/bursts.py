"""A segment is cut into bursts that do not cross a multiple of a burst, and lose or repeat no beat."""

from __future__ import annotations

from amaranth import Signal
from amaranth.hdl import Fragment

from ...arch.config import PRESETS
from ...hw.bursts import BurstCut
from .engine import Design, inner
from .registry import proof

LENGTH = 7


@proof("cut into bursts", "nano")
@proof("cut into bursts, base", "base")
def cut(name: str) -> Design:
    """Beats are counted beside: of the segment, and from a multiple of a burst on."""
    d = Design()
    config = PRESETS[name]
    component = BurstCut(config, LENGTH)
    fragment = Fragment.get(component, None)
    d.place(component, fragment=fragment)
    low, most = (config.axi_bytes - 1).bit_length(), config.burst_beats
    places = (most - 1).bit_length()
    left, place, active = Signal(LENGTH), Signal(places), Signal()  # beats of the segment, from a multiple on
    with d.m.If(component.take):
        d.m.d.sync += [left.eq(left - component.beats), place.eq(place + component.beats),
                       active.eq(~component.ends)]  # fmt: skip
    with d.m.If(component.start):
        d.m.d.sync += [left.eq(component.length), place.eq(component.address[low : low + places]), active.eq(1)]
    d.assume(~component.take | active, ~component.start | (component.length != 0))
    d.properties |= {
        "a burst has beats, and no more than there may be": ~active | (
            (component.beats != 0) & (component.beats <= most)
        ),
        "no burst crosses a multiple of a burst": ~active | (place + component.beats <= most),
        "the last burst ends with the segment": ~active | (component.ends == (component.beats == left)),
        "no burst goes on beyond the segment": ~active | (component.beats <= left),
        "what is not the last ends at a multiple": ~active | component.ends | (place + component.beats == most),
        "where the segment ends is known": ~active | (inner(fragment, "last") + 1 == place + left),
        "as many beats are left as are told to the next multiple": ~active | (component.whole == most - place),
    }  # fmt: skip
    d.covers |= {"a third burst is the last": active & component.ends & (left < 3) & (place == 0)}
    return d

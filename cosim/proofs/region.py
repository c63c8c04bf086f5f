"""No burst passes that is not wholly inside its region, whatever registers and memories hold; none that is inside is
refused.

Units are looked at with memories that may hold anything: what they do not keep within bounds, the gate must.
"""

from __future__ import annotations

from amaranth import Module, Signal, Value
from amaranth.hdl import Fragment
from amaranth.lib.wiring import Component, In

from ...arch.config import PRESETS
from ...hw.axi import ADDRESS_BITS, fetch_bytes
from ...hw.fetch import Fetch
from ...hw.region import OFFSET_BITS, BurstGate, RegionGate
from ...hw.units.kv import Kv
from ...hw.units.load import Load
from ...hw.units.store import Store
from .engine import Design
from .registry import proof

WIDE = OFFSET_BITS + 4  # nothing overflows in so many bits


@proof("region gate", "nano")
@proof("region gate, base", "base")
@proof("region gate, server", "server")
def gate(name: str, planted: int = 0) -> Design:
    """`planted` moves the end of the region, to see the proof fail."""
    d = Design()
    config = PRESETS[name]
    g = d.place(RegionGate(config.axi_bytes, config.burst_beats))
    beat = config.axi_bytes
    low = (beat - 1).bit_length()
    base, size, start, stop = (Signal(WIDE, name=name) for name in ("base", "size", "start", "stop"))
    inside = Signal()
    d.m.d.comb += [
        base.eq((g.base >> 12) << 12),
        size.eq((g.size_bytes >> low) << low),
        start.eq((g.offset >> low) << low),
        stop.eq(start + g.beats * beat),
        # In the region, among the addresses there are, in one block of 4 KiB, and of a length that there may be.
        inside.eq((stop <= size + planted) & (base + start < 1 << ADDRESS_BITS) & (start >> 12 == (stop - 1) >> 12)
                  & (g.beats > 0) & (g.beats <= config.burst_beats)),
    ]  # fmt: skip
    d.properties |= {
        "what passes is in the region and in one block of 4 KiB": ~g.valid | (g.wanted & g.found & inside),
        "it passes to the place that is meant": ~g.valid | (g.address == base + start),
        "what is inside passes": g.valid | ~(g.wanted & g.found & inside),
        "what does not pass is refused": g.refused == (g.wanted & ~g.valid),
    }
    d.covers |= {"a burst up to the end of the region passes": g.valid & (stop == size), "one is refused": g.refused}
    return d


@proof("register behind the gate")
def register() -> Design:
    """Bursts that are offered one after the other, with room that is taken by what is granted alone."""
    d = Design()
    config = PRESETS["nano"]
    kept = {name: d.constant(ADDRESS_BITS, name) for name in ("base", "size_bytes")}
    g = d.place(BurstGate(config.axi_bytes, config.burst_beats), **kept)
    request = g.request
    waits = request.valid & ~request.granted
    d.assume(~request.granted | request.valid, ~d.register(1, "waited", waits) | g.room)
    waiting = Signal()  # one was taken, and is neither granted nor refused
    d.m.d.sync += waiting.eq(g.taken | (waiting & ~request.granted & ~g.refused))
    d.properties |= {
        "a request holds still until it is granted": d.stays(
            "request", waits, request.valid, request.address, request.beats
        ),
        "what is taken is there until it is granted or refused": g.holds == waiting,
        "it takes what is offered as soon as it is free": g.taken == (g.offered & (~waiting | request.granted)),
        "what is refused is not requested": ~(g.refused & request.valid),
        "what is refused goes after a cycle": ~d.register(1, "refused", g.refused) | ~waiting | d.register(
            1, "taken", g.taken
        ),
    }
    d.covers |= {
        "one is granted as the next is taken": request.granted & g.taken, "one is refused": g.refused,
        "one waits for room": g.holds & ~g.refused & ~request.valid,
    }  # fmt: skip
    return d


@proof("bursts of FETCH", Fetch, "nano")
@proof("bursts of FETCH, base", Fetch, "base")
@proof("bursts of LOAD", Load, "nano")
@proof("bursts of LOAD, server", Load, "server", slow=True)
@proof("bursts of STORE", Store, "nano", slow=True)
@proof("bursts of STORE, server", Store, "server", slow=True)
@proof("bursts of KV", Kv, "nano", slow=True)
@proof("bursts of KV, server", Kv, "server", slow=True)
def unit(kind: type[Component], name: str, planted: int = 0) -> Design:
    """A unit with any inputs, but for a region that stays: what it requests lies in there."""
    d = Design(free_memories=True)
    config = PRESETS[name]
    component = kind(config)
    beat, most = config.axi_bytes, config.burst_beats
    if kind is Fetch:
        beat, most = fetch_bytes(config), 256 // fetch_bytes(config)
    fragment = Fragment.get(component, None)  # now, so that its gate is there
    kept = {}
    for path, member, port in component.signature.flatten(component):
        if path in (("base",), ("size_bytes",)) and member.flow == In:
            kept[path[0]] = d.constant(port.shape(), path[0])
    d.place(component, fragment=fragment, **kept)
    request = component.request
    d.properties["what is requested is in the region and in one block of 4 KiB"] = _lies_inside(
        d.m, component, request, request.valid, beat, most, planted
    )
    if hasattr(component, "gate"):
        held = component.gate.holds & ~component.gate.refused
        d.properties["what stands behind the gate is, too"] = _lies_inside(
            d.m, component, component.gate.request, held, beat, most, planted
        )
    d.assume(~request.granted | request.valid)
    if kind is Fetch:  # what the others request stands behind a BurstGate
        d.assume(~component.start | component.idle)
        d.properties["a request holds still until it is granted"] = d.stays(
            "request", request.valid & ~request.granted, request.valid, request.address, request.beats
        )
    d.covers["a burst is requested"] = request.valid
    return d


def _lies_inside(
    m: Module, unit: Component, request, condition: Value, beat: int, most: int, planted: int
) -> Value:  # fmt: skip
    low = (beat - 1).bit_length()
    base, size, start, stop = (Signal(WIDE, name=name) for name in ("base", "size", "start", "stop"))
    m.d.comb += [
        base.eq((unit.base >> 12) << 12),
        size.eq((unit.size_bytes >> low) << low),
        start.eq(request.address),
        stop.eq(start + request.beats * beat),
    ]
    inside = (start >= base) & (stop <= base + size + planted) & (start >> 12 == (stop - 1) >> 12)
    return ~condition | (inside & (request.beats > 0) & (request.beats <= most))

"""Dispatch: each instruction goes to the queue of its unit, in order, and a unit starts when its tokens are there.

What a lane does with it is proved of lanes, what a semaphore counts of semaphores; here, that they are joined so. No
program that `require_ordered` accepts stops for ever: each token that an instruction waits for is sent by one that
comes before it in the program. The first that has not retired has been dispatched, for all before it have left their
queues; all before it have sent their tokens, and those of its unit have taken theirs; so it can start.
"""

from __future__ import annotations

from amaranth import Cat, Mux, Signal
from amaranth.hdl import Fragment

from ...arch.config import PRESETS
from ...hw.dispatch import Dispatch, unit_name
from ...hw.instructions import UNITS
from .engine import Design, inner
from .registry import proof


@proof("dispatch", depth=3, cover_depth=12, slow=True)
def dispatch() -> Design:
    """Of decoded instructions of any kind, one unit each at most."""
    d = Design(free_memories=True)
    component = Dispatch(PRESETS["nano"])
    inside = component.elaborate(None)
    lanes = {unit: getattr(inside.submodules, f"lane_{unit_name(unit)}") for unit in UNITS}
    semaphores, adjust = inside.submodules.semaphores, inside.submodules.adjust
    fragment = Fragment.get(inside, None)
    d.place(component, fragment=fragment)
    decoded, offered = component.i_decoded, Signal()
    halted, left = Signal(), Signal.like(decoded.count)  # beside: after a halt; instructions that are void
    ends = offered & decoded.halts
    guards = offered & decoded.guards
    puts, starts, runs = (
        Cat(getattr(lane, name) for lane in lanes.values()) for name in ("put", "starts", "has_begun")
    )
    kinds = Cat(*(decoded.units[unit] for unit in UNITS), decoded.halts, decoded.guards)
    d.assume(kinds & (kinds - 1) == 0, ~component.clear | (component.quiet & ~component.run))
    d.m.d.comb += offered.eq(component.i_valid & component.run & ~halted)
    d.m.d.sync += halted.eq(~component.clear & (halted | ends))
    with d.m.If(component.clear):
        d.m.d.sync += left.eq(0)
    with d.m.Elif(guards):
        d.m.d.sync += left.eq(Mux(adjust.holds, 0, decoded.count))
    with d.m.Elif(component.i_take & (left != 0)):
        d.m.d.sync += left.eq(left - 1)
    void = Signal()
    d.m.d.comb += void.eq(left != 0)
    of_its_unit = [lane.put == (offered & decoded.units[unit] & ~lane.full) for unit, lane in lanes.items()]
    with_tokens = [
        (semaphores.wait[unit] == lane.wait) & (semaphores.take[unit] == lane.starts)
        & (~lane.starts | semaphores.ready[unit]) & (semaphores.signal[unit] == lane.signal)
        for unit, lane in lanes.items()
    ]  # fmt: skip
    moves = puts.any() | starts.any() | runs.any() | component.i_take
    d.properties |= {
        "after a halt nothing is taken, until the next run": component.halted == halted,
        "an instruction goes to the queue of its unit, if that has room": Cat(of_its_unit).all(),
        "to one queue at most": puts & (puts - 1) == 0,
        "it is taken when it goes there, or is a halt or a guard": component.i_take == (ends | guards | puts.any()),
        "it waits where its queue is full": ~(offered & kinds.any() & ~component.i_take) | Cat(
            lane.full & decoded.units[unit] for unit, lane in lanes.items()).any(),
        "it waits for what it says": ~puts.any() | Cat(lane.waits == decoded.wait for lane in lanes.values()).all(),
        "a guard that does not hold makes as many void as it says": (inner(fragment, "void_left") == left) & Cat(
            lane.void == void for lane in lanes.values()).all(),
        "a unit starts with its tokens, takes them, and sends its own": Cat(with_tokens).all(),
        "nothing starts or is dispatched while it may not run": component.run | ~(starts.any() | puts.any()),
        "the end comes when nothing runs and nothing waits": ~component.finish | (
            (halted | ends) & Cat(lane.idle for lane in lanes.values()).all()),
        "a deadlock is told when nothing runs, starts or is dispatched": ~component.deadlock | ~d.register(
            1, "moved", moves, init=1),
    }  # fmt: skip
    d.covers |= {
        "two units start in one cycle": starts & (starts - 1) != 0,
        "a deadlock is told": component.deadlock,
        "an instruction is void": puts.any() & void,
    }
    return d

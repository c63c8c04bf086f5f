"""End to end through a lane: every instruction starts once, in order, as what arrived, after its tokens, and retires.

One instruction is followed from its arrival, whichever that is: as long as it has not started its word is in the RAM,
then it is the head, then it runs. What stands beside the words goes through a queue, of which the order is proved by
itself.
"""

from __future__ import annotations

from dataclasses import replace

from amaranth import Cat, Const, Mux, Signal
from amaranth.hdl import Fragment

from ...arch.config import DISPATCH_CYCLES, FETCH_BUFFER, INDEX_BITS, PRESETS, Unit
from ...arch.isa import Instruction
from ...hw.instructions import UNIT_MASK_BITS, fields_of
from ...hw.lane import Lane, used_bits
from .engine import Design, inner
from .registry import proof


@proof("lane of STORE, queue of 4", Unit.STORE, 4, depth=3, slow=True)
@proof("lane of VECTOR, queue of 8", Unit.VECTOR, 8, depth=3, slow=True)
def lane(unit: Unit, queue_depth: int) -> Design:
    """Of a unit that runs one instruction at a time."""
    d = Design(free_memories=True)
    m = d.m
    lane = Lane(replace(PRESETS["nano"], queue_depth=queue_depth), unit)
    inside = lane.elaborate(None)
    waiting, running, ram = (getattr(inside.submodules, name) for name in ("waiting", "running", "words"))
    fragment = Fragment.get(inside, None)
    d.place(lane, fragment=fragment, clear=Const(0), replacements=Const(0, len(lane.replacements.as_value())))
    following, last = ram.read_address, ram.write_address
    places = len(last)

    # Counts of what has arrived, could be put, was put, has started; modulo the places of the RAM.
    come, ready, put, gone = (Signal(places, name=name) for name in ("come", "ready", "put", "gone"))
    arrived, on_the_way = lane.arrives, Const(0)
    for cycle in range(DISPATCH_CYCLES - 1):
        arrived = d.register(1, f"arrived_{cycle}", arrived)
        on_the_way = on_the_way + arrived
    m.d.sync += [come.eq(come + lane.arrives), ready.eq(ready + arrived), put.eq(put + lane.put),
                 gone.eq(gone + lane.starts)]  # fmt: skip
    started = d.register(1, "started", lane.starts)
    ends = lane.unit.retire
    runs, runs_void = Signal(), Signal()
    d.assume(
        (come - put)[:places] < FETCH_BUFFER,
        ~lane.put | ((put != ready) & ~lane.full),
        ~(started & lane.unit.ready),
        ~ends | (runs & ~runs_void),
    )

    # The one that is followed.
    chosen, held, is_put, was_there = d.any(1, "chosen"), Signal(), Signal(), Signal()
    pos, word, beside = Signal(places), Signal(len(ram.write_data)), Signal(len(waiting.i))
    with m.If(lane.arrives & chosen & ~held):
        m.d.sync += [held.eq(1), is_put.eq(0), pos.eq(last), word.eq(ram.write_data)]
    turn = held & (pos == gone)  # it is the next to start, once it is put
    with m.If(held & lane.put & (pos == put) & ~is_put):
        m.d.sync += [is_put.eq(1), beside.eq(waiting.i)]
    with m.If(lane.starts & turn):
        m.d.sync += held.eq(0)
    m.d.sync += was_there.eq(held)
    # A RAM gives in the next cycle what was written there, a queue what was put (see the proofs of queue).
    before = d.register(places, "following_before", following)
    d.assume(~(held & was_there & (before == pos)) | (ram.read_data == word), ~(turn & is_put) | (waiting.o == beside))

    # What runs: its place in the program, and whom it signals.
    index, signals = Signal(INDEX_BITS), Signal(UNIT_MASK_BITS)
    header = fields_of(Instruction, lane.unit.instruction)
    waits, void = beside[:UNIT_MASK_BITS], beside[UNIT_MASK_BITS]
    with m.If(lane.starts):
        m.d.sync += [runs.eq(1), runs_void.eq(~lane.unit.start), index.eq(lane.head_index), signals.eq(header.signal)]
    with m.Elif(lane.retires):
        m.d.sync += runs.eq(0)

    bits = used_bits(unit)
    age, left = (come - pos)[:places], (come - gone)[:places]
    d.properties |= {
        "the RAM has room for all that arrived": (left <= FETCH_BUFFER + queue_depth) & (
            (put - gone)[:places] <= queue_depth
        ),
        "what arrived can be put when it is in the RAM": ((come - ready)[:places] == on_the_way) & (
            (ready - put)[:places] <= (come - put)[:places]
        ),
        "the queue holds what was put and has not started": waiting.level == (put - gone)[:places],
        "words go where there is room": last == come,
        "the next word is read ahead": following == Mux((waiting.level != 0) & ~started, (gone + 1)[:places], gone),
        "what has not started has its place in the RAM": ~held | ((age <= left) & (age != 0)),
        "it is put in its turn": ~held | (is_put == ((put - gone)[:places] > (pos - gone)[:places])),
        "the head is what arrived": ~(turn & is_put & ~started) | (inner(fragment, "word") == word),
        "what decides on its start is what it was put with": ~(turn & is_put & ~started) | (lane.wait == waits),
        "it starts once it is put, and only then": ~lane.starts | (waiting.level != 0),
        "in its turn it starts as the instruction that arrived": ~(lane.starts & turn) | (
            (lane.head_index == word[bits:]) & is_put),
        "with what it was put with": ~(lane.starts & turn) | ((lane.wait == waits) & lane.tokens),
        "a void one never reaches the unit": ~(lane.starts & turn) | (lane.unit.start == ~void),
        "one at a time": (running.level == runs) & ~(lane.starts & runs),
        "what runs is what started": ~runs | (running.o[: UNIT_MASK_BITS + INDEX_BITS] == Cat(signals, index)),
        "what retires is what started, and signals whom it names": ~lane.retires | (
            runs & (lane.index == index) & (lane.signal == signals)),
        "no token is sent but by what retires": lane.retires | (lane.signal == 0),
    }  # fmt: skip
    d.covers |= {
        "the queue is full, and its head starts": lane.full & lane.starts,
        "the one that is followed starts behind others": lane.starts & turn & (pos > 1),
        "a void one retires": lane.retires & runs_void,
    }
    return d

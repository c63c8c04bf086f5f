"""The machine of machine.py as one compiled loop over arrays (docs/decisions/0019): the same cycles, sooner.

Its functions are those of `Machine`, `Fetch` and the request classes of `units`, which are the reference; every run of
the tests compares the two instruction by instruction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from ..arch.config import (
    APPEND_ITEMS,
    DISPATCH_CYCLES,
    FETCH_GROUP,
    GATE_CYCLES,
    INSTRUCTION_BYTES,
    LOOKUP_CYCLES,
    MEMORY_CYCLES,
    HardwareConfig,
    Unit,
)  # fmt: skip
from ..arch.dram import DramConfig
from ..arch.errors import HeddleError
from ..arch.isa import units_in
from .check import Waiting, deadlock
from .dispatch import DispatchedKinds
from .engine_arrays import (
    APPEND,
    CLIENT_COUNT,
    FETCH_PORT,
    FIXED,
    GATHER,
    HALT,
    KV_PORT,
    LOAD_PORT,
    NEVER,
    NO_UNIT,
    STORE,
    STORE_PORT,
    STREAM,
    UNIT_COUNT,
    Arrays,
    make_arrays,
)  # fmt: skip
from .engine_dram import serve, statistics
from .fetch import beats_by
from .jit import entry, inlined
from .trace import UNITS, Timing

VOID = 1  # cycles from start to retire of a void instruction
ITEM_CYCLES = LOOKUP_CYCLES + GATE_CYCLES  # from reading an item of Append to its request
GROUP_BYTES = FETCH_GROUP * INSTRUCTION_BYTES
CYCLES = ("arrived", "dispatched", "start", "retire", "beat_cycles")  # of Timing and of PASSAGE


def timing_of(
    config: HardwareConfig,
    work: DispatchedKinds,
    groups: int,
    dram: DramConfig | None = None,
    found: Mapping[int, NDArray[np.int64]] | None = None,
    free: Collection[Unit] = (),
) -> Timing:
    """What `Machine(…).run()` returns for the same program. Raises HeddleError for a deadlock."""
    dram = dram or config.dram
    arrays = make_arrays(config, work, groups, dram, found or {}, free)
    run(arrays)
    machine, units = arrays.machine[0], arrays.units
    if not machine["halted"] or (units["entered"] > units["started"]).any():
        raise _deadlock(arrays, work)
    passages = arrays.passages[: machine["dispatched"]]
    cycles = {name: np.ascontiguousarray(passages[name]) for name in CYCLES}
    unit_of = (*UNITS, None)  # −1 is the last
    end = int(max(cycles["dispatched"][-1], cycles["retire"].max() + 1))
    arrived = np.ascontiguousarray(arrays.passages["arrived"][: machine["requested"] * FETCH_GROUP])
    return Timing(
        **{name: each.tolist() for name, each in cycles.items()},
        last_token=[unit_of[number] for number in passages["last_token"].tolist()],
        cycles=end, fetch_beats=beats_by(arrived, end, min(INSTRUCTION_BYTES, config.axi_bytes), dram.cycles_per_beat),
        dram=statistics(arrays.dram), arrays=cycles,
    )  # fmt: skip


def _deadlock(arrays: Arrays, work: DispatchedKinds) -> HeddleError:
    machine, pairs, waiting = arrays.machine[0], arrays.pairs.reshape(UNIT_COUNT, UNIT_COUNT), []
    for unit in UNITS:
        entered, started = arrays.units[unit]["entered"], arrays.units[unit]["started"]
        if entered == started:
            continue
        index = int(arrays.queues[unit, started % machine["queue_depth"]])
        instruction = work.instruction(index)
        missing = [source for source in units_in(instruction.wait)
                   if pairs[source, unit]["sent"] == pairs[source, unit]["taken"]]  # fmt: skip
        waiting.append(Waiting(unit, index, instruction, missing))
    if machine["halted"]:
        return deadlock(waiting, None)
    index = int(machine["dispatched"])
    return deadlock(waiting, (index, work.instruction(index) if index < len(work.of) else None))


@entry
def run(a):
    """Run to the end, or until nothing more can happen."""
    while True:
        _settle(a)
        while True:  # until something follows from a grant
            client = _grant(a)
            if client < 0:
                return
            if client == FETCH_PORT:
                break
            if a.clients[client].up == NEVER:  # its instruction has all its bursts
                _finish(a, client)
                break


# -- dispatch, start, retire -------------------------------------------------------------------------------------------


@inlined
def _settle(a):
    """Work out all that follows from the grants so far."""
    progress = True
    while progress:
        progress = False
        while _dispatch(a):
            progress = True
        for unit in range(UNIT_COUNT):
            while _start(a, unit):
                progress = True
    a.clients[FETCH_PORT].up = _fetch_up(a)


@inlined
def _dispatch(a):
    """Dispatch the next instruction, if it has been requested and there is a place for it in its queue."""
    machine = a.machine[0]
    index = machine.dispatched
    if machine.halted or index >= machine.requested * FETCH_GROUP:
        return False
    passage = a.passages[index]
    cycle = passage.arrived + DISPATCH_CYCLES
    if index:
        cycle = max(cycle, a.passages[index - 1].dispatched + 1)
    kind = a.kinds[a.instructions[index].kind]
    if kind.unit == NO_UNIT:
        machine.halted = kind.role == HALT
    else:
        unit, depth = a.units[kind.unit], machine.queue_depth
        if unit.entered - unit.started >= depth:
            return False
        place = unit.entered & (depth - 1)
        if unit.entered >= depth:  # the place of the one that started so many before
            cycle = max(cycle, a.starts[kind.unit, place] + 1)
        a.queues[kind.unit, place] = index
        unit.entered += 1
    passage.dispatched = cycle
    machine.dispatched += 1
    return True


@inlined
def _start(a, number):
    """Start the head of a queue, if its tokens have been sent and the unit is known to become free."""
    unit = a.units[number]
    if unit.entered == unit.started or unit.next_start == NEVER:
        return False
    place = unit.started & (a.machine[0].queue_depth - 1)
    index = a.queues[number, place]
    instruction, passage = a.instructions[index], a.passages[index]
    kind = a.kinds[instruction.kind]
    for source in range(UNIT_COUNT):
        if kind.wait >> source & 1:
            pair = a.pairs[source * UNIT_COUNT + number]
            if pair.sent == pair.taken:
                return False
    cycle = max(passage.dispatched + 1, unit.next_start)
    if instruction.void or kind.role == GATHER:
        cycle = max(cycle, unit.retired + 1)  # when nothing is under way
    else:
        cycle = max(cycle, min(unit.next_start + kind.headway, unit.retired + 1))
    for source in range(UNIT_COUNT):
        if kind.wait >> source & 1:
            pair = a.pairs[source * UNIT_COUNT + number]
            usable = a.usable[pair.offset + pair.taken]
            pair.taken += 1
            if usable > cycle:
                cycle = usable
                passage.last_token = source
    a.starts[number, place] = cycle
    unit.started += 1
    unit.next_start = NEVER
    passage.start = cycle
    if instruction.void or kind.role == FIXED:
        cycles = VOID if instruction.void else kind.cycles
        passage.beat_cycles = 1 + VOID if instruction.void else kind.moving
        _retire(a, index, cycle + cycles, cycle + (VOID + 1 if instruction.void else kind.occupied))
    else:
        _begin(a, index, cycle)
    return True


@inlined
def _retire(a, index, cycle, next_start):
    """An instruction retires in `cycle` and sends its tokens; its unit may start another from `next_start` on."""
    kind = a.kinds[a.instructions[index].kind]
    a.passages[index].retire = a.units[kind.unit].retired = cycle
    a.units[kind.unit].next_start = next_start
    for target in range(UNIT_COUNT):
        if kind.signal >> target & 1:
            pair = a.pairs[kind.unit * UNIT_COUNT + target]
            a.usable[pair.offset + pair.sent] = cycle + 1
            pair.sent += 1


# -- the DRAM port -----------------------------------------------------------------------------------------------------


@inlined
def _grant(a):
    """Grant the next burst, and those of the same client until another's request is up. Returns the client, or −1 if
    nothing is requested."""
    earliest = NEVER
    for number in range(CLIENT_COUNT):
        earliest = min(earliest, a.clients[number].up)
    if earliest == NEVER:
        return -1
    cycle = max(earliest, a.machine[0].next_grant)
    granted = 0
    while a.clients[granted].up > cycle:
        granted += 1
    if granted == FETCH_PORT:
        _fetch(a, cycle)
        a.machine[0].next_grant = cycle + 1
        return granted
    rival = NEVER  # first cycle in which the request of another client is up, whatever is granted to this one
    for number in range(CLIENT_COUNT):
        if number != granted:
            rival = min(rival, a.clients[number].up)
    a.machine[0].next_grant = _move(a, granted, cycle, rival) + 1
    return granted


@inlined
def _fetch_up(a):
    """First cycle with room for the next group."""
    machine = a.machine[0]
    if machine.requested == machine.groups:
        return NEVER
    needed = (machine.requested - 1) * FETCH_GROUP  # instructions dispatched, so that at most one group is not
    if needed <= 0:
        return machine.after_grant
    if needed > machine.dispatched:
        return NEVER
    return max(machine.after_grant, a.passages[needed - 1].dispatched + 1)


@inlined
def _fetch(a, grant):
    """Instructions arrive in the cycles of their last beats."""
    machine = a.machine[0]
    beats = machine.fetch_beats
    first, last = serve(a.dram, grant, machine.requested * GROUP_BYTES, beats, machine.fetch_shift, False)
    pace = (last - first) // (beats - 1)
    beats_of_each = beats // FETCH_GROUP
    for number in range(FETCH_GROUP):
        passage = a.passages[machine.requested * FETCH_GROUP + number]
        passage.arrived = first + ((number + 1) * beats_of_each - 1) * pace
    machine.requested += 1
    machine.after_grant = grant + 1


@inlined
def _move(a, number, grant, rival):
    """Bursts of an instruction are served, and the next one requested. Returns the cycle of the last grant."""
    client = a.clients[number]
    kind = a.kinds[a.instructions[client.index].kind]
    writes = kind.role == STORE or kind.role == APPEND
    while True:
        beats = client.beats
        first, last = serve(a.dram, grant, client.address, beats, a.machine[0].beat_shift, writes)
        a.flights[number, client.flown & (client.limit - 1)] = last
        client.flown += 1
        client.moved += last - first + 1
        before, client.last_grant, client.last_beat = client.last_beat, grant, last
        if client.next == client.stop and client.segments == kind.count:
            client.up = NEVER
            return grant
        setup = _next_burst(a, client, kind)
        if kind.role == STORE:  # the next burst goes into the buffer of the one before this, whose beats must have left
            client.read = max(client.read + beats + setup, before + 1)
            client.up = max(client.read + client.beats + MEMORY_CYCLES, grant + 1)
        else:
            _ask(a, number, grant + 1, setup)
        if client.up >= rival:
            return grant
        grant = client.up


@inlined
def _begin(a, index, start):
    """A client asks for an instruction that starts."""
    kind = a.kinds[a.instructions[index].kind]
    number = LOAD_PORT
    if kind.role == STORE:
        number = STORE_PORT
    elif kind.role == APPEND or kind.role == STREAM:
        number = KV_PORT
    client = a.clients[number]
    client.index = index
    client.moved = client.segments = client.next = client.stop = 0
    setup = _next_burst(a, client, kind)
    if kind.role == STORE:
        client.read = start + 1 + setup
        client.up = client.read + client.beats + MEMORY_CYCLES
        return
    if number == KV_PORT:  # nothing of the instruction before is in flight
        client.flown = 0
        client.limit = APPEND_ITEMS if kind.role == APPEND else a.clients[LOAD_PORT].limit
    client.gate = start + 1
    _ask(a, number, start + 1 + GATE_CYCLES, setup)


@inlined
def _ask(a, number, cycle, setup):
    """Request the next burst from `cycle` on, once its address is known and there is room for it in flight."""
    client = a.clients[number]
    room = 0
    if client.flown >= client.limit:
        room = a.flights[number, client.flown & (client.limit - 1)] + 1
    if a.kinds[a.instructions[client.index].kind].role == APPEND:  # its item is read only then
        client.gate = max(max(client.gate, room) + ITEM_CYCLES, cycle)
        client.up = client.gate
    else:
        client.gate = max(client.gate + setup, cycle)
        client.up = max(client.gate, room)


@inlined
def _next_burst(a, client, kind):
    """Cut off the next burst. Returns the cycles before it can be requested."""
    setup = 0
    if client.next == client.stop:
        place = (kind.first + client.segments) & kind.mask
        instruction = a.instructions[client.index]
        client.next = instruction.address + place * kind.stride
        if instruction.places >= 0:  # data say where it is
            client.next = a.places[instruction.places + client.segments]
        client.stop = client.next + kind.length
        client.segments += 1
        setup = kind.setup
    client.address = client.next
    client.next = min(client.stop, (client.address | kind.cut) + 1)
    client.beats = (client.next - client.address) >> a.machine[0].beat_shift
    return setup


@inlined
def _finish(a, number):
    """The last burst of an instruction has been granted. LOAD may start another from then on."""
    client = a.clients[number]
    kind = a.kinds[a.instructions[client.index].kind]
    a.passages[client.index].beat_cycles = client.moved
    retire = client.last_beat + kind.tail
    _retire(a, client.index, retire, (client.last_grant if number == LOAD_PORT else retire) + 1)

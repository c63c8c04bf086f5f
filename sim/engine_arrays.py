"""A program and a machine as arrays of records: what the compiled event loop (engine.py) works on.

What holds for all instructions of a kind is worked out once, with the closed forms of `units`; an instruction then is
the number of its kind and an address. All numbers are 64 bits wide.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.config import APPEND_ITEMS, FETCH_GROUP, INSTRUCTION_BYTES, HardwareConfig, Unit
from ..arch.dram import DramConfig
from ..arch.isa import Append, Guard, Halt, Instruction, Load, Part, Store, Stream
from ..arch.kinds import of_each_size
from . import units
from .dispatch import DispatchedKinds
from .engine_dram import Dram, make_dram, record
from .trace import UNITS
from .units import CYCLES, SEGMENTS

NEVER = 1 << 62
UNIT_COUNT = len(UNITS)
NO_UNIT = UNIT_COUNT
# Roles: what is done with an instruction. It goes to no queue; it retires a fixed time after its start; a client asks.
HALT, GUARD, FIXED, LOAD, GATHER, STORE, APPEND, STREAM = range(8)
ROLES = {Halt: HALT, Guard: GUARD, Load: LOAD, Store: STORE, Append: APPEND, Stream: STREAM}  # all others: FIXED
# Clients of the DRAM port, by priority.
FETCH_PORT, STORE_PORT, KV_PORT, LOAD_PORT = range(4)
CLIENT_COUNT = 4


KIND = record(
    "role", "unit", "wait", "signal",
    "cycles",  # FIXED: from start to retire
    "occupied",  # FIXED: from start to when its unit may start another
    "headway",  # how much later than that it starts itself, unless all before it have retired
    "moving",  # FIXED: beat_cycles: it does not wait for DRAM
    "count", "length", "stride", "first", "mask", "setup",  # of its Segments
    "cut",  # a burst ends at the next multiple of cut + 1
    "tail",  # cycles from the last beat to retire
)  # fmt: skip
INSTRUCTION = record("kind", "void", "address", "places")  # where its segments' addresses are listed, or −1
PASSAGE = record("arrived", "dispatched", "start", "retire", "last_token", "beat_cycles")  # as in Timing
# Instructions dispatched, of these started; when it may start another (NEVER: not known); when its last one retires.
UNIT = record("entered", "started", "next_start", "retired")
PAIR = record("offset", "sent", "taken")  # tokens from one unit to another: their places in `usable`, and counts
CLIENT = record(
    "up",  # first cycle in which its request is up; NEVER: none, or not known
    "address", "beats",  # the burst requested
    "index",  # the instruction for which it asks
    "segments", "next", "stop",  # segments begun; what is left of the present one
    "limit", "flown",  # bursts that may be in flight, bursts granted
    "read",  # STORE: q of the burst requested
    "gate",  # of the others: the cycle in which it has passed the gate
    "last_grant", "last_beat", "moved",  # of the latest burst; cycles with beats of this instruction
)  # fmt: skip
MACHINE = record(
    "queue_depth", "beat_shift", "fetch_beats", "fetch_shift", "groups",
    "requested", "after_grant",  # FETCH: groups, and the cycle after the latest grant
    "dispatched", "halted",
    "next_grant",  # first cycle in which a grant can still be made
)  # fmt: skip


class Arrays(NamedTuple):
    """Everything that the event loop reads and changes."""

    kinds: NDArray  # (kinds,) KIND
    instructions: NDArray  # (instructions,) INSTRUCTION, padded to whole groups
    passages: NDArray  # (instructions,) PASSAGE
    units: NDArray  # (units,) UNIT
    queues: NDArray[np.int64]  # (units, queue_depth), instructions: the one that entered as number n at n mod depth
    starts: NDArray[np.int64]  # (units, queue_depth), cycles, likewise
    pairs: NDArray  # (units · units,) PAIR, from · units + to
    usable: NDArray[np.int64]  # (tokens,), first cycle of use
    clients: NDArray  # (clients,) CLIENT
    flights: NDArray[np.int64]  # (clients, most in flight), last beat of burst number n at n mod limit
    places: NDArray[np.int64]  # (segments,), addresses that hang on data
    machine: NDArray  # (1,) MACHINE
    dram: Dram


def make_arrays(
    config: HardwareConfig,
    work: DispatchedKinds,
    groups: int,
    dram: DramConfig,
    found: Mapping[int, NDArray[np.int64]],
    free: Collection[Unit] = (),
) -> Arrays:
    """A machine before cycle 0. Arguments as for `Machine`."""
    dram.require_port(config.axi_bytes, config.burst_bytes)
    examples = (*work.examples, Halt())
    cycles = of_each_size(_fixed_cycles, examples, config)
    kinds = np.array([_kind(*each, config, free) for each in zip(examples, cycles, strict=True)], KIND)
    instructions = np.zeros(groups * FETCH_GROUP, INSTRUCTION)
    instructions["kind"] = len(work.examples)  # halts fill the last group
    known = instructions[: len(work.of)]
    known["kind"], known["address"] = work.of, work.addresses
    known["void"] = work.void & ~np.isin(work.units, list(free))  # an instruction of a free unit is no longer than that
    instructions["places"] = -1
    lengths = [len(each) for each in found.values()]
    instructions["places"][list(found)] = np.cumsum(lengths) - lengths
    places = np.concatenate(list(found.values())) if found else np.zeros(0, np.int64)
    passages = np.zeros(len(instructions), PASSAGE)
    for name in ("start", "retire", "last_token"):
        passages[name] = -1
    pairs, tokens = _token_places(kinds, work)
    units = np.zeros(UNIT_COUNT, UNIT)
    units["retired"] = -1
    clients = np.zeros(CLIENT_COUNT, CLIENT)
    clients["up"] = NEVER
    clients["last_grant"] = clients["last_beat"] = -1
    clients["limit"] = config.load_outstanding
    queues, starts = np.zeros((2, UNIT_COUNT, config.queue_depth), np.int64)
    flights = np.zeros((CLIENT_COUNT, max(config.load_outstanding, APPEND_ITEMS)), np.int64)
    return Arrays(
        kinds, instructions, passages, units, queues, starts, pairs, np.zeros(tokens, np.int64),
        clients, flights, places, _machine(config, groups), make_dram(dram),
    )  # fmt: skip


def _machine(config: HardwareConfig, groups: int) -> NDArray:
    fetch_beat = min(INSTRUCTION_BYTES, config.axi_bytes)
    machine = np.zeros(1, MACHINE)
    machine["queue_depth"] = config.queue_depth
    machine["beat_shift"] = config.axi_bytes.bit_length() - 1
    machine["fetch_beats"] = FETCH_GROUP * INSTRUCTION_BYTES // fetch_beat
    machine["fetch_shift"] = fetch_beat.bit_length() - 1
    machine["groups"] = groups
    machine["after_grant"] = 1
    return machine


def _fixed_cycles(instruction: Instruction, config: HardwareConfig) -> tuple[int, int, int]:
    """Cycles, occupied and headway, of an instruction whose DRAM accesses do not decide."""
    if type(instruction) not in CYCLES:
        return 0, 0, 0
    cycles = units.cycles(instruction, config)
    return cycles, units.occupied(instruction, config), units.headway(instruction, config)


def _kind(
    instruction: Instruction, cycles: tuple[int, int, int], config: HardwareConfig, free: Collection[Unit]
) -> tuple[int, ...]:
    i, unit = instruction, instruction.unit
    if unit is None:
        return (ROLES[type(i)], NO_UNIT, *[0] * (len(KIND.names or ()) - 2))
    header = unit, i.wait, i.signal
    if type(i) in CYCLES or unit in free:
        cycles = (0, 1, 0) if unit in free else cycles
        return (FIXED, *header, *cycles, 1 + cycles[0], *[0] * (len(KIND.names or ()) - 8))
    assert i.dram is not None
    found = SEGMENTS[type(i)](i, config)
    cut = NEVER - 1 if found.whole else config.burst_bytes - 1
    transposer = config.columns + 1 if isinstance(i, Stream) and i.part is Part.KEYS else 0
    role = GATHER if isinstance(i, Load) and i.gather else ROLES[type(i)]
    tail = (2 if i.dram.write else 1) + transposer
    return (role, *header, 0, 0, 0, 0, *found[1:7], cut, tail)


def _token_places(kinds: NDArray, work: DispatchedKinds) -> tuple[NDArray, int]:
    """(units · units,) PAIR with a place for each token that the program sends, and how many these are."""
    counts = np.bincount(work.of, minlength=len(kinds))
    sends = kinds["signal"][:, None] >> np.arange(UNIT_COUNT) & 1  # (kinds, units)
    of_unit = kinds["unit"] == np.arange(UNIT_COUNT)[:, None]  # (units, kinds)
    sent = ((of_unit * counts) @ sends).reshape(-1)
    pairs = np.zeros(UNIT_COUNT * UNIT_COUNT, PAIR)
    pairs["offset"] = np.cumsum(sent) - sent
    return pairs, int(sent.sum())

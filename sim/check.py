"""What makes a program illegal when it runs: bank ports, places beyond a page table, semaphores, deadlock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.accesses import access_table, port_masks
from ..arch.config import SEMAPHORE_LIMIT, HardwareConfig, Memory, Unit
from ..arch.encoding import listing
from ..arch.errors import HeddleError
from ..arch.isa import Instruction, KvInstruction
from .dispatch import DispatchedKinds
from .trace import UNITS, Timing
from .units.kv import require_places

# -- ports -------------------------------------------------------------------------------------------------------------


def check_ports(config: HardwareConfig, work: DispatchedKinds, timing: Timing) -> None:
    """Raise HeddleError if two units that execute at the same time both read, or both write, one bank."""
    ports = port_masks(access_table(work.examples, config), config)
    start, retire = timing.array("start"), timing.array("retire")
    order = np.argsort(start, kind="stable")
    order = order[(~work.void & work.spread((ports != 0).any(axis=1)))[order]]
    place = np.empty(len(start), np.int64)  # of each instruction in that order
    place[order] = np.arange(len(order))
    of_unit = {unit: order[work.units[order] == unit] for unit in UNITS}
    used = {unit: np.bitwise_or.reduce(ports[np.unique(work.of[of_unit[unit]])], 0) for unit in UNITS}
    conflicts = []
    for one in UNITS:
        for other in UNITS:
            if one is not other and (used[one] & used[other]).any():
                pairs = _overlapping(of_unit[one], of_unit[other], start, retire, place)
                conflicts += _conflicting(*pairs, work, ports)
    if conflicts:
        first, second = min(conflicts, key=lambda each: (place[each[1]], work.units[each[0]], place[each[0]]))
        raise _port_conflict(work, timing, first, second, ports[work.of[first]] & ports[work.of[second]])


def _overlapping(
    firsts: NDArray[np.int64],
    seconds: NDArray[np.int64],
    start: NDArray[np.int64],
    retire: NDArray[np.int64],
    place: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of one of `firsts` and one of `seconds`, both in the order of their starts, such that the first starts
    before the second and is under way when that starts."""
    latest = np.maximum.accumulate(retire[firsts])  # LOADs and Matmuls overlap
    low = np.searchsorted(latest, start[seconds])
    high = np.searchsorted(place[firsts], place[seconds])
    counts = np.maximum(high - low, 0)
    second = np.repeat(seconds, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = firsts[np.repeat(low, counts) + within]
    both = retire[first] >= start[second]
    return first[both], second[both]


def _conflicting(
    first: NDArray[np.int64], second: NDArray[np.int64], work: DispatchedKinds, ports: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Of each pair of kinds that share a port, the first pair of instructions, both ways of counting."""
    kinds = work.of[first] * np.int64(len(ports)) + work.of[second]
    pairs, places = np.unique(kinds, return_index=True)
    places = places[(ports[pairs // len(ports)] & ports[pairs % len(ports)]).any(1)]
    return list(zip(first[places].tolist(), second[places].tolist(), strict=True))


def _port_conflict(
    work: DispatchedKinds, timing: Timing, first: int, second: int, shared: NDArray[np.int64]
) -> HeddleError:
    port = int(np.flatnonzero(shared)[0])
    banks = int(shared[port])
    memory, write, bank = Memory(port // 2), port % 2, (banks & -banks).bit_length() - 1
    parts = [
        f"instruction {index} ({listing(work.instruction(index))}) in cycles {timing.start[index]} to "
        f"{timing.retire[index]}"
        for index in (first, second)
    ]
    return HeddleError(
        f"bank conflict: {' and '.join(parts)} both {'write' if write else 'read'} bank {bank} of {memory.name}: "
        f"let one wait for the other, or use different banks"
    )


# -- the KV cache ------------------------------------------------------------------------------------------------------


def check_places(config: HardwareConfig, work: DispatchedKinds) -> None:
    """Raise HeddleError if a KV instruction needs a place beyond its page table. What pages there are is data."""
    problems: dict[int, HeddleError] = {}
    for kind, each in enumerate(work.examples):
        if isinstance(each, KvInstruction):
            try:
                require_places(each, config)
            except HeddleError as error:
                problems[kind] = error
    if problems:
        for index in np.flatnonzero(np.isin(work.of, list(problems)) & ~work.void)[:1].tolist():
            raise HeddleError(f"instruction {index}: {problems[int(work.of[index])]}")


# -- semaphores --------------------------------------------------------------------------------------------------------


def check_semaphores(work: DispatchedKinds, timing: Timing, limit: int = SEMAPHORE_LIMIT) -> None:
    """Raise HeddleError if ever more than `limit` tokens from one unit to another are waiting to be taken."""
    wait = work.spread([each.wait for each in work.examples])
    signal = work.spread([each.signal for each in work.examples])
    start, retire = timing.array("start"), timing.array("retire")
    problems = []
    for source in UNITS:
        for target in UNITS:
            every = np.flatnonzero((work.units == source) & (signal >> target & 1 == 1))
            senders = every[limit:]
            if len(senders):
                # Each of these needs a place: when it sends its token, as many as come before it must have been taken.
                taken = np.full(len(senders), np.iinfo(np.int64).max)
                starts = start[(work.units == target) & (wait >> source & 1 == 1)][: len(senders)]
                taken[: len(starts)] = starts
                problems += [(every[0], target, source, index) for index in senders[taken > retire[senders]][:1]]
    if problems:
        _, target, source, index = min(problems)  # of the tokens that were sent first
        raise HeddleError(
            f"semaphore overflow: instruction {index} ({listing(work.instruction(index))}) sends "
            f"{target.name} one more than {limit} tokens of {source.name} in cycle {retire[index]}: "
            f"let {target.name} wait for them"
        )


# -- deadlock ----------------------------------------------------------------------------------------------------------


class Waiting(NamedTuple):
    """The head of a queue that cannot start."""

    unit: Unit
    index: int
    instruction: Instruction
    missing: Sequence[Unit]  # units whose tokens it lacks


def deadlock(waiting: Sequence[Waiting], blocked: tuple[int, Instruction | None] | None) -> HeddleError:
    """The error for a machine in which nothing can happen any more: which instructions wait, and for what.

    `blocked`, unless a halt has been dispatched, is the instruction that should have been next (None: there is none).
    """
    parts = [
        f"{each.unit.name} at instruction {each.index} ({listing(each.instruction)}) for a token of "
        f"{' and '.join(source.name for source in each.missing)}"
        for each in waiting
    ]
    if blocked is not None:
        index, instruction = blocked
        if instruction is not None:
            parts.append(f"dispatch at instruction {index} ({listing(instruction)}) for a place in its queue")
        else:
            parts.append("dispatch for a halt, which the program does not have")
    return HeddleError(f"deadlock: waiting are {'; '.join(parts)}")

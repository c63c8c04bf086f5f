"""What makes a program illegal when it runs: bank ports, places beyond a page table, semaphores, deadlock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from ..arch.config import SEMAPHORE_LIMIT, HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError
from ..arch.isa import Append, Instruction, Stream, listing, units_in
from .dispatch import Dispatched
from .trace import UNITS, Record
from .units.kv import require_places

# -- ports -------------------------------------------------------------------------------------------------------------


def check_ports(config: HardwareConfig, dispatched: Sequence[Dispatched], trace: Sequence[Record]) -> None:
    """Raise HeddleError if two units that execute at the same time both read, or both write, one bank."""
    active: dict[Unit, list[tuple[Record, int]]] = {unit: [] for unit in UNITS}
    for record in sorted(trace, key=lambda each: each.start):
        mask = _port_mask(config, *dispatched[record.index])
        for unit, others in active.items():
            others[:] = [(other, used) for other, used in others if other.retire >= record.start]
            for other, used in others if unit is not record.unit else ():
                if used & mask:
                    raise _port_conflict(dispatched, other, record, used & mask)
        active[record.unit].append((record, mask))


def _port_conflict(dispatched: Sequence[Dispatched], first: Record, second: Record, ports: int) -> HeddleError:
    kind, bank = divmod((ports & -ports).bit_length() - 1, _BANKS_AT_MOST)
    memory, write = Memory(kind // 2), kind % 2
    parts = [
        f"instruction {each.index} ({listing(dispatched[each.index].instruction)}) in cycles {each.start} to "
        f"{each.retire}"
        for each in (first, second)
    ]
    return HeddleError(
        f"bank conflict: {' and '.join(parts)} both {'write' if write else 'read'} bank {bank} of {memory.name}: "
        f"let one wait for the other, or use different banks"
    )


_BANKS_AT_MOST = 64


def _port_mask(config: HardwareConfig, instruction: Instruction, void: bool) -> int:
    """A bit for each port (memory, direction, bank) that the instruction may use."""
    mask = 0
    for access in () if void else instruction.accesses(config):
        kind = int(access.memory) * 2 + access.write
        mask |= access.bank_mask(config) << (kind * _BANKS_AT_MOST)
    return mask


# -- the KV cache ------------------------------------------------------------------------------------------------------


def check_places(config: HardwareConfig, dispatched: Sequence[Dispatched]) -> None:
    """Raise HeddleError if a KV instruction needs a place beyond its page table. What pages there are is data."""
    for index, (instruction, void) in enumerate(dispatched):
        if isinstance(instruction, (Append, Stream)) and not void:
            try:
                require_places(instruction, config)
            except HeddleError as error:
                raise HeddleError(f"instruction {index}: {error}") from None


# -- semaphores --------------------------------------------------------------------------------------------------------


def check_semaphores(
    instructions: Sequence[Instruction], trace: Sequence[Record], limit: int = SEMAPHORE_LIMIT
) -> None:
    """Raise HeddleError if ever more than `limit` tokens from one unit to another are waiting to be taken."""
    sent: dict[tuple[Unit, Unit], list[Record]] = defaultdict(list)
    taken: dict[tuple[Unit, Unit], list[int]] = defaultdict(list)
    for record in trace:
        for source in units_in(instructions[record.index].wait):
            taken[source, record.unit].append(record.start)
        for target in units_in(instructions[record.index].signal):
            sent[record.unit, target].append(record)
    for (source, target), senders in sent.items():
        starts = taken[source, target]
        for count, record in enumerate(senders[limit:]):  # this one needs a place: `count` + 1 must have been taken
            if count >= len(starts) or starts[count] > record.retire:
                raise HeddleError(
                    f"semaphore overflow: instruction {record.index} ({listing(instructions[record.index])}) sends "
                    f"{target.name} one more than {limit} tokens of {source.name} in cycle {record.retire}: "
                    f"let {target.name} wait for them"
                )


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

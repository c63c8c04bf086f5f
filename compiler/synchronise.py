"""Orders a list of instructions with semaphores, so that no result and no bank port depends on timing.

Program order is the meaning. Two instructions of different units conflict if one writes words (or DRAM bytes) that the
other touches, or if both use the same port of the same bank. The later of such a pair waits for a token of the earlier,
unless tokens already ordered them: one vector clock per unit says what is known to have retired. Tokens of one
(from, to) pair are counted, never named; they match because both ends see them in program order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError
from ..arch.isa import Access, Instruction, Load, Store

Clock = dict[Unit, int]  # for each unit, the last instruction (by index in the program) known to have retired


@dataclass
class _Footprint:
    """What one instruction touches: word ranges on chip, byte ranges in DRAM, bank ports."""

    index: int
    unit: Unit
    accesses: list[Access]
    dram: tuple[int, int, bool] | None
    ports: dict[tuple[Memory, bool], int] = field(default_factory=dict)  # (memory, write) → mask of banks


def synchronise(config: HardwareConfig, instructions: Sequence[Instruction]) -> list[Instruction]:
    """The same instructions with `wait` and `signal` set. Existing masks are replaced."""
    waits, signals = [0] * len(instructions), [0] * len(instructions)
    history: dict[Unit, list[_Footprint]] = {unit: [] for unit in Unit}
    clocks: dict[Unit, Clock] = {unit: {} for unit in Unit}
    retired: list[Clock] = []  # what is known once instruction i has retired
    for index, instruction in enumerate(instructions):
        unit = instruction.unit
        if unit is None:
            retired.append({})
            continue
        footprint = _footprint(config, index, instruction)
        clock = clocks[unit]
        conflicts = {
            source: last
            for source, earlier in history.items()
            if source is not unit and (last := _last_conflict(earlier, footprint, clock.get(source, -1))) is not None
        }
        # The latest first: what is known once it has retired may cover the others.
        for source, last in sorted(conflicts.items(), key=lambda item: -item[1]):
            if last > clock.get(source, -1):
                waits[index] |= 1 << source
                signals[last] |= 1 << unit
                for known, at in retired[last].items():
                    clock[known] = max(clock.get(known, -1), at)
        history[unit].append(footprint)
        retired.append({**clock, unit: index})
    _require_no_extra_waits(waits, signals, instructions)
    return [replace(each, wait=waits[i], signal=signals[i]) for i, each in enumerate(instructions)]


def _require_no_extra_waits(waits: list[int], signals: list[int], instructions: Sequence[Instruction]) -> None:
    sent = sum(mask.bit_count() for mask in signals)
    taken = sum(mask.bit_count() for mask in waits)
    if sent != taken:
        raise HeddleError(f"synchronise: {sent} tokens sent but {taken} taken in {len(instructions)} instructions")


def _last_conflict(earlier: list[_Footprint], later: _Footprint, known: int) -> int | None:
    """The latest instruction after `known` that conflicts with `later`."""
    for other in reversed(earlier):
        if other.index <= known:
            return None
        if _conflict(other, later):
            return other.index
    return None


def _conflict(a: _Footprint, b: _Footprint) -> bool:
    if any(mask & b.ports.get(port, 0) for port, mask in a.ports.items()):
        return True
    if a.dram and b.dram and (a.dram[2] or b.dram[2]) and a.dram[0] < b.dram[1] and b.dram[0] < a.dram[1]:
        return True
    return any((x.write or y.write) and x.overlaps(y) for x in a.accesses for y in b.accesses)


def _footprint(config: HardwareConfig, index: int, instruction: Instruction) -> _Footprint:
    assert instruction.unit is not None
    accesses = instruction.accesses(config)
    footprint = _Footprint(index, instruction.unit, accesses, _dram_range(config, instruction))
    for access in accesses:
        port = access.memory, access.write
        footprint.ports[port] = footprint.ports.get(port, 0) | access.bank_mask(config)
    return footprint


def _dram_range(config: HardwareConfig, instruction: Instruction) -> tuple[int, int, bool] | None:
    """(first byte, one past the last, written?). A gather may read anything from its table on. KV has the cache for
    itself, and is in order: LOAD and STORE do not go there."""
    if not isinstance(instruction, (Load, Store)):
        return None
    start = instruction.dram_address
    if isinstance(instruction, Load) and instruction.gather:
        return start, 1 << 62, False
    length = instruction.words * config.dram_word_bytes(instruction.memory)
    stop = start + (instruction.segments - 1) * instruction.dram_stride + length
    return start, stop, isinstance(instruction, Store)

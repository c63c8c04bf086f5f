"""Gives each buffer its words: the first gap among what lives at the same time, in the bank that disturbs least.

Two units must not use the same port of a bank at once, and `synchronise` would make one wait. So a buffer goes to the
bank in which the expected cycles of such meetings are fewest, and to the lowest address that is free there.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError
from .schedule import Schedule
from .tasks import Buffer


class _Use(NamedTuple):
    """One port of a bank in use: by which unit and when."""

    unit: Unit
    start: int
    finish: int


class _Life(NamedTuple):
    """A buffer with its address, from its first task's start to its last one's finish."""

    start: int
    finish: int
    buffer: Buffer


class FragmentedError(HeddleError):
    """There are enough words of `memory`, but not in one piece; filling it less may help."""

    def __init__(self, memory: Memory, message: str) -> None:
        super().__init__(message)
        self.memory = memory


def allocate(schedule: Schedule, config: HardwareConfig) -> Schedule:
    """The same schedule, with `address` of all buffers set. Raises FragmentedError if a buffer finds no gap."""
    slots = {slot.task: slot for slot in schedule.slots}
    tasks = schedule.tiles.tasks
    lives = [
        _Life(min(slots[each].start for each in users), max(slots[each].finish for each in users), buffer)
        for buffer, users in schedule.users.items()
    ]
    placed: dict[Memory, list[_Life]] = defaultdict(list)
    ports: dict[tuple[Memory, int, bool], list[_Use]] = defaultdict(list)
    for life in sorted(lives, key=lambda life: life.start):
        memory = life.buffer.memory
        uses = defaultdict(list)  # write? → uses
        for index in schedule.users[life.buffer]:
            unit, slot = tasks[index].instruction.unit, slots[index]
            assert unit is not None
            for access in tasks[index].accesses(config):
                if access.memory is memory and 0 <= access.start - life.buffer.start < life.buffer.words:
                    uses[access.write].append(_Use(unit, slot.start, slot.finish))
        living = [other for other in placed[memory] if other.finish > life.start and other.start < life.finish]
        placed[memory] = [other for other in placed[memory] if other.finish > life.start]
        choices = _choices(life.buffer, living, config)
        if not choices:
            raise FragmentedError(
                memory,
                f"{life.buffer.name}: {life.buffer.words} words of {memory.name} are needed in one piece, and of the "
                f"{config.words(memory)} that {config.name} has, no such piece is free: "
                f"choose a larger configuration or a smaller model",
            )
        life.buffer.address = min(
            choices, key=lambda address: (_meetings(address, life.buffer, uses, ports, config), address)
        )
        for bank in _banks(life.buffer.address, life.buffer, config):
            for write, each in uses.items():
                still = [use for use in ports[memory, bank, write] if use.finish > life.start]
                ports[memory, bank, write] = still + each
        placed[memory].append(life)
    return schedule


def _choices(buffer: Buffer, living: list[_Life], config: HardwareConfig) -> list[int]:
    """The first address that is free in each bank; if a bank is too small or has no gap, the first one anywhere."""
    size, words = config.bank_words(buffer.memory), config.words(buffer.memory)
    taken = sorted((life.buffer.address, life.buffer.address + life.buffer.words) for life in living)
    found = [_first_gap(buffer.words, taken, bank, bank + size) for bank in range(0, words, size)]
    in_banks = [address for address in found if address is not None]
    anywhere = None if in_banks else _first_gap(buffer.words, taken, 0, words)
    return in_banks if anywhere is None else [anywhere]


def _first_gap(words: int, taken: list[tuple[int, int]], low: int, high: int) -> int | None:
    """The first address in [low, high) from which `words` words are free."""
    address = low
    for start, stop in taken:
        if start - address >= words and address + words <= high:
            break
        address = max(address, stop)
    return address if address + words <= high else None


def _banks(address: int, buffer: Buffer, config: HardwareConfig) -> range:
    size = config.bank_words(buffer.memory)
    return range(address // size, (address + buffer.words - 1) // size + 1)


def _meetings(
    address: int, buffer: Buffer, uses: dict[bool, list[_Use]], ports: dict[tuple[Memory, int, bool], list[_Use]],
    config: HardwareConfig,
) -> int:  # fmt: skip
    """Cycles in which this buffer's tasks are expected to meet those of other units at a port."""
    return sum(
        max(0, min(mine.finish, other.finish) - max(mine.start, other.start))
        for bank in _banks(address, buffer, config)
        for write, each in uses.items()
        for other in ports[buffer.memory, bank, write]
        for mine in each
        if mine.unit is not other.unit
    )

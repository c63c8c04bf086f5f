"""Gives each buffer its words: the first gap among what lives at the same time, in the bank that disturbs least.

Two units must not use the same port of a bank at once, and `synchronise` would make one wait. So a buffer goes to the
bank in which the expected cycles of such meetings are fewest, and to the lowest address that is free there. Where that
leaves no gap that is large enough, `pack` gives the largest buffers their words first, wherever units meet.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from ..arch.accesses import owners
from ..arch.config import HardwareConfig, Memory
from ..arch.errors import NoRoomError
from ..sim.jit import entry, inlined
from .schedule import Schedule
from .work import Lists, Numbers

_NONE = -1


class FragmentedError(NoRoomError):
    """There are enough words of some memories, but not in one piece; filling them less may help."""

    def __init__(self, memories: list[Memory], message: str) -> None:
        super().__init__(message)
        self.memories = memories


class _Lives(NamedTuple):
    """The buffers, each from its first task's start to its last one's finish, and the uses of their words: one for each
    access of a task."""

    memory: Numbers
    words: Numbers
    start: Numbers
    finish: Numbers
    address: Numbers  # what is looked for
    uses: Lists
    unit: Numbers  # of each use, and so on
    write: Numbers
    use_start: Numbers
    use_finish: Numbers
    memory_words: Numbers
    bank_words: Numbers
    first_bank: Numbers  # for each memory, the number of its first bank, all banks being numbered
    ports: Numbers  # (banks, 2): the latest of a chain of uses of a port: reading, writing
    links: Numbers  # (links, 2): a use, and the link before it in its chain
    links_taken: Numbers  # (1,)
    placed: Numbers  # (memories, buffers): those that live, by address
    placed_count: Numbers


def allocate(schedule: Schedule, config: HardwareConfig, packed: Collection[Memory] = ()) -> Schedule:
    """The same schedule, with `address` of all buffers set; in memories that are to be `packed`, as `pack` does it.
    Raises FragmentedError if a buffer finds no gap."""
    work = schedule.work
    count, task = len(work.buffer_words), owners(work.table)
    used, born, dead = _lifetimes(schedule)
    banks = np.array([config.banks(memory) for memory in Memory])
    bank_words = np.array([config.bank_words(memory) for memory in Memory])
    most_banks = int((work.buffer_words // bank_words[work.buffer_memory]).max()) + 2  # that a buffer lies in
    lives = _Lives(
        memory=work.buffer_memory, words=work.buffer_words, start=born, finish=dead, address=np.full(count, -1),
        uses=work.uses, unit=work.units[task], write=work.table.write,
        use_start=schedule.start[task], use_finish=schedule.finish[task],
        memory_words=np.array([config.words(memory) for memory in Memory]), bank_words=bank_words,
        first_bank=np.cumsum(banks) - banks, ports=np.full((banks.sum(), 2), _NONE),
        links=np.empty((most_banks * len(task), 2), np.int64), links_taken=np.zeros(1, np.int64),
        placed=np.empty((len(Memory), count), np.int64), placed_count=np.zeros(len(Memory), np.int64),
    )  # fmt: skip
    stuck = np.full(len(Memory), _NONE)
    _place(lives, used[np.argsort(born[used], kind="stable")], stuck)
    for memory in packed:
        stuck[memory] = _pack_memory(schedule, config, memory, lives.address)
    return _placed(schedule, config, lives.address, stuck)


def pack(schedule: Schedule, config: HardwareConfig) -> Schedule:
    """The same as `allocate`, but for the order: the largest buffers get the lowest words that are free all their life,
    then those that are smaller. All that lives at once, in words, fits more often so, though units may meet."""
    address = np.full(len(schedule.work.buffer_words), _NONE)
    stuck = np.array([_pack_memory(schedule, config, memory, address) for memory in Memory])
    return _placed(schedule, config, address, stuck)


def _pack_memory(schedule: Schedule, config: HardwareConfig, memory: Memory, address: Numbers) -> int:
    """Gives the buffers of one memory their `address`; returns the first for which there is none, or −1."""
    work = schedule.work
    used, born, dead = _lifetimes(schedule)
    here = used[work.buffer_memory[used] == memory]
    here = here[np.argsort(born[here], kind="stable")]
    words, found = work.buffer_words[here], np.full(len(here), _NONE)
    order, reach = np.argsort(-words, kind="stable"), np.maximum.accumulate(dead[here])
    room = np.empty((len(here), 2), np.int64)
    without = _pack(words, born[here], dead[here], reach, order, config.words(memory), found, room)
    address[here] = found
    return _NONE if without == _NONE else int(here[without])


def _lifetimes(schedule: Schedule) -> tuple[Numbers, Numbers, Numbers]:
    """(the buffers that are touched, since when and until when each is): the others need no place."""
    work = schedule.work
    used = np.flatnonzero(np.diff(work.users.first))
    born, dead = np.zeros((2, len(work.buffer_words)), np.int64)
    born[used] = np.minimum.reduceat(schedule.start[work.users.values], work.users.first[used])
    dead[used] = np.maximum.reduceat(schedule.finish[work.users.values], work.users.first[used])
    return used, born, dead


def _placed(schedule: Schedule, config: HardwareConfig, address: Numbers, stuck: Numbers) -> Schedule:
    """The schedule with these addresses. Raises FragmentedError if a buffer of some memory is without."""
    buffers = list(schedule.tiles.buffers)
    if (stuck != _NONE).any():
        buffer = buffers[stuck[stuck != _NONE].min()]
        raise FragmentedError(
            [memory for memory in Memory if stuck[memory] != _NONE],
            f"{buffer.name}: {buffer.words} words of {buffer.memory.name} are needed in one piece, and of the "
            f"{config.words(buffer.memory)} that {config.title} has, no such piece is free: "
            f"choose a larger configuration or a smaller model",
        )
    for buffer, place in zip(buffers, address.tolist(), strict=True):
        buffer.address = place
    return schedule


@entry
def _pack(words, born, dead, reach, order, memory_words, address, taken):
    """Addresses for buffers (in the order of their births), those of `order` first; returns the first for which there
    is no place, or −1.

    reach  for each buffer the latest death of those up to it
    taken  room for (address, words) of those that live at the same time, by address
    """
    for buffer in order:
        count = 0
        other = buffer - 1
        while other >= 0 and reach[other] > born[buffer]:
            if address[other] != _NONE and dead[other] > born[buffer]:
                count = _insert(taken, count, address[other], words[other])
            other -= 1
        other = buffer + 1
        while other < len(born) and born[other] < dead[buffer]:
            if address[other] != _NONE:
                count = _insert(taken, count, address[other], words[other])
            other += 1
        place = 0
        for at in range(count):
            if taken[at, 0] - place >= words[buffer]:
                break
            place = max(place, taken[at, 0] + taken[at, 1])
        if place + words[buffer] > memory_words:
            return buffer
        address[buffer] = place
    return _NONE


@inlined
def _insert(taken, count, address, words):
    """Enter a range of words into those taken, by address; returns how many there are."""
    at = count
    while at and taken[at - 1, 0] > address:
        taken[at, 0], taken[at, 1] = taken[at - 1, 0], taken[at - 1, 1]
        at -= 1
    taken[at, 0], taken[at, 1] = address, words
    return count + 1


@entry
def _place(s, order, stuck):
    """Addresses for the buffers, in order; `stuck` is told the first of each memory for which there is no place."""
    for buffer in order:
        memory = s.memory[buffer]
        if stuck[memory] != _NONE:
            continue
        _forget(s, memory, s.start[buffer])
        size, best, fewest = s.bank_words[memory], _NONE, 0
        for bank in range(0, s.memory_words[memory], size):
            address = _first_gap(s, memory, s.words[buffer], bank, bank + size)
            if address != _NONE:
                meetings = _meetings(s, buffer, address)
                if best == _NONE or meetings < fewest:
                    best, fewest = address, meetings
        if best == _NONE:  # a bank is too small, or has no gap
            best = _first_gap(s, memory, s.words[buffer], 0, s.memory_words[memory])
        if best == _NONE:
            stuck[memory] = buffer
            continue
        s.address[buffer] = best
        _keep(s, buffer)


@inlined
def _forget(s, memory, now):
    """Leave out those that no longer live."""
    kept = 0
    for at in range(s.placed_count[memory]):
        other = s.placed[memory, at]
        if s.finish[other] > now:
            s.placed[memory, kept] = other
            kept += 1
    s.placed_count[memory] = kept


@inlined
def _first_gap(s, memory, words, low, high):
    """The first address in [low, high) from which `words` words are free."""
    address = low
    for at in range(s.placed_count[memory]):
        other = s.placed[memory, at]
        if s.address[other] - address >= words:
            break
        address = max(address, s.address[other] + s.words[other])
    return address if address + words <= high else _NONE


@inlined
def _meetings(s, buffer, address):
    """Cycles in which this buffer's tasks are expected to meet those of other units at a port."""
    memory, cycles = s.memory[buffer], 0
    first, last = address // s.bank_words[memory], (address + s.words[buffer] - 1) // s.bank_words[memory]
    for bank in range(s.first_bank[memory] + first, s.first_bank[memory] + last + 1):
        for at in range(s.uses.first[buffer], s.uses.first[buffer + 1]):
            mine = s.uses.values[at]
            link = s.ports[bank, s.write[mine]]
            while link != _NONE:
                other = s.links[link, 0]
                if s.unit[mine] != s.unit[other]:
                    together = min(s.use_finish[mine], s.use_finish[other]) - max(s.use_start[mine], s.use_start[other])
                    cycles += max(0, together)
                link = s.links[link, 1]
    return cycles


@inlined
def _keep(s, buffer):
    """Enter a buffer, by its address, and its uses of ports, where those that are over are left out."""
    memory, at = s.memory[buffer], s.placed_count[s.memory[buffer]]
    while at and s.address[s.placed[memory, at - 1]] > s.address[buffer]:
        s.placed[memory, at] = s.placed[memory, at - 1]
        at -= 1
    s.placed[memory, at] = buffer
    s.placed_count[memory] += 1
    first, last = s.address[buffer], s.address[buffer] + s.words[buffer] - 1
    for bank in range(first // s.bank_words[memory], last // s.bank_words[memory] + 1):
        number = s.first_bank[memory] + bank
        for write in range(2):
            before, link = _NONE, s.ports[number, write]
            while link != _NONE:
                behind = s.links[link, 1]
                if s.use_finish[s.links[link, 0]] > s.start[buffer]:
                    before = link
                elif before == _NONE:
                    s.ports[number, write] = behind
                else:
                    s.links[before, 1] = behind
                link = behind
        for at in range(s.uses.first[buffer], s.uses.first[buffer + 1]):
            use, link = s.uses.values[at], s.links_taken[0]
            s.links[link, 0], s.links[link, 1] = use, s.ports[number, s.write[use]]
            s.ports[number, s.write[use]] = link
            s.links_taken[0] += 1

"""What is to be known of each task before it is scheduled: its cycles, what it waits for, which buffers it fills."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.accesses import AccessTable, access_table, owners
from ..arch.config import APPEND_ITEMS, HardwareConfig, Memory, Unit
from ..arch.isa import Append, Instruction, Stream, Tables
from ..arch.kinds import of_each_size
from ..sim.jit import entry
from ..sim.units import cycles, occupied
from .builder import SHARED, Tiles
from .evaluators import uses_table
from .overlaps import overlaps

Numbers = NDArray[np.int64]

_DMA_OVERHEAD_CYCLES = 8  # requests, buffers and retirement of LOAD and STORE, roughly
_READERS = (Unit.LOAD, Unit.KV)  # of DRAM
_APPENDS, _STREAMS = 1, 2  # what a task does with a layer's part of the KV cache


class Lists(NamedTuple):
    """Lists of numbers: list i is values[first[i] : first[i + 1]]."""

    first: Numbers
    values: Numbers

    def of(self, index: int) -> Numbers:
        """List `index`."""
        return self.values[self.first[index] : self.first[index + 1]]


class Work(NamedTuple):
    """The tasks of one tiling, by their number; buffers have theirs. Nothing here depends on how they are scheduled."""

    units: Numbers
    busy: Numbers  # cycles until the unit can start another
    latency: Numbers  # cycles until the effect can be used
    moving: Numbers  # cycles for which it keeps others from the DRAM port
    table: AccessTable  # what each task touches
    buffer: Numbers  # for each access
    uses: Lists  # for each buffer, the accesses
    buffer_memory: Numbers
    buffer_words: Numbers
    after: Lists  # for each task, those that must wait for it
    opens: Lists  # for each task, those that must not begin before it does: they go on with buffers that it fills
    missing: Numbers  # for each task, how many it must wait for in either way
    touched: Lists  # for each task, the buffers
    fills: Lists  # for each task, the buffers that it is the first to touch
    filled: tuple[Numbers, ...]  # for each memory, (task, words) of those buffers, in order of the tasks
    users: Lists  # for each buffer, the tasks
    group: Numbers  # for each task, which of `groups` it is in
    groups: Numbers  # (groups, 2): tasks of one unit (sorted) that fill buffers of the same memories (one bit each)
    group_first: Numbers  # for each group, how many tasks the groups before it have


def work_of(tiles: Tiles, config: HardwareConfig) -> Work:
    """The work that tiles are."""
    instructions = [task.instruction for task in tiles.tasks]
    units = np.array([each.unit for each in instructions], np.int64)
    busy, latency, moving = np.array(of_each_size(_durations, instructions, config), np.int64).T.copy()
    table = access_table(instructions, config)
    buffers = [(each.memory, each.start, each.words) for each in tiles.buffers]
    memory, start, words = np.array(buffers, np.int64).reshape(-1, 3).T.copy()
    place = memory << 40 | start
    buffer = np.searchsorted(place, table.memory << 40 | table.start, "right") - 1
    outside = np.flatnonzero(table.stop > (start + words)[buffer])
    assert not len(outside), f"{instructions[owners(table)[outside[0]]]} leaves its buffer"
    after, missing = _order(tiles, table, buffer)
    pairs = np.unique(owners(table) * len(words) + buffer)
    task, touched = np.divmod(pairs, len(words))
    filled, first_use = np.unique(touched, return_index=True)
    opens = _opens(units, task, first_use[np.searchsorted(filled, touched)], after)
    missing = missing + np.bincount(opens.values, minlength=len(units))
    masks = np.zeros(len(units), np.int64)
    np.bitwise_or.at(masks, task[first_use], 1 << memory[filled])
    groups, group = np.unique(np.stack([units, masks], 1), axis=0, return_inverse=True)
    count, group = len(units), group.reshape(-1)
    fills = lists(task[first_use], filled, count)
    entries = np.stack([np.repeat(np.arange(count), np.diff(fills.first)), words[fills.values]], 1)
    sizes = np.bincount(group)
    return Work(
        units, busy, latency, moving, table, buffer, lists(buffer, np.arange(len(buffer)), len(words)), memory, words,
        after, opens, missing,
        touched=lists(task, touched, count), fills=fills,
        filled=tuple(np.ascontiguousarray(entries[memory[fills.values] == each]) for each in Memory),
        users=lists(touched, task, len(words)), group=group, groups=groups, group_first=np.cumsum(sizes) - sizes,
    )  # fmt: skip


def priorities(work: Work, in_order: float) -> NDArray[np.float64]:
    """For each task, the cycles of the longest chain of tasks that starts with it, and some of its unit's work."""
    chains = np.zeros(len(work.units), np.int64)
    _chains(work.latency, work.after.first, work.after.values, chains)
    behind = np.zeros(len(work.units), np.int64)
    for unit in Unit:
        tasks = np.flatnonzero(work.units == unit)[::-1]
        behind[tasks] = np.cumsum(work.busy[tasks])
    return chains + in_order * behind


def _order(tiles: Tiles, table: AccessTable, buffer: Numbers) -> tuple[Lists, Numbers]:
    """Who must wait for whom: a task for those before it that touch the same words, or the same tables of functions, if
    one of the two writes."""
    count, layers = len(tiles.tasks), max((task.cache for task in tiles.tasks), default=-1) + 1
    kv = {Append: _APPENDS, Stream: _STREAMS}
    uses = [kv.get(type(task.instruction), 0) for task in tiles.tasks]
    cache = np.array([uses, [task.cache for task in tiles.tasks]], np.int64)
    room = 8 * count
    while True:
        edges = np.empty((room, 2), np.int64)
        heads = np.full((3, int(buffer.max(initial=0)) + 1 + layers), -1)
        found = _connect(table, buffer, owners(table), cache, edges, heads, np.empty_like(buffer),
                         np.full((2, count), -1))  # fmt: skip
        if found <= room:
            break
        room = found
    instructions = [task.instruction for task in tiles.tasks]
    earlier, later = np.concatenate([edges[:found], _by_tables(instructions), _by_dram(instructions, tiles)]).T
    return lists(earlier, later, count), np.bincount(later, minlength=count)


def _opens(units: Numbers, task: Numbers, first: Numbers, after: Lists) -> Lists:
    """Who must begin before whom. `task`: those of (task, buffer) pairs; `first`: for each, which is the first of that
    buffer. Units that read DRAM wait for nobody else, and would fill a buffer in pieces long before it is wanted."""
    count = len(after.first) - 1
    late = np.flatnonzero((task[first] != task) & np.isin(units[task], _READERS))
    edges = np.unique(task[first[late]] * count + task[late])
    known = np.repeat(np.arange(count), np.diff(after.first)) * count + after.values
    earlier, later = np.divmod(np.setdiff1d(edges, known, assume_unique=True), max(count, 1))
    return lists(earlier, later, count)


def _by_tables(instructions: Sequence[Instruction]) -> Numbers:
    """(earlier, later) of each pair of which one sets tables of functions, and the other sets or uses any."""
    found, setter, users = [], None, []
    for task, each in enumerate(instructions):
        if isinstance(each, Tables):
            found += [(user, task) for user in users] + ([] if setter is None else [(setter, task)])
            setter, users = task, []
        elif uses_table(each):
            found += [] if setter is None else [(setter, task)]
            users.append(task)
    return np.array(found, np.int64).reshape(-1, 2)


def _by_dram(instructions: Sequence[Instruction], tiles: Tiles) -> Numbers:
    """(earlier, later) of each pair of which one writes to what this segment alone has in DRAM, and the other reads or
    writes there. Rows of a gather may be anywhere behind the first of the table."""
    spans = []
    for task, each in enumerate(instructions):
        if each.dram and not (moved := each.transfer(tiles.config)).cache and moved.address < SHARED:
            stop = tiles.data_bytes if moved.chosen else moved.address + moved.span_bytes
            spans.append((task, moved.address, stop, moved.write))
    if not any(write for *_, write in spans):
        return np.empty((0, 2), np.int64)
    task, start, stop, write = np.array(spans, np.int64).T
    found = []
    for at in np.flatnonzero(write):
        meets = (start < stop[at]) & (start[at] < stop)
        found += [(task[at], each) for each in task[meets & (task > task[at])]]
        found += [(each, task[at]) for each in task[meets & (task < task[at]) & (write == 0)]]
    return np.array(found, np.int64).reshape(-1, 2)


@entry
def _connect(table, buffer, task_of, cache, edges, heads, behind, marks):
    """Fills `edges` with (earlier, later), as far as there is room, and returns how many there are.

    cache   (0: what is done with a layer's part of the cache; 1: which layer; task)
    heads   (written, read or appended; buffer or layer): the latest of a chain of accesses (or tasks)
    behind  for each access the one before it in its chain
    marks   (0: the latest task that waits for it; 1: the one before it in the chain of its layer; task)
    """
    written, read, appended = heads[0], heads[1], heads[2]
    found = 0
    for task in range(len(table.first) - 1):
        for access in range(table.first[task], table.first[task + 1]):
            for chain in range(2 if table.write[access] else 1):
                other = (written if chain == 0 else read)[buffer[access]]
                while other >= 0:
                    earlier = task_of[other]
                    if earlier != task and marks[0, earlier] != task and overlaps(table, access, table, other):
                        marks[0, earlier] = task
                        if found < len(edges):
                            edges[found, 0], edges[found, 1] = earlier, task
                        found += 1
                    other = behind[other]
            mine = written if table.write[access] else read
            behind[access] = mine[buffer[access]]
            mine[buffer[access]] = access
        layer = cache[1, task]
        if cache[0, task] == _APPENDS:
            marks[1, task] = appended[layer]
            appended[layer] = task
        elif cache[0, task] == _STREAMS:
            earlier = appended[layer]
            while earlier >= 0:
                if marks[0, earlier] != task:
                    marks[0, earlier] = task
                    if found < len(edges):
                        edges[found, 0], edges[found, 1] = earlier, task
                    found += 1
                earlier = marks[1, earlier]
    return found


@entry
def _chains(latency, first, after, chains):
    """The cycles of the longest chain from each task on."""
    for task in range(len(chains) - 1, -1, -1):
        longest = 0
        for at in range(first[task], first[task + 1]):
            longest = max(longest, chains[after[at]])
        chains[task] = latency[task] + longest


def lists(keys: Numbers, values: Numbers, count: int) -> Lists:
    """For each key below `count`, its values, in order."""
    first = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=count))])
    return Lists(first, values[np.argsort(keys, kind="stable")])


def _durations(instruction: Instruction, config: HardwareConfig) -> tuple[int, int, int]:
    """(cycles until the unit can start another, cycles until the effect can be used, cycles at the DRAM port)."""
    if not instruction.dram:
        return occupied(instruction, config), cycles(instruction, config) + 1, 0
    moved = instruction.transfer(config)
    overhead = config.dram.latency_cycles + _DMA_OVERHEAD_CYCLES  # with nobody else at the DRAM port
    if not moved.cache:
        moving = _cycles_to_move(moved.moved_bytes, config)
        total = (_store_cycles(moved.moved_bytes, config) if moved.write else moving) + overhead
        return (total if moved.write or moved.chosen else moving + 1), total, moving
    if moved.write:
        beats = -(-moved.piece_bytes // config.axi_bytes)
        busy = moved.pieces * max(3, beats, overhead // APPEND_ITEMS) + overhead
    else:
        busy = moved.pieces * (_cycles_to_move(moved.piece_bytes, config) + 2) + overhead
    return busy, busy, busy


def _store_cycles(size_bytes: int, config: HardwareConfig) -> int:
    """STORE has two buffers: of each two bursts the first is read, asked for, and served behind bursts of LOAD, before
    the next can be read. How many these are hangs on the run: half of what may be in flight."""
    pair = _cycles_to_move((2 + config.load_outstanding // 2) * config.burst_bytes, config) + config.dram.latency_cycles
    return max(size_bytes // (2 * config.burst_bytes), 1) * pair


def _cycles_to_move(size_bytes: int, config: HardwareConfig) -> int:
    return math.ceil(size_bytes / config.dram.bytes_per_cycle(config.axi_bytes))

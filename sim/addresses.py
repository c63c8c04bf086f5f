"""Where in DRAM the segments of gathers, scatters, Append and Stream are: that hangs on data in INDEX and PAGE.

A banked DRAM needs them for timing ("Banked DRAM" in the manual). They are those of the first set of inputs: as the
values come about (`watcher`), or, for timing alone, as far as the program loads indices and page tables from DRAM
(`loaded_addresses`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.config import DRAM_LIMIT, PAGE_LIMIT, HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.isa import Append, IndexMap, Instruction, KvInstruction, Load, Part, Store, Stream
from ..arch.operands import element_ranges, is_chosen
from ..arch.program import Program
from .dispatch import DispatchedKinds, dispatched_kinds
from .dram import Burst
from .segments import require_inside, require_pages, require_rows
from .state import State
from .units.index import results as index_results
from .values import input_sets

Addresses = dict[int, NDArray[np.int64]]  # place in the program → address of each segment, in order
Limits = dict[int, tuple[int, int]]  # by kind of instruction: the least and greatest dram_address
_ANYTHING = -(1 << 62), 1 << 62


def watcher(program: Program, found: Addresses) -> Callable[[int, Instruction, State], None]:
    """What `run_values` should call before it executes an instruction, to fill `found`."""

    def watch(index: int, instruction: Instruction, state: State) -> None:
        if is_chosen(instruction):
            tables = {memory: _elements(state, memory) for memory in (Memory.INDEX, Memory.PAGE)}
            found[index] = _addresses(index, instruction, tables, program)

    return watch


def check_addresses(program: Program, inputs: Any = None) -> None:
    """Raise HeddleError for a place beyond DRAM or the cache as `loaded_addresses` does, where that can be: it looks at
    nothing if all indices are those of inputs that are not given."""
    work = dispatched_kinds(program.kinds, program.scalar_values, program.config)
    fills = [place for place, each in enumerate(work.examples) if _fills(each)]
    given = bool(inputs) or any(
        address < stop and start < address + len(content)
        for start, stop in (_source(work, place, program.config) for place in fills)
        for address, content in program.data
    )
    if given:
        limits: Limits = {}
        for stretch, tables, changed in _stretches(work, program, inputs):
            if changed:
                limits.clear()
            for place in _may_be_beyond(work, stretch, tables, limits, program).tolist():
                _inside(place, work.instruction(place), tables, program)


def loaded_addresses(program: Program, inputs: Any = None) -> Addresses:
    """Addresses without running the program: INDEX and PAGE hold what LOADs bring from DRAM as it is at the start.

    Inputs that are not given are zeros, as are indices that the run takes from values, or stores before it loads them.
    Raises HeddleError for a place beyond DRAM or, of KV, beyond the cache.
    """
    work = dispatched_kinds(program.kinds, program.scalar_values, program.config)
    found: Addresses = {}
    known: dict[int, NDArray[np.int64]] = {}  # by kind, from its dram_address on, while the tables stay as they are
    limits: Limits = {}
    for stretch, tables, changed in _stretches(work, program, inputs):
        if changed:
            known.clear()
            limits.clear()
        for place in stretch.tolist():
            kind, address = int(work.of[place]), int(work.addresses[place])
            if kind not in known:
                known[kind] = _inside(place, work.instruction(place), tables, program) - address
            found[place] = known[kind] + address
        for place in _may_be_beyond(work, stretch, tables, limits, program).tolist():
            _inside(place, work.instruction(place), tables, program)
    return found


def _stretches(
    work: DispatchedKinds, program: Program, inputs: Any
) -> Iterator[tuple[NDArray[np.int64], dict[Memory, NDArray[np.int32]], bool]]:  # fmt: skip
    """(places of indexed instructions, what INDEX and PAGE hold for them, whether they held something else before)."""
    config = program.config
    where = np.flatnonzero(work.spread([is_chosen(each) for each in work.examples]) & ~work.void)
    if not len(where):
        return
    contents = program.input_bytes(input_sets(program, inputs)[0]) if inputs else []
    contents = [*program.data, *contents]
    tables = {
        memory: np.zeros(config.words(memory) * config.word_elements(memory), np.int32)
        for memory in (Memory.INDEX, Memory.PAGE)
    }
    changes = [_fills(each) or any(element_ranges(each, config, Memory.INDEX, True)) for each in work.examples]
    stored = _stored(work, config)
    done, changed = 0, False
    for place in [*np.flatnonzero(work.spread(changes) & ~work.void).tolist(), len(work.of)]:
        stop = int(np.searchsorted(where, place, "right"))  # a gather may be both
        if stop > done:
            yield where[done:stop], tables, changed
            done, changed = stop, False
        if place < len(work.of):
            changed |= _change_table(work, place, tables, stored, contents, program)


def _may_be_beyond(
    work: DispatchedKinds, stretch: NDArray[np.int64], tables: dict[Memory, NDArray[np.int32]], limits: Limits,
    program: Program,
) -> NDArray[np.int64]:  # fmt: skip
    """Those of some indexed instructions whose segments are to be looked at: the others lie inside for certain.
    `limits` keeps what is found, for as long as the tables stay as they are."""
    kinds, addresses = work.of[stretch], work.addresses[stretch]
    low, high = np.zeros(len(work.examples), np.int64), np.zeros(len(work.examples), np.int64)
    for kind in np.unique(kinds).tolist():
        if kind not in limits:
            limits[kind] = _limits(work.examples[kind], tables, program)
        low[kind], high[kind] = limits[kind]
    return stretch[(addresses < low[kinds]) | (addresses > high[kinds])]


def _limits(
    instruction: Instruction, tables: dict[Memory, NDArray[np.int32]], program: Program
) -> tuple[int, int]:  # fmt: skip
    """The least and the greatest `dram_address` for which all that it could reach is inside."""
    first, stop = _span_of_table(instruction, tables, program.config)
    size = program.cache_bytes if instruction.transfer(program.config).cache else program.dram_bytes
    return -first, size - stop


def _span_of_table(
    instruction: Instruction, tables: dict[Memory, NDArray[np.int32]], config: HardwareConfig
) -> tuple[int, int]:  # fmt: skip
    """From its `dram_address` on, the first byte and one past the last of all that it could reach by its rows of INDEX,
    or by all pages of its table."""
    i = instruction
    if isinstance(i, Load | Store):
        rows = tables[Memory.INDEX][i.index_address : i.index_address + i.segments]
        ends = int(rows.min()) * i.dram_stride, int(rows.max()) * i.dram_stride
        if isinstance(i, Store) and min(ends) < 0:
            return _ANYTHING
        return min(ends), max(ends) + i.transfer(config).piece_bytes
    assert isinstance(i, (Append, Stream))
    pages = tables[Memory.PAGE][i.table : i.table + i.pages]
    first, last = int(pages.min()), int(pages.max())
    if first < 0 or last >= PAGE_LIMIT:
        return _ANYTHING
    heads = (i.heads - 1) * i.head_bytes if isinstance(i, Append) else 0
    return first * i.page_bytes, last * i.page_bytes + heads + (i.block_bytes(config) << i.page_blocks)


def _change_table(
    work: DispatchedKinds, index: int, tables: dict[Memory, NDArray[np.int32]], stored: NDArray[np.int64],
    contents: Sequence[tuple[int, bytes]], program: Program,
) -> bool:  # fmt: skip
    """Carry out, on INDEX or PAGE, an instruction that may change it. Returns whether it did."""
    example = work.instruction(index)
    table = tables[example.memory if isinstance(example, Load) else Memory.INDEX]
    before = table.copy()
    if isinstance(example, Load):
        starts = np.arange(example.segments) * example.dram_stride + example.dram_address
        if example.gather:
            starts = _addresses(index, example, tables, program)
        stop = int(starts.max()) + example.transfer(program.config).piece_bytes
        before_it = stored[: np.searchsorted(stored[:, 0], index)]
        computed = ((before_it[:, 1] < stop) & (starts.min() < before_it[:, 2])).any()
        _load(example, starts, table, [] if computed else contents, program.config)
    elif isinstance(example, IndexMap):
        table[example.address : example.address + example.count] = index_results(example, table)
    else:
        for first, count in element_ranges(example, program.config, Memory.INDEX, True):
            table[first : first + count] = 0
    return bool((table != before).any())


def _fills(instruction: Instruction) -> bool:
    """Whether it brings indices or a page table from DRAM."""
    return isinstance(instruction, Load) and instruction.memory in (Memory.INDEX, Memory.PAGE)


def _source(work: DispatchedKinds, kind: int, config: HardwareConfig) -> tuple[int, int]:
    """The first byte of DRAM, and one past the last, that the LOADs of a kind move together."""
    example = work.examples[kind]
    assert isinstance(example, Load)
    addresses = work.addresses[work.of == kind]
    if not len(addresses):  # behind the halt
        return 0, 0
    return int(addresses.min()), int(addresses.max()) + example.transfer(config).span_bytes


def _stored(work: DispatchedKinds, config: HardwareConfig) -> NDArray[np.int64]:
    """(place in the program, first byte, one past the last) of each STORE, (stores, 3), in order. A scatter may write
    anything from its table on."""
    moved = [each.transfer(config) if each.dram and each.dram.write and not each.dram.cache else None
             for each in work.examples]  # fmt: skip
    lengths = [0 if each is None else DRAM_LIMIT if each.chosen else each.span_bytes for each in moved]
    length = work.spread(np.array(lengths, np.int64))
    places = np.flatnonzero((length > 0) & ~work.void)
    return np.stack([places, work.addresses[places], work.addresses[places] + length[places]], 1)


def _inside(
    index: int, instruction: Instruction, tables: dict[Memory, NDArray[np.int32]], program: Program
) -> NDArray[np.int64]:  # fmt: skip
    """The address of each of its segments. Raises HeddleError unless all are in its region."""
    addresses = _addresses(index, instruction, tables, program)
    begin, end = _region(instruction, program)
    size = instruction.transfer(program.config).piece_bytes
    low, high = int(addresses.min()) - begin, int(addresses.max()) - begin + size
    region = "the KV cache" if instruction.transfer(program.config).cache else "DRAM"
    require_inside(f"instruction {index}: {instruction.name}", region, low, high, end - begin)
    return addresses


def _addresses(
    index: int, instruction: Instruction, tables: dict[Memory, NDArray[np.int32]], program: Program
) -> NDArray[np.int64]:  # fmt: skip
    """The address of each of its segments. Raises HeddleError for what is no page number."""
    try:
        return segment_addresses(
            instruction, tables[Memory.INDEX], tables[Memory.PAGE], program.cache_address, program.config
        )
    except HeddleError as error:
        raise HeddleError(f"instruction {index}: {error}") from None


def _region(instruction: Instruction, program: Program) -> tuple[int, int]:
    """The first byte, and one past the last, of where its segments must be: the cache, or DRAM."""
    if instruction.transfer(program.config).cache:
        return program.cache_address, program.cache_address + program.cache_bytes
    return 0, program.dram_bytes


def segment_addresses(
    instruction: Instruction,
    index: NDArray[np.int32],
    page: NDArray[np.int32],
    cache_address: int,
    config: HardwareConfig,
) -> NDArray[np.int64]:
    """The address of each segment (of an Append: item), in the order of their bursts. `index` and `page` are the
    elements of INDEX and PAGE."""
    i = instruction
    if isinstance(i, Load | Store):
        places = index[i.index_address : i.index_address + i.segments].astype(np.int64) * i.dram_stride
        if isinstance(i, Store):
            require_rows(i.name, places)
        return i.dram_address + places
    if isinstance(i, Stream):
        return cache_address + _block_offsets(i, i.first + np.arange(i.blocks), page, config)
    assert isinstance(i, Append)
    size = i.transfer(config).piece_bytes
    place = i.slot + np.arange(i.tokens)
    of_token = _block_offsets(i, i.block + place // config.columns, page, config) + place % config.columns * size
    of_head = np.arange(i.heads) * i.head_bytes
    of_word = np.arange(1 if i.part is Part.PAIRS else i.token_words) * (config.columns * size)
    return cache_address + (of_head[:, None, None] + of_token[:, None] + of_word).reshape(-1)


def place_bursts(bursts: Sequence[Burst], addresses: NDArray[np.int64]) -> list[Burst]:
    """The bursts of an instruction where its segments really are. Only the first burst of a segment has setup cycles,
    and those of Append are a segment each."""
    whole = len(bursts) == len(addresses)
    placed, shift, segments = [], 0, iter(addresses.tolist())
    for burst in bursts:
        if whole or burst.setup_cycles:
            shift = next(segments) - burst.address
        placed.append(burst._replace(address=burst.address + shift))
    return placed


def _block_offsets(
    i: KvInstruction, blocks: NDArray[np.int64], page: NDArray[np.int32], config: HardwareConfig
) -> NDArray[np.int64]:
    """Bytes from the start of the cache region to each block. Places beyond the page table have been refused."""
    number = page[i.table + (blocks >> i.page_blocks)].astype(np.int64)
    require_pages(i.name, number)
    within = blocks & ((1 << i.page_blocks) - 1)
    return i.dram_address + number * i.page_bytes + within * i.block_bytes(config)


def _elements(state: State, memory: Memory) -> NDArray[np.int32]:
    """All elements of a memory, of the first set of inputs."""
    return state[memory].read(0, 0, 1, state[memory].count)[0].reshape(-1)


def _load(
    i: Load, starts: NDArray[np.int64], table: NDArray[np.int32], contents: Iterable[tuple[int, bytes]],
    config: HardwareConfig,
) -> None:  # fmt: skip
    """Execute a LOAD of INDEX or PAGE whose segments start at these places of DRAM."""
    per_word = config.word_elements(i.memory)
    length = 4 * per_word * i.words
    for segment, begin in enumerate(starts.tolist()):
        raw = np.zeros(length, np.uint8)
        for address, content in contents:
            low, high = max(begin, address), min(begin + length, address + len(content))
            if low < high:
                raw[low - begin : high - begin] = np.frombuffer(content[low - address : high - address], np.uint8)
        start = (i.address + segment * i.stride) * per_word
        table[start : start + length // 4] = raw.view("<i4")

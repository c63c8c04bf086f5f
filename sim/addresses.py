"""Where in DRAM the segments of gathers, Append and Stream are: their addresses hang on data in INDEX and PAGE.

A banked DRAM needs them for timing ("Banked DRAM" in the manual). They are those of the first set of inputs: as the
values come about (`watcher`), or, for timing alone, as far as the program loads indices and page tables from DRAM
(`loaded_addresses`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.isa import Append, Instruction, KvInstruction, Load, Part, Stream
from ..arch.operands import element_ranges, is_chosen
from ..arch.program import Program
from .dispatch import DispatchedKinds, dispatched_kinds
from .dram import Burst
from .segments import require_inside, require_pages
from .state import State
from .values import input_sets

Addresses = dict[int, NDArray[np.int64]]  # place in the program → address of each segment, in order


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
        loaded_addresses(program, inputs)


def loaded_addresses(program: Program, inputs: Any = None) -> Addresses:
    """Addresses without running the program: INDEX and PAGE hold what LOADs bring from DRAM as it is at the start.

    Inputs that are not given are zeros, as are indices that the run computes, or stores before it loads them. Raises
    HeddleError for a place beyond DRAM or, of KV, beyond the cache.
    """
    config, found = program.config, {}
    work = dispatched_kinds(program.kinds, program.scalar_values, config)
    indexed = np.array([is_chosen(each) for each in work.examples])
    if not indexed.any():
        return found
    contents = program.input_bytes(input_sets(program, inputs)[0]) if inputs else []
    contents = [*program.data, *contents]
    tables = {
        memory: np.zeros(config.words(memory) * config.word_elements(memory), np.int32)
        for memory in (Memory.INDEX, Memory.PAGE)
    }
    computed = [list(element_ranges(each, config, Memory.INDEX, True)) for each in work.examples]  # of LOAD: loaded
    changes = np.array([_fills(each) or bool(ranges) for each, ranges in zip(work.examples, computed, strict=True)])
    stored = _stored(work, config)
    known: dict[int, NDArray[np.int64]] = {}  # by kind, from its dram_address on, while the tables stay as they are
    for index in np.flatnonzero(work.spread(indexed | changes) & ~work.void).tolist():
        kind, address = int(work.of[index]), int(work.addresses[index])
        example = work.examples[kind]
        if indexed[kind]:
            if kind not in known:
                absolute = _addresses(index, example, tables, program)
                known[kind] = absolute - example.dram_address  # type: ignore[attr-defined]
            found[index] = known[kind] + address
            _require_inside(index, example, found[index], program)
            continue
        table = tables[example.memory if isinstance(example, Load) else Memory.INDEX]
        before = table.copy()
        if isinstance(example, Load):
            there = replace(example, dram_address=address)
            before_it = stored[: np.searchsorted(stored[:, 0], index)]
            start, stop = address, there.transfer(config).stop
            replaced = ((before_it[:, 1] < stop) & (start < before_it[:, 2])).any()
            _load(there, table, [] if replaced else contents, config)
        else:
            for first, count in computed[kind]:
                table[first : first + count] = 0
        if (table != before).any():
            known.clear()
    return found


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
    """(place in the program, first byte, one past the last) of each STORE, (stores, 3), in order."""
    stores = [each.dram is not None and each.dram.write and not each.dram.cache for each in work.examples]
    lengths = [each.transfer(config).span_bytes if store else 0
               for each, store in zip(work.examples, stores, strict=True)]  # fmt: skip
    length = work.spread(np.array(lengths, np.int64))
    places = np.flatnonzero((length > 0) & ~work.void)
    return np.stack([places, work.addresses[places], work.addresses[places] + length[places]], 1)


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


def _require_inside(index: int, instruction: Instruction, addresses: NDArray[np.int64], program: Program) -> None:
    name, config = f"instruction {index}: {instruction.name}", program.config
    moved = instruction.transfer(config)
    low, stop = int(addresses.min()), int(addresses.max()) + moved.piece_bytes
    if moved.cache:
        low, stop = low - program.cache_address, stop - program.cache_address
        require_inside(name, "the KV cache", low, stop, program.cache_bytes)
    else:
        require_inside(name, "DRAM", low, stop, program.dram_bytes)


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
    if isinstance(i, Load):
        return i.dram_address + index[i.index_address : i.index_address + i.segments].astype(np.int64) * i.dram_stride
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


def _load(i: Load, table: NDArray[np.int32], contents: Iterable[tuple[int, bytes]], config: HardwareConfig) -> None:
    """Execute a LOAD of INDEX or PAGE."""
    per_word = config.word_elements(i.memory)
    length = 4 * per_word * i.words
    for segment in range(i.segments):
        raw = np.zeros(length, np.uint8)
        begin = i.dram_address + segment * i.dram_stride
        for address, content in contents:
            low, high = max(begin, address), min(begin + length, address + len(content))
            if low < high:
                raw[low - begin : high - begin] = np.frombuffer(content[low - address : high - address], np.uint8)
        start = (i.address + segment * i.stride) * per_word
        table[start : start + length // 4] = raw.view("<i4")

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
from ..arch.program import Program
from .dispatch import dispatched_kinds
from .dram import Burst
from .state import State
from .units import SEGMENTS
from .values import input_sets

Addresses = dict[int, NDArray[np.int64]]  # place in the program → address of each segment, in order


def is_indexed(instruction: Instruction) -> bool:
    """Whether its addresses hang on data."""
    return isinstance(instruction, (Append, Stream)) or (isinstance(instruction, Load) and bool(instruction.gather))


def watcher(program: Program, found: Addresses) -> Callable[[int, Instruction, State], None]:
    """What `run_values` should call before it executes an instruction, to fill `found`."""

    def watch(index: int, instruction: Instruction, state: State) -> None:
        if is_indexed(instruction):
            index_table, page_table = _elements(state, Memory.INDEX), _elements(state, Memory.PAGE)
            found[index] = segment_addresses(
                instruction, index_table, page_table, program.cache_address, program.config
            )

    return watch


def loaded_addresses(program: Program, inputs: Any = None) -> Addresses:
    """Addresses without running the program: INDEX and PAGE hold what LOADs bring from DRAM as it is at the start.

    Inputs that are not given are zeros, as are indices that the run would compute. Raises HeddleError for a place
    beyond DRAM or, of KV, beyond the cache.
    """
    config, found = program.config, {}
    work = dispatched_kinds(program.kinds, program.scalar_values, config)
    indexed = np.array([is_indexed(each) for each in work.examples])
    if not indexed.any():
        return found
    contents = program.input_bytes(input_sets(program, inputs)[0]) if inputs else []
    contents = [*program.data, *contents]
    tables = {
        memory: np.zeros(config.words(memory) * config.word_elements(memory), np.int32)
        for memory in (Memory.INDEX, Memory.PAGE)
    }
    fills = np.array([isinstance(each, Load) and each.memory in tables for each in work.examples])
    known: dict[int, NDArray[np.int64]] = {}  # by kind, from its dram_address on, while the tables stay as they are
    for index in np.flatnonzero(work.spread(indexed | fills) & ~work.void).tolist():
        kind = int(work.of[index])
        example = work.examples[kind]
        if indexed[kind]:
            if kind not in known:
                absolute = segment_addresses(
                    example, tables[Memory.INDEX], tables[Memory.PAGE], program.cache_address, config
                )
                known[kind] = absolute - example.dram_address  # type: ignore[attr-defined]
            found[index] = known[kind] + work.addresses[index]
            _require_inside(index, work.instruction(index), found[index], program)
        else:
            assert isinstance(example, Load)
            table = tables[example.memory]
            before = table.copy()
            _load(replace(example, dram_address=int(work.addresses[index])), table, contents, config)
            if (table != before).any():
                known.clear()
    return found


def _require_inside(index: int, instruction: Instruction, addresses: NDArray[np.int64], program: Program) -> None:
    region, first, size = "DRAM", 0, program.dram_bytes
    if isinstance(instruction, (Append, Stream)):
        region, first, size = "the KV cache", program.cache_address, program.cache_bytes
    assert instruction.unit is not None
    length = SEGMENTS[instruction.unit](instruction, program.config).length_bytes  # type: ignore[arg-type]
    low, high = int(addresses.min()) - first, int(addresses.max()) - first + length
    if low < 0 or high > size:
        raise HeddleError(f"instruction {index}: {instruction.name}: beyond {region}: bytes {low} to {high - 1} of a "
                          f"region of {size}: make the numbers in INDEX and PAGE smaller")  # fmt: skip


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
    pairs = i.part is Part.PAIRS
    size = 8 if pairs else config.dram_word_bytes(Memory.WEIGHT)
    place = i.slot + np.arange(i.tokens)
    of_token = _block_offsets(i, i.block + place // config.columns, page, config) + place % config.columns * size
    of_head = np.arange(i.heads) * i.head_bytes
    of_word = np.arange(1 if pairs else i.token_words) * (config.columns * size)
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

"""KV: tokens into the pages of the cache (Append), and from there to the memories of the array (Stream).

Here: what they change, their bursts, and when they ask for them. A place in a sequence is a block; `_block_offsets` is
the one way from blocks to bytes of the cache region, and refuses everything that lies outside.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from ...arch.config import APPEND_ITEMS, GATE_CYCLES, LOOKUP_CYCLES, HardwareConfig, Memory
from ...arch.errors import HeddleError
from ...arch.isa import Append, KvInstruction, Part, Stream
from ..dram import Burst
from ..segments import Segments, require_inside, require_pages, segments_of
from ..state import State
from .load import LoadRequests, words_of_beats
from .meaning import Meaning
from .store import bytes_of_words

PIECE_CYCLES = LOOKUP_CYCLES + GATE_CYCLES  # from looking for a block or an item to its request


# -- what they change --------------------------------------------------------------------------------------------------


def append(i: Append, state: State, config: HardwareConfig) -> None:
    """Copy tokens to the cache. Bits are preserved; the padding of a word is zero. Later items replace earlier ones:
    heads are the outer loop, then tokens, then words."""
    require_places(i, config)
    place = i.slot + np.arange(i.tokens)
    size = i.transfer(config).piece_bytes
    offsets = _block_offsets(i, i.block + place // config.columns, state)  # (batch, tokens)
    offsets = offsets[:, None, :, None] + np.arange(i.heads)[:, None, None] * i.head_bytes
    offsets = offsets + (np.arange(_token_items(i)) * config.columns + (place % config.columns)[:, None]) * size
    require_inside(i.name, "the KV cache", int(offsets.min()), int(offsets.max()) + size, state.cache_bytes)
    items = _items(i, state, config)  # (batch, heads, tokens, words, bytes)
    piece = min(size, config.axi_bytes)
    start = (state.cache_address + offsets.reshape(offsets.shape[0], -1, 1)) // piece + np.arange(size // piece)
    state.dram.scatter(start.reshape(offsets.shape[0], -1), items.reshape(items.shape[0], -1, piece))


def _token_items(i: Append) -> int:
    """Items of one token of one head."""
    return 1 if i.part is Part.PAIRS else i.token_words


def _items(i: Append, state: State, config: HardwareConfig) -> NDArray[np.uint8]:
    """The bytes of all items, (batch or 1, heads, tokens, words, bytes)."""
    heads = np.arange(i.heads)[:, None] * i.head_step + np.arange(i.tokens)  # (heads, tokens)
    if i.part is Part.PAIRS:
        number = i.address + heads
        words = state[Memory.PARAM].gather((number // config.columns)[None])
        pairs = np.take_along_axis(words, (number % config.columns)[None, :, :, None, None], 3)
        return np.ascontiguousarray(pairs[:, :, :, 0]).view(np.uint8)[:, :, :, None]
    number = i.address + heads[..., None] + np.arange(i.token_words) * i.stride
    return bytes_of_words(state[Memory.WEIGHT].gather(number[None]), Memory.WEIGHT, config)


def stream(i: Stream, state: State, config: HardwareConfig) -> None:
    """Copy blocks of tokens from the cache. Bits are preserved."""
    require_places(i, config)
    length, columns = i.transfer(config).piece_bytes, config.columns
    offsets = _block_offsets(i, i.first + np.arange(i.blocks), state)  # (batch, blocks)
    require_inside(i.name, "the KV cache", int(offsets.min()), int(offsets.max()) + length, state.cache_bytes)
    start = (state.cache_address + offsets) // config.axi_bytes
    beats = state.dram.gather(start[..., None] + np.arange(length // config.axi_bytes))
    if i.part is Part.PAIRS:
        pairs = words_of_beats(beats, Memory.PARAM, config)  # (batch, blocks, 1, columns, 2)
        state[Memory.PARAM].write(i.address, 1, pairs)
        return
    words = words_of_beats(beats, Memory.WEIGHT, config)
    words = words.reshape(*words.shape[:2], i.words, columns, columns)  # (batch, blocks, words, tokens, elements)
    weight = state[Memory.WEIGHT]
    if i.part is Part.KEYS:
        weight.write(i.address, i.stride, words.swapaxes(3, 4).reshape(*words.shape[:2], -1, columns))
        return
    for block in range(i.blocks):  # one after the other, as they come, in case that strides make them overlap
        weight.write(i.address + block * columns, i.stride, words[:, block])


# -- where the tokens are ----------------------------------------------------------------------------------------------


def _block_offsets(i: KvInstruction, blocks: NDArray[np.int64], state: State) -> NDArray[np.int64]:
    """block(b) for each of `blocks` (n,): bytes from the start of the cache region, (batch or 1, n)."""
    table, per_word = state[Memory.PAGE], state.config.word_elements(Memory.PAGE)
    element = i.table + (blocks >> i.page_blocks)
    words = table.gather((element // per_word)[None])  # (batch or 1, n, elements)
    page = np.take_along_axis(words, (element % per_word)[None, :, None], 2)[..., 0].astype(np.int64)
    require_pages(i.name, page)
    within = blocks & ((1 << i.page_blocks) - 1)
    return i.dram_address + page * i.page_bytes + within * i.block_bytes(state.config)


def require_places(i: KvInstruction, config: HardwareConfig) -> None:
    """Raise HeddleError unless every block is in the page table. That does not depend on data."""
    last = i.last_block(config)
    place = last >> i.page_blocks
    if place >= i.pages:
        raise HeddleError(f"{i.name}: beyond the KV cache: block {last} is in place {place} of a page table of "
                          f"{i.pages}")  # fmt: skip


# -- their bursts ------------------------------------------------------------------------------------------------------


def append_segments(instruction: Append, config: HardwareConfig) -> Segments:
    """The items, each by itself. Addresses are those of page 0: pages are aligned to bursts, so all are cut alike."""
    return segments_of(instruction, config)._replace(whole=True)


def stream_segments(instruction: Stream, config: HardwareConfig) -> Segments:
    """The blocks, likewise."""
    i = instruction
    within = (1 << i.page_blocks) - 1
    return segments_of(i, config)._replace(
        stride_bytes=i.block_bytes(config), first=i.first, mask=within, setup_cycles=PIECE_CYCLES
    )


MEANING = {
    Append: Meaning(append, kernel=False, segments=append_segments),
    Stream: Meaning(stream, kernel=False, segments=stream_segments),
}


class StreamRequests(LoadRequests):
    """The DRAM client of Stream: asks like a gathering LOAD. A tile of keys leaves the transposer when it is whole."""

    def begin(self, start: int, instruction: Stream) -> None:
        """An instruction starts."""
        self.tail_cycles = self.config.columns + 1 if instruction.part is Part.KEYS else 0
        self.ask_for(start, stream_segments(instruction, self.config).bursts(self.config))

    @property
    def retire(self) -> int:
        """Cycle in which the instruction retires whose last burst was granted."""
        return self.last_beat + 1 + self.tail_cycles


class AppendRequests:
    """The DRAM client of Append: items are read one after the other, and up to APPEND_ITEMS are under way."""

    writes = True

    def __init__(self, config: HardwareConfig) -> None:
        self.config = config
        self.bursts: list[Burst] = []
        self.next = 0
        self.up: int | None = None
        self.flight: deque[int] = deque(maxlen=APPEND_ITEMS)  # last beats of the latest items
        self.last_beat = -1
        self.beats_cycles = 0  # cycles in which beats of this instruction move

    def begin(self, start: int, instruction: Append) -> None:
        """An instruction starts; the items of earlier ones have been written."""
        self.bursts = append_segments(instruction, self.config).bursts(self.config)
        self.next = self.beats_cycles = 0
        self.flight.clear()
        self.up = start + 1 + PIECE_CYCLES

    @property
    def burst(self) -> Burst:
        """The item requested next."""
        return self.bursts[self.next]

    def granted(self, grant: int, first: int, last: int) -> None:
        """After the last item `up` is None: then `retire` is known."""
        self.beats_cycles += last - first + 1
        self.flight.append(last)
        self.last_beat = last
        self.next += 1
        assert self.up is not None
        read = self.up  # q of the next item: as soon as this one has passed the gate
        if len(self.flight) == APPEND_ITEMS:
            read = max(read, self.flight[0] + 1)
        self.up = max(read + PIECE_CYCLES, grant + 1) if self.next < len(self.bursts) else None

    @property
    def retire(self) -> int:
        """Cycle in which the instruction retires whose last item was granted: the response, and one."""
        return self.last_beat + 2

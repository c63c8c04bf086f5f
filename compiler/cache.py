"""The KV cache of a decoder: where its tokens are in DRAM, and the registers that say where a sequence stands.

The region holds one part for each layer; a part is a row of pages, and page p of all layers belongs to the same tokens,
so one page table serves them all. On a page, each kv-head has its keys, its values and their pairs of scales:

    layer 0: page 0 [head 0: keys | values | pairs] [head 1 …] …, page 1 …; layer 1: page 0 …

A layer for the rows of a source has as many pages as these need, in order.

Latent attention caches one row per token that is key and (in its first words) value at once: then there are no values.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..arch.config import SCALAR_COUNT, HardwareConfig, Memory
from ..arch.errors import HeddleError, NoRoomError
from ..arch.isa import Part
from ..arch.ranges import make_plain, require_range
from ..arch.scalars import Scalar, ScalarKind

MOST_TOKENS = 1 << 24  # that can be asked for, of anything


@dataclass(frozen=True)
class CachePlan:
    """What the user chooses about a cache.

    tokens       longest sequence
    page_tokens  tokens on a page: C, 2·C, 4·C … with C = `config.columns`
    pages        pages of the region, shared by all sequences; 0: as many as the sequences can need
    """

    tokens: int
    page_tokens: int = 0
    pages: int = 0

    def __post_init__(self) -> None:
        require_range("tokens", self.tokens, 1, MOST_TOKENS)
        require_range("page_tokens", self.page_tokens, 0, MOST_TOKENS)
        require_range("pages", self.pages, 0, MOST_TOKENS)
        make_plain(self, "tokens", "page_tokens", "pages")

    def page_blocks(self, config: HardwareConfig) -> int:
        """log2 of the blocks of C tokens on a page. Raises HeddleError for another size."""
        page_tokens = self.page_tokens or 4 * config.columns
        blocks, rest = divmod(page_tokens, config.columns)
        if rest or blocks < 1 or blocks & (blocks - 1):
            raise HeddleError(f"page_tokens must be {config.columns} times a power of two on {config.title}, "
                              f"not {page_tokens}")  # fmt: skip
        return blocks.bit_length() - 1


@dataclass(frozen=True)
class LayerShape:
    """What one attention caches for a token: words of WEIGHT, for each of its kv-heads."""

    heads: int
    key_words: int
    value_words: int  # 0: the values are the first words of the keys
    window: int = 0  # tokens that a token sees; 0: all before it
    tokens: int = 0  # of a source, which are there before the first token; 0: those of the sequence
    pairs: int = 1  # of scales; 2: those of keys and those of values apart


class CacheLayout:
    """Addresses in the region, for the layers in order."""

    def __init__(self, config: HardwareConfig, plan: CachePlan, layers: list[LayerShape], sequences: int) -> None:
        self.config, self.plan, self.layers, self.sequences = config, plan, layers, sequences
        self.page_blocks = plan.page_blocks(config)
        self.page_tokens = config.columns << self.page_blocks
        self.sequence_pages = -(-plan.tokens // self.page_tokens)  # entries of a page table
        self.pages = plan.pages or sequences * self.sequence_pages
        self.starts, end = [], 0
        for layer in layers:
            self.starts.append(end)
            end += (self.table_pages(layer) if layer.tokens else self.pages) * self.page_bytes(layer)
        self.size_bytes = -(-end // 4096) * 4096
        entries = config.word_elements(Memory.PAGE) * config.words(Memory.PAGE)
        self.source_pages = max((self.table_pages(layer) for layer in layers if layer.tokens), default=0)
        needed = sequences * self.sequence_pages + self.source_pages
        if needed > entries:
            source = f" and of a source of {max(each.tokens for each in layers)}" if self.source_pages else ""
            raise HeddleError(
                f"the page tables of {sequences} sequences of {plan.tokens} tokens{source} take {needed} entries, but "
                f"{config.title} has {entries}: choose larger pages or more page_words"
            )

    def table_pages(self, layer: LayerShape) -> int:
        """Entries of the page table that a layer is read by."""
        return -(-layer.tokens // self.page_tokens) if layer.tokens else self.sequence_pages

    def _part_bytes(self, layer: LayerShape) -> tuple[int, int, int]:
        """Bytes of keys, values and pairs of one head on a page."""
        block = self.config.columns * self.config.dram_word_bytes(Memory.WEIGHT)
        pairs = self.config.dram_word_bytes(Memory.PARAM) * layer.pairs
        blocks = 1 << self.page_blocks
        return layer.key_words * block * blocks, layer.value_words * block * blocks, pairs * blocks

    def head_bytes(self, layer: LayerShape) -> int:
        """Bytes from a head to the next, on the same page."""
        unit = max(self.config.axi_bytes, 8)
        return -(-sum(self._part_bytes(layer)) // unit) * unit

    def page_bytes(self, layer: LayerShape) -> int:
        """Bytes from a page to the next."""
        burst = self.config.burst_bytes
        return -(-layer.heads * self.head_bytes(layer) // burst) * burst

    def address(self, index: int, head: int, part: Part, second: bool = False) -> int:
        """Where a part of a head of layer `index` begins on page 0, from the start of the region; of two sets of pairs
        that of the first or the second."""
        layer = self.layers[index]
        keys, values, pairs = self._part_bytes(layer)
        before = {Part.KEYS: 0, Part.VALUES: keys if layer.value_words else 0, Part.PAIRS: keys + values}[part]
        before += pairs // 2 if second else 0
        return self.starts[index] + head * self.head_bytes(layer) + before


class Registers:
    """Gives scalar registers to what a program needs to know of its sequences."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[ScalarKind, int, int, int], int] = {}

    def copy(self) -> Registers:
        """The same numbers, to which others can be added."""
        same = Registers()
        same._numbers = dict(self._numbers)
        return same

    def get(self, kind: ScalarKind, sequence: int, rows: int, window: int) -> int:
        """The number of the register. Raises NoRoomError if there are no more."""
        if kind in (ScalarKind.BLOCK, ScalarKind.SLOT):
            rows = window = 0
        elif kind in (ScalarKind.FIRST, ScalarKind.RELATIVE):
            rows = 0
        key = kind, sequence, rows, window
        if key not in self._numbers:
            if len(self._numbers) + 1 >= SCALAR_COUNT:
                raise NoRoomError(f"the program needs more than {SCALAR_COUNT - 1} scalar registers: "
                                  f"compile for fewer sequences or tokens at a time")  # fmt: skip
            self._numbers[key] = len(self._numbers) + 1
        return self._numbers[key]

    def scalars(self) -> tuple[Scalar, ...]:
        """What the host writes."""
        return tuple(
            Scalar(number, kind, sequence, rows, window)
            for (kind, sequence, rows, window), number in self._numbers.items()
        )

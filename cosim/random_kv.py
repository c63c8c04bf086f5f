"""Random instructions of KV: a cache of a few pages that all of a program's instructions share, and geometries of their
own; always within the region, whatever pages the table names and whatever the registers hold."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from ..arch.config import HardwareConfig, Memory
from ..arch.isa import Append, Instruction, KvInstruction, Part, Stream
from .random_places import Area, DoesNotFitError, Places

PAGE_COUNT_AT_MOST = 6
PLACES_AT_MOST = 12  # entries of a page table
BLOCKS_AT_MOST = 60  # that an instruction begins behind: pages may hold more than the cache does


@dataclass(frozen=True)
class Layout:
    """Where heads, codes and pairs are on a page: for each head its blocks of codes, then for each its pairs."""

    heads: int
    token_words: int
    page_blocks: int
    head_bytes: int  # of codes
    pairs: int  # where those begin
    pair_head_bytes: int
    page_bytes: int


class RandomKv:
    """Draws instructions of KV from `random`; registers hold `scalars`."""

    def __init__(self, config: HardwareConfig, places: Places, random: Random, scalars: list[int]) -> None:
        self.config = config
        self.places = places
        self.random = random
        self.scalars = scalars
        self.word = config.dram_word_bytes(Memory.WEIGHT)
        self.pair = config.dram_word_bytes(Memory.PARAM)
        self.layout = self._layout()
        count = min(places.cache.size // self.layout.page_bytes, PAGE_COUNT_AT_MOST)
        self.page_count = random.randint(max(1, count // 2), count)
        exact = random.random() < 0.7  # so that the last byte of the region is used
        self.cache_bytes = self.page_count * self.layout.page_bytes if exact else places.cache.size
        elements = config.word_elements(Memory.PAGE)
        table = places.of[Memory.PAGE]
        self.entries = Area(table.start * elements, table.stop * elements)
        self.table, self.places_of_table = self._table()

    def append(self) -> Instruction:
        """One on the common layout, or with a geometry of its own. It may reach beyond the cache: see `legal`."""
        return self._append(self._some_geometry(self.random.choice([Part.VALUES, Part.PAIRS])))

    def stream(self) -> Instruction:
        """The same back."""
        return self._stream(self._some_geometry(self.random.choice([Part.KEYS, Part.VALUES, Part.PAIRS, Part.PAIRS])))

    def _some_geometry(self, part: Part) -> dict[str, Any]:
        if self.random.random() < 0.2:
            return self._wild_geometry(part)
        return self._geometry(part, self.random.randrange(self.layout.heads))

    def step(self) -> list[Instruction]:
        """What a decoder does: codes and pairs to the cache, then all of one head back. May reach beyond the cache."""
        head = self.random.randrange(self.layout.heads)
        found = []
        with suppress(DoesNotFitError):  # the rest, where memories are too small
            found += [self._append(self._geometry(part, 0)) for part in (Part.VALUES, Part.PAIRS)]
            for part in self.random.sample(list(Part), len(Part)):
                found.append(self._stream(self._geometry(part, head)))
        return found

    def legal(self, instruction: Instruction) -> bool:
        """Whether it stays within the page table and, on any page, within the region."""
        if not isinstance(instruction, KvInstruction):
            return True
        i = instruction.resolved(self.scalars, self.config)
        last, heads = i.last_block(self.config), (i.heads - 1) * i.head_bytes if isinstance(i, Append) else 0
        block = i.block_bytes(self.config)
        deepest = min(last, (1 << i.page_blocks) - 1)
        stop = i.dram_address + (self.page_count - 1) * i.page_bytes + deepest * block + heads + block
        return last >> i.page_blocks < i.pages and stop <= self.cache_bytes

    def _layout(self) -> Layout:
        """One of which the cache holds at least two pages."""
        unit = max(self.config.burst_bytes, self.word, 8)
        while True:
            heads, token_words = self.random.randint(1, 3), self.random.randint(1, 3)
            page_blocks = self.random.randint(0, 3)
            head_bytes = token_words * self.config.columns * self.word << page_blocks
            pairs = -(-heads * head_bytes // unit) * unit
            pair_head_bytes = self.pair << page_blocks
            page_bytes = -(-(pairs + heads * pair_head_bytes) // unit) * unit
            if 2 * page_bytes <= self.places.cache.size:
                return Layout(heads, token_words, page_blocks, head_bytes, pairs, pair_head_bytes, page_bytes)

    def _table(self) -> tuple[int, int]:
        count = self.random.randint(1, min(PLACES_AT_MOST, self.entries.size))
        return self.random.randint(self.entries.start, self.entries.stop - count), count

    def _geometry(self, part: Part, head: int) -> dict[str, Any]:
        """The place of `head` in the common cache."""
        at = self.layout.pairs + head * self.layout.pair_head_bytes
        if part is not Part.PAIRS:
            at = head * self.layout.head_bytes
        return {
            "part": part, "token_words": self.layout.token_words, "dram_address": at, "table": self.table,
            "pages": self.places_of_table, "page_bytes": self.layout.page_bytes, "page_blocks": self.layout.page_blocks,
        }  # fmt: skip

    def _wild_geometry(self, part: Part) -> dict[str, Any]:
        table, count = self._table()
        unit = max(self.config.axi_bytes, 8, self.word)
        pages = self.cache_bytes // self.page_count // self.config.burst_bytes
        return {
            "part": part, "token_words": self.random.randint(1, 4), "table": table, "pages": count,
            "dram_address": self.random.randrange(0, self.cache_bytes, unit),
            "page_blocks": self.random.choice([0, 1, 2, 3, 4, 15, 15, 15]),
            "page_bytes": self.config.burst_bytes * self.random.randint(0, pages),
        }  # fmt: skip

    def _register(self, likely: float = 0.5) -> int:
        return self.random.randrange(len(self.scalars)) if self.random.random() < likely else 0

    def _first(self, geometry: dict[str, Any]) -> int:
        blocks = min(geometry["pages"] << geometry["page_blocks"], BLOCKS_AT_MOST)
        return self.random.choice([0, self.random.randrange(blocks), blocks - 1])

    def _append(self, geometry: dict[str, Any]) -> Instruction:
        columns, unit = self.config.columns, max(self.config.axi_bytes, 8, self.word)
        given = geometry | {"heads": self.random.randint(1, self.layout.heads)}
        wanted = self.random.choice([1, 1, self.random.randint(1, columns), 2 * columns + 1])
        room = self.places.most(Append, "tokens", given["heads"] * wanted, given | {"heads": 1})
        tokens = max(1, room // given["heads"])
        given["head_step"] = self.random.choice([tokens, self.random.randint(0, tokens)])
        head_bytes = self.layout.pair_head_bytes if geometry["part"] is Part.PAIRS else self.layout.head_bytes
        if self.random.random() < 0.1:
            head_bytes = unit * self.random.randint(0, head_bytes // unit)
        return self.places.placed(Append, given | {
            "tokens": tokens, "head_bytes": head_bytes, "block": self._first(geometry),
            "block_register": self._register(), "slot": self.random.randrange(columns),
            "slot_register": self._register(),
        })  # fmt: skip

    def _stream(self, geometry: dict[str, Any]) -> Instruction:
        most = geometry["pages"] << geometry["page_blocks"]
        given = geometry | {"blocks": 1}
        words = self.random.randint(1, self.places.most(Stream, "words", geometry["token_words"], given))
        most = self.places.most(Stream, "blocks", most, given | {"words": words})
        return self.places.placed(Stream, given | {
            "words": words, "blocks": self.random.choice([1, most, self.random.randint(1, most)]),
            "first": self._first(geometry), "first_register": self._register(0.3), "count_register": self._register(),
            "count_offset": self.random.randrange(4),
        })  # fmt: skip

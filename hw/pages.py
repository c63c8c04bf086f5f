"""Where a block of a paged sequence stands in the region of the KV cache."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory
from ..arch.encoding import encoding
from ..arch.isa import BLOCK, KvInstruction
from .memories import read_signature
from .region import OFFSET_BITS

NUMBER_BITS = 16  # of a page
BLOCK_BITS = BLOCK + 1  # of a block: one of the instruction, and what its tokens or blocks add
ENTRY_BITS = 32  # of the page table
FIELDS = ("dram_address", "page_bytes", "table", "pages", "page_blocks", "token_words")


class PageLookup(wiring.Component):
    """Two cycles: with `reads` the page table is read, in the cycle after it numbers are multiplied.

    The fields of the instruction and `pairs` are used with `start`. `block` and `within` (bytes from the start of the
    block on its page to what is wanted) are used with `reads`; in the cycle after it `offset` is the place in the
    region, in bytes, and `found` tells that there is such a page.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = {name: field.bits for name, (_, field) in encoding(KvInstruction).items()}
        super().__init__({
            "start": In(1),
            "pairs": In(1),
            **{name: In(bits[name]) for name in FIELDS},
            "reads": In(1),
            "block": In(BLOCK_BITS),
            "within": In(OFFSET_BITS),
            "page_read": Out(read_signature(config, Memory.PAGE)),
            "found": Out(1),
            "offset": Out(OFFSET_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        held = {name: Signal.like(getattr(self, name), name=name) for name in FIELDS}
        block_units, pairs = Signal.like(self.token_words), Signal()  # of a block: in tiles of codes, or words of pairs
        with m.If(self.start):
            m.d.sync += [
                *[register.eq(getattr(self, name)) for name, register in held.items()],
                pairs.eq(self.pairs),
                block_units.eq(Mux(self.pairs, 1, self.token_words)),
            ]

        place = Signal(BLOCK_BITS)  # in the page table of the sequence
        entry = Signal(BLOCK_BITS + 1)  # in all of PAGE
        on_page = Signal((1 << len(self.page_blocks)) - 1)  # number of the block on its page
        m.d.comb += [
            place.eq(self.block >> held["page_blocks"]),
            entry.eq(held["table"] + place),
            on_page.eq(self.block & ((1 << held["page_blocks"]) - 1)),
        ]
        low = (config.word_elements(Memory.PAGE) - 1).bit_length()
        part, in_table = Signal(low), Signal()
        units_before, others_before = Signal(len(on_page) + len(block_units)), Signal(OFFSET_BITS)
        m.d.comb += [self.page_read.en.eq(self.reads), self.page_read.address.eq(entry[low:])]
        m.d.sync += [
            part.eq(entry[:low]),
            in_table.eq(place < held["pages"]),
            units_before.eq(on_page * block_units),
            others_before.eq(self.within + held["dram_address"]),
        ]

        page = Signal(ENTRY_BITS)
        tile_bytes = config.columns * config.dram_word_bytes(Memory.WEIGHT)
        unit_bytes = Mux(pairs, config.dram_word_bytes(Memory.PARAM), tile_bytes)
        m.d.comb += [
            page.eq(self.page_read.data.word_select(part, ENTRY_BITS)),
            self.found.eq(in_table & (page[NUMBER_BITS:] == 0)),
            self.offset.eq(page[:NUMBER_BITS] * held["page_bytes"] + units_before * unit_bytes + others_before),
        ]
        return m

"""Where a block of a paged sequence stands in the region of the KV cache."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import LOOKUP_CYCLES, HardwareConfig, Memory
from ..arch.encoding import encoding
from ..arch.isa import BLOCK, KvInstruction
from .memories import read_signature
from .region import OFFSET_BITS

NUMBER_BITS = 16  # of a page
BLOCK_BITS = BLOCK + 1  # of a block: one of the instruction, and what its tokens or blocks add
ENTRY_BITS = 32  # of the page table
FIELDS = ("dram_address", "page_bytes", "table", "pages", "page_blocks", "token_words")


class PageLookup(wiring.Component):
    """offset = page · page_bytes + block on the page · its bytes + within + dram_address, by one multiplier.

    The fields of the instruction and `pairs` are used with `start`; `stop` ends what is under way. `block` and
    `within` (bytes from the start of the block on its page to what is wanted) are used with `reads`, when the page
    table is read; LOOKUP_CYCLES − 1 later, in the cycle of `done`, `offset` is the place in the region, in bytes, and
    `found` tells that there is such a page. `busy` in the cycles between, and in that of `done`.

      cycle 0    1                        2                          3
      table ──►  page ─┐  register ─ × ─  page · page_bytes ─┐       offset
      block ──► number ┘                  number · bytes ────┴─ + ─►
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = {name: field.bits for name, (_, field) in encoding(KvInstruction).items()}
        super().__init__({
            "start": In(1),
            "stop": In(1),
            "pairs": In(1),
            **{name: In(bits[name]) for name in FIELDS},
            "reads": In(1),
            "block": In(BLOCK_BITS),
            "within": In(OFFSET_BITS),
            "page_read": Out(read_signature(config, Memory.PAGE, ENTRY_BITS)),
            "busy": Out(1),
            "done": Out(1),
            "found": Out(1),
            "offset": Out(OFFSET_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        held = {name: Signal.like(getattr(self, name), name=name) for name in FIELDS}
        pairs = Signal()
        with m.If(self.start):
            m.d.sync += [register.eq(getattr(self, name)) for name, register in held.items()]
            m.d.sync += pairs.eq(self.pairs)
        step = Signal(LOOKUP_CYCLES - 1)  # one bit that is set, or none: how many cycles ago the table was read
        m.d.sync += step.eq(Mux(self.stop, 0, Cat(self.reads, step)))
        m.d.comb += [self.busy.eq(step.any()), self.done.eq(step[-1])]

        place = Signal(BLOCK_BITS)  # in the page table of the sequence
        entry = Signal(BLOCK_BITS + 1)  # in all of PAGE
        number = Signal((1 << len(self.page_blocks)) - 1)  # of the block on its page
        low = (config.word_elements(Memory.PAGE) - 1).bit_length()
        m.d.comb += [
            place.eq(self.block >> held["page_blocks"]),
            entry.eq(held["table"] + place),
            number.eq(self.block & ((1 << held["page_blocks"]) - 1)),
            self.page_read.en.eq(self.reads),
            self.page_read.address.eq(entry[low:]),
            self.page_read.part.eq(entry[:low]),
        ]

        # Pages begin at multiples of a burst and of a word, so that the bits below need not be multiplied.
        aligned = (max(config.burst_bytes, config.dram_word_bytes(Memory.WEIGHT)) - 1).bit_length()
        page_units = held["page_bytes"][aligned:]
        page, in_table, numbered = self.page_read.data, Signal(), Signal()
        left, right = Signal(NUMBER_BITS), Signal(max(len(page_units), len(self.token_words)))
        product, others = Signal(len(left) + len(right)), Signal(OFFSET_BITS)
        m.d.sync += [
            product.eq(left * right),
            left.eq(Mux(self.reads, number, page)),
            right.eq(Mux(self.reads, Mux(pairs, 1, held["token_words"]), page_units)),
            in_table.eq(Mux(self.reads, place < held["pages"], in_table)),
        ]
        tile_bytes = config.columns * config.dram_word_bytes(Memory.WEIGHT)
        with m.If(self.reads):
            m.d.sync += others.eq(self.within + held["dram_address"])
        with m.If(step[0]):
            m.d.sync += numbered.eq(page[NUMBER_BITS:] == 0)
        with m.If(step[1]):
            of_block = Mux(pairs, product * config.dram_word_bytes(Memory.PARAM), product * tile_bytes)
            m.d.sync += others.eq(others + of_block)
        m.d.comb += [self.found.eq(in_table & numbered), self.offset.eq((product << aligned) + others)]
        return m

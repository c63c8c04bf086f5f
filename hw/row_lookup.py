"""Where in DRAM the rows of a gather or a scatter are: their numbers stand in INDEX, one for each segment.

    element ─► INDEX ─ number ─► × stride + table ─► base of the segment that begins
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory
from ..arch.encoding import encoding
from ..arch.isa import Load
from .axi import ADDRESS_BITS
from .bursts import PLACE_BITS
from .memories import read_signature
from .row_product import RowProduct

ELEMENT_BITS = 32


class RowLookup(wiring.Component):
    """Beside a BurstWalk. `start` comes with the walk's; if `wanted` with it, each segment is looked for: the first
    then, the next one in each cycle of `next`. The number is read in the cycle after that; GATHER_CYCLES later, with
    `base_en`, `base` is where the segment is, and from the next cycle on `addressed`, until the next `next`. `base` of
    PLACE_BITS tells what is beyond all DRAM. Without `wanted`, `addressed` is up from the cycle after `start` on.

    `table`, `element` (the place in INDEX of the first number) are used with `start`; `stride` holds still after it.
    With `from_zero`, a row in front of the table counts as beyond DRAM.
    """

    def __init__(self, config: HardwareConfig, from_zero: bool = False):
        self._config = config
        self._from_zero = from_zero
        fields = {name: field for name, (_, field) in encoding(Load).items()}
        super().__init__({
            "start": In(1),
            "wanted": In(1),
            "table": In(ADDRESS_BITS),
            "element": In(fields["index_address"].bits),
            "stride": In(fields["dram_stride"].bits),
            "next": In(1),
            "index_read": Out(read_signature(config, Memory.INDEX, ELEMENT_BITS)),
            "addressed": Out(1),
            "base_en": Out(1),
            "base": Out(PLACE_BITS),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        active, looks_up, reads, arrives = Signal(), Signal(), Signal(), Signal()  # a number is wanted, read, there
        table, element = Signal(ADDRESS_BITS), Signal.like(self.element)
        m.submodules.product = product = RowProduct()
        m.d.comb += looks_up.eq(Mux(self.start, self.wanted, active & self.next))
        m.d.sync += [
            reads.eq(looks_up),
            arrives.eq(reads),
            self.addressed.eq((self.start | self.addressed | product.done) & ~looks_up),
        ]
        with m.If(self.start):
            m.d.sync += [active.eq(self.wanted), table.eq(self.table), element.eq(self.element)]
        with m.Elif(arrives):
            m.d.sync += element.eq(element + 1)
        low = (self._config.word_elements(Memory.INDEX) - 1).bit_length()
        place = product.o  # as wide as it may get: far away must not look near
        in_front = product.is_negative & self.stride.any() if self._from_zero else 0
        m.d.comb += [
            self.index_read.en.eq(reads),
            self.index_read.address.eq(element[low:]),
            self.index_read.part.eq(element[:low]),
            product.clear.eq(self.start),
            product.start.eq(arrives),
            product.table.eq(table),
            product.number.eq(self.index_read.data),
            product.stride.eq(self.stride),
            self.base_en.eq(product.done),
            self.base.eq(Cat(place[:ADDRESS_BITS], place[ADDRESS_BITS:].any() | in_front)),
        ]
        return m

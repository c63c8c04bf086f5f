"""Which columns a row of scores may see: the length, causal and window masks of SOFTMAX, for V columns at once.

Beside the address counters of SOFTMAX; the bits it gives then travel with the data of their group.
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from ..arch.isa import COLUMNS, ROWS
from .pipeline import register

MASK_CYCLES = 3  # from (row, group) to the bits: the distances, those that the length gives, the comparisons
LENGTH_BITS = 32  # signed

MASK_INPUTS = {
    "columns": In(COLUMNS),
    "causal": In(1),
    "together": In(1),
    "offset": In(signed(17)),
    "window": In(16),
    "row": In(ROWS),
    "group": In(COLUMNS + 1),  # groups run to the end of the last word, beyond the largest `columns`
    "limited": In(1),
    "length": In(signed(LENGTH_BITS)),
}


class Mask(wiring.Component):
    """Bit l of `seen` tells, MASK_CYCLES after (row, group), whether `row` sees column n = group · V + l.

    n < columns, and, if causal, n <= place, and, if window is not 0, n > place - window; place = row + offset, or just
    offset if the rows stand `together`. And, if `limited`, n < length, which comes NUMBER_CYCLES (1) after the others.
    The description of the mask (columns … window, limited) holds still while groups are under way.
    """

    def __init__(self, config: HardwareConfig):
        self._lanes = config.vector_lanes
        super().__init__({**MASK_INPUTS, "seen": Out(config.vector_lanes)})

    def elaborate(self, platform) -> Module:
        m = Module()
        # V is a power of two: the first column of a group is a shift.
        first = self.group << (self._lanes.bit_length() - 1)
        newest = Mux(self.together, 0, self.row) + self.offset  # the last column that a causal row sees
        left = Signal(signed(20))  # columns from the first of this group to the end of the row
        ahead = Signal(signed(20))  # the newest column, counted from the first of this group
        behind = Signal(signed(20))  # the newest of the columns that have left the window
        m.d.sync += [left.eq(self.columns - first), ahead.eq(newest - first), behind.eq(newest - first - self.window)]
        seen = []
        for lane in range(self._lanes):
            too_new = self.causal & (lane > ahead)
            too_old = Mux(self.window == 0, 0, lane <= behind)
            seen.append((left >= lane + 1) & ~too_new & ~too_old)
        seen = register(m, Cat(seen), "seen_by_place")

        # Of a length that is beyond any column only that counts.
        long = ~self.length[-1] & self.length[COLUMNS:-1].any()
        held = Mux(self.length[-1], 0, Mux(long, (1 << COLUMNS) - 1, self.length[:COLUMNS]))
        within = Signal(signed(20))  # columns from the first of this group to the length
        m.d.sync += within.eq(held - register(m, first, "first"))
        short = Cat(within >= lane + 1 for lane in range(self._lanes))
        m.d.sync += self.seen.eq(seen & (short | (~self.limited).replicate(self._lanes)))
        return m

"""A number for each row of a panel, kept from one phase of SOFTMAX or NORM to the next."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig
from .panel import count
from .ram import Ram


class RowTable(wiring.Component):
    """`panel_rows` words of `bits` bits, written and read in the order of rows.

    `restart` comes in the cycle before the first group of a phase and goes back to row 0. `write` stores `value` for
    the next row. `o` belongs to the row of the group that is at this place one cycle earlier, and `last` tells here
    that this group is the last of its row.
    """

    def __init__(self, config: HardwareConfig, bits: int = 32):
        self._rows = config.panel_rows
        self._bits = bits
        super().__init__({
            "restart": In(1),
            "write": In(1),
            "value": In(bits),
            "last": In(1),
            "o": Out(bits),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.words = words = Ram(self._bits, self._rows)
        written, read = Signal(range(self._rows)), Signal(range(self._rows))
        count(m, written, clear=self.restart, step=self.write)
        count(m, read, clear=self.restart, step=self.last)
        m.d.comb += [
            words.write_mask.eq(self.write),
            words.write_address.eq(written),
            words.write_data.eq(self.value),
            words.read_en.eq(1),
            words.read_address.eq(read),
            self.o.eq(words.read_data),
        ]
        return m

"""Row numbers of SOFTMAX on their way to ROW: the scale of a row, and for a block of an online softmax its state."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory
from ..arch.isa import ADDRESS, ROWS
from .memories import write_signature
from .panel import count


class RowWriter(wiring.Component):
    """row[scales_address + m] = scale, a cycle after `valid`; if `online`, in the three cycles after that

    row[scales_address + rows + m] = rescale, row[state_address + m] = greatest, row[state_address + rows + m] = total.
    m counts the rows from `restart` on. The numbers come with `valid`, at least four cycles apart if `online`.
    """

    def __init__(self, config: HardwareConfig):
        super().__init__({
            "restart": In(1),
            "online": In(1),
            "rows": In(ROWS),
            "scales_address": In(ADDRESS),
            "state_address": In(ADDRESS),
            "valid": In(1),
            "scale": In(32),
            "rescale": In(32),
            "greatest": In(32),
            "total": In(32),
            "row_write": Out(write_signature(config, Memory.ROW)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        row, waiting = Signal(ROWS), Signal(3 * 32)
        number = Signal(2)  # which of the four: its bits choose the state and the upper half
        write, more = Signal(), Signal()
        m.d.comb += [
            write.eq(self.valid | (number != 0)),
            more.eq(self.online & (number != 3)),
            self.row_write.mask.eq(1),
        ]
        count(m, row, clear=self.restart, step=write & ~more)
        count(m, number, clear=write & ~more, step=write)
        base = Mux(number[1], self.state_address, self.scales_address)
        m.d.sync += [
            waiting.eq(Mux(self.valid, Cat(self.rescale, self.greatest, self.total), waiting >> 32)),
            self.row_write.en.eq(write),
            self.row_write.address.eq(base + Mux(number[0], self.rows, 0) + row),
            self.row_write.data.eq(Mux(self.valid, self.scale, waiting)),
        ]
        return m

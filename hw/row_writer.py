"""Row numbers of SOFTMAX on their way to ROW: the scale of a row, and for a block of an online softmax its state."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory
from ..arch.isa import ADDRESS, ROWS
from .memories import write_signature
from .panel import count


class RowWriter(wiring.Component):
    """row[scales_address + m] = scale, a cycle after `valid`; if `online`, in the two cycles after that

    row[scales_address + rows + m] = rescale, row[state_address + rows + m] = total; and row[state_address + m] =
    greatest, a cycle after `greatest_valid`. m counts the rows of either from `restart` on. The numbers come with
    `valid`, rows at least three cycles apart if `online`.
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
            "total": In(32),
            "greatest_valid": In(1),
            "greatest": In(32),
            "row_write": Out(write_signature(config, Memory.ROW)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        row, waiting = Signal(ROWS), Signal(2 * 32)
        number = Signal(2)  # which of the three
        write, more = Signal(), Signal()
        m.d.comb += [
            write.eq(self.valid | self.greatest_valid | (number != 0)),
            more.eq(self.online & ~self.greatest_valid & (number != 2)),
            self.row_write.mask.eq(1),
        ]
        count(m, row, clear=self.restart, step=write & ~more)
        count(m, number, clear=write & ~more, step=write)
        base = Mux(self.greatest_valid | number[1], self.state_address, self.scales_address)
        numbers = Mux(self.greatest_valid, self.greatest, Mux(self.valid, self.scale, waiting[:32]))
        m.d.sync += [
            waiting.eq(Mux(self.valid, Cat(self.rescale, self.total), waiting >> 32)),
            self.row_write.en.eq(write),
            self.row_write.address.eq(base + Mux(number != 0, self.rows, 0) + row),
            self.row_write.data.eq(numbers),
        ]
        return m

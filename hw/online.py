"""What OnlineSoftmax adds to Softmax: the state that a row carries from one block of its columns to the next.

    ROW ─ tables of the running maxima g and sums l         phase STATE

    g − G ─ 2^x ─ × l ─ kept ─ table of l, G to that of g   phase MAXIMA

    kept ─┬─ + sum of the block ─ total                     phase SUMS
          └─ × 1/total ─ rescale

(Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.) G is the greatest so far, this block
included.
"""

from types import SimpleNamespace

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch import isa
from ..arch.config import FACTOR_BITS, MEMORY_CYCLES, HardwareConfig
from ..arch.isa import ADDRESS, ROWS
from ..arch.numerics import LOWEST, to_bits
from .float_format import EXPONENT_BITS
from .instructions import fields_of, is_rather
from .panel import count
from .pipeline import delay


class State(wiring.Component):
    """Reads the running maxima and sums of the rows of a panel from ROW, all maxima first.

    `start`: in the cycles from the next one on `read` is up with the addresses of 2 · `rows` words from `address` on,
    `done` with the last; `row_data` is what they hold, MEMORY_CYCLES later, and then `maximum_valid` or `total_valid`
    tells which it is: `maximum`, a float32 that is not below the lowest finite one, or `total`, the upper bits of a
    float32. The other inputs hold still from the cycle after `start`.
    """

    def __init__(self, config: HardwareConfig):
        super().__init__({
            "start": In(1),
            "rows": In(ROWS),
            "address": In(ADDRESS),
            "read": Out(1),
            "read_address": Out(ADDRESS),
            "row_data": In(32),
            "done": Out(1),
            "maximum_valid": Out(1),
            "maximum": Out(32),
            "total_valid": Out(1),
            "total": Out(EXPONENT_BITS + FACTOR_BITS[config.precision]),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        place = Signal(ROWS + 1)
        of_total = place >= self.rows
        lowest = self.row_data[-1 - EXPONENT_BITS :].all()
        m.d.comb += [
            self.read_address.eq(self.address + place),
            self.done.eq(self.read & (place + 1 == self.rows << 1)),
            self.maximum_valid.eq(delay(m, self.read & ~of_total, MEMORY_CYCLES, "maximum_read")),
            self.maximum.eq(Mux(lowest, int(to_bits(LOWEST)), self.row_data)),
            self.total_valid.eq(delay(m, self.read & of_total, MEMORY_CYCLES, "total_read")),
            self.total.eq(self.row_data[-len(self.total) :]),
        ]
        m.d.sync += self.read.eq(self.start | (self.read & ~self.done))
        count(m, place, clear=self.start, step=self.read)
        return m


def work_of(m: Module, instruction: Value, start: Value) -> tuple[SimpleNamespace, SimpleNamespace]:
    """The fields of a Softmax or OnlineSoftmax: of `instruction` itself, and of the one that last came with `start`.

    `online` tells which it is. A field that only the other has is 0.
    """
    online = is_rather(instruction, isa.OnlineSoftmax, isa.Softmax)
    plain, block = vars(fields_of(isa.Softmax, instruction)), vars(fields_of(isa.OnlineSoftmax, instruction))
    given, held = SimpleNamespace(online=online), SimpleNamespace()
    for name in plain | block:
        setattr(given, name, Mux(online, block.get(name, 0), plain.get(name, 0)))
    for name, value in vars(given).items():
        register = Signal(value.shape(), name=f"work_{name}")
        with m.If(start):
            m.d.sync += register.eq(value)
        setattr(held, name, register)
    return given, held

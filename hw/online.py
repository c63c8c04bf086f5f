"""What OnlineSoftmax adds to Softmax: the state that a row carries from one block of its columns to the next.

    ROW ─ tables of the running maxima g and sums l                     phase STATE

    g − G ─ exp2 ─ table of powers                                      phase MAXIMA

    power ─ × l ─ kept ─ wait ─┬─ + sum of the block ─ total
                               └─ wait ─ × rcp(total) ─ rescale         phase SUMS

(Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.) G is the greatest so far, this block
included. Row numbers wait in delay lines, beside the pipelines that they must be in step with.
"""

from types import SimpleNamespace

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch import isa
from ..arch.config import ADD_CYCLES, MEMORY_CYCLES, MULTIPLY_CYCLES, HardwareConfig
from ..arch.functions import EVALUATE_CYCLES
from ..arch.isa import ADDRESS, ROWS
from ..arch.numerics import LOWEST, to_bits
from .delay_line import DelayLine
from .float import NAN, Add, Fields, Multiply, narrowed, negate, resized
from .instructions import fields_of, opcode_of
from .panel import count
from .pipeline import delay
from .row_table import RowTable


class State(wiring.Component):
    """The running maxima and sums of the rows of a panel: read from ROW into tables, then given row by row.

    `start`: in the cycles from the next one on `read` is up with the addresses of 2 · `rows` words from `address` on,
    `done` with the last; `row_data` is what they hold, MEMORY_CYCLES later. `restart`, `next_maximum` and `next_total`
    are `restart` and `last` of the `RowTable` behind `maximum` and `total`; if `first` these are the lowest finite
    number and +0. The other inputs hold still from the cycle after `start`.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "first": In(1),
            "rows": In(ROWS),
            "address": In(ADDRESS),
            "read": Out(1),
            "read_address": Out(ADDRESS),
            "row_data": In(32),
            "done": Out(1),
            "restart": In(1),
            "next_maximum": In(1),
            "next_total": In(1),
            "maximum": Out(32),
            "total": Out(32),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        place = Signal(ROWS + 1)
        m.d.comb += [
            self.read_address.eq(self.address + place),
            self.done.eq(self.read & (place + 1 == self.rows << 1)),
        ]
        m.d.sync += self.read.eq(self.start | (self.read & ~self.done))
        count(m, place, clear=self.start, step=self.read)

        of_total = place >= self.rows
        cleaned = clean(m, self.row_data, "cleaned")
        for name, start, half in (("maximum", LOWEST, ~of_total), ("total", 0, of_total)):
            m.submodules[name] = table = RowTable(self._config)
            m.d.comb += [
                table.restart.eq(self.restart),
                table.write.eq(delay(m, self.read & half, MEMORY_CYCLES, f"{name}_read")),
                table.value.eq(cleaned),
                table.last.eq(getattr(self, f"next_{name}")),
                getattr(self, name).eq(Mux(self.first, int(to_bits(start)), table.o)),
            ]
        return m


class Powers(wiring.Component):
    """exp2(known − greatest) of each row: found in phase MAXIMA, given row by row in phase SUMS.

    `known` and `greatest` come with `valid`. `difference` is valid `subtract_cycles` later, and `power` must be its
    exponential EVALUATE_CYCLES after that. `restart` comes before each phase, and rows that are under way then count
    as before it. `next` is `last` of the `RowTable` behind `o`. `known` and `greatest` are float32, the others have the
    format of vector arithmetic.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = config.vector_bits
        super().__init__({
            "restart": In(1),
            "valid": In(1),
            "known": In(32),
            "greatest": In(32),
            "difference": Out(bits),
            "power": In(bits),
            "next": In(1),
            "o": Out(bits),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.minus = minus = Add()
        m.submodules.table = table = RowTable(config, config.vector_bits)
        m.d.comb += [
            minus.a.eq(self.known),
            minus.b.eq(negate(self.greatest)),
            self.difference.eq(narrowed(m, minus.o, config, "difference")),
            table.restart.eq(delay(m, self.restart, config.probability_cycles, "restart")),
            table.write.eq(delay(m, self.valid, config.probability_cycles, "valid")),
            table.value.eq(self.power),
            table.last.eq(self.next),
            self.o.eq(table.o),
        ]
        return m


class Kept(wiring.Component):
    """kept = known_total · power, total = sum + kept, rescale = kept · inverse.

    `known_total` and `power` come `row_sum_cycles` before `sum`, and `greatest` `probability_cycles` before them;
    `total` is valid ADD_CYCLES after `sum`; `inverse` comes EVALUATE_CYCLES after that, and `rescale` is valid
    MULTIPLY_CYCLES later, together with `o_greatest`, which is `greatest` again. `power`, `inverse` and `rescale` have
    the format of vector arithmetic, the other numbers are float32; rows may follow each other at once.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "greatest": In(32),
            "known_total": In(32),
            "power": In(config.vector_bits),
            "sum": In(32),
            "inverse": In(config.vector_bits),
            "total": Out(32),
            "rescale": Out(config.vector_bits),
            "o_greatest": Out(32),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        until_sum = config.row_sum_cycles
        until_inverse = ADD_CYCLES + EVALUATE_CYCLES
        until_o = config.probability_cycles + until_sum + until_inverse + MULTIPLY_CYCLES
        m.submodules.times = times = Multiply()
        m.submodules.at_sum = at_sum = DelayLine(32, until_sum - MULTIPLY_CYCLES)
        m.submodules.plus = plus = Add()
        m.submodules.at_inverse = at_inverse = DelayLine(32, until_inverse - config.narrow_cycles)
        m.submodules.normalised = normalised = Multiply(config.precision)
        m.submodules.at_o = at_o = DelayLine(32, until_o)
        m.d.comb += [
            times.a.eq(self.known_total),
            times.b.eq(resized(m, self.power, 32)),
            at_sum.i.eq(times.o),
            plus.a.eq(self.sum),
            plus.b.eq(at_sum.o),
            self.total.eq(plus.o),
            at_inverse.i.eq(at_sum.o),
            normalised.a.eq(narrowed(m, at_inverse.o, config, "kept")),
            normalised.b.eq(self.inverse),
            self.rescale.eq(normalised.o),
            at_o.i.eq(self.greatest),
            self.o_greatest.eq(at_o.o),
        ]
        return m


def clean(m: Module, x: Value, name: str) -> Signal:
    """`numerics.clean`, combinational: a subnormal becomes a zero of its sign, any NaN the quiet NaN."""
    parts, cleaned = Fields(x), Signal(32, name=name)
    m.d.comb += cleaned.eq(Mux(parts.nan, NAN, Mux(parts.zero, Cat(Const(0, 31), parts.sign), x)))
    return cleaned


def detour(m: Module, value: Value, cycles: int, *, skip: Value, name: str) -> Value:
    """`value` as it was `cycles` cycles earlier, or as it is where `skip`; nothing is under way when `skip` changes."""
    return Mux(skip, value, delay(m, value, cycles, name))


def work_of(m: Module, instruction: Value, start: Value) -> tuple[SimpleNamespace, SimpleNamespace]:
    """The fields of a Softmax or OnlineSoftmax: of `instruction` itself, and of the one that last came with `start`.

    `online` tells which it is. A field that only the other has is 0.
    """
    online = opcode_of(instruction) == isa.OnlineSoftmax.opcode
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

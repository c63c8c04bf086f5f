"""The greatest number of a row, and its sum: V lanes a cycle in, one number a row out.

A row comes as groups of V columns, `first` with its first and `last` with its last group. Both blocks are exact
counterparts of `numerics.row_maximum` and `numerics.row_sum`, which define the order of additions.
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES, ROW_SUM_INTERVAL
from ..arch.isa import COLUMNS
from .float_add import Add
from .float_format import ZERO, from_order_key, order_key
from .pipeline import delay, register


class Reduction(wiring.Component):
    """Ports of a reduction over `lanes` lanes, a power of two, of floats of `bits` bits. `first` and `last` count only
    with `valid`."""

    def __init__(self, lanes: int, bits: int = 32, **more: wiring.Member):
        self._lanes = lanes
        self._bits = bits
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "last": In(1),
            "data": In(ArrayLayout(unsigned(bits), lanes)),
            "o_valid": Out(1),
            "o": Out(bits),
            **more,
        })  # fmt: skip


class RowMaximum(Reduction):
    """o = the greatest of a row as `numerics.row_maximum`, `config.row_maximum_cycles` after its last group.

    `place` is where in the row it stands first. A compare tree over the lanes with a register a level, a running
    maximum, an output register. Rows may follow each other at once, groups may come with gaps. Columns that do not
    count are −inf, or their bit of `counts` is 0; where none counts, `o` and `place` mean nothing. They stay until the
    next `o_valid`.
    """

    def __init__(self, lanes: int, bits: int = 32):
        super().__init__(lanes, bits, counts=In(lanes, init=(1 << lanes) - 1), place=Out(COLUMNS))

    def elaborate(self, platform):
        m = Module()
        # Of equal numbers the first is kept: an upper neighbour wins only if it is greater, so does a later group.
        # (key, whether it counts, lane it comes from)
        best = [(order_key(self.data[lane]), self.counts[lane], Const(0, 0)) for lane in range(self._lanes)]
        levels = 0
        while len(best) > 1:
            levels += 1
            pairs = list(zip(best[::2], best[1::2], strict=True))
            best = [self._winner(m, lower, upper, f"{levels}_{i}") for i, (lower, upper) in enumerate(pairs)]
        key, counts, lane = best[0]
        valid = delay(m, self.valid, levels)
        first = delay(m, self.first, levels, reset_less=True)
        last = delay(m, self.valid & self.last, levels, "last")

        group, next_group = Signal(COLUMNS), Signal(COLUMNS)
        running, place = Signal(self._bits, reset_less=True), Signal(COLUMNS, reset_less=True)
        known = Signal(reset_less=True)  # whether one that counts has come
        m.d.comb += group.eq(Mux(first, 0, next_group))
        with m.If(valid):
            m.d.sync += [next_group.eq(group + 1), known.eq(counts | (known & ~first))]
            with m.If(first | (counts & (~known | (running < key)))):
                m.d.sync += [running.eq(key), place.eq(Cat(lane, group))]
        complete = delay(m, last, 1, "complete")
        with m.If(complete):
            m.d.sync += [self.o.eq(from_order_key(running)), self.place.eq(place)]
        m.d.comb += self.o_valid.eq(delay(m, complete, 1))
        return m

    def _winner(self, m: Module, lower: tuple[Value, Value, Value], upper: tuple[Value, Value, Value], name: str):
        """Registers of the greater key, of whether it counts and of its lane, a bit longer than those of the two."""
        wins = upper[1] & (~lower[1] | (lower[0] < upper[0]))
        key = register(m, Mux(wins, upper[0], lower[0]), f"key_{name}")
        lane = Cat(Mux(wins, upper[2], lower[2]), wins) if len(upper[2]) else wins  # no choice between no bits
        return key, register(m, lower[1] | upper[1], f"counts_{name}"), register(m, lane, f"lane_{name}")


class LaneMaxima(wiring.Component):
    """`o[i]` = the greatest that lane i has had since `first`, in the order of `numerics.maximum`, a cycle later."""

    def __init__(self, lanes: int, bits: int = 32):
        self._bits = bits
        super().__init__({
            "valid": In(1),
            "first": In(1),
            "data": In(ArrayLayout(unsigned(bits), lanes)),
            "o": Out(ArrayLayout(unsigned(bits), lanes)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        for lane, (x, o) in enumerate(zip(self.data, self.o, strict=True)):
            key, running = order_key(x), Signal(self._bits, name=f"running_{lane}", reset_less=True)
            greatest = Signal(self._bits, name=f"greatest_{lane}", reset_less=True)  # what has this key
            with m.If(self.valid & (self.first | (running < key))):
                m.d.sync += [running.eq(key), greatest.eq(x)]
            m.d.comb += o.eq(greatest)
        return m


class RowSum(Reduction):
    """o = the sum of a row of float32 as `numerics.row_sum`, `config.row_sum_cycles` after its last group.

    A tree adds up the lanes of a group. One adder adds up the sums of groups: it gives a sum ADD_CYCLES (which is 4)
    later, just when the group comes that is to be added to it, so that it keeps four running sums. When the last ones
    come, another adder adds them up, in pairs: it takes two cycles for their operands, and one for those sums when they
    have come. The groups of a row come in cycles on end; its first, and also its last, at the earliest ROW_SUM_INTERVAL
    after that of the row before. Columns that do not count are +0. `o` is valid in the cycle of `o_valid` only.

    ```
    data ──► tree ──► Add ──┬──► the last four ──► Add ──┬──► o
                       ▲    │                       ▲    │
                       └────┘                       └────┘ pairs
    ```
    """

    def __init__(self, lanes: int):
        super().__init__(lanes)

    def elaborate(self, platform):
        m = Module()
        level, levels = [register(m, x, "data") for x in self.data], self._lanes.bit_length() - 1
        while len(level) > 1:
            half = len(level) // 2
            level = [self._adder(m, level[i], level[half + i], f"adder_{half + i}").o for i in range(half)]
        cycles = 1 + levels * ADD_CYCLES
        valid = delay(m, self.valid, cycles, "valid")
        starts = delay(m, self.valid & self.first, cycles - 1, "starts")  # in the next cycle
        complete = delay(m, self.valid & self.last, cycles + ADD_CYCLES, "complete")

        fresh = Cat(delay(m, starts, group, f"fresh_{group}") for group in range(ADD_CYCLES)).any()
        fresh = register(m, fresh, "fresh")
        total = Signal(32)
        m.d.comb += total.eq(self._adder(m, level[0], Mux(fresh, ZERO, total), "adder_0").o)
        # Of a row with fewer groups the others are +0: there is room for them before it.
        latest = [Mux(delay(m, valid, ADD_CYCLES, "filled"), total, ZERO)]
        for group in range(ADD_CYCLES):
            latest.append(register(m, latest[-1], f"sum_{group}"))

        now = Signal(ROW_SUM_INTERVAL + ADD_CYCLES)  # bit k: k + 1 cycles after the last sum
        m.d.sync += now.eq(Cat(complete, now))
        pair, joined = Signal(32, reset_less=True), Signal(32)
        with m.If(now[ADD_CYCLES]):
            m.d.sync += pair.eq(joined)
        # Of the last but one and the one two before it, then of the last.
        pairs = register(m, complete | now[0], "pairs")
        operands = Mux(pairs, latest[2], pair), Mux(pairs, latest[4], joined)
        m.d.comb += [
            joined.eq(self._adder(m, *operands, "joining").o),
            self.o.eq(joined),
            self.o_valid.eq(now[-1]),
        ]
        return m

    def _adder(self, m: Module, a: Value, b: Value, name: str) -> Add:
        """Gives a + b ADD_CYCLES later."""
        m.submodules[name] = add = Add()
        m.d.comb += [add.a.eq(a), add.b.eq(b)]
        return add

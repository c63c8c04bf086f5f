"""The greatest number of a row, and its sum: V lanes a cycle in, one number a row out.

A row comes as groups of V columns, `first` with its first and `last` with its last group. Both blocks are exact
counterparts of `numerics.row_maximum` and `numerics.row_sum`, which define the order of additions.
"""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
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
            with m.If(first | (counts & (~known | (key > running)))):
                m.d.sync += [running.eq(key), place.eq(Cat(lane, group))]
        complete = delay(m, last, 1, "complete")
        with m.If(complete):
            m.d.sync += [self.o.eq(from_order_key(running)), self.place.eq(place)]
        m.d.comb += self.o_valid.eq(delay(m, complete, 1))
        return m

    def _winner(self, m: Module, lower: tuple[Value, Value, Value], upper: tuple[Value, Value, Value], name: str):
        """Registers of the greater key, of whether it counts and of its lane, a bit longer than those of the two."""
        wins = upper[1] & (~lower[1] | (upper[0] > lower[0]))
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
            with m.If(self.valid & (self.first | (key > running))):
                m.d.sync += [running.eq(key), greatest.eq(x)]
            m.d.comb += o.eq(greatest)
        return m


class RowSum(Reduction):
    """o = the sum of a row of float32 as `numerics.row_sum`, `config.row_sum_cycles` after its last group.

    A tree adds up the lanes of a group. The sum of group k goes to slot k mod ADD_CYCLES (which is 4), in one adder,
    and so never meets one of the same slot that is still under way. When all are there, another adder adds up the
    slots, in pairs: it takes two cycles for their operands, and one for those sums when they have come. Groups may come
    with gaps; the first group of a row, and also its last, at the earliest ROW_SUM_INTERVAL after that of the row
    before. Columns that do not count are +0. `o` is valid in the cycle of `o_valid` only.

    ```
    data ──► tree ──► Add ──┬──► slots 0 … 3 ──► Add ──┬──► o
                       ▲    │                     ▲    │
                       └────┘                     └────┘ pairs
    ```
    """

    def __init__(self, lanes: int):
        super().__init__(lanes)

    def elaborate(self, platform):
        m = Module()
        level, levels = [register(m, x, "data") for x in self.data], self._lanes.bit_length() - 1
        while len(level) > 1:
            half = len(level) // 2
            level = [self._added(m, level[i], level[half + i], half + i) for i in range(half)]
        cycles = 1 + levels * ADD_CYCLES
        first = delay(m, self.first, cycles, "first", reset_less=True)
        ends = delay(m, self.valid & self.last, cycles, "ends")
        slots, complete = self._slots(m, level[0], delay(m, self.valid, cycles, "valid"), first, ends)
        self._add_slots(m, slots, complete)
        return m

    def _added(self, m: Module, a: Value, b: Value, lane: int) -> Value:
        """a + b, ADD_CYCLES later."""
        m.submodules[f"adder_{lane}"] = add = Add()
        m.d.comb += [add.a.eq(a), add.b.eq(b)]
        return add.o

    def _slots(self, m: Module, x: Value, valid: Value, first: Value, ends: Value) -> tuple[list[Signal], Value]:
        """The running sums of the numbers `x`, and a pulse in the cycle before they are those of a whole row."""
        groups = Signal(range(ADD_CYCLES + 1), reset_less=True)  # of this row before this one, at most ADD_CYCLES
        slot = Signal(range(ADD_CYCLES), reset_less=True)
        this_group, this_slot = Signal.like(groups), Signal.like(slot)
        fresh = Signal()  # nothing was added to this slot yet
        m.d.comb += [
            this_group.eq(Mux(first, 0, groups)),
            this_slot.eq(Mux(first, 0, slot)),
            fresh.eq(this_group < ADD_CYCLES),
        ]
        with m.If(valid):
            m.d.sync += [groups.eq(this_group + fresh), slot.eq(this_slot + 1)]
        filled = delay(m, valid, ADD_CYCLES, "filled")
        filled_slot = delay(m, this_slot, ADD_CYCLES, "filled_slot", reset_less=True)
        filled_fresh = delay(m, fresh, ADD_CYCLES, "filled_fresh", reset_less=True)
        complete = delay(m, ends, ADD_CYCLES, "complete")

        slots = [Signal(32, name=f"slot_{number}", reset_less=True) for number in range(ADD_CYCLES)]
        before = Signal(32)
        total = self._added(m, x, Mux(fresh, ZERO, before), 0)
        arrives = filled & (filled_slot == this_slot)  # the sum so far, in this very cycle
        m.d.comb += before.eq(Mux(arrives, total, Array(slots)[this_slot]))
        for number, each in enumerate(slots):
            with m.If(filled & (filled_slot == number)):
                m.d.sync += each.eq(total)
            with m.Elif(complete & filled_fresh & (filled_slot < number)):  # the row has no group for it
                m.d.sync += each.eq(ZERO)
        return slots, complete

    def _add_slots(self, m: Module, slots: list[Signal], complete: Value) -> None:
        """(slot 0 + slot 2) + (slot 1 + slot 3)."""
        now = Signal(ROW_SUM_INTERVAL + ADD_CYCLES)  # bit k: k cycles after the slots are those of a whole row
        m.d.sync += now.eq(Cat(complete, now))
        m.submodules.joining = add = Add()
        pair = Signal(32, reset_less=True)
        with m.If(now[ADD_CYCLES]):
            m.d.sync += pair.eq(add.o)
        with m.If(now[0]):
            m.d.comb += [add.a.eq(slots[0]), add.b.eq(slots[2])]
        with m.Elif(now[1]):
            m.d.comb += [add.a.eq(slots[1]), add.b.eq(slots[3])]
        with m.Else():
            m.d.comb += [add.a.eq(pair), add.b.eq(add.o)]
        m.d.comb += [self.o.eq(add.o), self.o_valid.eq(now[-1])]

"""The greatest number of a row, and its sum: V lanes a cycle in, one number a row out.

A row comes as groups of V columns, `first` with its first and `last` with its last group. Both blocks are exact
counterparts of `numerics.row_maximum` and `numerics.row_sum`, which define the order of additions.
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from ..arch.config import ADD_CYCLES
from ..arch.isa import COLUMNS
from .float_add import Add
from .float_format import FRACTION_BITS, ZERO, from_order_key, order_key
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

    `place` is where in the row it stands first, as `numerics.row_argmax`. A compare tree over the lanes with a register
    a level, a running maximum, an output register. Rows may follow each other at once, groups may come with gaps.
    Columns that do not count are −inf. `o` and `place` stay until the next `o_valid`.
    """

    def __init__(self, lanes: int, bits: int = 32):
        super().__init__(lanes, bits, place=Out(COLUMNS))

    def elaborate(self, platform):
        m = Module()
        # Of equal numbers the first is kept: an upper neighbour wins only if it is greater, so does a later group.
        best = [(order_key(self.data[lane]), Const(0, 0)) for lane in range(self._lanes)]  # (key, lane it comes from)
        levels = 0
        while len(best) > 1:
            levels += 1
            pairs = list(zip(best[::2], best[1::2], strict=True))
            best = [self._winner(m, lower, upper, f"{levels}_{i}") for i, (lower, upper) in enumerate(pairs)]
        key, lane = best[0]
        valid = delay(m, self.valid, levels)
        first = delay(m, self.first, levels, reset_less=True)
        last = delay(m, self.valid & self.last, levels, "last")

        group, next_group = Signal(COLUMNS), Signal(COLUMNS)
        running, place = Signal(signed(self._bits), reset_less=True), Signal(COLUMNS, reset_less=True)
        m.d.comb += group.eq(Mux(first, 0, next_group))
        with m.If(valid):
            m.d.sync += next_group.eq(group + 1)
            with m.If(first | (key > running)):
                m.d.sync += [running.eq(key), place.eq(Cat(lane, group))]
        complete = delay(m, last, 1, "complete")
        with m.If(complete):
            m.d.sync += [self.o.eq(from_order_key(running)), self.place.eq(place)]
        m.d.comb += self.o_valid.eq(delay(m, complete, 1))
        return m

    def _winner(self, m: Module, lower: tuple[Value, Value], upper: tuple[Value, Value], name: str):
        """Registers of the greater key and of its lane, a bit longer than those of the two."""
        wins = upper[0] > lower[0]
        key = register(m, Mux(wins, upper[0], lower[0]), f"key_{name}")
        lane = Cat(Mux(wins, upper[1], lower[1]), wins) if len(upper[1]) else wins  # no choice between no bits
        return key, register(m, lane, f"lane_{name}")


class RowSum(Reduction):
    """o = the sum of a row of float32 as `numerics.row_sum`, `config.row_sum_cycles` after its last group.

    Group k goes to slot k mod ADD_CYCLES (which is 4): its lanes are added to what the running adders give out in
    that very cycle, which is the sum of that slot so far. So the groups of a row come in consecutive cycles. When all
    are added, the 4·V partial sums go through V more adders, level by level. The first group of a row, and also its
    last, must come no sooner than `config.row_sum_tree_cycles` after that of the row before. Columns that do not
    count are +0. `o` is valid in the cycle of `o_valid` only.

    ```
    data ──► Add ──┬──► slots 0 … 3 ──► Add ──┬──► o
          ▲        │    (V sums each)    ▲    │
          └────────┘                     └────┘ halves
    ```
    """

    def elaborate(self, platform):
        m = Module()
        slots, last_slot_filled = self._running_sums(m)
        self._tree(m, slots, last_slot_filled)
        return m

    def _running_sums(self, m: Module) -> tuple[list[list[Value]], Value]:
        """The partial sums by slot and lane, and the pulse that says they are those of a whole row."""
        groups = Signal(range(ADD_CYCLES + 1), reset_less=True)  # of this row before this one, at most ADD_CYCLES
        slot = Signal(range(ADD_CYCLES), reset_less=True)
        this_group, this_slot = Signal.like(groups), Signal.like(slot)
        fresh = Signal()  # nothing was added to this slot yet
        m.d.comb += [
            this_group.eq(Mux(self.first, 0, groups)),
            this_slot.eq(Mux(self.first, 0, slot)),
            fresh.eq(this_group < ADD_CYCLES),
        ]
        with m.If(self.valid):
            m.d.sync += [groups.eq(this_group + fresh), slot.eq(this_slot + 1)]
        filled = delay(m, self.valid, ADD_CYCLES, "filled")
        filled_slot = delay(m, this_slot, ADD_CYCLES, "filled_slot", reset_less=True)
        filled_fresh = delay(m, fresh, ADD_CYCLES, "filled_fresh", reset_less=True)
        last = delay(m, self.valid & self.last, ADD_CYCLES, "last")

        slots = [[Signal(32, name=f"sum_{s}_{i}", reset_less=True) for i in range(self._lanes)]
                 for s in range(ADD_CYCLES)]  # fmt: skip
        for lane in range(self._lanes):
            m.submodules[f"running_{lane}"] = add = Add()
            m.d.comb += [add.a.eq(self.data[lane]), add.b.eq(Mux(fresh, ZERO, add.o))]
            for number in range(ADD_CYCLES):
                total = slots[number][lane]
                with m.If(filled & (filled_slot == number)):
                    m.d.sync += total.eq(add.o)
                # The row is padded with +0 to whole rounds of slots: that makes +0 of −0, and of what was never set.
                with m.Elif(last & (filled_slot < number)):
                    m.d.sync += total.eq(Mux(filled_fresh | (total[FRACTION_BITS:31] == 0), ZERO, total))
        return slots, last

    def _tree(self, m: Module, slots: list[list[Value]], last: Value) -> None:
        """Adds slot s to s + 2, then the two halves, then lane i to i + w/2 until one is left.

        Step 0 follows the last running sum. A level takes its steps of operands, then ADD_CYCLES until the register
        has the last of its sums. Lanes are in reversed bit order, so that partners are neighbours at every level.
        """
        lanes = self._lanes
        order = _bit_reversed(lanes)
        starts = [0, 2 + ADD_CYCLES]  # the step of the operands of each level
        for _ in range(lanes.bit_length() - 1):
            starts.append(starts[-1] + 1 + ADD_CYCLES)
        end = starts[-1] + 1 + ADD_CYCLES
        now = Signal(end + 1)  # bit k: this is step k of a row
        m.d.sync += now.eq(Cat(last, now))

        adders = [Add() for _ in range(lanes)]
        lower, upper = ([Signal(32, name=f"{half}_{i}", reset_less=True) for i in range(lanes)]
                        for half in ("lower", "upper"))  # fmt: skip
        lower_set = Cat(now[start + ADD_CYCLES] for start in starts).any()
        for i, add in enumerate(adders):
            m.submodules[f"tree_{i}"] = add
            with m.If(now[0]):
                m.d.comb += [add.a.eq(slots[0][order[i]]), add.b.eq(slots[2][order[i]])]
            with m.Elif(now[1]):
                m.d.comb += [add.a.eq(slots[1][order[i]]), add.b.eq(slots[3][order[i]])]
            with m.Elif(now[starts[1]]):
                m.d.comb += [add.a.eq(lower[i]), add.b.eq(upper[i])]
            if 2 * i + 1 < lanes:
                with m.Else():
                    m.d.comb += [add.a.eq(lower[2 * i]), add.b.eq(lower[2 * i + 1])]
            with m.If(lower_set):
                m.d.sync += lower[i].eq(add.o)
            with m.If(now[1 + ADD_CYCLES]):
                m.d.sync += upper[i].eq(add.o)
        m.d.comb += [self.o.eq(lower[0]), self.o_valid.eq(now[end])]


def _bit_reversed(count: int) -> list[int]:
    """The numbers below `count`, a power of two, in the order of their reversed bits."""
    order = [0]
    while len(order) < count:
        order = [2 * i for i in order] + [2 * i + 1 for i in order]
    return order

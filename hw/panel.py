"""The (row, group) counter nest that VECTOR, SOFTMAX and NORM share: a walk over rows × columns, V columns at a time.

V is `vector_lanes`; a group is V neighbouring columns of one row. A unit has one `Panel` that issues reads, and starts
others a fixed number of cycles later beside its pipelines, where the same walk tells which row and group comes out.
Nothing here multiplies or divides: addresses advance by adding strides, positions in words are small counters.
"""

from enum import IntEnum

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import ROW_SUM_INTERVAL, SOFTMAX_ROW_INTERVAL, SUM_CYCLES, HardwareConfig
from ..arch.isa import ADDRESS, COLUMNS, ROWS


class Fill(IntEnum):
    """How far a row reaches: the last group is the one that holds the last of …"""

    COLUMNS = 0  # … `columns`: g = ⌈columns / V⌉ groups
    WORD = 1  # … the word (VALUE, ACC, PARAM, WEIGHT) of the last column: w = ⌈columns / C⌉ · C / V groups
    ACT_WORD = 2  # … the ACT word of the last column: a = ⌈columns / R⌉ · R / V groups


class Panel(wiring.Component):
    """Emits row 0 group 0, row 0 group 1, … row 1 group 0, …: the first group in the cycle after `start`.

    Inputs. `rows` and `columns` (both at least 1) are used with `start` and after it; `fill` (a `Fill`) from the cycle
    after it on. So is, of a panel made with `intervals`, `last_beat`, the interval from a group to the next, in cycles,
    less 1 (of others it is 0); and of one made with `periods`, `period`, least cycles from a row's first group to the
    next row's (of others: no more than its groups take). They hold still until the walk is over. Give `start` only when
    it is.
    A row of q groups takes max(q · interval, period) cycles, and the last group of the panel comes
    (rows − 1) · max(q · interval, period) + (q − 1) · interval cycles after the first. It takes `interval` cycles too,
    but of a panel that is `brief` only one, and with it the walk is over.

    A panel made with `blocks` walks by blocks of rows if `tall` (of V rows) or `turned` (of all): row 0 group 0, row 1
    group 0, … to the last row of the block, row 0 group 1, …, then the next block. Of a `tall` walk rows beyond `rows`
    fill the last block; `row_counts` is down for them and `inside` too. `block_ends` is up at the last row of a block.
    What is said above of a row is then said of a block, which takes as many rows as long; a turned walk has no period.

    Outputs, all meaningful while `active`, and steady for the `interval` cycles of a group:
      active    a group is under way; `beat` counts its cycles from 0; `valid` is the cycle of beat 0
      row       m, from 0
      group     n // V of its columns, from 0
      counts    bit l: column group · V + l is below `columns`
      inside    the group holds such columns at all (if not, it is there to fill the word: read nothing)
      first     the group is the first of its row; `last`: the last; `done`: the last of the walk, in beat 0 only
      last_row  the row is the last
      word      n // C: which word of VALUE, ACC or PARAM in the row holds the group; `slot`: which V elements of it
      act_word  n // R: which word of ACT holds the group; `act_slot`: which V elements of it
    and, for counters kept beside this one, `next_row`: the next cycle is the first of a row (but the first row), and
    `next_word`: the next cycle is the first of a word in the same row. In a walk by blocks `next_row` leads to the next
    block, `down` to the next row of a block, and `back` to the first row of it, a group on. `group_ends`: the cycle is
    the last of a group.
    """

    def __init__(
        self, config: HardwareConfig, *, brief: bool = False, blocks: bool = False, intervals: bool = False,
        periods: bool = False,
    ):  # fmt: skip
        self._config = config
        self._intervals = intervals
        self._periods = periods
        self._brief = brief
        self._blocks = blocks
        lanes = config.vector_lanes
        super().__init__({
            "start": In(1),
            "rows": In(ROWS),
            "columns": In(COLUMNS),
            "fill": In(2),
            "active": Out(1),
            "valid": Out(1),
            "beat": Out(range(max(interval_shape(config)))),
            "row": Out(ROWS),
            "group": Out(COLUMNS + 1),  # fill groups may lie beyond the largest `columns`
            "counts": Out(lanes),
            "inside": Out(1),
            "first": Out(1),
            "last": Out(1),
            "done": Out(1),
            "last_row": Out(1),
            "word": Out(COLUMNS),
            "slot": Out(range(config.columns // lanes)),
            "act_word": Out(COLUMNS),
            "act_slot": Out(range(config.rows // lanes)),
            "next_row": Out(1),
            "next_word": Out(1),
            "down": Out(1),
            "back": Out(1),
            "group_ends": Out(1),
            "row_counts": Out(1),
            "block_ends": Out(1),
            **({"tall": In(1), "turned": In(1)} if blocks else {}),
            **({"last_beat": In(range(max(interval_shape(config))))} if intervals else {}),
            **({"period": In(range(longest_period(config) + 1))} if periods else {}),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config, lanes = self._config, self._config.vector_lanes
        running = Signal()  # between start and the end of the last group
        waiting = Signal()  # the row is complete, but its period is not
        period_over = self._period_over(m) if self._periods else Const(1, 1)

        lane_bits = lanes.bit_length() - 1
        tall = self.tall if self._blocks and lane_bits else Const(0, 1)
        turned = self.turned if self._blocks else Const(0, 1)
        rows_left = Signal(signed(ROWS + 1))  # from this row on
        rows_of_block, last_of_block = Signal.like(rows_left), Signal()  # of the first row of the block
        m.d.comb += [
            self.row_counts.eq(~tall | (~rows_left[-1] & rows_left.any())),
            self.block_ends.eq(Mux(turned, self.last_row, ~tall | self.row[:lane_bits].all())),
        ]

        # Columns from the first of this group to the end of the row.
        left = Signal(signed(COLUMNS + 2))
        ends = Signal()  # there are none beyond this group
        more, some = Signal(COLUMNS + 1 - lane_bits), Signal()  # whole groups of them; whether there are any
        end_of_word = Signal()
        # This beat is the last of its group; so it is known of all but the first beat; the walk begins.
        last_beat, is_last, begins = Signal(init=1), Signal(), Signal()
        end_of_group = Signal()
        row_complete = Signal()
        m.d.comb += [
            more.eq(left[lane_bits:-1]),
            some.eq(~left[-1] & (more != 0)),
            self.counts.eq(Cat(*(some | (~left[-1] & (left[:lane_bits] > lane)) for lane in range(lanes - 1)), some)),
            self.inside.eq(~left[-1] & left.any() & self.row_counts),
            self.active.eq(running & ~waiting),
            self.valid.eq(self.active & (self.beat == 0)),
            self.first.eq(self.group == 0),
            self.last.eq(ends & end_of_word),
            self.done.eq(self.valid & self.last & self.last_row & self.block_ends),
            end_of_group.eq(self.active & last_beat),
            self.group_ends.eq(end_of_group),
            self.down.eq(end_of_group & ~self.block_ends),
            self.back.eq(end_of_group & self.block_ends & ~self.last),
            row_complete.eq(waiting | (end_of_group & self.block_ends & self.last)),
            self.next_row.eq(row_complete & ~self.last_row & period_over),
        ]

        # Behind the end of a row, and before the next one begins, nothing counts.
        new_row = self.start | row_complete
        next_in_block = self.group_ends & ~self.back if self._blocks else self.next_row  # or of the next block
        over = self.done if self._brief else row_complete & self.last_row
        next_group = self.back
        count(m, self.group, clear=new_row, step=next_group)
        word_ends = count_in(m, self.word, self.slot, config.columns // lanes, clear=new_row, step=next_group)
        act_ends = count_in(m, self.act_word, self.act_slot, config.rows // lanes, clear=new_row, step=next_group)
        m.d.comb += self.next_word.eq(next_group & word_ends)
        with m.Switch(self.fill):
            with m.Case(Fill.WORD):
                m.d.comb += end_of_word.eq(word_ends)
            with m.Case(Fill.ACT_WORD):
                m.d.comb += end_of_word.eq(act_ends)
            with m.Default():
                m.d.comb += end_of_word.eq(1)
        count(m, self.row, clear=self.start, step=next_in_block)
        next_rows, next_last = rows_left - 1, at_most(rows_left, 2)
        m.d.sync += [
            rows_left.eq(Mux(next_in_block, next_rows, rows_left)),
            self.last_row.eq(Mux(next_in_block, next_last, self.last_row)),
            left.eq(Mux(new_row, self.columns, Mux(next_group, left - lanes, left))),
            ends.eq(Mux(new_row, self.columns < lanes + 1, Mux(next_group, at_most(left, 2 * lanes), ends))),
        ]
        with m.If(self.start):
            m.d.sync += [each.eq(self.rows) for each in (rows_left, rows_of_block)]
            m.d.sync += [each.eq(self.rows == 1) for each in (self.last_row, last_of_block)]
        if self._blocks:
            with m.Elif(self.back):
                with m.If(tall):
                    m.d.sync += self.row[:lane_bits].eq(0)
                with m.If(turned):
                    m.d.sync += self.row.eq(0)
                with m.If(tall | turned):
                    m.d.sync += [rows_left.eq(rows_of_block), self.last_row.eq(last_of_block)]
            with m.Elif(end_of_group & ~self.down):
                m.d.sync += [rows_of_block.eq(next_rows), last_of_block.eq(next_last)]
        m.d.sync += [
            running.eq(self.start | (running & ~over)),
            waiting.eq(row_complete & ~self.last_row & ~self.next_row),
        ]
        if self._intervals:
            ends_at_once, goes_on = self.last_beat == 0, self.active & ~end_of_group
            m.d.comb += last_beat.eq(Mux(begins, ends_at_once, is_last))
            m.d.sync += [
                begins.eq(self.start),
                is_last.eq(Mux(goes_on, self.beat + 1 == self.last_beat, ends_at_once)),
                self.beat.eq(Mux(goes_on, self.beat + 1, 0)),
            ]
        return m

    def _period_over(self, m: Module) -> Value:
        """Whether the next cycle is as late after the row's first as its period wants."""
        longest = longest_period(self._config)
        age = Signal(range(longest + 1))  # cycles since the row's first, up to the longest period
        begins, old = Signal(), Signal()  # it is the row's first cycle; it is over, if it is not
        m.d.sync += [
            begins.eq(self.start | self.next_row),
            age.eq(Mux(self.start | self.next_row, 0, Mux(age == longest, age, age + 1))),
            old.eq(age + 2 >= self.period),
        ]
        return Mux(begins, self.period <= 1, old)


def longest_period(config: HardwareConfig) -> int:
    """The longest period of rows."""
    return max(ROW_SUM_INTERVAL, SOFTMAX_ROW_INTERVAL)


def interval_shape(config: HardwareConfig) -> range:
    """Intervals from a group to the next: up to 4 reads of one port, V for a write of each element by itself, a sum."""
    return range(max(SUM_CYCLES, config.vector_lanes) + 1)


def at_most(number: Value, power_of_two: int) -> Value:
    """Whether a signed number is not more than that."""
    place = power_of_two.bit_length() - 1
    return number[-1] | (number[place:-1] == 0) | ((number[place:-1] == 1) & (number[:place] == 0))


def count(m: Module, counter: Signal, *, clear: Value, step: Value, by: Value | int = 1) -> None:
    """`counter` becomes 0 after `clear`, `by` more after `step` (if not cleared), modulo its width."""
    with m.If(clear):
        m.d.sync += counter.eq(0)
    with m.Elif(step):
        m.d.sync += counter.eq(counter + by)


def count_in(
    m: Module, quotient: Signal | None, remainder: Signal, divisor: int, *, clear: Value, step: Value
) -> Value:
    """Count steps as quotient · divisor + remainder. Returns whether the remainder is at its greatest, from a
    register."""
    at_end = Signal(init=divisor == 1, name="at_end")
    with m.If(clear):
        m.d.sync += [remainder.eq(0), at_end.eq(divisor == 1)]
    with m.Elif(step):
        m.d.sync += remainder.eq(Mux(at_end, 0, remainder + 1))
        m.d.sync += at_end.eq((remainder == divisor - 2) | (divisor == 1))
    if quotient is not None:
        count(m, quotient, clear=clear, step=step & at_end)
    return at_end


def row_address(m: Module, panel: Panel, address: Value, stride: Value, *, name: str) -> Value:
    """address + row · stride, for the row `panel` is in; add `panel.word` (or `act_word`) for the word of its group."""
    offset = Signal(ADDRESS, name=f"{name}_row_offset")
    count(m, offset, clear=panel.start, step=panel.next_row, by=stride)
    total = Signal(ADDRESS, name=f"{name}_row_address")
    m.d.comb += total.eq(address + offset)
    return total


def address_in_blocks(m: Module, panel: Panel, begin: Value, stride: Value, *, name: str) -> Signal:
    """The same for a panel that walks by blocks. The address of row 0, `begin`, is given with its `start`."""
    address, of_block = Signal(ADDRESS, name=f"{name}_row_address"), Signal(ADDRESS, name=f"{name}_block_address")
    with m.If(panel.start | panel.group_ends):
        again = Mux(panel.tall | panel.turned, of_block, address)
        m.d.sync += address.eq(Mux(panel.start, begin, Mux(panel.back, again, address + stride)))
    with m.If(panel.start | (panel.group_ends & panel.block_ends & panel.last)):
        m.d.sync += of_block.eq(Mux(panel.start, begin, address + stride))
    return address


def spread(m: Module, slot: Value, mask: Value, slots: int, *, name: str) -> Value:
    """A write mask of `slots` · len(mask) bits with `mask` at `slot`. (Write the lanes' data to every slot.)"""
    chosen = Signal(slots * len(mask), name=name)
    bits = mask.as_unsigned()  # all ones may be signed, and a choice between signed and unsigned is a bit wider
    m.d.comb += chosen.eq(Cat(Mux(slot == place, bits, 0) for place in range(slots)))
    return chosen

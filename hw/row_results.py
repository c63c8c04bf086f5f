"""What VECTOR finds out about rows: the scale and multiplier of their codes, or what Reduce makes of their numbers.

    values ─┬─ row maximum ─┬─ row scale ─┬─ ROW, PARAM
            │               │             └─ table ─ multipliers
            │               └─ table of the last number of each row, to find the next one
            └─ row sum ─────── number and place ─ ROW, VALUE, INDEX

And what Reduce makes of columns: a running sum or maximum in each lane.
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import INSTRUCTION_BITS, HardwareConfig, Memory
from ..arch.isa import ADDRESS, COLUMNS, COUNT, ROWS, Axis, Digit, Quantise, Reduce, Reduction, Results, Scales
from .float import Fields, order_key, resized
from .instructions import fields_of
from .memories import write_signature
from .panel import count, count_in, spread
from .pipeline import register
from .quantise import RowScale
from .ram import Ram
from .reduce import LaneMaxima, RowMaximum
from .sums import Sums


class RowResults(wiring.Component):
    """Takes the groups of a walk, for a Reduce if `reduces`, else for a Quantise: `valid` as RowMaximum does, or `adds`
    as Sums does.

    `row_maximum_cycles` after the last group of a row, plus `row_scale_cycles` − 1, its scale is written; or plus one
    cycle its greatest number and the place of it, or `running_sum_cycles` plus one after it its sum. `scales_done`
    comes the cycle after the last scale of the walk; `next_rank` with the last number, or `done` if no further is
    wanted. A Reduce takes a walk for each number of a row: the greatest, then the greatest of those that come after it.
    `multiplier` is that of row `read_row`, given with `read`, a cycle later (bf16 PEs need none). `start` comes before
    the first group of a walk; `instruction` and `reduces` hold still from the cycle before it on. Columns that do not
    count are +0, and say so. `signs` are those that numbers have where they are compared (`ordered_sign`).

    Along the rows, where each lane has a column, `first` is the first row: `numbers` are the sums `lane_sum_cycles`
    after the last one, or the greatest a cycle after it. The element of VALUE that a number of a row goes to is that
    which `element` says: `en`, `address`, `slot` in the word and `number`.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "reduces": In(1),
            "valid": In(1),
            "adds": In(1),
            "first": In(1),
            "last": In(1),
            "group": In(COLUMNS),
            "counts": In(config.vector_lanes),
            "values": In(data.ArrayLayout(unsigned(config.vector_bits), config.vector_lanes)),
            "signs": In(config.vector_lanes),
            "read": In(1),
            "read_row": In(ROWS),
            "multiplier": Out(config.vector_bits),
            "scales_done": Out(1),
            "next_rank": Out(1),
            "done": Out(1),
            "numbers": Out(data.ArrayLayout(unsigned(32), config.vector_lanes)),
            "element": Out(wiring.Signature({
                "en": Out(1),
                "address": Out(ADDRESS),
                "slot": Out(range(config.columns)),
                "number": Out(32),
            })),
            "param_write": Out(write_signature(config, Memory.PARAM, 32)),
            "row_write": Out(write_signature(config, Memory.ROW)),
            "index_write": Out(write_signature(config, Memory.INDEX, 32)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.greatest = greatest = RowMaximum(config.vector_lanes, config.vector_bits)
        m.submodules.total = total = Sums(config)
        m.submodules.row_scale = row_scale = RowScale(config)
        quantise, reduce = fields_of(Quantise, self.instruction), fields_of(Reduce, self.instruction)
        # Of a Reduce: known before the first group.
        sums = register(m, self.reduces & (reduce.kind == Reduction.SUM), "sums")
        along_rows = register(m, self.reduces & (reduce.axis == Axis.ROWS), "along_rows")
        least = register(m, reduce.kind == Reduction.MINIMUM, "least")
        ordered = [Cat(value[:-1], sign) for value, sign in zip(self.values, self.signs, strict=True)]
        rank = Signal(COUNT)  # of the number that this walk is for
        every = register(m, rank == 0, "every")  # all numbers count, not only those after that of the last walk
        last_of_row = Cat(greatest.place, greatest.o)
        before = self._table(m, row_scale, greatest.o_valid & self.reduces, last_of_row)
        m.d.comb += [
            greatest.valid.eq(self.valid & ~along_rows),
            greatest.first.eq(self.first),
            greatest.last.eq(self.last),
            greatest.counts.eq(self.counts & (self._after(ordered, before) | every.replicate(len(self.counts)))),
            *(data.eq(x) for data, x in zip(greatest.data, ordered, strict=True)),
            total.valid.eq(self.adds),
            total.first.eq(self.first),
            total.last.eq(self.last),
            total.apart.eq(along_rows),
            total.data.eq(self.values),
            row_scale.valid.eq(greatest.o_valid & ~self.reduces),
            row_scale.greatest.eq(greatest.o),
            row_scale.wide.eq(quantise.digit != Digit.WHOLE),
        ]
        self._reduce_columns(m, ordered, total, sums, least)

        found = Signal()
        m.d.comb += found.eq(total.o_valid | (greatest.o_valid & self.reduces))
        row, next_row, last_row = Signal(range(config.panel_rows)), Signal(), Signal()
        rows_left = Signal.like(quantise.rows)
        m.d.comb += [next_row.eq(row_scale.o_valid | found), last_row.eq(rows_left == 1)]
        count(m, row, clear=self.start, step=next_row)
        m.d.sync += rows_left.eq(Mux(self.start, quantise.rows, rows_left - next_row))
        m.d.sync += self.scales_done.eq(row_scale.o_valid & last_row)
        self._write_scale(m, row_scale, row, quantise)
        number = resized(m, self._ordered(greatest.o, least), 32)
        self._write_number(m, found, found & last_row, rank, Mux(sums, total.o, number), greatest.place, reduce)
        return m

    def _ordered(self, value: Value, least: Value) -> Value:
        """A number of a Reduce as it is compared, or as it was."""
        return Cat(value[:-1], ordered_sign(value, least))

    def _after(self, ordered: list[Value], before: Value) -> Value:
        """Which numbers of the group come after that of the last walk."""
        lane_bits = len(ordered).bit_length() - 1
        places = [Cat(Const(lane, lane_bits), self.group)[:COLUMNS] for lane in range(len(ordered))]
        last = _in_order(before[COLUMNS:], before[:COLUMNS])
        return Cat(_in_order(x, place) < last for x, place in zip(ordered, places, strict=True))

    def _table(self, m: Module, row_scale: RowScale, found: Value, last_of_row: Value) -> Value:
        """A word for each row, read for the row `read_row`: of the last walk of a Reduce or the multiplier."""
        m.submodules.table = table = Ram(len(last_of_row), self._config.panel_rows)
        written = Signal(range(self._config.panel_rows))
        count(m, written, clear=self.start, step=table.write_mask)
        multiplies = self._config.pe == "int8"
        m.d.comb += [
            table.write_mask.eq(found | (row_scale.o_valid if multiplies else 0)),
            table.write_address.eq(written),
            table.write_data.eq(Mux(self.reduces, last_of_row, row_scale.multiplier) if multiplies else last_of_row),
            table.read_en.eq(self.read),
            table.read_address.eq(self.read_row),
            self.multiplier.eq(table.read_data),
        ]
        return table.read_data

    def _reduce_columns(self, m: Module, ordered: list[Value], total: Sums, sums: Value, least: Value) -> None:
        m.submodules.columns = columns = LaneMaxima(len(ordered), self._config.vector_bits)
        m.d.comb += [
            columns.valid.eq(self.valid),
            columns.first.eq(self.first),
            *(data.eq(x) for data, x in zip(columns.data, ordered, strict=True)),
            *(number.eq(Mux(sums, of_sum, resized(m, self._ordered(extreme, least), 32)))
              for number, of_sum, extreme in zip(self.numbers, total.sums, columns.o, strict=True)),
        ]  # fmt: skip

    def _write_scale(self, m: Module, row_scale: RowScale, row: Value, fields) -> None:
        config = self._config
        row_word, row_slot = Signal(range(config.panel_rows)), Signal(range(config.columns))
        count_in(m, row_word, row_slot, config.columns, clear=self.start, step=row_scale.o_valid)
        to_row, scale = fields.scales == Scales.ROW, resized(m, row_scale.scale, 32)
        halves = Cat(fields.scales != Scales.PARAM_OFFSET, fields.scales != Scales.PARAM_SCALE)
        m.d.comb += [
            self.row_write.en.eq(row_scale.o_valid & to_row),
            self.row_write.address.eq(fields.scales_address + row),
            self.row_write.mask.eq(1),
            self.row_write.data.eq(scale),
            self.param_write.en.eq(row_scale.o_valid & ~to_row),
            self.param_write.address.eq(fields.scales_address + row_word),
            self.param_write.mask.eq(spread(m, row_slot, halves, config.columns, name="half_mask")),
            self.param_write.data.eq(scale),
        ]

    def _write_number(
        self, m: Module, found: Value, ends: Value, rank: Signal, number: Value, place: Value, fields
    ) -> None:  # fmt: skip
        """Write a number of a row, and its place, from registers; go on to the next rank at the end of a walk."""
        config = self._config
        last_rank, elements, strides = Signal(), Signal(ADDRESS), Signal(ADDRESS)  # from the first number to this one
        rank_word, rank_slot = Signal(COUNT), Signal(range(config.columns))
        m.d.comb += last_rank.eq(register(m, rank + 1 == fields.count, "last_rank"))
        count(m, rank, clear=ends & last_rank, step=ends)
        count_in(m, rank_word, rank_slot, config.columns, clear=ends & last_rank, step=ends)
        with m.If(self.start):
            m.d.sync += [elements.eq(rank), strides.eq(rank_word)]
        with m.Elif(found):
            m.d.sync += [elements.eq(elements + fields.count), strides.eq(strides + fields.stride)]
        m.d.sync += [self.next_rank.eq(ends & ~last_rank), self.done.eq(ends & last_rank)]

        per_word = config.word_elements(Memory.INDEX)
        slot_bits = per_word.bit_length() - 1
        index, to_row = Signal(ADDRESS), Signal()
        row_address = Signal(ADDRESS)
        m.d.comb += index.eq(fields.index_address + elements)
        m.d.sync += [
            to_row.eq(found & (fields.results == Results.ROW)),
            row_address.eq(fields.address + elements),
            self.element.en.eq(found & (fields.results == Results.VALUE)),
            self.element.address.eq(fields.address + strides),
            self.element.slot.eq(rank_slot),
            self.element.number.eq(number),
            self.index_write.en.eq(found & fields.placed),
            self.index_write.address.eq(index >> slot_bits),
            self.index_write.mask.eq(spread(m, index[:slot_bits], Const(1, 1), per_word, name="element_mask")),
            self.index_write.data.eq(place),
        ]
        with m.If(to_row):
            m.d.comb += [
                self.row_write.en.eq(1),
                self.row_write.address.eq(row_address),
                self.row_write.data.eq(self.element.number),
            ]


def ordered_sign(value: Value, least: Value) -> Value:
    """The sign of a number where it is compared with others: negated for the least; zeros are +0, NaN is beyond all. If
    it is done twice, it is that of the number."""
    fields = Fields(value)
    return (value[-1] ^ least) & ~fields.zero & ~fields.nan


def _in_order(number: Value, place: Value) -> Value:
    """An integer that is the greater the greater `number` is, or of equal ones the sooner it stands."""
    return Cat(~place, order_key(number))

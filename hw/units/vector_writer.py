"""The writing side of VECTOR: values to VALUE, or row maxima to scales and then values to codes, or what they come to.

    values ─ register ─┬─ VALUE                                               (phase MAP)
                       ├─ row results ─┬─ ROW, PARAM                          (phase MAXIMA)
                       │               ├─ ROW, VALUE, INDEX                   (phase REDUCE)
                       │               multiplier
                       └─ × multiplier ─ round ─ register ─┬─ ACT, WEIGHT     (phase CODES)
                                                           └─ transposer ─ WEIGHT

A panel of its own walks the groups as they come out of the datapath.
"""

from enum import IntEnum
from types import SimpleNamespace

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, HardwareConfig, Memory
from ...arch.isa import ADDRESS, Axis, Codes, Layout, Map, Quantise, Reduce, Reduction
from ..float import shortened
from ..instructions import fields_of
from ..memories import lane_bits, write_signature
from ..panel import Panel, count_in, interval_shape, spread
from ..pipeline import delay, register
from ..quantise import CodeLanes
from ..row_results import RowResults, ordered_sign
from ..transposer import Transposer


class Phase(IntEnum):
    """What the walk under way is for."""

    MAP = 0  # values to VALUE
    MAXIMA = 1  # the first walk of Quantise
    CODES = 2  # its second
    REDUCE = 3  # a walk of Reduce


class VectorWriter(wiring.Component):
    """Takes the groups of a walk, in order, and writes what becomes of them.

    `start` comes in the cycle before the first group; the walk is that of `Panel` with the rows and columns of
    `instruction` and the given fill, last beat and turn, and `values` are the group's in its first cycle; those
    below `columns` that are not `chosen` then are not written to VALUE. A value is written to VALUE one cycle later, a
    code `quantise_cycles` after that, the result of a row or column as `RowResults` says; `retire` is up in the cycle
    of the last write, or `next_walk` where another walk follows: in that cycle, or for the phase MAXIMA in the one
    after. Other inputs hold still during a walk.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "phase": In(Phase),
            "fill": In(2),
            "last_beat": In(range(max(interval_shape(config)))),
            "tall": In(1),
            "turned": In(1),
            "values": In(data.ArrayLayout(unsigned(config.vector_bits), config.vector_lanes)),
            "chosen": In(config.vector_lanes),
            "next_walk": Out(1),
            "retire": Out(1),
            "value_write": Out(write_signature(config, Memory.VALUE, lane_bits(config, Memory.VALUE))),
            "act_write": Out(write_signature(config, Memory.ACT, lane_bits(config, Memory.ACT))),
            "weight_write": Out(write_signature(config, Memory.WEIGHT, lane_bits(config, Memory.WEIGHT))),
            "param_write": Out(write_signature(config, Memory.PARAM, 32)),
            "row_write": Out(write_signature(config, Memory.ROW)),
            "index_write": Out(write_signature(config, Memory.INDEX, 32)),
        })  # fmt: skip
        self._group_layout = data.StructLayout({
            "valid": 1,
            "done": 1,  # it is the last of the walk
            "address": ADDRESS,  # of the word it goes to, for the transposed codes: of the first
            "slot": range(max(config.rows, config.columns)),  # its place in the word
            "counts": config.vector_lanes,  # which lanes are below `columns`
            "row_counts": 1,  # its row is below `rows`
            "block_ends": 1,  # its row is the last of its block
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        quantise = fields_of(Quantise, self.instruction)
        # With its last group the instruction may be over, and the next one in its place.
        m.submodules.panel = panel = Panel(self._config, brief=True, blocks=True, intervals=True)
        m.d.comb += [
            panel.start.eq(self.start),
            panel.rows.eq(quantise.rows),
            panel.columns.eq(quantise.columns),
            panel.fill.eq(self.fill),
            panel.last_beat.eq(self.last_beat),
            panel.tall.eq(self.tall),
            panel.turned.eq(self.turned),
        ]
        values = data.View(self.values.shape(), Signal(len(self.values.as_value()), name="values_out"))
        # From registers: it is known long before the first group comes. A Quantise compares magnitudes.
        is_least = register(m, fields_of(Reduce, self.instruction).kind == Reduction.MINIMUM, "is_least")
        is_signed = register(m, self.phase == Phase.REDUCE, "is_signed")
        signs = Cat(ordered_sign(x, is_least) & is_signed for x in self.values) & panel.counts
        with m.If(panel.valid):
            m.d.sync += [values[lane].eq(Mux(panel.counts[lane], x, 0)) for lane, x in enumerate(self.values)]
        with m.Else():  # to be written from the first lane
            m.d.sync += values.as_value().eq(values.as_value() >> self._config.vector_bits)
        coming = self._destination(m, panel)
        group = data.View(self._group_layout, delay(m, coming.as_value(), 1, name="group"))
        results = self._reduce(m, panel, values, register(m, signs, "signs"), group)
        chosen = delay(m, self.chosen | ~panel.counts, 1, name="chosen")
        elements = self._elements(m, panel, coming, group)
        retire_values = self._write_values(m, panel, values, chosen, group, results, elements)
        retire_codes = self._write_codes(m, values, results.multiplier, group, quantise)
        m.d.comb += [
            self.next_walk.eq(results.scales_done | results.next_rank),
            self.retire.eq(retire_values | retire_codes | results.done),
        ]
        return m

    def _destination(self, m: Module, panel: Panel) -> data.View:
        """Where the group that `panel` is at goes: `address`, so many strides, and a position, as `isa.Codes` says; or
        where the results of its columns go, as if to one row."""
        config, lanes = self._config, self._config.vector_lanes
        of_map, of_quantise = fields_of(Map, self.instruction), fields_of(Quantise, self.instruction)
        # From registers: it is known long before the first group comes.
        in_map, in_codes = self.phase == Phase.MAP, (self.phase == Phase.MAXIMA) | (self.phase == Phase.CODES)
        transposed, shifted = (register(m, in_map & (of_map.layout == layout), layout.name.lower())
                               for layout in (Layout.TRANSPOSED, Layout.SHIFTED))  # fmt: skip
        to_act, to_weight, to_tiles = (register(m, in_codes & (of_quantise.codes == codes), codes.name.lower())
                                       for codes in (Codes.ACT, Codes.WEIGHT, Codes.WEIGHT_TRANSPOSED))  # fmt: skip
        # Of a Map and a Reduce addresses have one place.
        to_value = register(m, (self.phase == Phase.MAP) | (self.phase == Phase.REDUCE), "to_value")
        row_slot = Signal(range(config.columns))  # m % C
        row_word_ends = count_in(m, None, row_slot, config.columns, clear=panel.start, step=panel.next_row)
        block_slot = Signal(range(config.columns // lanes))  # of V rows: m % C // V
        block_word_ends = count_in(m, None, block_slot, config.columns // lanes, clear=panel.start, step=panel.next_row)

        place = Signal(ADDRESS)  # so many strides on
        step, clear = Signal(), Signal()
        stride = register(m, Mux(transposed, 1, Mux(to_value, of_map.stride, of_quantise.stride)), "stride")
        with m.If(clear):
            m.d.sync += place.eq(Mux(to_value, of_map.address, of_quantise.address))
        with m.Elif(step):
            m.d.sync += place.eq(place + stride)
        position = Signal(ADDRESS)
        coming = data.View(self._group_layout, Signal(self._group_layout.size, name="coming"))
        m.d.comb += [
            clear.eq(panel.start),
            step.eq(panel.next_row),
            position.eq(panel.word),
            coming.valid.eq(panel.valid),
            coming.done.eq(panel.done),
            coming.address.eq(place + position),
            coming.slot.eq(panel.slot),
            coming.counts.eq(panel.counts),
            coming.row_counts.eq(panel.row_counts),
            coming.block_ends.eq(panel.block_ends),
        ]
        back = of_map.shift < 0
        with m.If(transposed):
            m.d.comb += [step.eq(panel.next_row & row_word_ends), position.eq(0), coming.slot.eq(row_slot)]
        with m.If(shifted):
            m.d.comb += [
                position.eq(Mux(back, -1, 0)),
                coming.slot.eq(Mux(back, of_map.shift + config.columns, of_map.shift)),
            ]
        with m.If(to_act):
            m.d.comb += [position.eq(panel.act_word), coming.slot.eq(panel.act_slot)]
        with m.If(to_weight):
            m.d.comb += [clear.eq(panel.start | panel.next_row), step.eq(panel.next_word), position.eq(panel.row)]
        with m.If(to_tiles):
            m.d.comb += [
                step.eq(panel.next_row & block_word_ends),
                position.eq(panel.group << (lanes.bit_length() - 1)),
                coming.slot.eq(block_slot),
            ]
        return coming

    def _elements(self, m: Module, panel: Panel, coming: data.View, group: data.View) -> SimpleNamespace:
        """Where the first lane of `values` goes, if a Map writes them one by one: from the first column of a row on, a
        stride further for each or to the next place. `done` with the last."""
        config, fields = self._config, fields_of(Map, self.instruction)
        those = SimpleNamespace(
            chosen=Signal(), en=Signal(), done=Signal(), address=Signal(ADDRESS), slot=Signal(range(config.columns))
        )
        transposed, left = fields.layout == Layout.TRANSPOSED, Signal(config.vector_lanes)
        before = Signal()  # the element is left out, as it would come to the word before those of its row
        row_starts, word_ends = panel.valid & panel.first, those.slot == config.columns - 1
        # A Map of words leaves none behind: another one may begin in the cycle after it.
        m.d.sync += left.eq(Mux(panel.valid, Mux(those.chosen, panel.counts, 0), left >> 1))
        with m.If(row_starts):
            m.d.sync += [
                those.address.eq(coming.address),
                those.slot.eq(coming.slot),
                before.eq(~transposed & (fields.shift < 0)),
            ]
        with m.Elif(left[0] & transposed):
            m.d.sync += those.address.eq(those.address + fields.stride)
        with m.Elif(left[0]):
            m.d.sync += [those.slot.eq(Mux(word_ends, 0, those.slot + 1)), those.address.eq(those.address + word_ends)]
            m.d.sync += before.eq(before & ~word_ends)
        m.d.comb += [
            those.chosen.eq(register(m, (self.phase == Phase.MAP) & (fields.layout != Layout.ROWS), "by_elements")),
            those.en.eq(those.chosen & left[0] & ~before),
        ]
        m.d.comb += those.done.eq(delay(m, group.done & those.chosen, config.vector_lanes - 1, "elements_done"))
        return those

    def _write_values(
        self, m: Module, panel: Panel, values: data.View, chosen: Value, group: data.View, results: RowResults,
        elements: SimpleNamespace,
    ) -> Value:  # fmt: skip
        """The words or elements of phases MAP and REDUCE. Returns whether this cycle is the last of them, but for a
        Reduce along the columns."""
        config, lanes = self._config, self._config.vector_lanes
        reduce = fields_of(Reduce, self.instruction)
        along_rows = register(m, (self.phase == Phase.REDUCE) & (reduce.axis == Axis.ROWS), "along_rows")
        sums = register(m, reduce.kind == Reduction.SUM, "sums")

        def numbers_come(of_group: Value, name: str, reset_less: bool = False) -> Value:
            """What is known of columns with their last row, when their numbers come. Of what is no sum nothing is left
            for the instruction after it."""
            soon = delay(m, of_group, 1, f"{name}_soon", reset_less=reset_less)
            late = delay(m, Mux(sums, soon, 0), config.lane_sum_cycles - 1, f"{name}_late", reset_less=reset_less)
            return Mux(sums, late, soon)

        ends = numbers_come(delay(m, panel.valid & panel.last_row, 1, "last_row") & along_rows, "ends")
        address = numbers_come(group.address, "address", True)

        by_words = fields_of(Map, self.instruction).layout == Layout.ROWS
        bits, in_words = config.value_bits, register(m, (self.phase == Phase.MAP) & by_words, "in_words")
        # What is chosen hangs on what is done, which is known long before, not on whether there is a write.
        of_results = register(m, self.phase == Phase.REDUCE, "of_results")
        by_elements = register(m, ~((self.phase == Phase.MAP) & by_words)
                               & ~((self.phase == Phase.REDUCE) & (reduce.axis == Axis.ROWS)), "by_elements")
        element = SimpleNamespace(
            en=results.element.en | elements.en,
            address=Mux(elements.chosen, elements.address, results.element.address),
            slot=Mux(elements.chosen, elements.slot, results.element.slot),
        )
        stored = [shortened(x, 32) for x in values]
        stored[0] = Mux(of_results, results.element.number, stored[0])  # it goes the way of the first lane
        written = Mux(along_rows, Const(-1, lanes).as_unsigned(), chosen)
        numbers = [shortened(Mux(along_rows, number, x), bits)
                   for number, x in zip(results.numbers, stored, strict=True)]  # fmt: skip
        slots = config.columns // lanes
        slot = Mux(along_rows, numbers_come(group.slot, "slot", True), group.slot)
        m.d.comb += [
            self.value_write.en.eq((group.valid & in_words) | ends | element.en),
            self.value_write.address.eq(Mux(along_rows, address, group.address)),
            self.value_write.mask.eq(spread(m, slot, written, slots, name="value_mask")),
            self.value_write.data.eq(Cat(numbers)),
        ]
        with m.If(by_elements):
            m.d.comb += [
                self.value_write.address.eq(element.address),
                self.value_write.mask.eq(spread(m, element.slot, Const(1, 1), config.columns, name="number_mask")),
                self.value_write.data.eq(numbers[0].replicate(lanes)),
            ]
        done_columns = numbers_come(group.done & along_rows, "done_columns")
        return (group.done & in_words) | elements.done | done_columns

    def _reduce(
        self, m: Module, panel: Panel, values: data.View, signs: Value, group: data.View
    ) -> RowResults:  # fmt: skip
        """Phases MAXIMA and REDUCE; gives the group of phase CODES the multiplier of its row."""
        m.submodules.results = results = RowResults(self._config)
        for port in ("param_write", "row_write", "index_write"):
            wiring.connect(m, wiring.flipped(getattr(self, port)), getattr(results, port))
        reduce = fields_of(Reduce, self.instruction)
        is_reduce = register(m, self.phase == Phase.REDUCE, "is_reduce")
        adds = register(m, (self.phase == Phase.REDUCE) & (reduce.kind == Reduction.SUM), "is_sum")
        compares = register(m, (self.phase == Phase.MAXIMA) | (self.phase == Phase.REDUCE), "is_compared") & ~adds
        first = Mux(self.turned, panel.row == 0, panel.first)
        m.d.comb += [
            results.start.eq(self.start),
            results.instruction.eq(self.instruction),
            results.reduces.eq(is_reduce),
            results.valid.eq(delay(m, panel.valid & compares, 1, name="compares")),
            results.adds.eq(delay(m, panel.valid & adds, 1, name="adds")),
            results.first.eq(delay(m, first, 1, name="first")),
            results.last.eq(delay(m, panel.last, 1, name="last")),
            results.group.eq(delay(m, panel.group, 1, name="group_number")),
            results.counts.eq(group.counts),
            results.values.eq(values),
            results.signs.eq(signs),
            results.read.eq(panel.valid),
            results.read_row.eq(panel.row),
        ]
        return results

    def _write_codes(self, m: Module, values: data.View, multiplier: Value, group: data.View, fields) -> Value:
        """Phase CODES. Returns whether this cycle is its last."""
        config, lanes, bits = self._config, self._config.vector_lanes, self._config.code_bits
        codes = fields.codes
        m.submodules.code_lanes = code_lanes = CodeLanes(config, digits=True)
        m.d.comb += [
            code_lanes.value.eq(values),
            code_lanes.multiplier.eq(multiplier),
            code_lanes.digit.eq(fields.digit),
        ]
        rounded = data.View(self._group_layout, delay(m, group.as_value(), config.quantise_cycles - 1, name="rounded"))

        written, code = Signal(), Signal(bits * lanes, reset_less=True)
        is_codes = register(m, self.phase == Phase.CODES, "is_codes")
        out = data.View(self._group_layout, delay(m, rounded.as_value(), 1, name="written_group", reset_less=True))
        m.d.sync += [written.eq(rounded.valid & is_codes), code.eq(code_lanes.o)]
        by_blocks = register(m, codes == Codes.WEIGHT_TRANSPOSED, "by_blocks")
        tile_valid = Signal()
        m.d.sync += tile_valid.eq(rounded.valid & is_codes & by_blocks)
        transposed = self._transpose(m, out, code, tile_valid)

        act_slots, weight_slots = config.rows // lanes, config.columns // lanes
        every = Const(-1, lanes)
        m.d.comb += [
            self.act_write.en.eq(written & (codes == Codes.ACT)),
            self.act_write.address.eq(out.address),
            self.act_write.mask.eq(spread(m, out.slot, every, act_slots, name="act_mask")),
            self.act_write.data.eq(code),
        ]
        with m.If(codes == Codes.WEIGHT):
            m.d.comb += [
                self.weight_write.en.eq(written),
                self.weight_write.address.eq(out.address),
                self.weight_write.mask.eq(spread(m, out.slot, every, weight_slots, name="weight_mask")),
                self.weight_write.data.eq(code),
            ]
        with m.Else():
            m.d.comb += [
                self.weight_write.en.eq(transposed.valid),
                self.weight_write.address.eq(transposed.address),
                self.weight_write.mask.eq(spread(m, transposed.slot, transposed.rows, weight_slots, name="tile_mask")),
                self.weight_write.data.eq(transposed.codes),
            ]
        return Mux(by_blocks, transposed.last, written & out.done)

    def _transpose(self, m: Module, group: data.View, code: Value, valid: Value) -> SimpleNamespace:
        """Groups of a tall walk as words of WEIGHT: a tile of V rows and V columns leaves column by column, as the next
        one comes or by itself, each column into the V elements at `slot` of a word of its own."""
        lanes = self._config.vector_lanes
        m.submodules.transposer = transposer = Transposer(lanes, self._config.code_bits)
        rows = Signal(lanes)  # which of the tile that is coming count
        with_this = Cat(rows, group.row_counts)[1:]
        leaving = SimpleNamespace(
            valid=Signal(), last=transposer.o_last, codes=transposer.o, address=Signal(ADDRESS),
            slot=Signal(group.slot.shape()), rows=Signal(lanes),
        )  # fmt: skip
        columns = Signal(lanes)  # which of those yet to leave count
        m.d.comb += [
            transposer.i_valid.eq(valid),
            transposer.i_last.eq(valid & group.done),
            transposer.i.eq(code),
            leaving.valid.eq(transposer.o_valid & columns[0]),
        ]
        with m.If(valid):
            m.d.sync += rows.eq(with_this)
        with m.If(valid & group.block_ends):
            m.d.sync += [
                leaving.address.eq(group.address),
                leaving.slot.eq(group.slot),
                leaving.rows.eq(with_this),
                columns.eq(group.counts),
            ]
        with m.Elif(transposer.o_valid):
            m.d.sync += [leaving.address.eq(leaving.address + 1), columns.eq(columns >> 1)]
        return leaving

"""The writing side of VECTOR: values to VALUE, or row maxima to scales and then values to int8 codes.

    values ─ register ─┬─ VALUE
                       ├─ |·| ─ row maximum ─ row scale ─┬─ ROW, PARAM        (phase MAXIMA)
                       │                       multiplier table
                       └─ × multiplier ─ round ─ register ─┴─ ACT, WEIGHT     (phase CODES)

A panel of its own walks the groups as they come out of the datapath.
"""

from enum import IntEnum

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, HardwareConfig, Memory
from ...arch.isa import ADDRESS, Codes, Map, Quantise, Scales
from ..float import magnitude, to_bf16
from ..instructions import fields_of
from ..memories import write_signature
from ..panel import Panel, count, count_in, interval_shape, spread
from ..pipeline import delay
from ..quantise import CodeLanes, RowScale
from ..ram import Ram
from ..reduce import RowMaximum


class Phase(IntEnum):
    """What the walk under way is for."""

    MAP = 0  # values to VALUE
    MAXIMA = 1  # the first walk of Quantise
    CODES = 2  # its second


class VectorWriter(wiring.Component):
    """Takes the groups of a walk, in order, and writes what becomes of them.

    `start` comes in the cycle before the first group; the walk is that of `Panel` with the rows and columns of
    `instruction` and the given fill and interval, and `values` are the group's in its first cycle. A value is written
    to VALUE one cycle later, a code `quantise_cycles` after that; `retire` is up in the cycle of the last write, or for
    the phase MAXIMA `maxima_done` in the cycle after. Other inputs hold still during a phase.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "phase": In(Phase),
            "fill": In(2),
            "interval": In(interval_shape(config)),
            "values": In(data.ArrayLayout(unsigned(32), config.vector_lanes)),
            "maxima_done": Out(1),
            "retire": Out(1),
            "value_write": Out(write_signature(config, Memory.VALUE)),
            "act_write": Out(write_signature(config, Memory.ACT)),
            "weight_write": Out(write_signature(config, Memory.WEIGHT)),
            "param_write": Out(write_signature(config, Memory.PARAM)),
            "row_write": Out(write_signature(config, Memory.ROW)),
        })  # fmt: skip
        self._group_layout = data.StructLayout({
            "valid": 1,
            "done": 1,  # it is the last of the walk
            "address": ADDRESS,  # of the word it goes to, for the transposed codes: of the first
            "slot": range(max(config.rows, config.columns)),  # its place in the word
            "counts": config.vector_lanes,  # which lanes are below `columns`
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        quantise = fields_of(Quantise, self.instruction)
        m.submodules.panel = panel = Panel(self._config)
        m.d.comb += [
            panel.start.eq(self.start),
            panel.rows.eq(quantise.rows),
            panel.columns.eq(quantise.columns),
            panel.fill.eq(self.fill),
            panel.interval.eq(self.interval),
        ]
        values = data.View(self.values.shape(), Signal(len(self.values.as_value()), name="values_out"))
        for lane, value in enumerate(self.values):
            m.d.sync += values[lane].eq(Mux(panel.counts[lane], value, 0))
        coming = self._destination(m, panel)
        group = data.View(self._group_layout, delay(m, coming.as_value(), 1, name="group"))
        multiplier = self._scale_rows(m, panel, values, quantise, platform)
        retire_map = self._write_values(m, values, group)
        retire_codes = self._write_codes(m, values, multiplier, group, quantise.codes)
        m.d.comb += self.retire.eq(retire_map | retire_codes)
        return m

    def _destination(self, m: Module, panel: Panel) -> data.View:
        """Where the group that `panel` is at goes: `address`, so many strides, and a position, as `isa.Codes` says."""
        config, lanes = self._config, self._config.vector_lanes
        of_map, of_quantise = fields_of(Map, self.instruction), fields_of(Quantise, self.instruction)
        is_map = self.phase == Phase.MAP
        row_slot = Signal(range(config.columns))  # m % C
        row_word_ends = count_in(m, None, row_slot, config.columns, clear=panel.start, step=panel.next_row)

        strides = Signal(ADDRESS)  # their sum so far
        step, clear = Signal(), Signal()
        count(m, strides, clear=clear, step=step, by=Mux(is_map, of_map.stride, of_quantise.stride))
        position = Signal(ADDRESS)
        coming = data.View(self._group_layout, Signal(self._group_layout.size, name="coming"))
        m.d.comb += [
            clear.eq(panel.start),
            step.eq(panel.next_row),
            position.eq(panel.word),
            coming.valid.eq(panel.valid),
            coming.done.eq(panel.done),
            coming.address.eq(Mux(is_map, of_map.address, of_quantise.address) + strides + position),
            coming.slot.eq(panel.slot),
            coming.counts.eq(panel.counts),
        ]
        with m.If(~is_map), m.Switch(of_quantise.codes):
            with m.Case(Codes.ACT):
                m.d.comb += [position.eq(panel.act_word), coming.slot.eq(panel.act_slot)]
            with m.Case(Codes.WEIGHT):
                m.d.comb += [clear.eq(panel.start | panel.next_row), step.eq(panel.next_word), position.eq(panel.row)]
            with m.Case(Codes.WEIGHT_TRANSPOSED):
                m.d.comb += [
                    step.eq(panel.next_row & row_word_ends),
                    position.eq(panel.group << (lanes.bit_length() - 1)),
                    coming.slot.eq(row_slot),
                ]
        return coming

    def _write_values(self, m: Module, values: data.View, group: data.View) -> Value:
        """Phase MAP. Returns whether this cycle is its last."""
        config, lanes = self._config, self._config.vector_lanes
        slots = config.columns // lanes
        stored = Cat(to_bf16(m, value) if config.value_format == "bf16" else value for value in values)
        is_map = self.phase == Phase.MAP
        m.d.comb += [
            self.value_write.en.eq(group.valid & is_map),
            self.value_write.address.eq(group.address),
            self.value_write.mask.eq(spread(m, group.slot, Const(-1, lanes), slots, name="value_mask")),
            self.value_write.data.eq(stored.replicate(slots)),
        ]
        return group.done & is_map

    def _scale_rows(self, m: Module, panel: Panel, values: data.View, fields, platform) -> Value:
        """Phase MAXIMA: fill the table of multipliers, write the scales. Returns the multiplier of the group's row."""
        config = self._config
        m.submodules.row_maximum = row_maximum = RowMaximum(config.vector_lanes)
        m.submodules.row_scale = row_scale = RowScale()
        m.submodules.table = table = Ram(32, config.panel_rows)
        is_maxima = self.phase == Phase.MAXIMA
        m.d.comb += [
            row_maximum.valid.eq(delay(m, panel.valid & is_maxima, 1, name="maxima_valid")),
            row_maximum.first.eq(delay(m, panel.first, 1, name="first")),
            row_maximum.last.eq(delay(m, panel.last, 1, name="last")),
            row_scale.valid.eq(row_maximum.o_valid),
            row_scale.greatest.eq(row_maximum.o),
        ]
        for lane, value in enumerate(values):
            m.d.comb += row_maximum.data[lane].eq(magnitude(value))

        row = Signal(range(config.panel_rows))
        row_word, row_slot = Signal(range(config.panel_rows)), Signal(range(config.columns))
        count(m, row, clear=self.start, step=row_scale.o_valid)
        count_in(m, row_word, row_slot, config.columns, clear=self.start, step=row_scale.o_valid)
        m.d.sync += self.maxima_done.eq(row_scale.o_valid & (row + 1 == fields.rows))

        to_row = fields.scales == Scales.ROW
        halves = Cat(fields.scales == Scales.PARAM_SCALE, fields.scales == Scales.PARAM_OFFSET)
        m.d.comb += [
            self.row_write.en.eq(row_scale.o_valid & to_row),
            self.row_write.address.eq(fields.scales_address + row),
            self.row_write.mask.eq(1),
            self.row_write.data.eq(row_scale.scale),
            self.param_write.en.eq(row_scale.o_valid & ~to_row),
            self.param_write.address.eq(fields.scales_address + row_word),
            self.param_write.mask.eq(spread(m, row_slot, halves, config.columns, name="half_mask")),
            self.param_write.data.eq(row_scale.scale.replicate(2 * config.columns)),
            table.write_mask.eq(row_scale.o_valid),
            table.write_address.eq(row),
            table.write_data.eq(row_scale.multiplier),
            table.read_en.eq(panel.valid),
            table.read_address.eq(panel.row),
        ]
        return table.read_data

    def _write_codes(self, m: Module, values: data.View, multiplier: Value, group: data.View, codes: Value) -> Value:
        """Phase CODES. Returns whether this cycle is its last."""
        config, lanes = self._config, self._config.vector_lanes
        m.submodules.code_lanes = code_lanes = CodeLanes(config)
        m.d.comb += [code_lanes.value.eq(values), code_lanes.multiplier.eq(multiplier)]
        rounded = data.View(self._group_layout, delay(m, group.as_value(), config.quantise_cycles - 1, name="rounded"))

        # The output registers. A transposed group leaves them lane by lane.
        written, done = Signal(), Signal()
        address, slot = Signal(ADDRESS), Signal.like(Value.cast(rounded.slot))
        code, pending = Signal(8 * lanes), Signal(lanes)
        is_codes = self.phase == Phase.CODES
        by_lanes = codes == Codes.WEIGHT_TRANSPOSED  # also marks what leaves late: the next instruction may have begun
        m.d.sync += [written.eq(rounded.valid & is_codes), done.eq(rounded.done & is_codes)]
        with m.If(rounded.valid & is_codes):
            m.d.sync += [
                address.eq(rounded.address),
                slot.eq(rounded.slot),
                code.eq(code_lanes.o),
                pending.eq(Mux(by_lanes, rounded.counts, 0)),
            ]
        with m.Else():
            m.d.sync += [address.eq(address + 1), code.eq(code >> 8), pending.eq(pending >> 1)]

        act_slots, weight_slots = config.rows // lanes, config.columns // lanes
        every = Const(-1, lanes)
        m.d.comb += [
            self.act_write.en.eq(written & (codes == Codes.ACT)),
            self.act_write.address.eq(address),
            self.act_write.mask.eq(spread(m, slot, every, act_slots, name="act_mask")),
            self.act_write.data.eq(code.replicate(act_slots)),
            self.weight_write.address.eq(address),
        ]
        with m.If(codes == Codes.WEIGHT):
            m.d.comb += [
                self.weight_write.en.eq(written),
                self.weight_write.mask.eq(spread(m, slot, every, weight_slots, name="weight_mask")),
                self.weight_write.data.eq(code.replicate(weight_slots)),
            ]
        with m.Elif(by_lanes):
            m.d.comb += [
                self.weight_write.en.eq(pending[0]),
                self.weight_write.mask.eq(spread(m, slot, Const(1, 1), config.columns, name="byte_mask")),
                self.weight_write.data.eq(code[:8].replicate(config.columns)),
            ]
        last_lane = delay(m, done & by_lanes, lanes - 1, name="done")
        return Mux(by_lanes, last_lane, done)

"""The writing side of VECTOR: values to VALUE, or row maxima to scales and then values to codes, or their places.

    values ─ register ─┬─ VALUE                                               (phase MAP)
                       ├─ row results ─┬─ ROW, PARAM                          (phase MAXIMA)
                       │               ├─ INDEX                               (phase PLACES)
                       │               multiplier
                       └─ × multiplier ─ round ─ register ─ ACT, WEIGHT       (phase CODES)

A panel of its own walks the groups as they come out of the datapath.
"""

from enum import IntEnum

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, HardwareConfig, Memory
from ...arch.isa import ADDRESS, Codes, Map, Quantise
from ..float import MINUS_INFINITY, ZERO, resized, upper
from ..instructions import fields_of
from ..memories import lane_bits, write_signature
from ..panel import Panel, count, count_in, interval_shape, spread
from ..pipeline import delay
from ..quantise import CodeLanes
from ..row_results import RowResults


class Phase(IntEnum):
    """What the walk under way is for."""

    MAP = 0  # values to VALUE
    MAXIMA = 1  # the first walk of Quantise
    CODES = 2  # its second
    PLACES = 3  # the walk of Argmax


class VectorWriter(wiring.Component):
    """Takes the groups of a walk, in order, and writes what becomes of them.

    `start` comes in the cycle before the first group; the walk is that of `Panel` with the rows and columns of
    `instruction` and the given fill and interval, and `values` are the group's in its first cycle; those below
    `columns` that are not `chosen` then are not written to VALUE. A value is written to VALUE one cycle later, a code
    `quantise_cycles` after that, the result of a row as `RowResults` says; `retire` is up in the cycle of the last
    write, or for the phase MAXIMA `maxima_done` in the cycle after. Other inputs hold still during a phase.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "phase": In(Phase),
            "fill": In(2),
            "interval": In(interval_shape(config)),
            "values": In(data.ArrayLayout(unsigned(config.vector_bits), config.vector_lanes)),
            "chosen": In(config.vector_lanes),
            "maxima_done": Out(1),
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
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        quantise = fields_of(Quantise, self.instruction)
        # With its last group the instruction may be over, and the next one in its place.
        m.submodules.panel = panel = Panel(self._config, brief=True)
        m.d.comb += [
            panel.start.eq(self.start),
            panel.rows.eq(quantise.rows),
            panel.columns.eq(quantise.columns),
            panel.fill.eq(self.fill),
            panel.interval.eq(self.interval),
        ]
        values = data.View(self.values.shape(), Signal(len(self.values.as_value()), name="values_out"))
        bits = self._config.vector_bits
        for lane, value in enumerate(self.values):
            beyond = Mux(self.phase == Phase.PLACES, upper(MINUS_INFINITY, bits), upper(ZERO, bits))
            m.d.sync += values[lane].eq(Mux(panel.counts[lane], value, beyond))
        coming = self._destination(m, panel)
        group = data.View(self._group_layout, delay(m, coming.as_value(), 1, name="group"))
        results = self._reduce(m, panel, values)
        chosen = delay(m, self.chosen | ~panel.counts, 1, name="chosen")
        retire_map = self._write_values(m, values, chosen, group)
        retire_codes = self._write_codes(m, values, results.multiplier, group, quantise)
        m.d.comb += [
            self.maxima_done.eq(results.scales_done),
            self.retire.eq(retire_map | retire_codes | results.places_done),
        ]
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

    def _write_values(self, m: Module, values: data.View, chosen: Value, group: data.View) -> Value:
        """Phase MAP. Returns whether this cycle is its last."""
        config, lanes = self._config, self._config.vector_lanes
        slots = config.columns // lanes
        stored = Cat(resized(m, value, config.value_bits) for value in values)
        is_map = self.phase == Phase.MAP
        m.d.comb += [
            self.value_write.en.eq(group.valid & is_map),
            self.value_write.address.eq(group.address),
            self.value_write.mask.eq(spread(m, group.slot, chosen, slots, name="value_mask")),
            self.value_write.data.eq(stored),
        ]
        return group.done & is_map

    def _reduce(self, m: Module, panel: Panel, values: data.View) -> RowResults:
        """Phases MAXIMA and PLACES; gives the group of phase CODES the multiplier of its row."""
        m.submodules.results = results = RowResults(self._config)
        for port in ("param_write", "row_write", "index_write"):
            wiring.connect(m, wiring.flipped(getattr(self, port)), getattr(results, port))
        reduces = panel.valid & ((self.phase == Phase.MAXIMA) | (self.phase == Phase.PLACES))
        m.d.comb += [
            results.start.eq(self.start),
            results.instruction.eq(self.instruction),
            results.is_argmax.eq(self.phase == Phase.PLACES),
            results.valid.eq(delay(m, reduces, 1, name="reduces")),
            results.first.eq(delay(m, panel.first, 1, name="first")),
            results.last.eq(delay(m, panel.last, 1, name="last")),
            results.values.eq(values),
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

        # The output registers. A transposed group leaves them lane by lane.
        written, done = Signal(), Signal()
        address, slot = Signal(ADDRESS), Signal.like(Value.cast(rounded.slot))
        code, pending = Signal(bits * lanes), Signal(lanes)
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
            m.d.sync += [address.eq(address + 1), code.eq(code >> bits), pending.eq(pending >> 1)]

        act_slots, weight_slots = config.rows // lanes, config.columns // lanes
        every = Const(-1, lanes)
        m.d.comb += [
            self.act_write.en.eq(written & (codes == Codes.ACT)),
            self.act_write.address.eq(address),
            self.act_write.mask.eq(spread(m, slot, every, act_slots, name="act_mask")),
            self.act_write.data.eq(code),
            self.weight_write.address.eq(address),
        ]
        with m.If(codes == Codes.WEIGHT):
            m.d.comb += [
                self.weight_write.en.eq(written),
                self.weight_write.mask.eq(spread(m, slot, every, weight_slots, name="weight_mask")),
                self.weight_write.data.eq(code),
            ]
        with m.Elif(by_lanes):
            m.d.comb += [
                self.weight_write.en.eq(pending[0]),
                self.weight_write.mask.eq(spread(m, slot, Const(1, 1), config.columns, name="element_mask")),
                self.weight_write.data.eq(code[:bits].replicate(lanes)),
            ]
        last_lane = delay(m, done & by_lanes, lanes - 1, name="done")
        return Mux(by_lanes, last_lane, done)

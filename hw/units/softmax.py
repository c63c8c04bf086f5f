"""SOFTMAX: Softmax and OnlineSoftmax, scores in ACC or VALUE → codes of un-normalised probabilities in ACT and row
scales in ROW, or probabilities in VALUE.

    ROW ─ tables of what the blocks before have left                                             phase STATE

    read panel ─ ACC, PARAM, ROW, VALUE, INDEX ─ scores ─ t ─ row maximum ─ table of maxima      phase MAXIMA
                                                                              └─ table of kept

      … t ─ 2^(t − maximum) ─ p ─ row sum ───────────────────┬─ row totals ─ ROW                 phase SUMS
                                └─ × vs ─ q ─ row maximum ───┘      └─ table of multipliers

      … q ─ × multiplier ─┬─ round ─ register ─ ACT                                              phase RESULTS
                          └─ register ─ VALUE

Each phase walks the panel and computes t anew. What a group is (valid, first, last of its row, seen columns) travels
beside its numbers; a write panel walks the groups again as their codes come out. Only a block of an online softmax that
is not the first has a phase STATE; hw/online.py is what it then does with the state.
"""

from enum import IntEnum
from types import SimpleNamespace

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch import isa
from ...arch.config import (
    INSTRUCTION_BITS,
    MEMORY_CYCLES,
    MULTIPLY_CYCLES,
    POWER_CYCLES,
    REFERENCE_CYCLES,
    SCORE_CYCLES,
    SOFTMAX_ROW_INTERVAL,
    HardwareConfig,
    Memory,
)
from ...arch.functions import EVALUATE_CYCLES
from ...arch.isa import Masking, Result, Source
from ...arch.numerics import LOWEST, to_bits
from ..delay_line import DelayLine
from ..float import maximum, narrowed, resized
from ..memories import lane_bits, read_signature, write_signature
from ..online import State, work_of
from ..panel import Fill, Panel, row_address, spread
from ..phases import Phases
from ..pipeline import delay, register
from ..power import RowPowers
from ..probabilities import Q_CYCLES, Probabilities
from ..reduce import RowMaximum
from ..row_table import RowTable
from ..row_totals import PRODUCT_CYCLES, SCALE_CYCLES, RowTotals
from ..row_writer import RowWriter
from ..scores import Scores

# From the greatest of a row to what is kept of the blocks before.
KEPT_CYCLES = REFERENCE_CYCLES + POWER_CYCLES + PRODUCT_CYCLES


class Phase(IntEnum):
    """What the walk under way is for."""

    STATE = 0  # not of a panel
    MAXIMA = 1
    SUMS = 2
    RESULTS = 3


def phase_tails(config: HardwareConfig, online: bool = False, with_state: bool = False) -> list[int]:
    """For each `Phase`, cycles from its last read address until it is complete (see `Phases`)."""
    t = MEMORY_CYCLES + SCORE_CYCLES
    return [
        MEMORY_CYCLES + 1,
        t + config.row_maximum_cycles + 3 + (KEPT_CYCLES if with_state else 0),
        t + POWER_CYCLES + config.total_cycles + SCALE_CYCLES + (3 if online else 1),
        t + Q_CYCLES + config.quantise_cycles,
    ]


class Softmax(wiring.Component):
    """Executes one Softmax or OnlineSoftmax at a time.

    `start` comes with `instruction` in a cycle s in which `ready` is up; the first read is issued in s + 1 and `retire`
    is up in s + D, D as docs/architecture.md gives it, in the cycle of the last write.
    """

    executes = (isa.Softmax, isa.OnlineSoftmax)

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "ready": Out(1),
            "retire": Out(1),
            "acc_read": Out(read_signature(config, Memory.ACC, lane_bits(config, Memory.ACC))),
            "param_read": Out(read_signature(config, Memory.PARAM, lane_bits(config, Memory.PARAM))),
            "row_read": Out(read_signature(config, Memory.ROW)),
            "value_read": Out(read_signature(config, Memory.VALUE, lane_bits(config, Memory.VALUE))),
            "index_read": Out(read_signature(config, Memory.INDEX, config.element_bits(Memory.INDEX))),
            "act_write": Out(write_signature(config, Memory.ACT, lane_bits(config, Memory.ACT))),
            "row_write": Out(write_signature(config, Memory.ROW)),
            "value_write": Out(write_signature(config, Memory.VALUE, lane_bits(config, Memory.VALUE))),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        variants = [phase_tails(config, *variant) for variant in ((False, False), (True, False), (True, True))]
        m.submodules.phases = phases = Phases(Phase, *variants)
        m.submodules.panel = panel = Panel(config, periods=True)
        m.submodules.state = state = State(config)
        m.submodules.scores = scores = Scores(config)
        m.submodules.probabilities = probabilities = Probabilities(config)
        given, fields = work_of(m, self.instruction, self.start)
        has_state = given.online & ~given.first
        m.d.comb += [
            phases.start.eq(self.start),
            phases.initial.eq(Mux(has_state, Phase.STATE, Phase.MAXIMA)),
            phases.variant.eq(Mux(fields.online, Mux(fields.first, 1, 2), 0)),
            phases.issued.eq(panel.done | state.done),
            self.ready.eq(phases.ready),
            self.retire.eq(phases.retire),
            state.start.eq(self.start & has_state),
            state.rows.eq(fields.rows),
            state.address.eq(fields.state_address),
            state.row_data.eq(self.row_read.data),
            panel.start.eq(phases.begin & ~state.start),
            panel.rows.eq(Mux(self.start, given.rows, fields.rows)),
            panel.columns.eq(Mux(self.start, given.columns, fields.columns)),
            panel.fill.eq(Mux(phases.during[Phase.RESULTS], _fill(fields), Fill.COLUMNS)),
            panel.period.eq(Mux(phases.during[Phase.SUMS], SOFTMAX_ROW_INTERVAL, 0)),
            probabilities.t.eq(scores.t),
            probabilities.hidden.eq(scores.hidden),
        ]
        self._read(m, panel, state, fields, scores, probabilities)
        places = self._places(m, phases, panel)
        m.submodules.row_maximum = row_maximum = RowMaximum(config.vector_lanes)
        m.submodules.totals = totals = RowTotals(config)
        m.submodules.row_writer = row_writer = RowWriter(config)
        kept = self._maxima(m, phases, fields, places, state, row_maximum, scores, probabilities, totals, row_writer)
        self._sums(m, phases, fields, places, kept, row_maximum, probabilities, totals, row_writer)
        self._write_results(m, phases, fields, probabilities)
        return m

    def _read(
        self, m: Module, panel: Panel, state: State, fields: SimpleNamespace, scores: Scores,
        probabilities: Probabilities,
    ) -> None:  # fmt: skip
        """Issue the reads of a group and hand what comes back to `scores`; its value scales later."""
        config, lanes = self._config, self._config.vector_lanes
        source = row_address(m, panel, fields.source_address, fields.source_stride, name="source")
        operand = row_address(m, panel, fields.operand_address, fields.operand_stride, name="operand")
        element = Signal(len(fields.operand_address))  # of INDEX, counted in numbers, not words
        low = len(self.index_read.part)
        from_value, additive = fields.source == Source.VALUE, fields.mask == Masking.ADDITIVE
        limited = fields.mask == Masking.LENGTHS
        read = Signal()
        m.d.comb += [
            read.eq(panel.valid & panel.inside),
            self.acc_read.en.eq(read & ~from_value),
            self.acc_read.address.eq(source + panel.word),
            self.param_read.en.eq(read),
            self.param_read.address.eq(fields.param_address + panel.word),
            self.row_read.en.eq((read & ~from_value) | state.read),
            self.row_read.address.eq(Mux(read, fields.row_address + panel.row, state.read_address)),
            self.value_read.en.eq(read & (from_value | additive)),
            self.value_read.address.eq(Mux(from_value, source, operand) + panel.word),
            element.eq(fields.operand_address + panel.row),
            self.index_read.en.eq(read & limited),
            self.index_read.address.eq(element[low:]),
            self.index_read.part.eq(element[:low]),
            *(port.part.eq(panel.slot) for port in (self.acc_read, self.param_read, self.value_read)),
            scores.row.eq(panel.row),
            scores.group.eq(panel.group),
        ]
        m.d.comb += [
            getattr(scores, name).eq(getattr(fields, name))
            for name in ("columns", "causal", "together", "offset", "window")
        ]
        m.d.comb += [scores.from_value.eq(from_value), scores.additive.eq(additive), scores.limited.eq(limited)]

        pairs, values = self.param_read.data, self.value_read.data
        until_p = SCORE_CYCLES + POWER_CYCLES - config.narrow_cycles
        bits = config.vector_bits
        m.submodules.value_scales = value_scales = DelayLine(bits * lanes, until_p)
        m.d.comb += [
            scores.acc.eq(self.acc_read.data),
            scores.row_scale.eq(self.row_read.data),
            scores.length.eq(self.index_read.data),  # NUMBER_CYCLES after its address
            value_scales.i.eq(Cat(narrowed(m, pairs.word_select(2 * lane + 1, 32), config, f"value_scale_{lane}")
                                  for lane in range(lanes))),
        ]  # fmt: skip
        for lane in range(lanes):
            m.d.comb += [
                scores.key_scale[lane].eq(pairs.word_select(2 * lane, 32)),
                scores.operand[lane].eq(values.word_select(lane, config.value_bits)),
                probabilities.value_scale[lane].eq(value_scales.o.word_select(lane, bits)),
            ]

    def _places(self, m: Module, phases: Phases, panel: Panel) -> SimpleNamespace:
        """What a group is, at each place of the pipeline where that matters (`before_…`: a cycle earlier)."""
        # So travels the phase, too, since the groups of a phase that is complete still run on to places where only the
        # next one has any business.
        layout = data.StructLayout({"maxima": 1, "sums": 1, "first": 1, "last": 1})
        in_maxima, in_sums = phases.during[Phase.MAXIMA], phases.during[Phase.SUMS]
        place = Cat(panel.valid & in_maxima, panel.valid & in_sums, panel.first, panel.valid & panel.last)
        stages = [
            ("before_greatest", MEMORY_CYCLES + SCORE_CYCLES - REFERENCE_CYCLES - 1), ("at_t", REFERENCE_CYCLES + 1),
            ("before_p", POWER_CYCLES - 1), ("at_p", 1),
            ("before_q", MULTIPLY_CYCLES - 1), ("at_q", 1),
        ]  # fmt: skip
        places = SimpleNamespace()
        for name, cycles in stages:
            place = delay(m, place, cycles, name=name)
            setattr(places, name, data.View(layout, place))
        return places

    def _maxima(
        self, m: Module, phases: Phases, fields: SimpleNamespace, places: SimpleNamespace, state: State,
        row_maximum: RowMaximum, scores: Scores, probabilities: Probabilities, totals: RowTotals,
        row_writer: RowWriter,
    ) -> Value:  # fmt: skip
        """The greatest t of each row to a table, and from there back to the scores; likewise what it leaves of the sum
        of the blocks before, which this gives where the powers of its row are. Each takes the place that the maximum or
        sum of the blocks before has had in its table."""
        m.submodules.maxima = maxima = RowTable(self._config)
        m.submodules.kept = kept = RowTable(self._config, len(totals.kept))
        in_maxima, at_t, at_q = phases.during[Phase.MAXIMA], places.at_t, places.at_q
        has_state = register(m, fields.online & ~fields.first, "has_state")
        found = delay(m, row_maximum.o_valid & in_maxima, 2, "found")
        until_power = delay(m, found, REFERENCE_CYCLES + POWER_CYCLES - 1, "until_power")
        known = Mux(has_state, maxima.o, int(to_bits(LOWEST)))
        greatest = register(m, maximum(m, register(m, row_maximum.o, "of_block"), known), "greatest")
        for lane, t in enumerate(scores.t):
            # One tree for both: the maximum of t in the first phase, of q in the second.
            m.d.comb += row_maximum.data[lane].eq(Mux(in_maxima, t, resized(m, probabilities.q[lane], 32)))
        m.d.comb += [
            row_maximum.valid.eq(Mux(in_maxima, at_t.maxima, at_q.sums)),
            row_maximum.first.eq(Mux(in_maxima, at_t.first, at_q.first)),
            row_maximum.last.eq(Mux(in_maxima, at_t.last, at_q.last)),
            maxima.restart.eq(phases.begin),
            maxima.write.eq(found | state.maximum_valid),
            maxima.value.eq(Mux(in_maxima, greatest, state.maximum)),
            maxima.last.eq(Mux(in_maxima, row_maximum.o_valid, places.before_greatest.last)),
            probabilities.of_row.eq(in_maxima),
            probabilities.known.eq(delay(m, known, 1 + REFERENCE_CYCLES, "known", reset_less=True)),
            probabilities.greatest.eq(Mux(in_maxima, greatest, maxima.o)),
            totals.known.eq(kept.o),
            totals.power.eq(probabilities.p[0]),
            kept.restart.eq(phases.begin),
            kept.write.eq(delay(m, found, KEPT_CYCLES, "kept_valid") | state.total_valid),
            kept.value.eq(Mux(in_maxima, totals.product, state.total)),
            kept.last.eq(Mux(in_maxima, until_power, places.before_p.last & places.before_p.sums)),
            row_writer.greatest_valid.eq(found & fields.online),
            row_writer.greatest.eq(greatest),
        ]
        return Mux(has_state, kept.o, 0)

    def _sums(
        self, m: Module, phases: Phases, fields: SimpleNamespace, places: SimpleNamespace, kept: Value,
        row_maximum: RowMaximum, probabilities: Probabilities, totals: RowTotals, row_writer: RowWriter,
    ) -> None:  # fmt: skip
        """Row sums and the greatest q of each row to multipliers, in a table, and to row numbers in ROW."""
        config, at_p = self._config, places.at_p
        m.submodules.row_sum = row_sum = RowPowers(config)
        m.submodules.multipliers = multipliers = RowTable(config, config.vector_bits)
        until_used = config.total_cycles + EVALUATE_CYCLES
        m.d.comb += [
            *(data.eq(p) for data, p in zip(row_sum.data, probabilities.p, strict=True)),
            row_sum.valid.eq(at_p.sums),
            row_sum.first.eq(at_p.first),
            row_sum.last.eq(at_p.last),
            row_sum.kept.eq(kept),
            totals.kept.eq(delay(m, kept, until_used, "kept", reset_less=True)),
            totals.valid.eq(row_sum.o_valid),
            totals.total.eq(row_sum.o),
            totals.greatest.eq(row_maximum.o[-config.vector_bits :]),
            totals.normalises.eq(fields.result == Result.VALUES),
            multipliers.restart.eq(phases.begin),
            multipliers.write.eq(totals.multiplier_valid),
            multipliers.value.eq(totals.multiplier),
            multipliers.last.eq(places.before_q.last),
            probabilities.multiplier.eq(multipliers.o),
            row_writer.restart.eq(phases.begin),
            *(getattr(row_writer, name).eq(getattr(fields, name))
              for name in ("online", "rows", "scales_address", "state_address")),
            row_writer.valid.eq(totals.o_valid & (fields.result == Result.CODES)),
            row_writer.scale.eq(resized(m, totals.scale, 32)),
            row_writer.rescale.eq(resized(m, totals.rescale, 32)),
            row_writer.total.eq(resized(m, delay(m, row_sum.o, SCALE_CYCLES, "total", reset_less=True), 32)),
        ]  # fmt: skip
        wiring.connect(m, row_writer.row_write, wiring.flipped(self.row_write))

    def _write_results(self, m: Module, phases: Phases, fields: SimpleNamespace, probabilities: Probabilities) -> None:
        """Walk the groups of phase RESULTS as they come out, and write them from a register."""
        config, lanes = self._config, self._config.vector_lanes
        m.submodules.writes = writes = Panel(config)
        # `begin` is one cycle before the first address; the walk is two cycles ahead of the writes, its start three.
        begun = delay(m, phases.begin, phase_tails(config)[Phase.RESULTS] - 2, name="begun")
        to_value = fields.result == Result.VALUES
        m.d.comb += [
            writes.start.eq(begun & phases.during[Phase.RESULTS]),
            writes.rows.eq(fields.rows),
            writes.columns.eq(fields.columns),
            writes.fill.eq(_fill(fields)),
        ]
        address = row_address(m, writes, fields.address, fields.stride, name="results")
        counts, valid = register(m, writes.counts, "results_count"), delay(m, writes.valid, 1, name="results_valid")
        values = [Mux(counts[lane], probabilities.values.word_select(lane, config.value_bits), 0)
                  for lane in range(lanes)]  # fmt: skip
        every = Const(-1, lanes)
        act_mask = spread(m, writes.act_slot, every, config.rows // lanes, name="codes_mask")
        value_mask = spread(m, writes.slot, every, config.columns // lanes, name="values_mask")
        m.d.sync += [
            self.act_write.en.eq(valid & ~to_value),
            self.act_write.address.eq(register(m, address + writes.act_word, "act_address")),
            self.act_write.mask.eq(register(m, act_mask, "act_mask")),
            self.act_write.data.eq(probabilities.codes),
            self.value_write.en.eq(valid & to_value),
            self.value_write.address.eq(register(m, address + writes.word, "value_address")),
            self.value_write.mask.eq(register(m, value_mask, "value_mask")),
            self.value_write.data.eq(Cat(values)),
        ]


def _fill(fields: SimpleNamespace) -> Value:
    """How far rows of results reach."""
    return Mux(fields.result == Result.VALUES, Fill.WORD, Fill.ACT_WORD)

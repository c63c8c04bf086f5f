"""NORM: Norm, LayerNorm or RMSNorm of the rows of a panel, VALUE → VALUE.

    read panel ─ VALUE ─ x ─ row sum ─ · 1/N ─ table of means                                   phase MEANS (LAYER only)

      … x − mean ─ d ─ d · d ─ row sum ─ · 1/N ─ + ε ─ rsqrt, Newton ─ table of deviations      phase DEVIATIONS

      … d ─ × deviation ─ × γ ─ + β ─ register ─ VALUE       (PARAM: γ, β)                      phase RESULTS

Each phase walks the panel and reads x anew. A write panel walks the groups again as their results come out. What is
found of a row goes to ROW, if that is wanted, as it goes to a table.
"""

from enum import IntEnum
from types import SimpleNamespace

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch import isa
from ...arch.config import (
    INSTRUCTION_BITS,
    MEAN_CYCLES,
    MEMORY_CYCLES,
    MULTIPLY_CYCLES,
    ROW_SUM_INTERVAL,
    HardwareConfig,
    Memory,
)
from ...arch.isa import ROWS, NormKind, Statistics
from ..float import ZERO, resized
from ..instructions import fields_of
from ..memories import lane_bits, read_signature, write_signature
from ..normalise import Normalise, RowMoments
from ..panel import Fill, Panel, count, row_address, spread
from ..phases import Phases
from ..pipeline import delay, register
from ..reduce import RowSum
from ..row_table import RowTable


class Phase(IntEnum):
    """What the walk under way is for."""

    MEANS = 0
    DEVIATIONS = 1
    RESULTS = 2


def phase_tails(config: HardwareConfig) -> list[int]:
    """For each `Phase`, cycles from its last read address until it is complete (see `Phases`): its last number is
    written."""
    return [
        MEMORY_CYCLES + config.row_sum_cycles + MEAN_CYCLES,
        MEMORY_CYCLES + config.subtract_cycles + MULTIPLY_CYCLES + config.row_sum_cycles + config.deviation_cycles,
        MEMORY_CYCLES + config.normalise_cycles + 1,
    ]


class Norm(wiring.Component):
    """Executes one Norm at a time.

    `start` comes with `instruction` in a cycle s in which `ready` is up; the first read is issued in s + 1 and `retire`
    is up in s + D, D as docs/architecture.md gives it, in the cycle of the last write.
    """

    executes = (isa.Norm,)

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "ready": Out(1),
            "retire": Out(1),
            "value_read": Out(read_signature(config, Memory.VALUE, lane_bits(config, Memory.VALUE))),
            "param_read": Out(read_signature(config, Memory.PARAM, lane_bits(config, Memory.PARAM))),
            "value_write": Out(write_signature(config, Memory.VALUE, lane_bits(config, Memory.VALUE))),
            "row_write": Out(write_signature(config, Memory.ROW)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.phases = phases = Phases(Phase, phase_tails(config))
        m.submodules.panel = panel = Panel(config, periods=True)
        m.submodules.normalise = normalise = Normalise(config)
        instruction = Signal(INSTRUCTION_BITS)
        with m.If(self.start):
            m.d.sync += instruction.eq(self.instruction)
        given, fields = fields_of(isa.Norm, self.instruction), fields_of(isa.Norm, instruction)
        in_results = phases.during[Phase.RESULTS]
        first_phase = Mux(given.kind == NormKind.LAYER, Phase.MEANS, Phase.DEVIATIONS)
        m.d.comb += [
            phases.start.eq(self.start),
            phases.initial.eq(first_phase),
            phases.issued.eq(panel.done),
            self.ready.eq(phases.ready),
            self.retire.eq(phases.retire),
            panel.start.eq(phases.begin),
            panel.rows.eq(Mux(self.start, given.rows, fields.rows)),
            panel.columns.eq(Mux(self.start, given.columns, fields.columns)),
            panel.fill.eq(Mux(in_results, Fill.WORD, Fill.COLUMNS)),
            panel.period.eq(Mux(in_results, 0, ROW_SUM_INTERVAL)),
        ]
        self._read(m, phases, panel, fields, normalise)
        self._reduce(m, phases, panel, fields, normalise)
        self._write(m, phases, fields, normalise)
        return m

    def _read(self, m: Module, phases: Phases, panel: Panel, fields: SimpleNamespace, normalise: Normalise) -> None:
        """Issue the reads of a group and hand what comes back to `normalise`."""
        config, lanes = self._config, self._config.vector_lanes
        source = row_address(m, panel, fields.source_address, fields.source_stride, name="source")
        read = panel.valid & panel.inside
        m.d.comb += [
            self.value_read.en.eq(read),
            self.value_read.address.eq(source + panel.word),
            self.param_read.en.eq(read & phases.during[Phase.RESULTS]),
            self.param_read.address.eq(fields.param_address + panel.word),
            self.value_read.part.eq(panel.slot),
            self.param_read.part.eq(panel.slot),
        ]
        values, pairs = self.value_read.data, self.param_read.data
        for lane in range(lanes):
            value = values.word_select(lane, config.value_bits)
            m.d.comb += [
                normalise.x[lane].eq(resized(m, value, 32)),
                normalise.gamma[lane].eq(pairs.word_select(2 * lane, 32)),
                normalise.beta[lane].eq(pairs.word_select(2 * lane + 1, 32)),
            ]

    def _reduce(self, m: Module, phases: Phases, panel: Panel, fields: SimpleNamespace, normalise: Normalise) -> None:
        """Rows to means and deviations, and these from and to the tables."""
        config, lanes = self._config, self._config.vector_lanes
        m.submodules.row_sum = row_sum = RowSum(lanes)
        m.submodules.moments = moments = RowMoments(config)
        m.submodules.means = means = RowTable(config)
        m.submodules.deviations = deviations = RowTable(config, config.vector_bits)

        # What a group is travels beside its numbers; so does the phase, since those of a phase that is complete still
        # run on to places where only the next one has any business.
        layout = data.StructLayout({"means": 1, "deviations": 1, "first": 1, "last": 1, "counts": lanes})
        in_means, in_deviations = phases.during[Phase.MEANS], phases.during[Phase.DEVIATIONS]
        ends = panel.valid & panel.last
        place = Cat(panel.valid & in_means, panel.valid & in_deviations, panel.first, ends, panel.counts)
        at_x = delay(m, place, MEMORY_CYCLES, name="at_x")
        before_d = delay(m, at_x, config.subtract_cycles - 1, name="before_d")
        at_square = delay(m, before_d, 1 + MULTIPLY_CYCLES, name="at_square")
        at_x, before_d, at_square = (data.View(layout, x) for x in (at_x, before_d, at_square))

        for lane in range(lanes):
            x = Mux(at_x.counts[lane], normalise.x[lane], ZERO)
            square = Mux(at_square.counts[lane], resized(m, normalise.square[lane], 32), ZERO)
            m.d.comb += row_sum.data[lane].eq(Mux(in_means, x, square))
        m.d.comb += [
            row_sum.valid.eq(Mux(in_means, at_x.means, at_square.deviations)),
            row_sum.first.eq(Mux(in_means, at_x.first, at_square.first)),
            row_sum.last.eq(Mux(in_means, at_x.last, at_square.last)),
            moments.valid.eq(row_sum.o_valid),
            moments.squares.eq(in_deviations),
            moments.sum.eq(row_sum.o),
            moments.reciprocal.eq(fields.reciprocal),
            moments.epsilon.eq(fields.epsilon),
            means.restart.eq(phases.begin),
            means.write.eq(moments.mean_valid),
            means.value.eq(moments.mean),
            means.last.eq(delay(m, ends, MEMORY_CYCLES - 1, name="before_x")),
            normalise.mean.eq(Mux(fields.kind == NormKind.LAYER, means.o, ZERO)),  # x − 0 is x, also for −0
            deviations.restart.eq(phases.begin),
            deviations.write.eq(moments.deviation_valid),
            deviations.value.eq(moments.deviation),
            deviations.last.eq(before_d.last),
            normalise.deviation.eq(deviations.o),
            normalise.squares.eq(in_deviations),
            normalise.row_a.eq(moments.mean_square),
            normalise.row_b.eq(moments.small),
            moments.variance.eq(normalise.row_o),
        ]
        self._write_statistics(m, phases, fields, moments)

    def _write_statistics(self, m: Module, phases: Phases, fields: SimpleNamespace, moments: RowMoments) -> None:
        """What is found of each row to ROW, from a register: that of phase DEVIATIONS behind that of phase MEANS."""
        sums = fields.statistics == Statistics.SUMS
        of_squares = Mux(sums, moments.squares, moments.deviation_valid)
        found = Mux(sums, moments.valid, moments.mean_valid | moments.deviation_valid)
        moment = Mux(moments.mean_valid, moments.mean, resized(m, moments.deviation, 32))
        row, behind = Signal(ROWS), (fields.kind == NormKind.LAYER) & of_squares
        count(m, row, clear=phases.begin, step=found)
        m.d.comb += self.row_write.mask.eq(1)
        m.d.sync += [
            self.row_write.en.eq(found & (fields.statistics != Statistics.NONE)),
            self.row_write.address.eq(fields.statistics_address + Mux(behind, fields.rows, 0) + row),
            self.row_write.data.eq(Mux(sums, moments.sum, moment)),
        ]

    def _write(self, m: Module, phases: Phases, fields: SimpleNamespace, normalise: Normalise) -> None:
        """Walk the groups of phase RESULTS as they come out, and write them from a register."""
        config, lanes = self._config, self._config.vector_lanes
        m.submodules.writes = writes = Panel(config)
        # `begin` is one cycle before the first address; the walk is two cycles ahead of the writes, its start three.
        begun = delay(m, phases.begin, phase_tails(config)[Phase.RESULTS] - 2, name="begun")
        m.d.comb += [
            writes.start.eq(begun & phases.during[Phase.RESULTS]),
            writes.rows.eq(fields.rows),
            writes.columns.eq(fields.columns),
            writes.fill.eq(Fill.WORD),
        ]
        slots = config.columns // lanes
        address = row_address(m, writes, fields.address, fields.stride, name="results") + writes.word
        mask = spread(m, writes.slot, Const(-1, lanes), slots, name="results_mask")
        counts = register(m, writes.counts, "results_count")
        stored = Cat(Mux(count, resized(m, each, config.value_bits), 0)
                     for count, each in zip(counts, normalise.o, strict=True))  # fmt: skip
        m.d.sync += [
            self.value_write.en.eq(delay(m, writes.valid, 1, name="results_valid")),
            self.value_write.address.eq(register(m, address, "results_address")),
            self.value_write.mask.eq(register(m, mask, "results_mask")),
            self.value_write.data.eq(stored),
        ]

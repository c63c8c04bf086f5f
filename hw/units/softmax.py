"""SOFTMAX: Softmax, scores in ACC → int8 codes of un-normalised probabilities in ACT, with a scale per row in ROW.

    read panel ─ ACC, PARAM, ROW, VALUE ─ scores ─ t ─ row maximum ─ table of maxima        phase MAXIMA

      … t ─ exp2(t − maximum) ─ p ─ row sum ─────────────────┬─ row totals ─ ROW            phase SUMS
                                └─ × vs ─ q ─ row maximum ───┘      └─ table of multipliers

      … q ─ × multiplier ─ round ─ register ─ ACT                                           phase CODES

Each phase walks the panel and computes t anew. What a group is (valid, first, last of its row, seen columns) travels
beside its numbers; a write panel walks the groups again as their codes come out.
"""

from enum import IntEnum
from types import SimpleNamespace

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...arch import isa
from ...arch.config import INSTRUCTION_BITS, MEMORY_CYCLES, MULTIPLY_CYCLES, TABLE_CYCLES, HardwareConfig, Memory
from ...arch.isa import ADDRESS
from ...arch.numerics import LOWEST, to_bits
from ..delay_line import DelayLine
from ..float import maximum
from ..instructions import fields_of
from ..memories import read_signature, write_signature
from ..panel import Fill, Panel, count, lanes_of, row_address, spread
from ..phases import Phases
from ..pipeline import delay
from ..probabilities import P_CYCLES, Q_CYCLES, Probabilities
from ..reduce import RowMaximum, RowSum
from ..row_table import RowTable
from ..row_totals import RowTotals
from ..scores import Scores, score_cycles


class Phase(IntEnum):
    """What the walk under way is for."""

    MAXIMA = 0
    SUMS = 1
    CODES = 2


def phase_tails(config: HardwareConfig) -> list[int]:
    """For each `Phase`, cycles from its last read address until it is complete (see `Phases`)."""
    t = score_cycles(config)
    return [
        t + config.row_maximum_cycles + 1,
        t + P_CYCLES + config.row_sum_cycles + TABLE_CYCLES + MULTIPLY_CYCLES + 1,
        t + Q_CYCLES + config.quantise_cycles,
    ]


class Softmax(wiring.Component):
    """Executes one Softmax at a time.

    `start` comes with `instruction` in a cycle s in which `ready` is up; the first read is issued in s + 1 and `retire`
    is up in s + D, D as docs/architecture.md gives it, in the cycle of the last write.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "ready": Out(1),
            "retire": Out(1),
            "acc_read": Out(read_signature(config, Memory.ACC)),
            "param_read": Out(read_signature(config, Memory.PARAM)),
            "row_read": Out(read_signature(config, Memory.ROW)),
            "value_read": Out(read_signature(config, Memory.VALUE)),
            "act_write": Out(write_signature(config, Memory.ACT)),
            "row_write": Out(write_signature(config, Memory.ROW)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.phases = phases = Phases(Phase, phase_tails(config))
        m.submodules.panel = panel = Panel(config)
        m.submodules.scores = scores = Scores(config)
        m.submodules.probabilities = probabilities = Probabilities(config)
        instruction = Signal(INSTRUCTION_BITS)
        with m.If(self.start):
            m.d.sync += instruction.eq(self.instruction)
        fields = fields_of(isa.Softmax, instruction)
        m.d.comb += [
            phases.start.eq(self.start),
            phases.initial.eq(Phase.MAXIMA),
            phases.issued.eq(panel.done),
            self.ready.eq(phases.ready),
            self.retire.eq(phases.retire),
            panel.start.eq(phases.begin),
            panel.rows.eq(fields.rows),
            panel.columns.eq(fields.columns),
            panel.interval.eq(1),
            panel.fill.eq(Mux(phases.phase == Phase.CODES, Fill.ACT_WORD, Fill.COLUMNS)),
            panel.period.eq(Mux(phases.phase == Phase.SUMS, config.row_sum_tree_cycles, 0)),
            probabilities.t.eq(scores.t),
            probabilities.seen.eq(scores.seen),
        ]
        self._read(m, panel, fields, scores, probabilities)
        self._reduce(m, phases, panel, fields, scores, probabilities)
        self._write_codes(m, phases, fields, probabilities)
        return m

    def _read(
        self, m: Module, panel: Panel, fields: SimpleNamespace, scores: Scores, probabilities: Probabilities
    ) -> None:
        """Issue the reads of a group and hand what comes back, a cycle later, to `scores`; its value scales later."""
        config, lanes = self._config, self._config.vector_lanes
        source = row_address(m, panel, fields.source_address, fields.source_stride, name="source")
        operand = row_address(m, panel, fields.operand_address, fields.operand_stride, name="operand")
        read = Signal()
        m.d.comb += [
            read.eq(panel.valid & panel.inside),
            self.acc_read.en.eq(read),
            self.acc_read.address.eq(source + panel.word),
            self.param_read.en.eq(read),
            self.param_read.address.eq(fields.param_address + panel.word),
            self.row_read.en.eq(read),
            self.row_read.address.eq(fields.row_address + panel.row),
            self.value_read.en.eq(read & fields.additive),
            self.value_read.address.eq(operand + panel.word),
            scores.row.eq(panel.row),
            scores.group.eq(panel.group),
        ]
        m.d.comb += [
            getattr(scores, name).eq(getattr(fields, name))
            for name in ("columns", "causal", "offset", "window", "additive")
        ]

        slot = delay(m, panel.slot, MEMORY_CYCLES, name="slot")
        acc = lanes_of(m, self.acc_read.data, slot, lanes, 32, name="acc")
        pairs = lanes_of(m, self.param_read.data, slot, lanes, 64, name="pairs")
        values = lanes_of(m, self.value_read.data, slot, lanes, config.value_bits, name="values")
        until_p = score_cycles(config) + P_CYCLES - MEMORY_CYCLES
        m.submodules.value_scales = value_scales = DelayLine(32 * lanes, until_p)
        m.d.comb += [
            scores.acc.eq(acc),
            scores.row_scale.eq(self.row_read.data),
            value_scales.i.eq(Cat(pairs.word_select(2 * lane + 1, 32) for lane in range(lanes))),
            probabilities.value_scale.eq(value_scales.o),
        ]
        for lane in range(lanes):
            value = values.word_select(lane, config.value_bits)
            m.d.comb += [
                scores.key_scale[lane].eq(pairs.word_select(2 * lane, 32)),
                scores.operand[lane].eq(value << (32 - config.value_bits)),  # bf16 is the upper half
            ]

    def _reduce(
        self,
        m: Module,
        phases: Phases,
        panel: Panel,
        fields: SimpleNamespace,
        scores: Scores,
        probabilities: Probabilities,
    ) -> None:
        """Rows to numbers, and these from and to the tables."""
        config = self._config
        m.submodules.row_maximum = row_maximum = RowMaximum(config.vector_lanes)
        m.submodules.row_sum = row_sum = RowSum(config.vector_lanes)
        m.submodules.totals = totals = RowTotals()
        m.submodules.maxima = maxima = RowTable(config)
        m.submodules.multipliers = multipliers = RowTable(config)

        # What a group is travels beside its numbers; so does the phase, since those of a phase that is complete still
        # run on to places where only the next one has any business.
        layout = data.StructLayout({"maxima": 1, "sums": 1, "first": 1, "last": 1})
        in_maxima, in_sums = phases.phase == Phase.MAXIMA, phases.phase == Phase.SUMS
        place = Cat(panel.valid & in_maxima, panel.valid & in_sums, panel.first, panel.valid & panel.last)
        before_t = delay(m, place, score_cycles(config) - 1, name="before_t")
        at_t = delay(m, before_t, 1, name="at_t")
        at_p = delay(m, at_t, P_CYCLES, name="at_p")
        before_q = delay(m, at_p, MULTIPLY_CYCLES - 1, name="before_q")
        at_q = delay(m, before_q, 1, name="at_q")
        before_t, at_t, at_p, before_q, at_q = (data.View(layout, x) for x in (before_t, at_t, at_p, before_q, at_q))

        m.d.comb += [
            # One tree for both: the maximum of t in the first phase, of q in the second.
            row_maximum.data.eq(Mux(in_maxima, scores.t, probabilities.q)),
            row_maximum.valid.eq(Mux(in_maxima, at_t.maxima, at_q.sums)),
            row_maximum.first.eq(Mux(in_maxima, at_t.first, at_q.first)),
            row_maximum.last.eq(Mux(in_maxima, at_t.last, at_q.last)),
            row_sum.data.eq(probabilities.p),
            row_sum.valid.eq(at_p.sums),
            row_sum.first.eq(at_p.first),
            row_sum.last.eq(at_p.last),
            totals.greatest_valid.eq(row_maximum.o_valid & in_sums),
            totals.greatest.eq(row_maximum.o),
            totals.total_valid.eq(row_sum.o_valid),
            totals.total.eq(row_sum.o),
            maxima.restart.eq(phases.begin),
            maxima.write.eq(row_maximum.o_valid & in_maxima),
            # Above −inf, so that t − maximum is a number (−inf) also in a row that sees nothing.
            maxima.value.eq(maximum(m, row_maximum.o, Const(int(to_bits(LOWEST)), 32))),
            maxima.last.eq(before_t.last),
            probabilities.greatest.eq(maxima.o),
            multipliers.restart.eq(phases.begin),
            multipliers.write.eq(totals.multiplier_valid),
            multipliers.value.eq(totals.multiplier),
            multipliers.last.eq(before_q.last),
            probabilities.multiplier.eq(multipliers.o),
        ]

        row = Signal(ADDRESS)
        count(m, row, clear=phases.begin, step=totals.scale_valid)
        m.d.comb += self.row_write.mask.eq(1)
        m.d.sync += [
            self.row_write.en.eq(totals.scale_valid),
            self.row_write.address.eq(fields.scales_address + row),
            self.row_write.data.eq(totals.scale),
        ]

    def _write_codes(self, m: Module, phases: Phases, fields: SimpleNamespace, probabilities: Probabilities) -> None:
        """Walk the groups of phase CODES as their codes come out, and write them from a register."""
        config, lanes = self._config, self._config.vector_lanes
        m.submodules.writes = writes = Panel(config)
        # `begin` is one cycle before the first address; the walk is one cycle ahead of the writes, its start two.
        begun = delay(m, phases.begin, phase_tails(config)[Phase.CODES] - 1, name="begun")
        m.d.comb += [
            writes.start.eq(begun & (phases.phase == Phase.CODES)),
            writes.rows.eq(fields.rows),
            writes.columns.eq(fields.columns),
            writes.interval.eq(1),
            writes.fill.eq(Fill.ACT_WORD),
        ]
        slots = config.rows // lanes
        address = row_address(m, writes, fields.address, fields.stride, name="codes")
        m.d.sync += [
            self.act_write.en.eq(writes.valid),
            self.act_write.address.eq(address + writes.act_word),
            self.act_write.mask.eq(spread(m, writes.act_slot, Const(-1, lanes), slots, name="codes_mask")),
            self.act_write.data.eq(probabilities.codes.replicate(slots)),
        ]

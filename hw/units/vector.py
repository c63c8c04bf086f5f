"""VECTOR: Map and Quantise, elementwise work on a panel, from ACC or VALUE to VALUE or to int8 codes.

    read panel ─ ACC, VALUE, PARAM, ROW ─ elementwise ─ writer ─ VALUE | ACT, WEIGHT | ROW, PARAM

The read panel walks the groups and fetches their operands; the datapath never stalls; the writer walks the same groups
as they come out. A Map is one walk, a Quantise two: one for the row maxima, one for the codes.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, MEMORY_CYCLES, HardwareConfig, Memory
from ...arch.isa import Codes, Combine, Quantise, Source, VectorInstruction
from ..elementwise import Elementwise
from ..instructions import fields_of, opcode_of
from ..memories import read_signature, write_signature
from ..panel import Fill, Panel, lanes_of, row_address
from ..pipeline import delay
from .vector_writer import Phase, VectorWriter


class Vector(wiring.Component):
    """Executes one Map or Quantise at a time.

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
            "value_read": Out(read_signature(config, Memory.VALUE)),
            "param_read": Out(read_signature(config, Memory.PARAM)),
            "row_read": Out(read_signature(config, Memory.ROW)),
            "value_write": Out(write_signature(config, Memory.VALUE)),
            "act_write": Out(write_signature(config, Memory.ACT)),
            "weight_write": Out(write_signature(config, Memory.WEIGHT)),
            "param_write": Out(write_signature(config, Memory.PARAM)),
            "row_write": Out(write_signature(config, Memory.ROW)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.panel = panel = Panel(config)
        m.submodules.elementwise = elementwise = Elementwise(config)
        m.submodules.writer = writer = VectorWriter(config)
        for port in ("value_write", "act_write", "weight_write", "param_write", "row_write"):
            wiring.connect(m, wiring.flipped(getattr(self, port)), getattr(writer, port))

        busy = Signal()
        instruction = Signal(INSTRUCTION_BITS)
        phase = Signal(Phase)
        with m.If(self.start):
            is_quantise = opcode_of(self.instruction) == Quantise.opcode
            m.d.sync += [
                busy.eq(1),
                instruction.eq(self.instruction),
                phase.eq(Mux(is_quantise, Phase.MAXIMA, Phase.MAP)),
            ]
        with m.Elif(writer.retire):
            m.d.sync += busy.eq(0)
        with m.Elif(writer.maxima_done):
            m.d.sync += phase.eq(Phase.CODES)
        m.d.comb += [self.ready.eq(~busy), self.retire.eq(writer.retire)]

        fields = fields_of(VectorInstruction, instruction)
        paired = Signal()  # both operands come from VALUE: one port reads the second, then the first
        m.d.comb += [
            paired.eq((fields.source == Source.VALUE) & (fields.combine != Combine.NONE)),
            panel.start.eq(self.start | writer.maxima_done),
            panel.rows.eq(fields.rows),
            panel.columns.eq(fields.columns),
        ]
        self._shape(m, panel, phase, fields_of(Quantise, instruction).codes, paired)
        self._read(m, panel, elementwise, fields, paired)

        # From the cycle before the read panel's first group to the cycle before the group leaves `elementwise`.
        out_cycles = MEMORY_CYCLES + config.vector_map_cycles - 1
        started = delay(m, panel.start, out_cycles, name="started")
        m.d.comb += [
            writer.instruction.eq(instruction),
            writer.phase.eq(phase),
            writer.start.eq(Mux(paired, delay(m, started, 1, name="started_paired"), started)),
            writer.fill.eq(panel.fill),
            writer.interval.eq(panel.interval),
            writer.values.eq(elementwise.o),
        ]
        return m

    def _shape(self, m: Module, panel: Panel, phase: Signal, codes, paired: Signal) -> None:
        """How far rows reach and how fast groups follow, in this phase."""
        lanes = self._config.vector_lanes
        interval = Mux(paired, 2, 1)
        m.d.comb += panel.interval.eq(interval)
        with m.Switch(phase):
            with m.Case(Phase.MAP):
                m.d.comb += panel.fill.eq(Fill.WORD)
            with m.Case(Phase.MAXIMA):
                m.d.comb += panel.fill.eq(Fill.COLUMNS)
            with m.Case(Phase.CODES), m.Switch(codes):
                with m.Case(Codes.ACT):
                    m.d.comb += panel.fill.eq(Fill.ACT_WORD)
                with m.Case(Codes.WEIGHT):
                    m.d.comb += panel.fill.eq(Fill.WORD)
                with m.Case(Codes.WEIGHT_TRANSPOSED):
                    # The writer takes a cycle for each code.
                    slow = lanes if lanes >= 2 else interval
                    m.d.comb += [panel.fill.eq(Fill.COLUMNS), panel.interval.eq(slow)]

    def _read(self, m: Module, panel: Panel, elementwise: Elementwise, fields, paired: Signal) -> None:
        """Issue the reads of a group and hand what comes back, a cycle later, to `elementwise`."""
        config, lanes = self._config, self._config.vector_lanes
        source = row_address(m, panel, fields.source_address, fields.source_stride, name="source") + panel.word
        operand = row_address(m, panel, fields.operand_address, fields.operand_stride, name="operand") + panel.word
        read_source, read_operand = Signal(), Signal()
        m.d.comb += [
            read_source.eq(panel.active & panel.inside & (panel.beat == paired)),
            read_operand.eq(panel.valid & panel.inside & (fields.combine != Combine.NONE)),
            self.acc_read.en.eq(read_source & (fields.source == Source.ACC)),
            self.acc_read.address.eq(source),
            self.value_read.en.eq((read_source & (fields.source == Source.VALUE)) | read_operand),
            self.value_read.address.eq(Mux(read_operand, operand, source)),
            self.param_read.en.eq(read_source & fields.scaled),
            self.param_read.address.eq(fields.param_address + panel.word),
            self.row_read.en.eq(read_source & fields.row_scaled),
            self.row_read.address.eq(fields.row_address + panel.row),
        ]

        slot = delay(m, panel.slot, MEMORY_CYCLES, name="slot")
        acc = lanes_of(m, self.acc_read.data, slot, lanes, 32, name="acc")
        value = lanes_of(m, self.value_read.data, slot, lanes, config.value_bits, name="value")
        pairs = lanes_of(m, self.param_read.data, slot, lanes, 64, name="pairs")
        value_before = delay(m, value, 1, name="value_before")
        for lane in range(lanes):
            m.d.comb += [
                elementwise.acc[lane].eq(acc.word_select(lane, 32)),
                elementwise.scale[lane].eq(pairs.word_select(2 * lane, 32)),
                elementwise.offset[lane].eq(pairs.word_select(2 * lane + 1, 32)),
            ]
        m.d.comb += [
            elementwise.value.eq(value),
            elementwise.operand.eq(Mux(paired, value_before, value)),
            elementwise.row.eq(self.row_read.data),
            elementwise.from_value.eq(fields.source == Source.VALUE),
            elementwise.scaled.eq(fields.scaled),
            elementwise.row_scaled.eq(fields.row_scaled),
            elementwise.activation.eq(fields.activation),
            elementwise.combine.eq(fields.combine),
        ]

"""VECTOR: Map, Quantise and Reduce, elementwise work on a panel, to values, to codes, or to what rows or columns are;
and Tables, which sets the functions that this takes.

    read panel ─ ACC, VALUE, PARAM, ROW ─ elementwise ─ writer ─ VALUE | ACT, WEIGHT | ROW, PARAM | INDEX

The read panel walks the groups and fetches their operands; the datapath never stalls; the writer walks the same groups
as they come out. A Map is one walk, a Quantise two: one for the row maxima, one for the codes; a Reduce one for each
number of a row that it finds.
"""

from types import SimpleNamespace

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, MEMORY_CYCLES, SUM_CYCLES, HardwareConfig, Memory
from ...arch.isa import (
    ADDRESS,
    Axis,
    Codes,
    Combine,
    Layout,
    Map,
    Quantise,
    Reduce,
    Reduction,
    SecondOperand,
    Source,
    Tables,
    VectorInstruction,
)
from ..elementwise import Elementwise
from ..float import entered
from ..float_format import with_carry
from ..instructions import fields_of, is_rather, opcode_of
from ..memories import lane_bits, read_signature, write_signature
from ..panel import Fill, Panel, address_in_blocks
from ..pipeline import delay, register
from ..rotate import partner_of, row_words
from ..table_writer import TableWriter
from .vector_writer import Phase, VectorWriter

# The instructions that walk over a panel, and what their first walk is for.
FIRST_WALK = {Map: Phase.MAP, Quantise: Phase.MAXIMA, Reduce: Phase.REDUCE}


def begins_with(instruction: Value, walk: Phase) -> Value:
    """Whether it is an instruction whose first walk is this."""
    return opcode_of(instruction).matches(*(kind.opcode for kind, first in FIRST_WALK.items() if first is walk))


class Vector(wiring.Component):
    """Executes one Map, Quantise, Reduce or Tables at a time.

    `start` comes with `instruction` in a cycle s in which `ready` is up; the first read is issued in s + 1 and `retire`
    is up in s + D, D as docs/architecture.md gives it, in the cycle of the last write.

    A group is read in as many cycles as the port that is read most is read for it. What is read once is read in the
    last of them, so that all operands are there in the cycle after.
    """

    executes = (*FIRST_WALK, Tables)

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "ready": Out(1),
            "retire": Out(1),
            "acc_read": Out(read_signature(config, Memory.ACC, lane_bits(config, Memory.ACC))),
            "value_read": Out(read_signature(config, Memory.VALUE, lane_bits(config, Memory.VALUE))),
            "param_read": Out(read_signature(config, Memory.PARAM, lane_bits(config, Memory.PARAM))),
            "row_read": Out(read_signature(config, Memory.ROW)),
            "value_write": Out(write_signature(config, Memory.VALUE, lane_bits(config, Memory.VALUE))),
            "act_write": Out(write_signature(config, Memory.ACT, lane_bits(config, Memory.ACT))),
            "weight_write": Out(write_signature(config, Memory.WEIGHT, lane_bits(config, Memory.WEIGHT))),
            "param_write": Out(write_signature(config, Memory.PARAM, 32)),
            "row_write": Out(write_signature(config, Memory.ROW)),
            "index_write": Out(write_signature(config, Memory.INDEX, 32)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        m.submodules.panel = panel = Panel(config, blocks=True, intervals=True)
        m.submodules.elementwise = elementwise = Elementwise(config)
        m.submodules.writer = writer = VectorWriter(config)
        m.submodules.tables = tables = TableWriter(config)
        for port in ("value_write", "act_write", "weight_write", "param_write", "row_write", "index_write"):
            wiring.connect(m, wiring.flipped(getattr(self, port)), getattr(writer, port))

        busy = Signal()
        instruction = Signal(INSTRUCTION_BITS)
        phase = Signal(Phase)
        codes_begin = writer.next_walk & (phase == Phase.MAXIMA)
        with m.If(self.start):
            m.d.sync += [busy.eq(1), instruction.eq(self.instruction)]
            with m.Switch(opcode_of(self.instruction)):
                for kind, first in FIRST_WALK.items():
                    with m.Case(kind.opcode):
                        m.d.sync += phase.eq(first)
        with m.Elif(self.retire):
            m.d.sync += busy.eq(0)
        with m.Elif(codes_begin):
            m.d.sync += phase.eq(Phase.CODES)
        sets_tables = is_rather(self.instruction, Tables, *FIRST_WALK)
        m.d.comb += [
            self.ready.eq(~busy),
            self.retire.eq(writer.retire | tables.retire),
            tables.start.eq(self.start & sets_tables),
            tables.instruction.eq(self.instruction),
        ]
        wiring.connect(m, tables.write, elementwise.table_write)

        fields = fields_of(VectorInstruction, instruction)
        steps = self._steps(m)
        given = fields_of(VectorInstruction, self.instruction)
        m.d.comb += [
            panel.start.eq((self.start & ~sets_tables) | writer.next_walk),
            panel.rows.eq(Mux(self.start, given.rows, fields.rows)),
            panel.columns.eq(Mux(self.start, given.columns, fields.columns)),
        ]
        self._shape(m, panel, steps.next_before_last, fields_of(Quantise, instruction).codes, codes_begin)
        value_slot = Signal.like(panel.slot)  # of the group that is read from VALUE
        m.d.comb += value_slot.eq(panel.slot)
        self._read(m, panel, fields, steps, value_slot)
        self._compute(m, panel, elementwise, fields, steps, value_slot)
        self._read_pairs(m, panel, fields, tables)
        m.d.comb += [
            writer.instruction.eq(instruction),
            writer.phase.eq(phase),
            writer.start.eq(self._first_group(m, panel.start, steps.before_last)),
            *(getattr(writer, name).eq(getattr(panel, name)) for name in ("fill", "last_beat", "tall", "turned")),
            writer.values.eq(elementwise.o),
            writer.chosen.eq(elementwise.chosen),
        ]
        return m

    def _steps(self, m: Module) -> SimpleNamespace:
        """What of the work needs more than one read of a port, and how many cycles of reads come before the last. It is
        found out of what comes with `start`, so that the walk begins from registers."""
        fields, map_fields = (fields_of(kind, self.instruction) for kind in (VectorInstruction, Map))
        from_row = fields.operand != SecondOperand.VALUE
        rotates = fields.combine == Combine.ROTATE
        combines = (fields.combine != Combine.NONE) & ~rotates & ~from_row
        operand_in_row = (fields.combine != Combine.NONE) & from_row
        paired = (fields.source == Source.VALUE) & combines
        operand_scaled = begins_with(self.instruction, Phase.MAP) & map_fields.operand_scaled
        row_twice = fields.row_scaled & (operand_scaled | operand_in_row)
        times_twice = operand_scaled & (fields.combine == Combine.MULTIPLY)
        next_before_last = Signal(2)
        m.d.comb += next_before_last.eq(
            Mux(rotates, 3, Mux(fields.planes != 0, fields.planes, paired | row_twice | times_twice))
        )
        steps = SimpleNamespace(
            rotates=Signal(),
            combines=Signal(),  # there is a second operand from VALUE, not to rotate by
            paired=Signal(),  # both operands come from VALUE: the second is read first
            operand_scaled=Signal(),  # it is multiplied by a number for each row
            operand_in_row=Signal(),  # there is a second operand from ROW
            row_twice=Signal(),  # ROW is read for the operand first
            is_scalar=Signal(),  # a second operand from ROW is the same for all rows
            has_planes=Signal(),
            factor_address=Signal(ADDRESS),  # of what the operand is, or is scaled by, in ROW
            before_last=Signal(2),
            next_before_last=next_before_last,  # what this is about to be
        )
        with m.If(self.start):
            m.d.sync += [
                steps.rotates.eq(rotates),
                steps.combines.eq(combines),
                steps.paired.eq(paired),
                steps.operand_scaled.eq(operand_scaled),
                steps.operand_in_row.eq(operand_in_row),
                steps.row_twice.eq(row_twice),
                steps.is_scalar.eq(fields.operand == SecondOperand.SCALAR),
                steps.has_planes.eq(fields.planes != 0),
                steps.factor_address.eq(Mux(operand_scaled, map_fields.operand_row_address, fields.operand_address)),
                steps.before_last.eq(next_before_last),
            ]
        return steps

    def _shape(self, m: Module, panel: Panel, before_last: Value, codes: Value, codes_begin: Value) -> None:
        """How far rows reach and how fast groups follow, from registers: in the walk of what comes with `start`, and in
        that for the `codes` of a Quantise, which is as fast as that for its maxima."""
        lanes = self._config.vector_lanes
        fill, tall, turned = Signal(panel.fill.shape()), Signal(), Signal()
        last_beat = Signal.like(panel.last_beat)
        m.d.comb += [panel.fill.eq(fill), panel.tall.eq(tall), panel.turned.eq(turned), panel.last_beat.eq(last_beat)]
        reduce, by_words = fields_of(Reduce, self.instruction), fields_of(Map, self.instruction).layout == Layout.ROWS
        of_map, of_reduce = Signal(), Signal()
        by_lanes = Mux(before_last < lanes - 1, lanes - 1, before_last)  # where the writer takes a cycle for each lane
        along_rows = of_reduce & (reduce.axis == Axis.ROWS)
        m.d.comb += [
            of_map.eq(begins_with(self.instruction, Phase.MAP)),
            of_reduce.eq(begins_with(self.instruction, Phase.REDUCE)),
        ]
        with m.If(self.start):
            m.d.sync += [
                fill.eq(Mux((of_map & by_words) | along_rows, Fill.WORD, Fill.COLUMNS)),
                tall.eq(0),
                turned.eq(along_rows),
                last_beat.eq(Mux(of_map & ~by_words, by_lanes, before_last)),
            ]
            with m.If(of_reduce & (reduce.kind == Reduction.SUM)):  # a number comes with the sum of those before it
                m.d.sync += last_beat.eq(SUM_CYCLES - 1)
        with m.Elif(codes_begin), m.Switch(codes):
            with m.Case(Codes.ACT):
                m.d.sync += fill.eq(Fill.ACT_WORD)
            with m.Case(Codes.WEIGHT):
                m.d.sync += fill.eq(Fill.WORD)
            with m.Case(Codes.WEIGHT_TRANSPOSED):
                m.d.sync += [fill.eq(Fill.COLUMNS), tall.eq(1)]

    def _first_group(self, m: Module, start: Value, before_last: Value) -> Value:
        """Whether the first group of the walk leaves `elementwise` in the next cycle.

        It is later by the reads before its last and by the rotation. Those cycles come first: a start that has taken
        the short way is gone from the long one before a walk that takes it can begin.
        """
        last_reads = []
        for cycles in (1, 1, 1, 1 + self._config.rotate_cycles):
            start = delay(m, start, cycles, name=f"started_{len(last_reads)}")
            last_reads.append(start)
        last_read = Cat(last_reads).bit_select(before_last, 1)  # of the first group: a cycle after `start`, or later
        return delay(m, last_read, MEMORY_CYCLES + self._config.vector_map_cycles - 2, name="first_group")

    def _read(self, m: Module, panel: Panel, fields, steps: SimpleNamespace, value_slot: Signal) -> None:
        """Issue the reads of a group."""
        source, operand = ((self._row_address(m, panel, fields, name) + panel.word)[:ADDRESS]
                           for name in ("source", "operand"))  # fmt: skip
        reads, last, one_before = Signal(), Signal(), Signal()
        at_last, at_one_before = panel.beat == steps.before_last, panel.beat + 1 == steps.before_last
        from_value = fields.source == Source.VALUE
        factor = steps.operand_scaled | steps.operand_in_row
        # An address does not wait for whether there is a read.
        of_row = at_last & fields.row_scaled
        m.d.comb += [
            reads.eq(panel.active & panel.inside & (steps.before_last >= panel.beat)),
            last.eq(reads & at_last),
            one_before.eq(reads & at_one_before),
            self.param_read.en.eq(last & fields.scaled),
            self.row_read.en.eq((last & (fields.row_scaled | factor)) | (one_before & steps.row_twice)),
            self.row_read.address.eq(Mux(of_row, fields.row_address, steps.factor_address)
                                     + Mux(steps.is_scalar & ~of_row, 0, panel.row)),
            self.acc_read.en.eq(~from_value & Mux(steps.has_planes, reads, last)),
        ]

        # Plane p stands p · rows · stride words on.
        rows = fields.rows[: self._config.panel_rows.bit_length()]
        plane_words = register(m, (rows * fields.source_stride)[:ADDRESS], "plane_words")
        plane_offset = Signal(ADDRESS)
        with m.Switch(Mux(steps.has_planes, panel.beat, 0)):
            with m.Case(1):
                m.d.comb += plane_offset.eq(plane_words)
            with m.Case(2):
                m.d.comb += plane_offset.eq(plane_words << 1)
        m.d.comb += self.acc_read.address.eq(source + plane_offset)

        read_operand = Signal()
        m.d.comb += read_operand.eq(steps.combines & Mux(steps.paired, at_one_before, at_last))
        with m.If(steps.rotates):
            words = row_words(m, fields.columns, self._config)
            self._address_rotated(m, panel, words, source, operand, value_slot)
            m.d.comb += self.value_read.en.eq(reads)
        with m.Else():
            m.d.comb += [
                self.value_read.en.eq((last & from_value) | (reads & read_operand)),
                self.value_read.address.eq(Mux(read_operand, operand, source)),
            ]

    def _row_address(self, m: Module, panel: Panel, fields, operand: str) -> Signal:
        """Of the row that `panel` is in. The walk may begin with the instruction, or with what is there."""
        name = f"{operand}_address"
        given = getattr(fields_of(VectorInstruction, self.instruction), name)
        begin = Mux(self.start, given, getattr(fields, name))
        return address_in_blocks(m, panel, begin, getattr(fields, f"{operand}_stride"), name=operand)

    def _address_rotated(
        self, m: Module, panel: Panel, words: Value, source: Value, operand: Value, value_slot: Signal
    ) -> None:  # fmt: skip
        """Addresses of VALUE for cosine, x, sine and the partner of x, which is half a row on, or back. The group is
        the same for four cycles, so those that come later can be found in several."""
        partner = partner_of(panel.word, panel.slot, words, self._config)
        back, far, partner_slot = (register(m, part, f"partner_{name}") for name, part in partner._asdict().items())
        distance = far ^ back.replicate(ADDRESS)
        partner_word = register(m, with_carry(source, distance, back), "partner_word")
        sine_word = register(m, operand + words, "sine_word")
        with m.Switch(panel.beat):
            with m.Case(0):
                m.d.comb += self.value_read.address.eq(operand)
            with m.Case(1):
                m.d.comb += self.value_read.address.eq(source)
            with m.Case(2):
                m.d.comb += self.value_read.address.eq(sine_word)
            with m.Default():
                m.d.comb += [self.value_read.address.eq(partner_word), value_slot.eq(partner_slot)]

    def _read_pairs(self, m: Module, panel: Panel, fields, tables: TableWriter) -> None:
        """Where PARAM is read: the pairs of a group, or of entries of tables."""
        m.d.comb += [
            self.param_read.address.eq(fields.param_address + panel.word),
            self.param_read.part.eq(panel.slot),
            tables.pairs.eq(self.param_read.data),
        ]
        with m.If(tables.reading):
            m.d.comb += [
                self.param_read.en.eq(1),
                self.param_read.address.eq(tables.address),
                self.param_read.part.eq(tables.part),
            ]

    def _compute(
        self, m: Module, panel: Panel, elementwise: Elementwise, fields, steps: SimpleNamespace, value_slot: Signal
    ) -> None:  # fmt: skip
        """Hand what memory gives to `elementwise`."""
        lanes = self._config.vector_lanes
        acc, value, pairs = self.acc_read.data, self.value_read.data, self.param_read.data
        of_row = entered(m, self.row_read.data, self._config, "of_row")
        m.d.comb += [
            self.acc_read.part.eq(panel.slot),
            self.value_read.part.eq(value_slot),
        ]
        for lane in range(lanes):
            m.d.comb += [
                elementwise.scale[lane].eq(pairs.word_select(2 * lane, 32)),
                elementwise.offset[lane].eq(pairs.word_select(2 * lane + 1, 32)),
            ]
        m.d.comb += [
            elementwise.valid.eq(delay(m, panel.beat == steps.before_last, MEMORY_CYCLES, "last_read")),
            elementwise.acc.eq(acc),
            elementwise.first_plane.eq(delay(m, (panel.beat == 0) | (fields.planes == 0), MEMORY_CYCLES, "new_sum")),
            elementwise.value.eq(value),
            elementwise.operand.eq(Mux(steps.paired | steps.rotates, register(m, value, "value_before"), value)),
            elementwise.row.eq(of_row),
            elementwise.factor.eq(Mux(steps.row_twice, register(m, of_row, "row_before"), of_row)),
            elementwise.from_value.eq(fields.source == Source.VALUE),
            elementwise.scaled.eq(fields.scaled),
            elementwise.row_scaled.eq(fields.row_scaled),
            elementwise.function.eq(fields.function),
            elementwise.combine.eq(fields.combine),
            elementwise.operand_scaled.eq(steps.operand_scaled),
            elementwise.operand_is_factor.eq(steps.operand_in_row),
        ]

"""LOAD: DRAM → ACT, WEIGHT, PARAM, VALUE, INDEX or PAGE, in strided segments or gathered by row numbers from INDEX; and
the arithmetic on these numbers.

Requests run ahead of data: every burst granted leaves a descriptor of where its beats belong, and the next instruction
may make requests while beats of earlier ones still come. Beats are written as they come: the bus never waits for LOAD.
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, HardwareConfig, Memory
from ...arch.isa import IndexMap
from ...arch.isa import Load as LoadInstruction
from ..axi import ADDRESS_BITS, request_signature
from ..bursts import BurstWalk, position_bits, split_position
from ..index_arithmetic import IndexArithmetic
from ..instructions import fields_of, opcode_of
from ..memories import mask_bits, read_signature, write_signature
from ..queue import Queue
from ..region import BurstGate
from ..row_lookup import ELEMENT_BITS, RowLookup

MEMORIES = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.INDEX, Memory.PAGE)


class Load(wiring.Component):
    """Unit ports (`start`, `instruction`, `ready`, `retire`), memory ports, `request` and its read beats.

    The first request is up two cycles after `start`, of a gather GATHER_CYCLES later; that of its next segment
    GATHER_CYCLES + 1 after the one before has come to the gate, or in the cycle after its grant. `beat`, `data` and
    `last_beat` are the read channel where it carries LOAD's identifier; data are written in the cycle of their beat.
    `retire` follows the last beat by a cycle, of an IndexMap its last write. `ready` is for the instruction shown: up
    from the cycle after the last grant, but for a gather or an IndexMap when all has retired; and after an IndexMap
    when that has.

    DRAM addresses count from `base` on, in a region of `size_bytes`. In the cycle of `beyond` a burst was not in it: it
    is not asked for, nor any after it, and the instruction retires once nothing is in flight.
    """

    executes = (LoadInstruction, IndexMap)

    def __init__(self, config: HardwareConfig):
        self._config = config
        super().__init__({
            "start": In(1),
            "instruction": In(INSTRUCTION_BITS),
            "ready": Out(1),
            "retire": Out(1),
            "base": In(ADDRESS_BITS),
            "size_bytes": In(ADDRESS_BITS),
            "beyond": Out(1),
            "request": Out(request_signature()),
            "beat": In(1),
            "data": In(config.axi_bytes * 8),
            "last_beat": In(1),
            "index_read": Out(read_signature(config, Memory.INDEX, ELEMENT_BITS)),
            **{f"{memory.name.lower()}_write": Out(write_signature(config, memory, 8 * config.axi_bytes))
               for memory in MEMORIES},
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        view = fields_of(LoadInstruction, self.instruction)
        m.submodules.walk = walk = BurstWalk(self._config, MEMORIES)
        memory = Signal(len(view.memory))
        calculates, moves = Signal(), Signal()  # the instruction shown is an IndexMap; a LOAD starts
        m.d.comb += [
            calculates.eq(opcode_of(self.instruction) == IndexMap.opcode),
            moves.eq(self.start & ~calculates),
        ]
        with m.If(moves):
            m.d.sync += memory.eq(view.memory)
        destination = Signal(len(Cat(memory, walk.position, walk.last)))  # of the burst at the gate
        bursts = Queue(len(destination), self._config.load_outstanding)  # granted, last beat still to come
        m.submodules.bursts = bursts
        m.submodules.gate = self.gate = gate = BurstGate(self._config.axi_bytes, self._config.burst_beats)
        m.d.comb += [
            walk.start.eq(moves),
            *[getattr(walk, name).eq(getattr(view, name)) for name in
              ("memory", "dram_address", "dram_stride", "segments", "words", "address", "stride")],
            walk.take.eq(gate.taken),
            walk.stop.eq(self.beyond),
            bursts.put.eq(self.request.granted),
            bursts.i.eq(destination),
        ]  # fmt: skip
        m.submodules.lookup = lookup = RowLookup(self._config)
        self._gather(m, walk, lookup, view, moves)
        with m.If(gate.taken):
            m.d.sync += destination.eq(Cat(memory, walk.position, walk.last))
        wiring.connect(m, wiring.flipped(self.request), gate.request)
        quiet = (bursts.level == 0) & ~self.retire
        stopped, drained = Signal(), Signal()  # a burst was beyond; what came before it has retired
        calculating = Signal()  # an IndexMap has started and not retired
        m.d.comb += [
            gate.offered.eq(walk.valid & lookup.addressed),
            gate.offset.eq(walk.burst_address),
            gate.beats.eq(walk.beats),
            gate.base.eq(self.base),
            gate.size_bytes.eq(self.size_bytes),
            gate.room.eq(bursts.level != self._config.load_outstanding),
            self.beyond.eq(gate.refused),
            self.ready.eq(
                ~walk.valid & ~gate.holds & ~stopped & ~calculating & (~(view.gather | calculates) | quiet)
            ),
            drained.eq(stopped & quiet),
        ]  # fmt: skip
        finished = self._write(m, bursts)
        calculated = self._calculate(m, lookup, self.start & calculates)
        m.d.sync += [
            stopped.eq(self.beyond | (stopped & ~drained)),
            self.retire.eq(finished | drained | calculated),
            calculating.eq((self.start & calculates) | (calculating & ~self.retire)),
        ]
        return m

    def _gather(self, m: Module, walk: BurstWalk, lookup: RowLookup, view, starts: Signal) -> None:
        """Lets `lookup` find where each segment of a gather begins."""
        m.d.comb += [
            lookup.start.eq(starts),
            lookup.wanted.eq(view.gather),
            lookup.table.eq(view.dram_address),
            lookup.element.eq(view.index_address),
            lookup.stride.eq(walk.stride_now),
            lookup.next.eq(walk.take & walk.segment_ends & ~walk.last),
            walk.base_en.eq(lookup.base_en),
            walk.base.eq(lookup.base),
        ]

    def _calculate(self, m: Module, lookup: RowLookup, starts: Value) -> Signal:
        """Executes an IndexMap, alone in LOAD, at the ports of INDEX; returns that its last result is written."""
        m.submodules.arithmetic = arithmetic = IndexArithmetic(self._config)
        m.d.comb += [arithmetic.start.eq(starts), arithmetic.instruction.eq(self.instruction)]
        for name in ("en", "address", "part"):
            mine, rows = getattr(arithmetic.index_read, name), getattr(lookup.index_read, name)
            if len(mine):  # a word may be one number
                m.d.comb += getattr(self.index_read, name).eq(Mux(lookup.index_read.en, rows, mine))
        m.d.comb += [each.index_read.data.eq(self.index_read.data) for each in (lookup, arithmetic)]
        write = arithmetic.index_write
        with m.If(write.en):
            m.d.comb += [
                self.index_write.en.eq(1),
                self.index_write.address.eq(write.address),
                self.index_write.mask.eq(write.mask),
                self.index_write.data.eq(Cat([write.data] * (len(self.index_write.data) // len(write.data)))),
            ]
        return arithmetic.done

    def _write(self, m: Module, bursts: Queue) -> Value:
        """Writes each beat to where the descriptor of its burst says; returns that it is the last of an instruction."""
        bits = position_bits(self._config)
        memory, first_position, finishes = bursts.o[:3], bursts.o[3 : 3 + bits], bursts.o[3 + bits]
        first = Signal(init=1)  # the next beat is the first of its burst
        running = Signal(bits)
        position = Signal(bits)
        m.d.comb += [position.eq(Mux(first, first_position, running)), bursts.take.eq(self.beat & self.last_beat)]
        with m.If(self.beat):
            m.d.sync += [first.eq(self.last_beat), running.eq(position + 1)]
        for each in MEMORIES:
            port = getattr(self, f"{each.name.lower()}_write")
            word, part = split_position(self._config, each, position)
            part_bits = self._config.word_bits(each) // mask_bits(self._config, each)
            m.d.comb += [
                port.en.eq(self.beat & (memory == each)),
                port.address.eq(word),
                # A beat stands in every part of the word, and the mask picks the part it belongs to: padding, which
                # is beyond the word, is in no mask.
                port.data.eq(self.data),
                port.mask.eq(Cat(part == bit * part_bits // len(self.data) for bit in range(len(port.mask)))),
            ]
        return bursts.take & finishes

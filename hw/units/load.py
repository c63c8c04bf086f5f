"""LOAD: DRAM → ACT, WEIGHT, PARAM, VALUE, INDEX or PAGE, in strided segments or gathered by row numbers from INDEX.

Requests run ahead of data: every burst granted leaves a descriptor of where its beats belong, and the next instruction
may make requests while beats of earlier ones still come. Beats are written as they come: the bus never waits for LOAD.
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, HardwareConfig, Memory
from ...arch.isa import Load as LoadInstruction
from ..axi import ADDRESS_BITS, request_signature
from ..bursts import BurstWalk, position_bits, split_position
from ..instructions import fields_of
from ..memories import mask_bits, read_signature, write_signature
from ..queue import Queue
from ..region import BurstGate
from ..row_product import RowProduct

MEMORIES = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.INDEX, Memory.PAGE)
INDEX_ELEMENT_BITS = 32


class Load(wiring.Component):
    """Unit ports (`start`, `instruction`, `ready`, `retire`), memory ports, `request` and its read beats.

    The first request is up two cycles after `start`, of a gather GATHER_CYCLES later; that of its next segment
    GATHER_CYCLES + 1 after the one before has come to the gate, or in the cycle after its grant. `beat`, `data` and
    `last_beat` are the read channel where it carries LOAD's identifier; data are written in the cycle of their beat.
    `retire` follows the last beat by a cycle. `ready` is for the instruction shown: up from the cycle after the last
    grant, but for a gather when all has retired.

    DRAM addresses count from `base` on, in a region of `size_bytes`. In the cycle of `beyond` a burst was not in it: it
    is not asked for, nor any after it, and the instruction retires once nothing is in flight.
    """

    executes = (LoadInstruction,)

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
            "index_read": Out(read_signature(config, Memory.INDEX, INDEX_ELEMENT_BITS)),
            **{f"{memory.name.lower()}_write": Out(write_signature(config, memory, 8 * config.axi_bytes))
               for memory in MEMORIES},
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        view = fields_of(LoadInstruction, self.instruction)
        m.submodules.walk = walk = BurstWalk(self._config, MEMORIES)
        memory, gather = Signal(len(view.memory)), Signal()
        with m.If(self.start):
            m.d.sync += [memory.eq(view.memory), gather.eq(view.gather)]
        destination = Signal(len(Cat(memory, walk.position, walk.last)))  # of the burst at the gate
        bursts = Queue(len(destination), self._config.load_outstanding)  # granted, last beat still to come
        m.submodules.bursts = bursts
        m.submodules.gate = self.gate = gate = BurstGate(self._config.axi_bytes, self._config.burst_beats)
        m.d.comb += [
            walk.start.eq(self.start),
            *[getattr(walk, name).eq(getattr(view, name)) for name in
              ("memory", "dram_address", "dram_stride", "segments", "words", "address", "stride")],
            walk.take.eq(gate.taken),
            walk.stop.eq(self.beyond),
            bursts.put.eq(self.request.granted),
            bursts.i.eq(destination),
        ]  # fmt: skip
        addressed = self._gather(m, walk, gather, view)
        with m.If(gate.taken):
            m.d.sync += destination.eq(Cat(memory, walk.position, walk.last))
        wiring.connect(m, wiring.flipped(self.request), gate.request)
        quiet = (bursts.level == 0) & ~self.retire
        stopped, drained = Signal(), Signal()  # a burst was beyond; what came before it has retired
        m.d.comb += [
            gate.offered.eq(walk.valid & addressed),
            gate.offset.eq(walk.burst_address),
            gate.beats.eq(walk.beats),
            gate.base.eq(self.base),
            gate.size_bytes.eq(self.size_bytes),
            gate.room.eq(bursts.level != self._config.load_outstanding),
            self.beyond.eq(gate.refused),
            self.ready.eq(~walk.valid & ~gate.holds & ~stopped & (~view.gather | quiet)),
            drained.eq(stopped & quiet),
        ]
        finished = self._write(m, bursts)
        m.d.sync += [stopped.eq(self.beyond | (stopped & ~drained)), self.retire.eq(finished | drained)]
        return m

    def _gather(self, m: Module, walk: BurstWalk, gather: Signal, view) -> Signal:
        """Finds where each segment of a gather begins; returns whether the address of the burst at hand is known."""
        looks_up, reads, arrives = Signal(), Signal(), Signal()  # a row's number is wanted, is read, is there
        table, addressed = Signal(ADDRESS_BITS), Signal()
        element = Signal(len(view.index_address))  # of INDEX, counted in numbers, not words
        m.submodules.product = product = RowProduct()
        m.d.comb += looks_up.eq(Mux(self.start, view.gather, gather & walk.take & walk.segment_ends & ~walk.last))
        m.d.sync += [
            reads.eq(looks_up),
            arrives.eq(reads),
            addressed.eq((self.start | addressed | product.done) & ~looks_up),
        ]
        with m.If(self.start):
            m.d.sync += [table.eq(view.dram_address), element.eq(view.index_address)]
        with m.Elif(arrives):
            m.d.sync += element.eq(element + 1)
        low = (self._config.word_elements(Memory.INDEX) - 1).bit_length()
        place = table + product.o  # as wide as it may get: far away must not look near
        m.d.comb += [
            self.index_read.en.eq(reads),
            self.index_read.address.eq(element[low:]),
            self.index_read.part.eq(element[:low]),
            product.clear.eq(self.start),
            product.start.eq(arrives),
            product.number.eq(self.index_read.data),
            product.stride.eq(walk.stride_now),
            walk.base_en.eq(product.done),
            walk.base.eq(Cat(place[:ADDRESS_BITS], place[ADDRESS_BITS:].any())),
        ]
        return addressed

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

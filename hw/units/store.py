"""STORE: ACT, WEIGHT, PARAM, VALUE or INDEX → DRAM, in strided segments or scattered by row numbers from INDEX.

A burst is read from memory into one of two buffers, so that its beats can be given without a gap, while the one before
it is on the bus.
"""

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import INSTRUCTION_BITS, MEMORY_CYCLES, HardwareConfig, Memory
from ...arch.isa import Store as StoreInstruction
from ..axi import ADDRESS_BITS, request_signature
from ..bursts import PLACE_BITS, BurstWalk, split_position
from ..instructions import fields_of
from ..memories import read_signature
from ..pipeline import delay, register
from ..ram import Ram
from ..region import BurstGate
from ..row_lookup import ELEMENT_BITS, RowLookup

MEMORIES = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.INDEX)
RESPONSE_LIMIT = 15  # write bursts without their response: more than any memory that answers at once lets build up


class Store(wiring.Component):
    """Unit ports (`start`, `instruction`, `ready`, `retire`), memory ports, `request`, write data and responses.

    A burst of n beats is read in cycles q … q + n − 1, with one access per beat; its request is up from q + n + 2, or
    from the cycle after the grant of the burst before. q is the cycle after `start`, then the first in which the burst
    before is read whole and the one before that has left its buffer. The first burst of each segment of a scatter is
    read GATHER_CYCLES later, when its row has been found. `retire` follows the last response by a cycle.

    Write data are offered from the cycle after their request is first shown, whether or not the slave has accepted it:
    AXI lets a slave wait for data before it accepts the address.

    DRAM addresses count from `base` on, in a region of `size_bytes`. In the cycle of `beyond` a burst was not in it: it
    is not asked for, nor any after it, and the instruction retires once all before it are answered.
    """

    executes = (StoreInstruction,)

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
            "beat_valid": Out(1),
            "beat_ready": In(1),
            "data": Out(config.axi_bytes * 8),
            "last_beat": Out(1),
            "response": In(1),
            **{f"{memory.name.lower()}_read": Out(read_signature(config, memory, 8 * config.axi_bytes))
               for memory in MEMORIES},
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        view = fields_of(StoreInstruction, self.instruction)
        m.submodules.walk = walk = BurstWalk(self._config, MEMORIES, by_beats=True)
        m.submodules.buffers = buffers = Ram(self._config.axi_bytes * 8, 2 * self._config.burst_beats, block=True)
        busy = Signal()
        with m.If(self.start):
            m.d.sync += busy.eq(1)
        with m.Elif(self.retire):
            m.d.sync += busy.eq(0)
        m.d.comb += [
            self.ready.eq(~busy),
            walk.start.eq(self.start),
            walk.stop.eq(self.beyond),
            *[getattr(walk, name).eq(getattr(view, name)) for name in
              ("memory", "dram_address", "dram_stride", "segments", "words", "address", "stride")],
        ]  # fmt: skip
        # Bit b is of buffer b. A burst is read into its buffer, asked for on the address channel, given on the data
        # channel; its buffer is occupied from the first read until it is both asked for (granted) and given.
        occupied, pending, open_ = Signal(2), Signal(2, name="pending"), Signal(2, name="open")
        unseen = Signal(2)  # pending, all but a beat of it in its buffer, and not at the gate yet
        filling, offering, asking, giving = Signal(), Signal(), Signal(), Signal()  # the buffer that each step is at

        lookup = self._scatter(m, walk, view)
        count = self._fill(m, walk, view.memory, buffers, occupied, filling, lookup.addressed)
        self._read_rows(m, lookup)
        m.submodules.gate = self.gate = gate = BurstGate(self._config.axi_bytes, self._config.burst_beats)
        with m.If(gate.taken):
            m.d.sync += [unseen.bit_select(offering, 1).eq(0), offering.eq(~offering)]
        with m.If(walk.take):
            m.d.sync += pending.bit_select(filling, 1).eq(1)
        filled = delay(m, filling, MEMORY_CYCLES - 1, "filled")
        with m.If(delay(m, walk.take, MEMORY_CYCLES - 1, "read_whole")):
            m.d.sync += unseen.bit_select(filled, 1).eq(1)
        addresses = Array(Signal(PLACE_BITS, name=f"address_{b}") for b in range(2))
        beats = Array(Signal.like(walk.beats, name=f"beats_{b}") for b in range(2))
        last_beats = Array(Signal.like(count, name=f"last_beat_{b}") for b in range(2))  # places in the buffers
        with m.If(walk.take):
            m.d.sync += [
                addresses[filling].eq(walk.burst_address),
                beats[filling].eq(walk.beats),
                last_beats[filling].eq(count),
            ]

        given = self._give(m, buffers, open_, giving, last_beats[giving])
        announced = Signal()  # the request at hand was shown in an earlier cycle
        m.d.sync += announced.eq(self.request.shown & ~self.request.granted)
        with m.If(self.request.shown & ~announced):
            m.d.sync += open_.bit_select(asking, 1).eq(1)
        with m.If(self.request.granted):
            m.d.sync += [pending.bit_select(asking, 1).eq(0), asking.eq(~asking)]
            with m.If(announced & ~open_.bit_select(asking, 1)):  # its data went ahead of it
                m.d.sync += occupied.bit_select(asking, 1).eq(0)
        with m.If(given & (~pending.bit_select(giving, 1) | (self.request.granted & (asking == giving)))):
            m.d.sync += occupied.bit_select(giving, 1).eq(0)

        unanswered = Signal(range(RESPONSE_LIMIT + 1))
        stopped, drained = Signal(), Signal()  # a burst was beyond; those before it have been answered
        all_asked = ~(walk.valid | pending.any() | stopped)
        wiring.connect(m, wiring.flipped(self.request), gate.request)
        m.d.comb += [
            gate.offered.eq(unseen.bit_select(offering, 1) & ~stopped),
            gate.offset.eq(addresses[offering]),
            gate.beats.eq(beats[offering]),
            gate.base.eq(self.base),
            gate.size_bytes.eq(self.size_bytes),
            gate.room.eq(unanswered != RESPONSE_LIMIT),
            self.beyond.eq(gate.refused),
            drained.eq(stopped & (unanswered == 0)),
        ]
        m.d.sync += [
            unanswered.eq(unanswered + self.request.granted - self.response),
            stopped.eq(self.beyond | (stopped & ~drained)),
            self.retire.eq((self.response & (unanswered == 1) & all_asked) | drained),
        ]
        with m.If(drained):  # what was read ahead is dropped
            m.d.sync += [occupied.eq(0), pending.eq(0), unseen.eq(0), filling.eq(asking), offering.eq(asking)]
        return m

    def _scatter(self, m: Module, walk: BurstWalk, view) -> RowLookup:
        """Finds where each segment of a scatter goes."""
        m.submodules.lookup = lookup = RowLookup(self._config, from_zero=True)
        m.d.comb += [
            lookup.start.eq(self.start),
            lookup.wanted.eq(view.scatter),
            lookup.table.eq(view.dram_address),
            lookup.element.eq(view.index_address),
            lookup.stride.eq(walk.stride_now),
            lookup.next.eq(walk.take & walk.segment_ends & ~walk.last),
            walk.base_en.eq(lookup.base_en),
            walk.base.eq(lookup.base),
        ]
        return lookup

    def _read_rows(self, m: Module, lookup: RowLookup) -> None:
        """Lends the port of INDEX to the lookup, in whose cycles no burst is read."""
        read, port = lookup.index_read, self.index_read
        m.d.comb += read.data.eq(port.data.word_select(register(m, read.part, "row_part"), ELEMENT_BITS))
        with m.If(read.en):
            m.d.comb += [port.en.eq(1), port.address.eq(read.address)]

    def _fill(
        self, m: Module, walk: BurstWalk, memory_field: Value, buffers: Ram, occupied: Signal, filling: Signal,
        addressed: Signal,
    ) -> Signal:  # fmt: skip
        """Reads bursts into their buffers; returns the place in its buffer of the beat at hand."""
        memory = Signal(len(memory_field))
        count = Signal(range(self._config.burst_beats))  # beats of the burst read in earlier cycles
        reads, begun = Signal(), Signal()  # a beat; one of this burst was, in an earlier cycle
        with m.If(self.start):
            m.d.sync += memory.eq(memory_field)
        m.d.comb += [
            reads.eq(walk.valid & addressed & (begun | ~occupied.bit_select(filling, 1))),
            walk.step.eq(reads),
            walk.take.eq(reads & walk.final),  # a burst of no beats ends, too, for the gate to refuse
        ]
        with m.If(reads):
            m.d.sync += [count.eq(count + 1), begun.eq(1), occupied.bit_select(filling, 1).eq(1)]
        with m.If(walk.take):
            m.d.sync += [count.eq(0), begun.eq(0), filling.eq(~filling)]
        with m.If(self.start):  # the one before may have been stopped half way
            m.d.sync += [count.eq(0), begun.eq(0)]

        slot = delay(m, self._slot(filling, count), MEMORY_CYCLES, "slot", reset_less=True)
        m.d.comb += [buffers.write_mask.eq(delay(m, reads, MEMORY_CYCLES, "arrives")), buffers.write_address.eq(slot)]
        ports = {each: getattr(self, f"{each.name.lower()}_read") for each in MEMORIES}
        arrived = {each: delay(m, port.data, MEMORY_CYCLES - self._config.read_cycles(each), f"of_{each.name.lower()}")
                   for each, port in ports.items()}  # fmt: skip
        with m.Switch(memory):
            for each, port in ports.items():
                word, part = split_position(self._config, each, walk.position)
                with m.Case(each):
                    m.d.comb += [
                        port.en.eq(reads),
                        port.address.eq(word),
                        port.part.eq(part),
                        buffers.write_data.eq(arrived[each]),
                    ]
        return count

    def _give(self, m: Module, buffers: Ram, open_: Signal, giving: Signal, last: Value) -> Signal:
        """Puts the burst of buffer `giving` on the data channel once it is open; returns that its last beat goes."""
        count, next_count = Signal(range(self._config.burst_beats)), Signal(range(self._config.burst_beats))
        next_giving = Signal()
        moves, given = Signal(), Signal()
        m.d.comb += [
            self.beat_valid.eq(open_.bit_select(giving, 1)),
            self.last_beat.eq(count == last),
            self.data.eq(buffers.read_data),
            moves.eq(self.beat_valid & self.beat_ready),
            given.eq(moves & self.last_beat),
            next_count.eq(Mux(given, 0, count + moves)),
            next_giving.eq(giving ^ given),
            # The RAM answers in the next cycle, so it is asked for the beat of the next cycle.
            buffers.read_en.eq(1),
            buffers.read_address.eq(self._slot(next_giving, next_count)),
        ]
        m.d.sync += [count.eq(next_count), giving.eq(next_giving)]
        with m.If(given):
            m.d.sync += open_.bit_select(giving, 1).eq(0)
        return given

    def _slot(self, buffer: Value, count: Value) -> Value:
        return Cat(count, buffer)

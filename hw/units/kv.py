"""KV: the paged cache in DRAM. Append writes tokens from WEIGHT and PARAM to their pages, Stream reads blocks of them.

walk ─ piece ─► page lookup ─ place ─► region gate ─ request ─► DRAM port
  └─ word ─► WEIGHT, PARAM ─► items ─────────────── write data ─►   │
WEIGHT, PARAM ◄────────────── cache writer, transposer ◄── beats ───┘
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...arch.config import APPEND_ITEMS, INSTRUCTION_BITS, MEMORY_CYCLES, HardwareConfig, Memory
from ...arch.isa import Append, KvInstruction, Part, Stream
from .. import cache_walk, cache_writer, pages
from ..axi import ADDRESS_BITS, kv_request_signature, write_data_signature
from ..bursts import BurstCut, beats_per_word
from ..cache_walk import PAIR_BYTES, CacheWalk
from ..cache_writer import CacheWriter
from ..instructions import fields_of, opcode_of
from ..memories import read_signature, write_signature
from ..pages import PageLookup
from ..pipeline import delay
from ..queue import Queue
from ..region import OFFSET_BITS, BurstGate

RESPONSE_LIMIT = 15  # write bursts without their response: more than any memory that answers at once lets build up
PAIR_BITS = 8 * PAIR_BYTES


class Kv(wiring.Component):
    """Unit ports (`start`, `instruction`, `ready`, `retire`), memory ports, `request`, and what follows it at the DRAM
    port: read beats (`beat`, `data`, `last_beat`), write data (`gives`), write responses (`response`).

    A piece (STREAM: a block, APPEND: an item) is looked for in the cycle after `start`, or in that after the last burst
    of the one before has gone to the gate; an item only if fewer than APPEND_ITEMS are read and not yet given. It goes
    to the gate LOOKUP_CYCLES later, or when the burst before is granted, and is a request from the next cycle on; the
    next burst of a block follows in the cycle after a grant. STREAM: while fewer than `load_outstanding` are in flight;
    `retire` follows the last beat by a cycle, for KEYS by C + 2. APPEND: `retire` follows the last response by a cycle.

    `base` and `size_bytes` are the region of the cache in DRAM. In the cycle of `beyond` a burst was not in it: it is
    not asked for, nor any after it, and the instruction retires once nothing is in flight.
    """

    executes = (Append, Stream)

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
            "request": Out(kv_request_signature()),
            "beat": In(1),
            "data": In(config.axi_bytes * 8),
            "last_beat": In(1),
            "gives": Out(write_data_signature(config)),
            "response": In(1),
            "page_read": Out(read_signature(config, Memory.PAGE, pages.ENTRY_BITS)),
            "weight_read": Out(read_signature(config, Memory.WEIGHT)),
            "param_read": Out(read_signature(config, Memory.PARAM, PAIR_BITS)),
            "weight_write": Out(write_signature(config, Memory.WEIGHT)),
            "param_write": Out(write_signature(config, Memory.PARAM, 8 * config.axi_bytes)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        view = fields_of(KvInstruction, self.instruction)
        appends, pairs = Signal(), Signal()  # of the instruction shown
        append, of_pairs, keys = Signal(), Signal(), Signal()  # of the one under way
        m.d.comb += [appends.eq(opcode_of(self.instruction) == Append.opcode), pairs.eq(view.part == Part.PAIRS)]
        with m.If(self.start):
            m.d.sync += [append.eq(appends), of_pairs.eq(pairs), keys.eq(view.part == Part.KEYS)]

        walk, lookup = self._walk(m, appends, pairs), self._lookup(m, pairs)
        unwritten = Signal(range(APPEND_ITEMS + 1))  # items read, their last beat not given
        in_flight = Signal(range(self._config.load_outstanding + 1))  # bursts read, their last beat still to come
        unanswered = Signal(range(RESPONSE_LIMIT + 1))
        room, may_ask = Signal(), Signal()
        m.d.comb += [
            room.eq(~append | (unwritten != APPEND_ITEMS)),
            may_ask.eq(Mux(append, unanswered != RESPONSE_LIMIT, in_flight != self._config.load_outstanding)),
            self.request.write.eq(append),
        ]
        asking = self._ask(m, walk, lookup, self._piece_beats(m, appends, pairs), append, room, may_ask)
        given = self._give(m, lookup, walk, append, of_pairs)
        m.d.sync += [
            unwritten.eq(Mux(self.start, 0, unwritten + (append & lookup.reads) - given)),
            in_flight.eq(in_flight + (~append & self.request.granted) - (self.beat & self.last_beat)),
            unanswered.eq(unanswered + (append & self.request.granted) - self.response),
        ]

        m.submodules.writer = writer = CacheWriter(self._config)
        streaming = fields_of(Stream, self.instruction)
        arrives, answered, stopped = Signal(), Signal(), Signal()  # the last beat or response of all, with none refused
        m.d.comb += [
            arrives.eq(self.beat & self.last_beat & (in_flight == 1) & ~asking & ~stopped),
            answered.eq(self.response & (unanswered == 1) & ~asking & ~stopped),
            writer.start.eq(self.start),
            *[getattr(writer, name).eq(getattr(streaming, name)) for name in cache_writer.FIELDS],
            writer.beat.eq(self.beat),
            writer.data.eq(self.data),
            writer.last.eq(arrives),
        ]
        wiring.connect(m, writer.weight_write, wiring.flipped(self.weight_write))
        wiring.connect(m, writer.param_write, wiring.flipped(self.param_write))
        done = (arrives & ~keys) | writer.keys_done | answered
        self._retire(m, done, stopped, (in_flight == 0) & (unanswered == 0))
        return m

    def _walk(self, m: Module, appends: Value, pairs: Value) -> CacheWalk:
        """The pieces of the instruction."""
        m.submodules.walk = walk = CacheWalk(self._config)
        view, stream = fields_of(Append, self.instruction), fields_of(Stream, self.instruction)
        m.d.comb += [
            walk.start.eq(self.start),
            walk.blocks_only.eq(~appends),
            walk.pairs.eq(pairs),
            *[getattr(walk, name).eq(getattr(view, name)) for name in cache_walk.FIELDS],
            walk.words.eq(Mux(pairs, 1, view.token_words)),
        ]
        with m.If(~appends):
            m.d.comb += [
                walk.block.eq(stream.first),
                walk.slot.eq(0),
                walk.tokens.eq(stream.blocks),
                walk.heads.eq(1),
                walk.words.eq(1),
            ]
        return walk

    def _lookup(self, m: Module, pairs: Value) -> PageLookup:
        """The page table, for the instruction."""
        m.submodules.lookup = lookup = PageLookup(self._config)
        view = fields_of(KvInstruction, self.instruction)
        m.d.comb += [
            lookup.start.eq(self.start),
            lookup.pairs.eq(pairs),
            *[getattr(lookup, name).eq(getattr(view, name)) for name in pages.FIELDS],
        ]
        wiring.connect(m, lookup.page_read, wiring.flipped(self.page_read))
        return lookup

    def _piece_beats(self, m: Module, appends: Value, pairs: Value) -> Signal:
        """Beats of an item or of what is read of a block."""
        config = self._config
        word_beats, param_beats = beats_per_word(config, Memory.WEIGHT), beats_per_word(config, Memory.PARAM)
        words = fields_of(Stream, self.instruction).words
        of_item = Mux(pairs, pair_beats(config), word_beats)
        of_block = Mux(pairs, param_beats, words * (config.columns * word_beats))
        piece_beats = Signal(max(len(of_item), len(of_block)))
        with m.If(self.start):
            m.d.sync += piece_beats.eq(Mux(appends, of_item, of_block))
        return piece_beats

    def _ask(
        self, m: Module, walk: CacheWalk, lookup: PageLookup, piece_beats: Signal, append: Value, room: Value,
        may_ask: Value,
    ) -> Signal:  # fmt: skip
        """Finds piece after piece, and asks for the bursts of each; returns whether there is any to ask for."""
        config = self._config
        longest = max(config.burst_beats, beats_per_word(config, Memory.WEIGHT), pair_beats(config))
        m.submodules.gate = self.gate = gate = BurstGate(config.axi_bytes, longest)
        burst = (config.burst_bytes - 1).bit_length()
        offset, found, piece_ends = Signal(OFFSET_BITS), Signal(), Signal()  # of the burst at hand
        m.submodules.cut = cut = BurstCut(config, len(piece_beats))
        looks, offers = Signal(), Signal()  # for a piece, a burst to the gate
        m.d.comb += [
            lookup.block.eq(walk.block_now),
            lookup.within.eq(walk.within),
            cut.start.eq(lookup.done),
            cut.address.eq(lookup.offset),
            cut.length.eq(piece_beats),
            cut.take.eq(gate.taken),
            piece_ends.eq(append | cut.ends),  # an item is one burst
            lookup.reads.eq(looks & room),
            lookup.stop.eq(gate.refused),
            gate.offered.eq(offers),
            gate.found.eq(found),
            gate.offset.eq(offset),
            gate.beats.eq(Mux(append, piece_beats, cut.beats)),
            gate.base.eq(self.base),
            gate.size_bytes.eq(self.size_bytes),
            gate.room.eq(may_ask),
            *(getattr(self.request, name).eq(getattr(gate.request, name)) for name in ("valid", "address", "beats")),
            gate.request.shown.eq(self.request.shown),
            gate.request.granted.eq(self.request.granted),
            self.beyond.eq(gate.refused),
            walk.take.eq(gate.taken & piece_ends),
        ]
        with m.If(lookup.reads):
            m.d.sync += looks.eq(0)
        with m.If(lookup.done):
            m.d.sync += [offset.eq(lookup.offset), found.eq(lookup.found), offers.eq(1)]
        with m.If(gate.taken):
            m.d.sync += offset.eq((offset[burst:] + 1) << burst)  # where the next burst begins, if there is one
        with m.If(walk.take):
            m.d.sync += [offers.eq(0), looks.eq(~walk.last)]
        with m.If(self.start):
            m.d.sync += looks.eq(1)
        with m.If(gate.refused):
            m.d.sync += [looks.eq(0), offers.eq(0)]
        return looks | lookup.busy | offers | gate.holds

    def _give(self, m: Module, lookup: PageLookup, walk: CacheWalk, append: Value, pairs: Value) -> Signal:
        """Reads items, keeps them, and gives them as write data; returns that the last beat of one goes."""
        config, beat_bits = self._config, 8 * self._config.axi_bytes
        word_beats, of_pair = beats_per_word(config, Memory.WEIGHT), pair_beats(config)
        reads = append & lookup.reads
        m.d.comb += [
            self.weight_read.en.eq(reads & ~pairs),
            self.weight_read.address.eq(walk.word),
            self.param_read.en.eq(reads & pairs),
            self.param_read.address.eq(walk.word),
            self.param_read.part.eq(walk.element),
        ]
        arrived = delay(m, reads, MEMORY_CYCLES, "arrived")
        lane = delay(m, walk.slot_now[: pair_lane_bits(config)], MEMORY_CYCLES, "lane", reset_less=True)

        pair = self.param_read.data
        item_bits = max(word_beats, of_pair) * beat_bits
        m.submodules.items = items = Queue(item_bits + len(lane), APPEND_ITEMS)
        # A pair that is narrower than the bus stands in every lane, and the strobes pick one.
        item = Signal(item_bits)
        number, last, given = Signal(range(max(word_beats, of_pair))), Signal(), Signal()
        m.d.comb += [
            items.clear.eq(self.start),
            items.put.eq(arrived),
            item.eq(Mux(pairs, Cat([pair] * (of_pair * beat_bits // PAIR_BITS)), self.weight_read.data)),
            items.i.eq(Cat(item, lane)),
            last.eq(number == Mux(pairs, of_pair, word_beats) - 1),
            given.eq(self.gives.valid & self.gives.ready & last),
            items.take.eq(given),
            self.gives.valid.eq(items.level != 0),
            self.gives.last.eq(last),
            self.gives.data.eq(items.o[:item_bits].word_select(number, beat_bits)),
            self.gives.strobe.eq(~0),
        ]
        if len(lane):
            with m.If(pairs):
                m.d.comb += self.gives.strobe.eq(((1 << PAIR_BYTES) - 1) << (items.o[item_bits:] * PAIR_BYTES))
        with m.If(self.start | given):
            m.d.sync += number.eq(0)
        with m.Elif(self.gives.valid & self.gives.ready):
            m.d.sync += number.eq(number + 1)
        return given

    def _retire(self, m: Module, done: Value, stopped: Signal, quiet: Value) -> None:
        """Retires what is done, or `stopped` for a burst beyond the region with nothing in flight any more."""
        busy = Signal()
        m.d.comb += self.ready.eq(~busy)
        m.d.sync += self.retire.eq(done | (stopped & quiet & ~self.retire))
        with m.If(self.start):
            m.d.sync += busy.eq(1)
        with m.Elif(self.retire):
            m.d.sync += busy.eq(0)
        with m.If(self.beyond):
            m.d.sync += stopped.eq(1)
        with m.Elif(self.retire):
            m.d.sync += stopped.eq(0)


def pair_beats(config: HardwareConfig) -> int:
    """Beats of the DRAM port that a pair takes."""
    return max(1, PAIR_BYTES // config.axi_bytes)


def pair_lane_bits(config: HardwareConfig) -> int:
    """Bits of a pair's place in a beat that holds several."""
    return (max(1, config.axi_bytes // PAIR_BYTES) - 1).bit_length()

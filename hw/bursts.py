"""How LOAD and STORE walk memory: an instruction's segments, cut into AXI bursts."""

from collections.abc import Sequence

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory
from ..arch.encoding import encoding
from ..arch.isa import ADDRESS, Load
from .axi import ADDRESS_BITS

PLACE_BITS = ADDRESS_BITS + 1  # of an address before the region gate: what goes beyond the last one must not wrap


def beats_per_word(config: HardwareConfig, memory: Memory) -> int:
    """Beats of the DRAM port that one word of `memory` takes: a power of two."""
    return config.dram_word_bytes(memory) // config.axi_bytes


def position_bits(config: HardwareConfig) -> int:
    """Bits of a place in a memory counted in beats: word address · beats_per_word + beat within the word."""
    return ADDRESS + max(_shift(config, memory) for memory in Memory)


class BurstCut(wiring.Component):
    """Cuts `length` beats at a DRAM `address`, given with `start`, into bursts that end at multiples of a burst.

    From the next cycle on `beats` are those of the first, and `ends` tells that it is the last; after `take` those of
    the next. Of no length, one burst of no beats. `whole` are the beats to the next multiple of a burst. `step` counts
    beats within a burst, and `final` tells that one is the last.
    """

    def __init__(self, config: HardwareConfig, length_bits: int):
        self._config = config
        super().__init__({
            "start": In(1),
            "address": In(ADDRESS_BITS),
            "length": In(length_bits),
            "take": In(1),
            "step": In(1),
            "ends": Out(1),
            "beats": Out(range(config.burst_beats + 1)),
            "whole": Out(range(config.burst_beats + 1)),
            "final": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        burst_beats = self._config.burst_beats
        low, places = (self._config.axi_bytes - 1).bit_length(), (burst_beats - 1).bit_length()
        # All that is told stands in registers, so what comes next is found out before: not from the sum that `last` is.
        given, last = Signal(places), Signal(len(self.length) + 1)  # places counted from a multiple of a burst
        ends, beats, whole, left = (Signal.like(each) for each in (self.ends, self.beats, self.whole, self.beats))
        short = self.length[: places + 1]
        m.d.comb += [given.eq(self.address[low : low + places]), self.final.eq(left <= 1)]
        with m.If(self.start):
            m.d.comb += [
                ends.eq((self.length[places + 1 :] == 0) & (short + given < burst_beats + 1)),
                whole.eq(burst_beats - given),
                beats.eq(Mux(ends, short, whole)),
            ]
            m.d.sync += last.eq(self.length + given - 1)
        with m.Else():
            m.d.comb += [
                ends.eq(last[places:] == 1),
                whole.eq(burst_beats),
                beats.eq(Mux(ends, last[:places] + 1, burst_beats)),
            ]
            with m.If(self.take):
                m.d.sync += last[places:].eq(last[places:] - 1)
        with m.If(self.start | self.take):
            m.d.sync += [self.ends.eq(ends), self.beats.eq(beats), self.whole.eq(whole), left.eq(beats)]
        with m.Elif(self.step):
            m.d.sync += left.eq(left - 1)
        return m


class BurstWalk(wiring.Component):
    """Shows one burst after the other of a LOAD or STORE on any of `memories`; the first in the cycle after `start`.

    With `take` the next one shows in the next cycle, with `stop` none does. A burst ends with its segment or at a
    multiple of `config.burst_bytes`, so none crosses 4 KiB; in a segment without words it has no beats. `position` is
    the place of its first beat in the on-chip memory, in beats; of a walk by beats, that of the next: `step` goes on to
    the one after, and `final` tells that it is the last of the burst. `base_en` makes `base` the DRAM address of the
    segment that begins (for a gather, before its first burst: rows are cut alike, wherever they are). An address of
    2^40 or more must be stopped at.
    """

    def __init__(self, config: HardwareConfig, memories: Sequence[Memory], by_beats: bool = False):
        self._config = config
        self._memories = tuple(memories)
        self._by_beats = by_beats
        fields = {name: field for name, (_, field) in encoding(Load).items()}
        names = ("memory", "dram_address", "dram_stride", "segments", "words", "address", "stride")
        super().__init__({
            "start": In(1),
            **{name: In(fields[name].bits) for name in names},  # of the instruction, used with `start`
            "take": In(1),
            "step": In(1),
            "stop": In(1),
            "base_en": In(1),
            "base": In(PLACE_BITS),
            "valid": Out(1),
            "burst_address": Out(PLACE_BITS),
            "beats": Out(range(config.burst_beats + 1)),
            "position": Out(position_bits(config)),
            "stride_now": Out(fields["dram_stride"].bits),  # of the instruction under way
            "final": Out(1),
            "segment_ends": Out(1),  # the burst is the last of its segment
            "last": Out(1),  # … and of the walk
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        low = (self._config.axi_bytes - 1).bit_length()  # addresses are multiples of a beat
        dram_stride = self.stride_now
        names = ("position", "segment_position", "stride", "length")  # in beats, as all within the machine
        position, segment_position, stride, length = (
            Signal(position_bits(self._config), name=name) for name in names
        )  # fmt: skip
        segments_left = Signal(len(self.segments))
        address, segment_address = Signal(PLACE_BITS), Signal(PLACE_BITS)  # of the burst, of the segment under way
        m.submodules.cut = cut = BurstCut(self._config, position_bits(self._config))
        moved = 1 if self._by_beats else cut.whole
        next_address, next_position = Signal(PLACE_BITS), Signal.like(position)
        given = {name: self._in_beats(getattr(self, name)) for name in ("address", "stride", "words")}
        m.d.comb += [
            cut.take.eq(self.take),
            cut.step.eq(self.step),
            self.final.eq(cut.final),
            self.segment_ends.eq(cut.ends),
            self.beats.eq(cut.beats),
            self.last.eq(self.segment_ends & (segments_left == 1)),
            self.burst_address.eq(address[low:] << low),
            self.position.eq(position),
            next_address.eq(segment_address + dram_stride),
            next_position.eq(segment_position + stride),
        ]
        with m.If(self.take & self.segment_ends):
            m.d.sync += [
                self.valid.eq(~self.last),
                segments_left.eq(segments_left - 1),
                segment_address.eq(next_address),
                segment_position.eq(next_position),
                address.eq(next_address),
                position.eq(next_position),
            ]
        with m.Elif(self.take):  # up to a multiple of a burst
            burst = low + (self._config.burst_beats - 1).bit_length()
            m.d.sync += [address.eq((address[burst:] + 1) << burst), position.eq(position + moved)]
        with m.Elif(self.step):
            m.d.sync += position.eq(position + moved)
        with m.If(self.base_en):
            m.d.sync += address.eq(self.base)
        with m.If(self.stop):
            m.d.sync += self.valid.eq(0)
        with m.If(self.start):
            m.d.sync += [
                self.valid.eq(1),
                dram_stride.eq(self.dram_stride),
                stride.eq(given["stride"]),
                length.eq(given["words"]),
                segments_left.eq(self.segments),
                segment_address.eq(self.dram_address),
                segment_position.eq(given["address"]),
                address.eq(self.dram_address),
                position.eq(given["address"]),
            ]
        # The place of the next segment within a burst is known before that of this one is left.
        place = low + (self._config.burst_beats - 1).bit_length()
        next_place = Signal(place)
        m.d.comb += [
            cut.start.eq(self.start | (self.take & self.segment_ends)),
            cut.address.eq(Mux(self.start, self.dram_address[:place], next_place)),
            cut.length.eq(Mux(self.start, given["words"], length)),
        ]
        with m.If(cut.start):
            m.d.sync += next_place.eq(cut.address[:place] + Mux(self.start, self.dram_stride, dram_stride)[:place])
        return m

    def _in_beats(self, words: Value) -> Value:
        """`words` of the memory of the instruction given, counted in beats."""
        beats: Value = words
        for shift in sorted({_shift(self._config, each) for each in self._memories} - {0}):
            those = [each for each in self._memories if _shift(self._config, each) == shift]
            beats = Mux(self.memory.matches(*those), words << shift, beats)
        return beats


def split_position(config: HardwareConfig, memory: Memory, position: Value) -> tuple[Value, Value]:
    """The word address in `memory`, and the number of the beat within that word."""
    shift = _shift(config, memory)
    return position[shift : shift + ADDRESS], position[:shift]


def _shift(config: HardwareConfig, memory: Memory) -> int:
    return (beats_per_word(config, memory) - 1).bit_length() if memory in _REACHABLE else 0


_REACHABLE = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE, Memory.INDEX, Memory.PAGE)

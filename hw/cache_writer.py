"""Where the beats of a STREAM go: values and pairs straight to memory, keys through the transposer."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory
from ..arch.encoding import encoding
from ..arch.isa import ADDRESS, Part, Stream
from .bursts import beats_per_word
from .memories import mask_bits, write_signature
from .transposer import Transposer

FIELDS = ("part", "words", "address", "stride")


class CacheWriter(wiring.Component):
    """The fields of the instruction are used with `start`; then beats come in the order of DRAM.

    A beat of VALUES or PAIRS is written in the cycle in which it comes. Of KEYS, words leave the transposer as those of
    the next tile come in, and after the beat that is `last` by themselves: the final one in the cycle of `keys_done`,
    C + 1 cycles after that beat.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = {name: field.bits for name, (_, field) in encoding(Stream).items()}
        super().__init__({
            "start": In(1),
            **{name: In(bits[name]) for name in FIELDS},
            "beat": In(1),
            "data": In(config.axi_bytes * 8),
            "last": In(1),
            "keys_done": Out(1),
            "weight_write": Out(write_signature(config, Memory.WEIGHT)),
            "param_write": Out(write_signature(config, Memory.PARAM, 8 * config.axi_bytes)),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self._config
        code_beats, pair_beats = (beats_per_word(config, memory) for memory in (Memory.WEIGHT, Memory.PARAM))
        keys, pairs = Signal(), Signal()
        with m.If(self.start):
            m.d.sync += [keys.eq(self.part == Part.KEYS), pairs.eq(self.part == Part.PAIRS)]
        beat_number = Signal(range(max(code_beats, pair_beats)))  # in its word
        word_ends, written = Signal(), Signal()  # with the beat at hand; a word is, or its last beat
        m.d.comb += word_ends.eq(self.beat & (beat_number == Mux(pairs, pair_beats, code_beats) - 1))
        with m.If(self.start | word_ends):
            m.d.sync += beat_number.eq(0)
        with m.Elif(self.beat):
            m.d.sync += beat_number.eq(beat_number + 1)

        transposer = self._transpose(m, keys & word_ends)
        address = self._walk(m, written)
        m.d.comb += [
            written.eq(Mux(keys, transposer.o_valid, word_ends)),
            self.keys_done.eq(transposer.o_last),
            self.param_write.en.eq(self.beat & pairs),
            self.param_write.address.eq(address),
            self.param_write.data.eq(self.data),
            self.param_write.mask.eq(self._mask(Memory.PARAM, beat_number)),
            self.weight_write.address.eq(address),
        ]
        with m.If(keys):
            m.d.comb += [
                self.weight_write.en.eq(transposer.o_valid),
                self.weight_write.data.eq(transposer.o),
                self.weight_write.mask.eq(~0),
            ]
        with m.Else():
            m.d.comb += [
                self.weight_write.en.eq(self.beat & ~pairs),
                self.weight_write.data.eq(Cat([self.data] * code_beats)),
                self.weight_write.mask.eq(self._mask(Memory.WEIGHT, beat_number)),
            ]
        return m

    def _transpose(self, m: Module, word_ends: Value) -> Transposer:
        """Puts whole words into the transposer, in the cycle after their last beat."""
        m.submodules.transposer = transposer = Transposer(self._config.columns, self._config.code_bits)
        beats = beats_per_word(self._config, Memory.WEIGHT)
        earlier = Signal((beats - 1) * len(self.data))  # beats of the word at hand
        whole = Cat(earlier, self.data)
        with m.If(self.beat):
            m.d.sync += earlier.eq(whole[len(self.data) :])
        word, complete, last = Signal.like(transposer.i), Signal(), Signal()
        m.d.sync += [word.eq(whole), complete.eq(word_ends), last.eq(self.last)]
        m.d.comb += [
            transposer.clear.eq(self.start),
            transposer.i.eq(word),
            transposer.i_valid.eq(complete),
            transposer.i_last.eq(last),
        ]
        return transposer

    def _walk(self, m: Module, written: Signal) -> Signal:
        """Where the word at hand goes. In the order of DRAM: for each block, for each word, for each token."""
        columns = self._config.columns
        whole_block = Signal()  # a word is a block
        words, words_left = Signal.like(self.words), Signal.like(self.words)
        row_step, block_step = Signal(ADDRESS), Signal(ADDRESS)  # from a word of the tokens to the next, of blocks
        address, of_row, of_block = Signal(ADDRESS), Signal(ADDRESS), Signal(ADDRESS)
        token = Signal(range(columns))
        row_ends, block_ends, following = Signal(), Signal(), Signal(ADDRESS)
        m.d.comb += [
            row_ends.eq(whole_block | (token == columns - 1)),
            block_ends.eq(row_ends & (whole_block | (words_left == 1))),
            following.eq(Mux(block_ends, of_block + block_step, Mux(row_ends, of_row + row_step, address + 1))),
        ]
        with m.If(written):
            m.d.sync += [address.eq(following), token.eq(Mux(row_ends, 0, token + 1))]
        with m.If(written & row_ends):
            m.d.sync += [of_row.eq(following), words_left.eq(Mux(block_ends, words, words_left - 1))]
        with m.If(written & block_ends):
            m.d.sync += of_block.eq(following)
        with m.If(self.start):
            m.d.sync += [register.eq(self.address) for register in (address, of_row, of_block)]
            m.d.sync += [token.eq(0), words.eq(self.words), words_left.eq(self.words), whole_block.eq(0)]
            with m.Switch(self.part):
                with m.Case(Part.KEYS):
                    m.d.sync += [row_step.eq(columns), block_step.eq(self.stride)]
                with m.Case(Part.VALUES):
                    m.d.sync += [row_step.eq(self.stride), block_step.eq(columns)]
                with m.Default():
                    m.d.sync += [whole_block.eq(1), block_step.eq(1)]
        return address

    def _mask(self, memory: Memory, beat_number: Value) -> Value:
        """The part of a word of `memory` that a beat belongs to. Padding, which is beyond the word, is in no mask."""
        count = mask_bits(self._config, memory)
        part_bits = self._config.word_bits(memory) // count
        return Cat(beat_number == bit * part_bits // len(self.data) for bit in range(count))

"""How KV walks the cache: the pieces of an Append or a Stream, each found in the page table by itself."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arch.config import HardwareConfig, Memory
from ..arch.encoding import encoding
from ..arch.isa import ADDRESS, Append
from .pages import BLOCK_BITS
from .region import OFFSET_BITS

PAIR_BYTES = 8
FIELDS = ("block", "slot", "tokens", "heads", "head_step", "head_bytes", "address", "stride")


class CacheWalk(wiring.Component):
    """Shows one piece after the other, the first in the cycle after `start`, the next in the cycle after `take`.

    APPEND: for each head, for each token, for each of its `words`: a word of codes, or with `pairs` (and one word) a
    pair. STREAM (`blocks_only`): as many blocks as `tokens` says, with one head, one word and slot 0.

    A piece begins `within` bytes after the start of `block`, and comes from `word` of WEIGHT, or with `pairs` from pair
    `element` of `word` of PARAM; `slot` is the place of its token in the block, `last` marks the last piece.
    """

    def __init__(self, config: HardwareConfig):
        self._config = config
        bits = {name: field.bits for name, (_, field) in encoding(Append).items()}
        super().__init__({
            "start": In(1),
            "blocks_only": In(1),
            "pairs": In(1),
            **{name: In(bits[name]) for name in FIELDS},
            "words": In(bits["token_words"]),
            "take": In(1),
            "block_now": Out(BLOCK_BITS),
            "slot_now": Out(bits["slot"]),
            "within": Out(OFFSET_BITS),
            "word": Out(ADDRESS),
            "element": Out(range(config.columns)),
            "last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform) -> Module:
        m = Module()
        columns = self._config.columns
        names = (*FIELDS, "words", "blocks_only", "pairs")
        held = {name: Signal.like(getattr(self, name), name=name) for name in names}
        tokens_left, heads_left = Signal.like(self.tokens), Signal.like(self.heads)
        words_left = Signal.like(self.words)
        words_before = Signal(len(self.words) + columns.bit_length())  # in the block, of the token's earlier words
        head_offset = Signal(len(self.heads) + len(self.head_bytes))
        last_word, last_token = Signal(), Signal()
        m.d.comb += [
            last_word.eq(words_left == 1),
            last_token.eq(tokens_left == 1),
            self.last.eq(last_word & last_token & (heads_left == 1)),
            self.within.eq(head_offset + Mux(held["pairs"], self.slot_now * PAIR_BYTES, (words_before + self.slot_now)
                                             * self._config.dram_word_bytes(Memory.WEIGHT))),
        ]  # fmt: skip
        with m.If(self.take & ~last_word):
            m.d.sync += [words_left.eq(words_left - 1), words_before.eq(words_before + columns)]
        with m.Elif(self.take):
            m.d.sync += [words_left.eq(held["words"]), words_before.eq(0), tokens_left.eq(tokens_left - 1)]
            with m.If(held["blocks_only"] | (self.slot_now >= columns - 1)):
                m.d.sync += [self.block_now.eq(self.block_now + 1), self.slot_now.eq(0)]
            with m.Else():
                m.d.sync += self.slot_now.eq(self.slot_now + 1)
            with m.If(last_token):
                m.d.sync += [
                    tokens_left.eq(held["tokens"]),
                    heads_left.eq(heads_left - 1),
                    head_offset.eq(head_offset + held["head_bytes"]),
                    self.block_now.eq(held["block"]),
                    self.slot_now.eq(held["slot"]),
                ]
        self._find_source(m, held, last_word, last_token)
        with m.If(self.start):
            m.d.sync += [
                *[register.eq(getattr(self, name)) for name, register in held.items()],
                words_left.eq(self.words),
                tokens_left.eq(self.tokens),
                heads_left.eq(self.heads),
                words_before.eq(0),
                head_offset.eq(0),
                self.block_now.eq(self.block),
                self.slot_now.eq(self.slot),
            ]
        return m

    def _find_source(self, m: Module, held: dict, last_word: Signal, last_token: Signal) -> None:
        """Where pieces come from: `source` counts words of WEIGHT, or pairs."""
        pair_bits = (self._config.words(Memory.PARAM) * self._config.columns - 1).bit_length()
        source, following = Signal(max(ADDRESS, pair_bits)), Signal(max(ADDRESS, pair_bits))
        of_token, of_head = Signal.like(source), Signal.like(source)  # of the first word, of the first token
        with m.If(self.start):
            m.d.comb += following.eq(self.address)
            m.d.sync += [of_token.eq(following), of_head.eq(following)]
        with m.Elif(~last_word):
            m.d.comb += following.eq(source + held["stride"])
        with m.Elif(~last_token):
            m.d.comb += following.eq(of_token + 1)
            with m.If(self.take):
                m.d.sync += of_token.eq(following)
        with m.Else():
            m.d.comb += following.eq(of_head + held["head_step"])
            with m.If(self.take):
                m.d.sync += [of_token.eq(following), of_head.eq(following)]
        pair_word = Signal(ADDRESS)
        quotient, remainder = divide(following[:pair_bits], self._config.columns)
        with m.If(self.start | self.take):
            m.d.sync += [source.eq(following), pair_word.eq(quotient), self.element.eq(remainder)]
        m.d.comb += self.word.eq(Mux(held["pairs"], pair_word, source))


def divide(number: Value, divisor: int) -> tuple[Value, Value]:
    """`number` (unsigned) // divisor and the remainder, by one multiplication (Granlund and Montgomery, 1994)."""
    shift = len(number) + (divisor - 1).bit_length()
    if divisor & (divisor - 1) == 0:
        low = (divisor - 1).bit_length()
        return number[low:], number[:low]
    quotient = ((number * ((1 << shift) // divisor + 1)) >> shift)[: len(number)]
    return quotient, (number - quotient * divisor)[: (divisor - 1).bit_length()]

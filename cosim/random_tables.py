"""Random functions by table: any descriptors and words that the format allows, of no function at all.

Two sets of all that evaluators hold are in DRAM. Parts of the first are set at the start, parts of either later on.
Tables with odd numbers have an origin, others none, in both sets: so any part of one may stand beside any of the other.
"""

from __future__ import annotations

from random import Random

import numpy as np

from ..arch.config import HardwareConfig, Memory
from ..arch.functions import (
    DESCRIPTOR_COUNT,
    MULTIPLIER_FRACTION_BITS,
    PLACE_COUNT,
    TABLE_COUNT,
    WORD_BYTES,
    WORD_COUNT,
    WORD_PLACE,
    Descriptor,
    Mode,
    Rule,
    Table,
    Word,
    pack_word,
)
from ..arch.isa import Guard, Instruction, Load, Tables
from .random_places import TABLE_SETS, Places, table_words

_PARTS_AT_MOST = 8  # set at the start, besides the one with the headers
_SPECIAL = 0.03  # of the bands give infinities or NaN
_WILD = 0.1  # of the words have any exponent at all


class RandomTables:
    """Draws tables from `random`, for the area of `places` that is theirs."""

    def __init__(self, config: HardwareConfig, places: Places, random: Random) -> None:
        self.config, self.places, self.random = config, places, random
        tables = [random_table(random, (), number % 2 == 1).to_ints() for number in range(TABLE_COUNT)]
        words = [pack_word(each) for each in random_words(random)]
        self.content = self._set(tables, words) + self._set(tables[2:] + tables[:2], words[::-1])

    def _set(self, tables: list[list[int]], words: list[int]) -> bytes:
        """Entries for all places, as words of PARAM in DRAM."""
        descriptors = [each for table in tables for each in table[1 : 1 + DESCRIPTOR_COUNT]]
        entries = [*descriptors, *words, *(table[0] for table in tables)]
        per_word, size = self.config.word_elements(Memory.PARAM), self.config.dram_word_bytes(Memory.PARAM)
        padded = np.zeros((self._words, size // WORD_BYTES), "<u8")
        for start in range(0, PLACE_COUNT, per_word):
            some = entries[start : start + per_word]
            padded[start // per_word, : len(some)] = some
        return padded.tobytes()

    def at_start(self) -> list[Instruction]:
        """Sets the headers, and what else there is time for."""
        room, words = self.places.of[Memory.PARAM].size, self._words
        parts = [(start, min(room, words - start)) for start in range(0, words, room)]
        some = self.random.sample(parts[:-1], min(_PARTS_AT_MOST, len(parts) - 1))
        # A part of the headers' length may end within them.
        last = (words - min(room, words), min(room, words))
        return [each for part in (last, *some) for each in self._copied(0, *part)]

    def later(self) -> list[Instruction]:
        """Sets some of them anew, of whichever set. No guard before them reaches them."""
        words = self.random.randint(1, min(self.places.of[Memory.PARAM].size, self._words))
        start = self.random.choice([self.random.randint(0, self._words - words), self._words - words])
        return [Guard(), *self._copied(self.random.randrange(TABLE_SETS), start, words)]

    def words(self) -> Instruction:
        """Any content of PARAM as words, of which all are legal."""
        most = min(self.places.of[Memory.PARAM].size * self.config.word_elements(Memory.PARAM), WORD_COUNT)
        entries = self.places.size(most)
        place = WORD_PLACE + self.random.randint(0, WORD_COUNT - entries)
        return self.places.placed(Tables, {"entries": entries, "place": place})

    @property
    def _words(self) -> int:
        """Words of PARAM that a set takes."""
        return table_words(self.config)

    def _copied(self, number: int, start: int, words: int) -> list[Instruction]:
        """Words of a set to PARAM and on to the evaluators."""
        size, per_word = self.config.dram_word_bytes(Memory.PARAM), self.config.word_elements(Memory.PARAM)
        arena, place = self.places.of[Memory.PARAM], start * per_word
        address = self.random.randint(arena.start, arena.stop - words)
        at = self.places.tables.start + (number * self._words + start) * size
        return [
            Load(memory=Memory.PARAM, dram_address=at, words=words, address=address),
            Tables(param_address=address, entries=min(words * per_word, PLACE_COUNT - place), place=place),
        ]


def random_table(random: Random, words: tuple[Word, ...], has_origin: bool) -> Table:
    """A table of no function: any descriptors."""
    own = [Mode.POWER, Mode.PERIOD] if has_origin else [Mode.BENT, Mode.LOGARITHM]
    return Table(
        tuple(_descriptor(random, [Mode.LINE, Mode.PARITY, *own]) for _ in range(DESCRIPTOR_COUNT)),
        words,
        multiplier=random.randrange(1 << MULTIPLIER_FRACTION_BITS + has_origin),
        origin=random.randrange(120, 145) if has_origin else 0,
        of_exponent=int(not has_origin),
        falling=random.randrange(4),
    )


def _descriptor(random: Random, modes: list[Mode]) -> Descriptor:
    mode = random.choice([Mode.INFINITE, Mode.UNDEFINED] if random.random() < _SPECIAL else modes)
    split = random.randrange(4) if mode in (Mode.LINE, Mode.PARITY, Mode.LOGARITHM) else 0
    rule = Rule(random.randrange(2), random.randrange(4), random.randrange(2))
    return Descriptor(mode, random.randrange(WORD_COUNT), random.randrange(5, 15 if split == 0 else 14), rule,
                      random.randrange(2), split, random.randrange(WORD_COUNT))  # fmt: skip


def random_words(random: Random) -> tuple[Word, ...]:
    """Any words."""
    return tuple(_word(random) for _ in range(WORD_COUNT))


def _word(random: Random) -> Word:
    exponent = random.randint(-32, 31) if random.random() < _WILD else random.randint(-4, 4)
    return Word(random.randrange(-1 << 14, 1 << 14), random.randrange(-1 << 14, 1 << 14), exponent)

"""Random instructions of every kind, each legal by itself, within the places of one program."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import numpy as np

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.isa import (
    Append,
    Argmax,
    Codes,
    Combine,
    Digit,
    Function,
    Guard,
    Halt,
    Instruction,
    Load,
    Map,
    Matmul,
    Norm,
    NormKind,
    OnlineSoftmax,
    Quantise,
    Scales,
    SecondOperand,
    Softmax,
    Source,
    Store,
    Stream,
    Tables,
)
from .random_kv import RandomKv
from .random_places import LOADABLE, NUMBERS, STORABLE, Area, DoesNotFitError, Places
from .random_tables import RandomTables

TABLE_ROWS = 16  # rows of a gathered table; INDEX content is below that
GATHERS = 0.4  # of LOADs
ATTEMPTS = 200  # to place an instruction so that it does not write what it reads


class RandomInstructions:
    """Draws instructions from `random`, for registers that hold `scalars`."""

    def __init__(self, config: HardwareConfig, places: Places, random: Random, scalars: list[int]) -> None:
        self.config = config
        self.places = places
        self.random = random
        self.scalars = scalars
        self.kv = RandomKv(config, places, random, scalars)
        self.tables = RandomTables(config, places, random)

    def instruction(self) -> Instruction:
        """One that is legal."""
        makers = {kind: maker for kind, maker in MAKERS.items() if maker}
        while True:
            (kind,) = self.random.choices(list(makers), [maker.often for maker in makers.values()])
            for _ in range(ATTEMPTS):
                if (instruction := self._drawn(kind)) is not None:
                    return instruction
            del makers[kind]  # the memories are too small for it

    def _drawn(self, kind: type[Instruction]) -> Instruction | None:
        """One of a class, or None if what was drawn is not legal."""
        maker = MAKERS[kind]
        assert maker is not None
        try:
            instruction = maker.make(self)
        except DoesNotFitError:
            return None
        return instruction if self._is_legal(instruction) else None

    def _is_legal(self, instruction: Instruction) -> bool:
        """Not if it would write words that it also reads, or reach beyond the KV cache."""
        try:
            instruction.check(self.config)
        except HeddleError:
            return False
        return self.kv.legal(instruction)

    def group(self) -> list[Instruction]:
        """Some that belong together."""
        return self.random.choice([
            self.rivals, self._guarded, self._guarded, self._step, self._blocks, self.tables.later,
        ])()  # fmt: skip

    def _guarded(self) -> list[Instruction]:
        """Some that a guard may make void; it may reach further, and another one may begin within its reach."""
        guards = [
            Guard(register=self.random.randrange(len(self.scalars)),
                  threshold=self.random.choice([0, 1, self.random.randrange(12), (1 << 20) - 1]),
                  count=self.random.choice([0, 1, 2, 3, 5, 8]))
            for _ in range(self.random.choice([1, 1, 2]))
        ]  # fmt: skip
        some = [self.instruction() for _ in range(self.random.randint(1, 4))]
        second = guards[1:] + [self.instruction()] if guards[1:] else []
        return [guards[0], *some, *second]

    def _step(self) -> list[Instruction]:
        """Tokens to the cache and back."""
        return [each for each in self.kv.step() if self._is_legal(each)]

    def _blocks(self) -> list[Instruction]:
        """An online softmax over a few blocks; nothing if ROW has no room for one."""
        for _ in range(ATTEMPTS):
            if (block := self._drawn(OnlineSoftmax)) is not None and self._is_legal(replace(block, **{"first": 0})):
                later = [replace(block, **{"first": 0})] * self.random.randint(1, 2)
                return [replace(block, **{"first": 1}), *later]
        return []

    def _register(self) -> int:
        return self.random.choice([0, self.random.randrange(len(self.scalars))])

    def rivals(self) -> list[Instruction]:
        """A LOAD and a STORE of many short segments that need not wait for each other: their requests meet."""
        stored, loaded = self.random.sample(STORABLE, 2)
        pair: list[Instruction] = [
            self.places.placed(Store, self._transfer(stored, self.places.shared, True, longest=2, most=40)),
            self.places.placed(Load, self._transfer(loaded, self.places.sources[loaded], False, longest=3, most=40)),
        ]
        self.random.shuffle(pair)
        return pair

    def load(self) -> Instruction:
        """Segments, or rows of a table."""
        if self.random.random() < GATHERS:
            return self._gather()
        memory = self.random.choice(LOADABLE)
        # Now and then content of another kind: bytes that mean NaN, infinity or nonsense where they land.
        kind = memory if self.random.random() < 0.93 or memory in NUMBERS else self.random.choice(LOADABLE)
        source = self.random.choice([self.places.sources[kind]] * 3 + [self.places.shared] * (memory not in NUMBERS))
        return self.places.placed(Load, self._transfer(memory, source, apart=False))

    def store(self) -> Instruction:
        """Segments, apart from each other in DRAM."""
        return self.places.placed(Store, self._transfer(self.random.choice(STORABLE), self.places.shared, apart=True))

    def _transfer(
        self, memory: Memory, dram: Area, apart: bool, longest: int = 1 << 20, most: int = 20
    ) -> dict[str, Any]:  # fmt: skip
        """At most `most` segments of at most `longest` words."""
        size = self.config.dram_word_bytes(memory)
        room = min(self.places.of[memory].size, dram.size // size)
        words = self.places.size(min(room, longest))
        segments = self.places.size(min(room // words, most))
        beat, length = self.config.axi_bytes, words * size
        room = (dram.size - length) // max(1, segments - 1)
        dram_stride = self.random.randrange(length if apart else 0, room + 1, beat) if segments > 1 else 0
        start = dram.stop - (segments - 1) * dram_stride - length
        # Starts a little before or at a burst boundary matter most; any multiple of the beat will do.
        dram_address = self.random.randrange(dram.start, start + 1, beat)
        if self.random.random() < 0.3:
            dram_address = max(dram.start, dram_address // self.config.burst_bytes * self.config.burst_bytes)
        return {"memory": memory, "words": words, "segments": segments, "dram_address": dram_address,
                "dram_stride": dram_stride}  # fmt: skip

    def _gather(self) -> Instruction:
        memory = self.random.choice(STORABLE)
        size, burst = self.config.dram_word_bytes(memory), self.config.burst_bytes
        table, small = self.places.sources[memory], self._small_indices()
        dram_stride = burst * self.random.randint(0, table.size // TABLE_ROWS // burst)
        room = self.places.of[memory].size
        words = self.places.size(min(room, (table.size - (TABLE_ROWS - 1) * dram_stride) // size))
        segments = min(self.places.size(min(room // words, 24)), small.size)
        given = {"memory": memory, "words": words, "segments": segments, "gather": 1, "dram_address": table.start,
                 "dram_stride": dram_stride}  # fmt: skip
        return self.places.placed(Load, given, {Memory.INDEX: small})

    def _small_indices(self) -> Area:
        """The numbers of INDEX that are always below TABLE_ROWS: the first half of its arena."""
        index, per_word = self.places.of[Memory.INDEX], self.config.word_elements(Memory.INDEX)
        return Area(index.start * per_word, (index.start + max(1, index.size // 2)) * per_word)

    def matmul(self) -> Instruction:
        """Some tiles."""
        k_tiles, n_tiles = self.random.choice([1, 1, 2, 3, 5]), self.random.choice([1, 1, 2, 3])
        given = {"n_register": self._register(), "n_offset": self.random.randrange(4), "k_register": self._register(),
                 "k_offset": self.random.randrange(4), "accumulate": self.random.randrange(2)}  # fmt: skip
        given["k_tiles"] = self.places.most(Matmul, "k_tiles", k_tiles, given)
        given["n_tiles"] = self.places.most(Matmul, "n_tiles", n_tiles, given)
        return self.places.placed(Matmul, given)

    def front(self, kind: type[Instruction]) -> dict[str, Any]:
        """What all of VECTOR share, for an instruction of `kind`."""
        columns, rotates = self._columns()
        others = {Combine.ROTATE} if kind is Map else {Combine.ROTATE, Combine.SELECT}
        combines = [each for each in Combine if each not in others]
        given = {
            "columns": columns, "source": self.random.choice(list(Source)), "scaled": self.random.randrange(2),
            "row_scaled": self.random.randrange(2), "function": self.random.choice([Function.NONE, *Function]),
            "combine": self.random.choice([Combine.NONE] * 5 + combines),
            "operand": self.random.choice([SecondOperand.VALUE, *SecondOperand]),
        }  # fmt: skip
        if rotates:
            given |= {"source": Source.VALUE, "combine": Combine.ROTATE, "scaled": 0, "row_scaled": 0,
                      "function": Function.NONE, "operand": SecondOperand.VALUE}  # fmt: skip
        elif given["source"] is Source.ACC and self.config.pe == "int8" and self.random.random() < 0.3:
            given["planes"] = self.random.randint(1, 2)
        return given

    def _columns(self) -> tuple[int, bool]:
        """How many, and whether to rotate them: then they are whole words, half of them whole groups of lanes, and
        VALUE has room for twice as many."""
        columns, pair = self.places.columns(), math.lcm(self.config.columns, 2 * self.config.vector_lanes)
        most = min(columns, self.places.of[Memory.VALUE].size // 2 * self.config.columns)
        if self.random.random() < 0.15 and most >= pair:
            return most // pair * pair, True
        return columns, False

    def map(self) -> Instruction:
        """Values."""
        given = self.front(Map)
        combines = given["combine"] not in (Combine.NONE, Combine.ROTATE) and given["operand"] is SecondOperand.VALUE
        return self.places.placed(Map, given | {"operand_scaled": int(combines and self.random.randrange(2))})

    def quantise(self) -> Instruction:
        """Codes, at any place that they may have."""
        digit = self.random.choice([Digit.WHOLE, *Digit]) if self.config.pe == "int8" else Digit.WHOLE
        where = {"codes": self.random.choice(list(Codes)), "scales": self.random.choice(list(Scales)), "digit": digit}
        return self.places.placed(Quantise, self.front(Quantise) | where)

    def argmax(self) -> Instruction:
        """Places, those that may be large not where a gather reads."""
        given, index, small = self.front(Argmax), self.places.of[Memory.INDEX], self._small_indices()
        stop = index.stop * self.config.word_elements(Memory.INDEX)
        area = Area(small.start if given["columns"] <= TABLE_ROWS else small.stop, stop)
        return self.places.placed(Argmax, given, {Memory.INDEX: area})

    def _seen(self) -> dict[str, Any]:
        """How many columns there are, and which of them rows see."""
        columns = self.places.columns()
        offset = self.random.randint(-self.random.randint(1, self.config.panel_rows), columns)
        return {"columns": columns, "causal": self.random.randrange(2), "offset": self.random.choice([0, offset]),
                "window": self.random.choice([0, 0, self.random.randint(1, columns)])}  # fmt: skip

    def softmax(self) -> Instruction:
        """Of all columns."""
        return self.places.placed(Softmax, self._seen() | {"additive": self.random.randrange(2)})

    def online_softmax(self) -> Instruction:
        """Of a block of columns."""
        given = {"together": self.random.randrange(2), "first": self.random.randrange(2), "register": self._register()}
        return self.places.placed(OnlineSoftmax, self._seen() | given)

    def norm(self) -> Instruction:
        """Of rows of any size, by the number of their columns."""
        columns = self.places.columns()
        epsilon = self.random.choice([0.0, float(np.float32(1e-5)), 1.0])
        given = {"columns": columns, "reciprocal": float(np.float32(1 / columns)), "epsilon": epsilon}
        return self.places.placed(Norm, given | {"kind": self.random.choice(list(NormKind))})


class Maker(NamedTuple):
    """How instructions of a class are drawn, and how often among all."""

    make: Callable[[RandomInstructions], Instruction]
    often: int


# None: those are no part of a result, and come in groups and at the end.
MAKERS: dict[type[Instruction], Maker | None] = {
    Halt: None,
    Guard: None,
    Load: Maker(RandomInstructions.load, 10),
    Store: Maker(RandomInstructions.store, 6),
    Append: Maker(lambda those: those.kv.append(), 5),
    Stream: Maker(lambda those: those.kv.stream(), 5),
    Matmul: Maker(RandomInstructions.matmul, 8),
    Tables: Maker(lambda those: those.tables.words(), 2),
    Map: Maker(RandomInstructions.map, 8),
    Quantise: Maker(RandomInstructions.quantise, 8),
    Argmax: Maker(RandomInstructions.argmax, 4),
    Softmax: Maker(RandomInstructions.softmax, 4),
    OnlineSoftmax: Maker(RandomInstructions.online_softmax, 4),
    Norm: Maker(RandomInstructions.norm, 6),
}

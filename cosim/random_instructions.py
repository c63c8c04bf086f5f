"""Random instructions of every kind, each legal by itself, within the places of one program."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import numpy as np

from ..arch.config import HardwareConfig, Memory, Unit
from ..arch.errors import HeddleError
from ..arch.isa import (
    Append,
    Axis,
    Codes,
    Combine,
    Digit,
    Function,
    Guard,
    Halt,
    IndexMap,
    IndexOperation,
    Instruction,
    Layout,
    Load,
    Map,
    Masking,
    Matmul,
    Norm,
    NormKind,
    OnlineSoftmax,
    Quantise,
    Reduce,
    Reduction,
    Result,
    Results,
    Scales,
    SecondOperand,
    Softmax,
    Source,
    Statistics,
    Store,
    Stream,
    Tables,
)
from .random_data import EDGES
from .random_kv import RandomKv
from .random_places import LOADABLE, NUMBERS, STORABLE, Area, DoesNotFitError, Places
from .random_tables import RandomTables

TABLE_ROWS = 16  # of a table; INDEX content is below that
SUMMED = 1300  # products of the largest codes, of which a sum has more than 24 bits
LONG_REACH = 300  # of a guard
RARELY = 0.1  # an extreme value of a field
GATHERS, SCATTERS = 0.4, 0.4  # of LOADs, of STOREs
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
        self.places.choose(kind.unit)
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

    def desert(self) -> list[Instruction]:
        """So many that nothing of it is done: the program is long, the run is not."""
        some = [self.instruction() for _ in range(40)]
        return [Guard(count=LONG_REACH), *(self.random.choice(some) for _ in range(LONG_REACH)), Guard()]

    def wide(self) -> list[Instruction]:
        """A few of rows of many columns: their results stand where a program ends with them."""
        self.places.wide = True
        drawn = [self._drawn(kind) for kind in self.random.choices([Map, Quantise, Reduce, Reduce, Norm, Norm], k=8)]
        self.places.wide = False
        return [each for each in drawn if each is not None][:3]

    def deep(self) -> list[Instruction]:
        """Sums of so many products that they need more than 24 bits, if codes are large; nothing if it takes long."""
        arenas = {memory: self.random.choice(self.places.all[memory]) for memory in (Memory.ACT, Memory.WEIGHT)}
        self.places.of = self.places.of | arenas
        given = {"rows": 1, "k_tiles": self.places.most(Matmul, "k_tiles", 64, {"rows": 1})}
        count = -(-SUMMED // (given["k_tiles"] * self.config.rows))
        if count > 40:
            return []
        fresh = [self.places.fill(memory, area) for memory, area in arenas.items()]
        first = self.places.placed(Matmul, given)
        return [*fresh, first, *[replace(first, **{"accumulate": 1})] * (count - 1)]

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

    def _rarely(self, value: int, *extremes: int) -> int:
        """The value, or now and then one of the extremes."""
        return self.random.choice(extremes) if self.random.random() < RARELY else value

    def _number(self, usual: float) -> float:
        """A float32: the usual, or any at all."""
        if self.random.random() < 0.7:
            return float(np.float32(usual))
        infinite_or_nan = 0x7F800000 | self.random.getrandbits(1) << 31 | self.random.choice([0, 1 << 22, 0x7FFFFF])
        bits = self.random.choice([self.random.getrandbits(32), int(self.random.choice(EDGES)), infinite_or_nan])
        return struct.unpack("<f", struct.pack("<I", bits))[0]

    def rivals(self) -> list[Instruction]:
        """A LOAD and a STORE of many short segments that need not wait for each other: their requests meet."""
        self.places.choose(Unit.LOAD)
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
        """Segments, apart from each other in DRAM, or rows of a table, which may meet."""
        if self.random.random() < SCATTERS:
            return self._scatter()
        return self.places.placed(Store, self._transfer(self.random.choice(STORABLE), self.places.shared, apart=True))

    def _transfer(
        self, memory: Memory, dram: Area, apart: bool, longest: int = 1 << 20, most: int = 20
    ) -> dict[str, Any]:  # fmt: skip
        """At most `most` segments of at most `longest` words; now and then many more of a word each."""
        many = self.random.random() < RARELY
        if many:
            longest, most = 1, 10 * most
        size = self.config.dram_word_bytes(memory)
        room = min(self.places.of[memory].size, dram.size // size)
        words = self.places.size(min(room, longest))
        segments = min(room // words, most)
        segments = segments if many else self.places.size(segments)
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
        given, indices = self._rows(memory, self.places.sources[memory])
        return self.places.placed(Load, given | {"gather": 1}, indices)

    def _scatter(self) -> Instruction:
        memory = self.random.choice(STORABLE)
        given, indices = self._rows(memory, self.places.shared)
        return self.places.placed(Store, given | {"scatter": 1}, indices)

    def _rows(self, memory: Memory, table: Area) -> tuple[dict[str, Any], dict[Memory, Area]]:
        """Some rows of a table of words of a memory, and where their numbers may be."""
        size, burst = self.config.dram_word_bytes(memory), self.config.burst_bytes
        small = self._small_indices()
        dram_stride = burst * self.random.randint(0, table.size // TABLE_ROWS // burst)
        room = self.places.of[memory].size
        words = self.places.size(min(room, (table.size - (TABLE_ROWS - 1) * dram_stride) // size))
        segments = min(self.places.size(min(room // words, 24)), small.size)
        given = {"memory": memory, "words": words, "segments": segments, "dram_address": table.start,
                 "dram_stride": dram_stride}  # fmt: skip
        return given, {Memory.INDEX: small}

    def _small_indices(self) -> Area:
        """The numbers of INDEX that are always rows of a table: the first half of its arena."""
        index, per_word = self.places.of[Memory.INDEX], self.config.word_elements(Memory.INDEX)
        return Area(index.start * per_word, (index.start + max(1, index.size // 2)) * per_word)

    def matmul(self) -> Instruction:
        """Some tiles."""
        k_tiles, n_tiles = self.random.choice([1, 1, 2, 3, 5]), self.random.choice([1, 1, 2, 3])
        given = {"accumulate": self.random.randrange(2)}
        for name in ("n", "k"):
            register = self._register()
            near = min(max(self.scalars[register] - self.random.randrange(4), 0), 4095)
            offset = self.random.choice([self.random.randrange(4), near])
            given |= {f"{name}_register": register, f"{name}_offset": self._rarely(offset, 4095)}
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
        given["operand_scaled"] = int(combines and self.random.randrange(2))
        if given["combine"] is not Combine.SELECT and self.random.random() < 0.3:
            least = 1 - min(given["columns"], self.config.columns)
            given["shift"] = self.random.randint(least, self.config.columns - 1)
            given["layout"] = self.random.choice([Layout.TRANSPOSED, Layout.SHIFTED, Layout.SHIFTED])
        return self.places.placed(Map, given)

    def quantise(self) -> Instruction:
        """Codes, at any place that they may have."""
        digit = self.random.choice([Digit.WHOLE, *Digit]) if self.config.pe == "int8" else Digit.WHOLE
        where = {"codes": self.random.choice(list(Codes)), "scales": self.random.choice(list(Scales)), "digit": digit}
        return self.places.placed(Quantise, self.front(Quantise) | where)

    def reduce(self) -> Instruction:
        """Along either axis, in a third of all cases to more than one number; places, those that may be large not where
        a gather reads."""
        given = self.front(Reduce) | {"kind": self.random.choice(list(Reduction))}
        if self.random.random() < 0.3:
            return self.places.placed(Reduce, given | {"axis": Axis.ROWS, "results": Results.VALUE})
        given["results"] = self.random.choice(list(Results))
        if given["kind"] is not Reduction.SUM:
            given["placed"] = 1 if given["results"] is Results.NONE else self.random.randrange(2)
            several = self.random.randint(2, 2 * self.config.columns)
            given["count"] = min(given["columns"], self.random.choice([1, 1, several]))
        elif given["results"] is Results.NONE:
            given["results"] = Results.ROW
        index, small = self.places.of[Memory.INDEX], self._small_indices()
        stop = index.stop * self.config.word_elements(Memory.INDEX)
        area = Area(small.start if given["columns"] <= TABLE_ROWS else small.stop, stop)
        return self.places.placed(Reduce, given, {Memory.INDEX: area})

    def _seen(self) -> dict[str, Any]:
        """How many columns there are, and which of them rows see."""
        columns = self.places.columns()
        offset = self.random.randint(-self.random.randint(1, self.config.panel_rows), columns)
        offset = self._rarely(self.random.choice([0, offset]), -1 << 16, (1 << 16) - 1, self.random.randint(-600, 600))
        window = self._rarely(self.random.choice([0, 0, self.random.randint(1, columns)]), 1, 255, (1 << 16) - 1)
        return {"columns": columns, "causal": self.random.randrange(2), "offset": offset, "window": window}

    def softmax(self) -> Instruction:
        """Of all columns."""
        source = self.random.choice([Source.ACC, Source.ACC, Source.VALUE])
        masks = [each for each in Masking if source is Source.ACC or each is not Masking.ADDITIVE]
        given = {"source": source, "mask": self.random.choice(masks), "result": self.random.choice(list(Result))}
        return self.places.placed(Softmax, self._seen() | given)

    def online_softmax(self) -> Instruction:
        """Of a block of columns."""
        given = {"together": self.random.randrange(2), "first": self.random.randrange(2), "register": self._register()}
        return self.places.placed(OnlineSoftmax, self._seen() | given)

    def norm(self) -> Instruction:
        """Of rows of any size, by the number of their columns."""
        columns = self.places.columns()
        epsilon = self._number(self.random.choice([0.0, 1e-5, 1.0]))
        given = {"columns": columns, "reciprocal": self._number(1 / columns), "epsilon": epsilon}
        statistics = self.random.choice([Statistics.NONE, *Statistics])
        return self.places.placed(Norm, given | {"kind": self.random.choice(list(NormKind)), "statistics": statistics})

    def index_map(self) -> Instruction:
        """Any numbers, or rows of a table where a gather reads: what is compared, or counted up to its last row."""
        operation = self.random.choice([IndexOperation.ADD, *IndexOperation])
        given: dict[str, Any] = {"operation": operation, "source": self.random.randrange(2),
                                 "operand": self.random.randrange(2), "register": self._register()}  # fmt: skip
        index, small = self.places.of[Memory.INDEX], self._small_indices()
        every = Area(index.start * self.config.word_elements(Memory.INDEX),
                     index.stop * self.config.word_elements(Memory.INDEX))  # fmt: skip
        counts = operation is IndexOperation.ADD and self.random.random() < 0.4  # the rows of a table
        limit = TABLE_ROWS if counts else 1 << 16
        where = every if counts or operation is not IndexOperation.ADD else Area(small.stop, every.stop)
        room = min(where.size, every.size)
        given["count"] = count = self.places.size(min(room, limit))
        if counts:
            step = self.random.randint(0, (TABLE_ROWS - 1) // max(1, count - 1))
            first = self.random.randint(0, TABLE_ROWS - 1 - step * (count - 1))
            backwards = self.random.random() < 0.3
            given |= {"source": 0, "operand": 0, "register": 0, "step": -step if backwards else step,
                      "number": first + step * (count - 1) if backwards else first}  # fmt: skip
        else:
            near = self.random.randint(-40, 40)
            given["number"] = self._rarely(near, -1 << 19, (1 << 19) - 1, self.random.randint(-1 << 19, (1 << 19) - 1))
            given["step"] = self._rarely(self.random.choice([0, 0, 1, -1, 3]), -1 << 19, (1 << 19) - 1)
        for name in ("source_address", "operand_address"):
            given[name] = self.random.randint(every.start, every.stop - count)
        given["address"] = self.random.randint(where.start, where.stop - count)
        if self.random.random() < 0.3 and where.start <= given["source_address"] <= where.stop - count:
            given["address"] = given["source_address"]
        return self.places.placed(IndexMap, given)


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
    Reduce: Maker(RandomInstructions.reduce, 6),
    IndexMap: Maker(RandomInstructions.index_map, 4),
    Softmax: Maker(RandomInstructions.softmax, 4),
    OnlineSoftmax: Maker(RandomInstructions.online_softmax, 4),
    Norm: Maker(RandomInstructions.norm, 6),
}

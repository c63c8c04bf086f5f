"""Random instructions of every kind, each legal by itself, within the places of one program."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.isa import (
    Activation,
    Argmax,
    Codes,
    Combine,
    Digit,
    Guard,
    Instruction,
    Load,
    Map,
    Matmul,
    Norm,
    NormKind,
    OnlineSoftmax,
    Quantise,
    Scales,
    Softmax,
    Source,
    Store,
)
from .random_kv import RandomKv
from .random_places import LOADABLE, NUMBERS, STORABLE, Area, Places

TABLE_ROWS = 16  # rows of a gathered table; INDEX content is below that
ROW_NUMBERS = 5  # that a row of an online softmax has in ROW
ATTEMPTS = 200  # to place an instruction so that it does not write what it reads


class RandomInstructions:
    """Draws instructions from `random`, for registers that hold `scalars`."""

    def __init__(self, config: HardwareConfig, places: Places, random: Random, scalars: list[int]) -> None:
        self.config = config
        self.places = places
        self.random = random
        self.scalars = scalars
        self.kv = RandomKv(config, places, random, scalars)

    def instruction(self) -> Instruction:
        """One that is legal."""
        makers = {
            self._load: 3, self._gather: 2, self._store: 3, self.kv.instruction: 5, self._matmul: 4, self._map: 4,
            self._quantise: 4, self._argmax: 2, self._softmax: 2, self._online_softmax: 2, self._norm: 3,
        }  # fmt: skip
        if not self._has_blocks:
            del makers[self._online_softmax]
        while True:
            make = self.random.choices(list(makers), list(makers.values()))[0]
            for _ in range(ATTEMPTS):
                instruction = make()
                if self._is_legal(instruction):
                    return instruction
            del makers[make]  # the memories are too small for it

    def _is_legal(self, instruction: Instruction) -> bool:
        """Not if it would write words that it also reads, or reach beyond the KV cache."""
        try:
            instruction.check(self.config)
        except HeddleError:
            return False
        return self.kv.legal(instruction)

    def group(self) -> list[Instruction]:
        """Some that belong together."""
        groups = [self.rivals, self._guarded, self._guarded, self._step, self._blocks]
        return self.random.choice(groups if self._has_blocks else groups[:-1])()

    @property
    def _has_blocks(self) -> bool:
        """Whether a row of an online softmax fits: state, scales and a factor, five numbers in ROW."""
        return self.places.of[Memory.ROW].size >= ROW_NUMBERS

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
        """An online softmax over a few blocks."""
        first: Instruction = self._online_softmax()
        while not self._is_legal(first):
            first = self._online_softmax()
        assert isinstance(first, OnlineSoftmax)
        return [replace(first, first=1), *[replace(first, first=0)] * self.random.randint(1, 2)]

    def _register(self) -> int:
        return self.random.choice([0, self.random.randrange(len(self.scalars))])

    def rivals(self) -> list[Instruction]:
        """A LOAD and a STORE of many short segments that need not wait for each other: their requests meet."""
        stored, loaded = self.random.sample(STORABLE, 2)
        pair: list[Instruction] = [
            Store(memory=stored, **self._transfer(stored, self.places.shared, False, True, longest=2, most=40)),
            Load(memory=loaded, **self._transfer(loaded, self.places.sources[loaded], True, False, longest=3, most=40)),
        ]
        self.random.shuffle(pair)
        return pair

    def _load(self) -> Instruction:
        memory = self.random.choice(LOADABLE)
        # Now and then content of another kind: bytes that mean NaN, infinity or nonsense where they land.
        kind = memory if self.random.random() < 0.93 or memory in NUMBERS else self.random.choice(LOADABLE)
        source = self.random.choice([self.places.sources[kind]] * 3 + [self.places.shared] * (memory not in NUMBERS))
        return Load(memory=memory, **self._transfer(memory, source, chip_apart=True, dram_apart=False))

    def _store(self) -> Instruction:
        memory = self.random.choice(STORABLE)
        return Store(memory=memory, **self._transfer(memory, self.places.shared, chip_apart=False, dram_apart=True))

    def _transfer(
        self, memory: Memory, dram: Area, chip_apart: bool, dram_apart: bool, longest: int = 1 << 20, most: int = 20
    ) -> dict:
        """Segments of at most `longest` words, at most `most` of them."""
        size = self.config.dram_word_bytes(memory)
        room = min(self.places.of[memory].size, dram.size // size)
        words = self.places.size(min(room, longest))
        segments = self.places.size(min(room // words, most))
        address, stride = self.places.block(memory, words, segments, apart=chip_apart)
        beat, length = self.config.axi_bytes, words * size
        room = (dram.size - length) // max(1, segments - 1)
        dram_stride = self.random.randrange(length if dram_apart else 0, room + 1, beat) if segments > 1 else 0
        start = dram.stop - (segments - 1) * dram_stride - length
        # Starts a little before or at a burst boundary matter most; any multiple of the beat will do.
        dram_address = self.random.randrange(dram.start, start + 1, beat)
        if self.random.random() < 0.3:
            dram_address = max(dram.start, dram_address // self.config.burst_bytes * self.config.burst_bytes)
        return {"words": words, "segments": segments, "address": address, "stride": stride,
                "dram_address": dram_address, "dram_stride": dram_stride}  # fmt: skip

    def _gather(self) -> Instruction:
        memory = self.random.choice(STORABLE)
        size, burst = self.config.dram_word_bytes(memory), self.config.burst_bytes
        table = self.places.sources[memory]
        dram_stride = burst * self.random.randint(0, table.size // TABLE_ROWS // burst)
        words = self.places.size(
            min(self.places.of[memory].size, (table.size - (TABLE_ROWS - 1) * dram_stride) // size)
        )
        segments = self.places.size(min(self.places.of[memory].size // words, 24))
        address, stride = self.places.block(memory, words, segments, apart=True)
        per_word, index = self.config.word_elements(Memory.INDEX), self.places.of[Memory.INDEX]
        most = self._small_indices(index)
        segments = min(segments, most)
        index_address = index.start * per_word + self.random.randint(0, most - segments)
        return Load(memory=memory, words=words, segments=segments, address=address, stride=stride, gather=1,
                    dram_address=table.start, dram_stride=dram_stride, index_address=index_address)  # fmt: skip

    def _small_indices(self, index: Area) -> int:
        """Numbers from the start of INDEX's arena that are always below TABLE_ROWS: the first half."""
        return max(1, index.size // 2) * self.config.word_elements(Memory.INDEX)

    def _matmul(self) -> Instruction:
        k_tiles, n_tiles = self.random.choice([1, 1, 2, 3, 5]), self.random.choice([1, 1, 2, 3])
        k_tiles = min(k_tiles, self.places.of[Memory.ACT].size)
        tile = k_tiles * self.config.rows
        most = self.places.of[Memory.WEIGHT].size
        k_tiles, n_tiles = (k_tiles, min(n_tiles, most // tile)) if tile <= most else (1, 1)
        rows = self.places.size(
            min(self.places.of[Memory.ACC].size // n_tiles, self.places.of[Memory.ACT].size // k_tiles)
        )
        act_address, act_stride = self.places.block(Memory.ACT, k_tiles, rows)
        weight_address, weight_stride = self.places.block(Memory.WEIGHT, k_tiles * self.config.rows, n_tiles)
        acc_address, acc_stride = self.places.block(Memory.ACC, n_tiles, rows, apart=True)
        return Matmul(
            rows=rows, k_tiles=k_tiles, n_tiles=n_tiles, act_address=act_address, act_stride=act_stride,
            weight_address=weight_address, weight_stride=weight_stride, acc_address=acc_address, acc_stride=acc_stride,
            accumulate=self.random.randrange(2), n_register=self._register(), n_offset=self.random.randrange(4),
            k_register=self._register(), k_offset=self.random.randrange(4),
        )  # fmt: skip

    def _vector(self, *results: tuple[Memory, int], columns: int, rows_most: int, rotates: bool) -> dict[str, Any]:
        """What Map, Quantise and Argmax share; `results` are the widths in words of what they write for each row."""
        words = -(-columns // self.config.columns)
        source = Source.VALUE if rotates else self.random.choice(list(Source))
        memory = Memory.ACC if source is Source.ACC else Memory.VALUE
        combine = self.random.choice([Combine.NONE, Combine.NONE, Combine.ADD, Combine.MULTIPLY])
        scaled, row_scaled = self.random.randrange(2), self.random.randrange(2)
        activation = self.random.choice([Activation.NONE, *Activation])
        planes = 0
        if source is Source.ACC and self.config.pe == "int8" and self.random.random() < 0.3:
            planes = self.random.randint(1, 2)
            planes = min(planes, self.places.of[Memory.ACC].size // words - 1)
        if rotates:
            combine, scaled, row_scaled, activation = Combine.ROTATE, 0, 0, Activation.NONE
        operand_words = 2 * words if rotates else words
        widths = (memory, words * (1 + planes)), (Memory.VALUE, operand_words), (Memory.ROW, 1), *results
        rows = min(rows_most, self.places.rows(*widths))
        source_address, source_stride = self.places.block(memory, words, rows * (1 + planes))
        operand_address, operand_stride = self.places.block(Memory.VALUE, operand_words, rows)
        return {
            "rows": rows, "columns": columns, "source": source, "source_address": source_address,
            "source_stride": source_stride, "scaled": scaled, "row_scaled": row_scaled, "combine": combine,
            "param_address": self.places.block(Memory.PARAM, words)[0],
            "row_address": self.places.block(Memory.ROW, rows)[0], "activation": activation, "planes": planes,
            "operand_address": operand_address, "operand_stride": operand_stride,
        }  # fmt: skip

    def _columns(self) -> tuple[int, bool]:
        """How many, and whether to rotate them: then they are whole words, half of them whole groups of lanes, and
        VALUE has room for twice as many."""
        columns, pair = self.places.columns(), math.lcm(self.config.columns, 2 * self.config.vector_lanes)
        most = min(columns, self.places.of[Memory.VALUE].size // 2 * self.config.columns)
        if self.random.random() < 0.15 and most >= pair:
            return most // pair * pair, True
        return columns, False

    def _map(self) -> Instruction:
        columns, rotates = self._columns()
        words = -(-columns // self.config.columns)
        shared = self._vector((Memory.VALUE, words), columns=columns, rows_most=self.config.panel_rows, rotates=rotates)
        address, stride = self.places.block(Memory.VALUE, words, shared["rows"], apart=True)
        apart = shared["source_stride"] >= words or shared["rows"] == 1
        if self.random.random() < 0.2 and shared["source"] is Source.VALUE and apart:  # in place
            address, stride = shared["source_address"], shared["source_stride"]
        combines = shared["combine"] in (Combine.ADD, Combine.MULTIPLY)
        return Map(**shared, address=address, stride=stride, operand_scaled=int(combines and self.random.randrange(2)),
                   operand_row_address=self.places.block(Memory.ROW, shared["rows"])[0])  # fmt: skip

    def _quantise(self) -> Instruction:
        codes, scales = self.random.choice(list(Codes)), self.random.choice(list(Scales))
        array, weight = self.config.columns, self.places.of[Memory.WEIGHT].size
        columns, rotates = self._columns()
        words, act_words = -(-columns // array), -(-columns // self.config.rows)
        most = self.config.panel_rows
        if codes is Codes.WEIGHT:
            most = max(1, weight // words)
        elif codes is Codes.WEIGHT_TRANSPOSED:
            most = max(1, weight // columns) * array
        if scales is not Scales.ROW:
            most = min(most, self.places.of[Memory.PARAM].size * array)
        width = act_words if codes is Codes.ACT else 0
        shared = self._vector((Memory.ACT, width), columns=columns, rows_most=most, rotates=rotates)
        rows = shared["rows"]
        row_words = -(-rows // array)
        memory, length, count = {
            Codes.ACT: (Memory.ACT, act_words, rows),
            Codes.WEIGHT: (Memory.WEIGHT, rows, words),
            Codes.WEIGHT_TRANSPOSED: (Memory.WEIGHT, columns, row_words),
        }[codes]
        address, stride = self.places.block(memory, length, count, apart=True)
        kind, length = (Memory.ROW, rows) if scales is Scales.ROW else (Memory.PARAM, row_words)
        scales_address, _ = self.places.block(kind, length)
        digit = self.random.choice([Digit.WHOLE, *Digit]) if self.config.pe == "int8" else Digit.WHOLE
        return Quantise(**shared, codes=codes, address=address, stride=stride, scales=scales,
                        scales_address=scales_address, digit=digit)  # fmt: skip

    def _argmax(self) -> Instruction:
        index, per_word = self.places.of[Memory.INDEX], self.config.word_elements(Memory.INDEX)
        columns, rotates = self._columns()
        small, stop = self._small_indices(index), index.size * per_word
        first = 0 if columns <= TABLE_ROWS else small  # what a gather may read must stay small
        shared = self._vector(columns=columns, rows_most=min(self.config.panel_rows, stop - first), rotates=rotates)
        address = index.start * per_word + self.random.randint(first, stop - shared["rows"])
        return Argmax(**shared, address=address)

    def _softmax(self) -> Instruction:
        columns = self.places.columns()
        words, act_words = -(-columns // self.config.columns), -(-columns // self.config.rows)
        rows = self.places.rows((Memory.ACC, words), (Memory.VALUE, words), (Memory.ROW, 1), (Memory.ACT, act_words))
        source_address, source_stride = self.places.block(Memory.ACC, words, rows)
        operand_address, operand_stride = self.places.block(Memory.VALUE, words, rows)
        address, stride = self.places.block(Memory.ACT, act_words, rows, apart=True)
        return Softmax(
            rows=rows, columns=columns, source_address=source_address, source_stride=source_stride,
            param_address=self.places.block(Memory.PARAM, words)[0],
            row_address=self.places.block(Memory.ROW, rows)[0],
            causal=self.random.randrange(2), offset=self.random.choice([0, self.random.randint(-rows, columns)]),
            window=self.random.choice([0, 0, self.random.randint(1, columns)]), additive=self.random.randrange(2),
            operand_address=operand_address, operand_stride=operand_stride, address=address, stride=stride,
            scales_address=self.places.block(Memory.ROW, rows)[0],
        )  # fmt: skip

    def _online_softmax(self) -> OnlineSoftmax:
        columns = self.places.columns()
        words, act_words = -(-columns // self.config.columns), -(-columns // self.config.rows)
        rows = self.places.rows((Memory.ACC, words), (Memory.ROW, ROW_NUMBERS), (Memory.ACT, act_words))
        source_address, source_stride = self.places.block(Memory.ACC, words, rows)
        address, stride = self.places.block(Memory.ACT, act_words, rows, apart=True)
        row = self.places.of[Memory.ROW]
        # Two rows of numbers each for the state and the scales, and one that is read: apart, in any order.
        spare = row.size - ROW_NUMBERS * rows
        places, at = {}, row.start + self.random.randint(0, spare)
        for name, length in self.random.sample([("state", 2), ("scales", 2), ("row", 1)], 3):
            places[name], at = at, at + length * rows
        return OnlineSoftmax(
            rows=rows, columns=columns, source_address=source_address, source_stride=source_stride,
            param_address=self.places.block(Memory.PARAM, words)[0], row_address=places["row"],
            causal=self.random.randrange(2), together=self.random.randrange(2),
            offset=self.random.choice([0, self.random.randint(-rows, columns)]),
            window=self.random.choice([0, 0, self.random.randint(1, columns)]), first=self.random.randrange(2),
            state_address=places["state"], address=address, stride=stride, scales_address=places["scales"],
            register=self._register(),
        )  # fmt: skip

    def _norm(self) -> Instruction:
        columns = self.places.columns()
        words = -(-columns // self.config.columns)
        rows = self.places.rows((Memory.VALUE, words))
        source_address, source_stride = self.places.block(Memory.VALUE, words, rows)
        address, stride = self.places.block(Memory.VALUE, words, rows, apart=True)
        if self.random.random() < 0.2 and (source_stride >= words or rows == 1):  # in place
            address, stride = source_address, source_stride
        return Norm(
            rows=rows, columns=columns, kind=self.random.choice(list(NormKind)), source_address=source_address,
            source_stride=source_stride, param_address=self.places.block(Memory.PARAM, words)[0],
            address=address, stride=stride, reciprocal=float(np.float32(1 / columns)),
            epsilon=self.random.choice([0.0, float(np.float32(1e-5)), 1.0]),
        )  # fmt: skip

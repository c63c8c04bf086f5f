"""Random instructions of every kind, each legal by itself, within the places of one program."""

from __future__ import annotations

from random import Random

import numpy as np

from ..arch.config import HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.isa import (
    Activation,
    Codes,
    Combine,
    Instruction,
    Load,
    Map,
    Matmul,
    Norm,
    NormKind,
    Quantise,
    Scales,
    Softmax,
    Source,
    Store,
)
from .random_places import LOADABLE, STORABLE, Area, Places

TABLE_ROWS = 16  # rows of a gathered table; INDEX content is below that
ATTEMPTS = 200  # to place an instruction so that it does not write what it reads


class RandomInstructions:
    """Draws instructions from `random`."""

    def __init__(self, config: HardwareConfig, places: Places, random: Random) -> None:
        self.config = config
        self.places = places
        self.random = random

    def instruction(self) -> Instruction:
        """One that is legal."""
        makers = {
            self._load: 3, self._gather: 2, self._store: 3, self._matmul: 4, self._map: 4, self._quantise: 4,
            self._softmax: 3, self._norm: 3,
        }  # fmt: skip
        make = self.random.choices(list(makers), list(makers.values()))[0]
        for _ in range(ATTEMPTS):
            instruction = make()
            try:
                instruction.check(self.config)
            except HeddleError:  # it would write words that it also reads
                continue
            return instruction
        raise AssertionError(f"no place for an instruction of {make.__name__}")

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
        kind = memory if self.random.random() < 0.93 or memory is Memory.INDEX else self.random.choice(LOADABLE)
        source = self.random.choice(
            [self.places.sources[kind]] * 3 + [self.places.shared] * (memory is not Memory.INDEX)
        )
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
        segments = min(segments, index.size * per_word)
        index_address = self.random.randint(index.start * per_word, index.stop * per_word - segments)
        return Load(memory=memory, words=words, segments=segments, address=address, stride=stride, gather=1,
                    dram_address=table.start, dram_stride=dram_stride, index_address=index_address)  # fmt: skip

    def _matmul(self) -> Instruction:
        k_tiles, n_tiles = self.random.choice([1, 1, 2, 3, 5]), self.random.choice([1, 1, 2, 3])
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
            accumulate=self.random.randrange(2),
        )  # fmt: skip

    def _vector(self, *results: tuple[Memory, int], columns: int, rows_most: int) -> dict:
        """What Map and Quantise share; `results` are the widths in words of what they write for each row."""
        words = -(-columns // self.config.columns)
        source = self.random.choice(list(Source))
        memory = Memory.ACC if source is Source.ACC else Memory.VALUE
        combine = self.random.choice([Combine.NONE, Combine.NONE, Combine.ADD, Combine.MULTIPLY])
        scaled, row_scaled = self.random.randrange(2), self.random.randrange(2)
        rows = min(rows_most, self.places.rows((memory, words), (Memory.VALUE, words), (Memory.ROW, 1), *results))
        source_address, source_stride = self.places.block(memory, words, rows)
        operand_address, operand_stride = self.places.block(Memory.VALUE, words, rows)
        return {
            "rows": rows, "columns": columns, "source": source, "source_address": source_address,
            "source_stride": source_stride, "scaled": scaled, "row_scaled": row_scaled, "combine": combine,
            "param_address": self.places.block(Memory.PARAM, words)[0],
            "row_address": self.places.block(Memory.ROW, rows)[0],
            "activation": self.random.choice([Activation.NONE, *Activation]),
            "operand_address": operand_address, "operand_stride": operand_stride,
        }  # fmt: skip

    def _map(self) -> Instruction:
        columns = self.places.columns()
        words = -(-columns // self.config.columns)
        shared = self._vector((Memory.VALUE, words), columns=columns, rows_most=self.config.panel_rows)
        address, stride = self.places.block(Memory.VALUE, words, shared["rows"], apart=True)
        apart = shared["source_stride"] >= words or shared["rows"] == 1
        if self.random.random() < 0.2 and shared["source"] is Source.VALUE and apart:  # in place
            address, stride = shared["source_address"], shared["source_stride"]
        return Map(**shared, address=address, stride=stride)

    def _quantise(self) -> Instruction:
        codes, scales = self.random.choice(list(Codes)), self.random.choice(list(Scales))
        array, weight = self.config.columns, self.places.of[Memory.WEIGHT].size
        columns = self.places.columns()
        words, act_words = -(-columns // array), -(-columns // self.config.rows)
        most = self.config.panel_rows
        if codes is Codes.WEIGHT:
            most = max(1, weight // words)
        elif codes is Codes.WEIGHT_TRANSPOSED:
            most = max(1, weight // columns) * array
        if scales is not Scales.ROW:
            most = min(most, self.places.of[Memory.PARAM].size * array)
        width = act_words if codes is Codes.ACT else 0
        shared = self._vector((Memory.ACT, width), columns=columns, rows_most=most)
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
        return Quantise(**shared, codes=codes, address=address, stride=stride, scales=scales,
                        scales_address=scales_address)  # fmt: skip

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

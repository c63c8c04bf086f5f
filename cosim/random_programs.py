"""Random legal programs over all units, for lock-step: every seed of a configuration gives one program.

Each memory gets a small arena, often across a bank boundary or at its end, in which all instructions work, so that they
meet: the same words, banks and rows again and again. DRAM holds a source area for each memory with content of its kind,
an area that STOREs write and LOADs read back, and a final area into which all that is on chip is written at the end.
compiler/synchronise.py makes the order safe; what it does not order is free to race, and must come out the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from ..arch.config import FETCH_GROUP, INSTRUCTION_BYTES, HardwareConfig, Memory
from ..arch.errors import HeddleError
from ..arch.isa import (
    Activation,
    Codes,
    Combine,
    Halt,
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
from ..arch.program import Program
from ..compiler.synchronise import synchronise
from . import random_data

STORABLE = (Memory.ACT, Memory.WEIGHT, Memory.PARAM, Memory.VALUE)
LOADABLE = (*STORABLE, Memory.INDEX)
TABLE_ROWS = 16  # rows of a gathered table; INDEX content is below that
ATTEMPTS = 200  # to place an instruction so that it does not write what it reads


@dataclass(frozen=True)
class _Area:
    """Words of a memory, or bytes of DRAM: [start, stop)."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


def random_program(config: HardwareConfig, seed: int, instructions: int = 40) -> Program:
    """A legal program of about `instructions` instructions, and what stores its results; with a random DRAM timing."""
    random = Random(f"{config.fingerprint} {seed}")
    latency, cycles_per_beat = random.choice([1, 2, random.randint(1, 200)]), random.choice([1, 1, 2, 3, 4])
    config = config.with_dram(latency_cycles=latency, cycles_per_beat=cycles_per_beat)
    return _Generator(config, random).program(f"random-{seed}", instructions)


def dram_bytes(config: HardwareConfig) -> int:
    """Size of the DRAM of random programs: one for each configuration, so that they share a build of the bench."""
    return max(1 << 16, 2048 * config.dram_word_bytes(Memory.PARAM))


class _Generator:
    def __init__(self, config: HardwareConfig, random: Random) -> None:
        self.config = config
        self.random = random
        self.numbers = np.random.default_rng(random.getrandbits(32))
        size = dram_bytes(config)
        self.areas = {memory: self._arena(memory, size // 32) for memory in Memory}
        # Sixteenths of DRAM: 0–1 code, 2–6 sources, 7–8 written and read back, 9–15 the final state.
        sixteenth = size // 16
        self.code = _Area(0, 2 * sixteenth)
        self.sources = {memory: _Area((2 + memory) * sixteenth, (3 + memory) * sixteenth) for memory in LOADABLE}
        self.shared = _Area(7 * sixteenth, 9 * sixteenth)
        self.final = _Area(9 * sixteenth, size)
        self.dram_bytes = size

    def program(self, name: str, count: int) -> Program:
        body = self._fill()
        body += [self._instruction() for _ in range(count)]
        body += self._drain()
        ordered = synchronise(self.config, body)
        groups = -(-(len(ordered) + 1) // FETCH_GROUP)
        assert groups * FETCH_GROUP * INSTRUCTION_BYTES <= self.code.size
        data = [(area.start, self._content(memory, area.size)) for memory, area in self.sources.items()]
        program = Program(self.config, (*ordered, Halt()), self.dram_bytes, tuple(data), name=name)
        program.check()
        return program

    # -- places --------------------------------------------------------------------------------------------------------

    def _arena(self, memory: Memory, most_bytes: int) -> _Area:
        words, bank = self.config.words(memory), self.config.bank_words(memory)
        size = self.random.choice([24, 64, 160])
        if memory is Memory.WEIGHT:
            size = max(size, 2 * self.config.rows)  # two tiles
        size = min(words, most_bytes // self.config.dram_word_bytes(memory), size)
        across = bank * self.random.randrange(1, self.config.banks(memory) + 1) - size // 2
        start = self.random.choice([0, words - size, across, self.random.randrange(words - size + 1)])
        start = min(max(start, 0), words - size)
        return _Area(start, start + size)

    def _place(self, memory: Memory, length: int, count: int, apart: bool) -> tuple[int, int]:
        """(address, stride) for `count` blocks of `length` words in the arena, at least `length` apart if `apart`."""
        area = self.areas[memory]
        most = (area.size - length) // (count - 1) if count > 1 else area.size
        least = length if apart else 0
        stride = self.random.choice([min(length, most), self.random.randint(least, max(least, most))])
        span = (count - 1) * stride + length
        assert span <= area.size
        return self.random.randint(area.start, area.stop - span), stride

    def _rows(self, *widths: tuple[Memory, int]) -> int:
        """Rows of a panel, few or many, so that blocks of each width fit the arena of its memory."""
        most = min([self.config.panel_rows] + [self.areas[memory].size // max(1, width) for memory, width in widths])
        return self._size(most)

    def _size(self, most: int) -> int:
        return self.random.choice([1, most, self.random.randint(1, most), self.random.randint(1, max(1, most // 4))])

    def _columns(self) -> int:
        words, tail = self.random.choice([1, 1, 2, 3, 4, 6, 9, 14]), self.random.randrange(self.config.columns)
        return words * self.config.columns - self.random.choice([0, tail])

    # -- instructions --------------------------------------------------------------------------------------------------

    def _fill(self) -> list[Instruction]:
        """Load the whole arena of each memory; compute ACC from ACT and WEIGHT, and ROW from VALUE."""
        fills: list[Instruction] = [
            Load(memory=memory, dram_address=self.sources[memory].start, words=self.areas[memory].size,
                 address=self.areas[memory].start)
            for memory in LOADABLE
        ]  # fmt: skip
        self.random.shuffle(fills)
        act, weight, value, acc, row = (
            self.areas[m] for m in (Memory.ACT, Memory.WEIGHT, Memory.VALUE, Memory.ACC, Memory.ROW)
        )
        rows = min(act.size, acc.size)
        for start in range(acc.start, acc.stop, rows):
            fills.append(Matmul(rows=min(rows, acc.stop - start), act_address=act.start, act_stride=1,
                                weight_address=weight.start, acc_address=start, acc_stride=1))  # fmt: skip
        rows = min(value.size, act.size, self.config.panel_rows)
        for start in range(row.start, row.stop, rows):
            fills.append(Quantise(rows=min(rows, row.stop - start), columns=min(self.config.rows, self.config.columns),
                                  source=Source.VALUE, source_address=value.start, source_stride=1, address=act.start,
                                  stride=1, scales_address=start))  # fmt: skip
        return fills

    def _instruction(self) -> Instruction:
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

    def _load(self) -> Instruction:
        memory = self.random.choice(LOADABLE)
        # Now and then content of another kind: bytes that mean NaN, infinity or nonsense where they land.
        kind = memory if self.random.random() < 0.93 or memory is Memory.INDEX else self.random.choice(LOADABLE)
        source = self.random.choice([self.sources[kind]] * 3 + [self.shared] * (memory is not Memory.INDEX))
        return Load(memory=memory, **self._transfer(memory, source, chip_apart=True, dram_apart=False))

    def _store(self) -> Instruction:
        memory = self.random.choice(STORABLE)
        return Store(memory=memory, **self._transfer(memory, self.shared, chip_apart=False, dram_apart=True))

    def _transfer(self, memory: Memory, dram: _Area, chip_apart: bool, dram_apart: bool) -> dict:
        size = self.config.dram_word_bytes(memory)
        most = min(self.areas[memory].size, dram.size // size)
        words = self._size(most)
        segments = self._size(min(most // words, 20))
        address, stride = self._place(memory, words, segments, chip_apart)
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
        table = self.sources[memory]
        dram_stride = burst * self.random.randint(0, table.size // TABLE_ROWS // burst)
        words = self._size(min(self.areas[memory].size, (table.size - (TABLE_ROWS - 1) * dram_stride) // size))
        segments = self._size(min(self.areas[memory].size // words, 24))
        address, stride = self._place(memory, words, segments, apart=True)
        per_word, index = self.config.word_elements(Memory.INDEX), self.areas[Memory.INDEX]
        segments = min(segments, index.size * per_word)
        index_address = self.random.randint(index.start * per_word, index.stop * per_word - segments)
        return Load(memory=memory, words=words, segments=segments, address=address, stride=stride, gather=1,
                    dram_address=table.start, dram_stride=dram_stride, index_address=index_address)  # fmt: skip

    def _matmul(self) -> Instruction:
        k_tiles, n_tiles = self.random.choice([1, 1, 2, 3, 5]), self.random.choice([1, 1, 2, 3])
        tile = k_tiles * self.config.rows
        most = self.areas[Memory.WEIGHT].size
        k_tiles, n_tiles = (k_tiles, min(n_tiles, most // tile)) if tile <= most else (1, 1)
        rows = self._size(min(self.areas[Memory.ACC].size // n_tiles, self.areas[Memory.ACT].size // k_tiles))
        act_address, act_stride = self._place(Memory.ACT, k_tiles, rows, apart=False)
        weight_address, weight_stride = self._place(Memory.WEIGHT, k_tiles * self.config.rows, n_tiles, apart=False)
        acc_address, acc_stride = self._place(Memory.ACC, n_tiles, rows, apart=True)
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
        rows = min(rows_most, self._rows((memory, words), (Memory.VALUE, words), (Memory.ROW, 1), *results))
        source_address, source_stride = self._place(memory, words, rows, apart=False)
        operand_address, operand_stride = self._place(Memory.VALUE, words, rows, apart=False)
        return {
            "rows": rows, "columns": columns, "source": source, "source_address": source_address,
            "source_stride": source_stride, "scaled": scaled, "row_scaled": row_scaled, "combine": combine,
            "param_address": self._place(Memory.PARAM, words, 1, apart=False)[0],
            "row_address": self._place(Memory.ROW, rows, 1, apart=False)[0],
            "activation": self.random.choice([Activation.NONE, *Activation]),
            "operand_address": operand_address, "operand_stride": operand_stride,
        }  # fmt: skip

    def _map(self) -> Instruction:
        columns = self._columns()
        words = -(-columns // self.config.columns)
        shared = self._vector((Memory.VALUE, words), columns=columns, rows_most=self.config.panel_rows)
        address, stride = self._place(Memory.VALUE, words, shared["rows"], apart=True)
        apart = shared["source_stride"] >= words or shared["rows"] == 1
        if self.random.random() < 0.2 and shared["source"] is Source.VALUE and apart:  # in place
            address, stride = shared["source_address"], shared["source_stride"]
        return Map(**shared, address=address, stride=stride)

    def _quantise(self) -> Instruction:
        codes, scales = self.random.choice(list(Codes)), self.random.choice(list(Scales))
        array, weight = self.config.columns, self.areas[Memory.WEIGHT].size
        columns = min(self._columns(), weight)
        words, act_words = -(-columns // array), -(-columns // self.config.rows)
        most = self.config.panel_rows
        if codes is Codes.WEIGHT:
            most = max(1, weight // words)
        elif codes is Codes.WEIGHT_TRANSPOSED:
            most = max(1, weight // columns) * array
        if scales is not Scales.ROW:
            most = min(most, self.areas[Memory.PARAM].size * array)
        width = act_words if codes is Codes.ACT else 0
        shared = self._vector((Memory.ACT, width), columns=columns, rows_most=most)
        rows = shared["rows"]
        row_words = -(-rows // array)
        memory, length, count = {
            Codes.ACT: (Memory.ACT, act_words, rows),
            Codes.WEIGHT: (Memory.WEIGHT, rows, words),
            Codes.WEIGHT_TRANSPOSED: (Memory.WEIGHT, columns, row_words),
        }[codes]
        address, stride = self._place(memory, length, count, apart=True)
        kind, length = (Memory.ROW, rows) if scales is Scales.ROW else (Memory.PARAM, row_words)
        scales_address, _ = self._place(kind, length, 1, apart=True)
        return Quantise(**shared, codes=codes, address=address, stride=stride, scales=scales,
                        scales_address=scales_address)  # fmt: skip

    def _softmax(self) -> Instruction:
        columns = self._columns()
        words, act_words = -(-columns // self.config.columns), -(-columns // self.config.rows)
        rows = self._rows((Memory.ACC, words), (Memory.VALUE, words), (Memory.ROW, 1), (Memory.ACT, act_words))
        source_address, source_stride = self._place(Memory.ACC, words, rows, apart=False)
        operand_address, operand_stride = self._place(Memory.VALUE, words, rows, apart=False)
        address, stride = self._place(Memory.ACT, act_words, rows, apart=True)
        return Softmax(
            rows=rows, columns=columns, source_address=source_address, source_stride=source_stride,
            param_address=self._place(Memory.PARAM, words, 1, apart=False)[0],
            row_address=self._place(Memory.ROW, rows, 1, apart=False)[0],
            causal=self.random.randrange(2), offset=self.random.choice([0, self.random.randint(-rows, columns)]),
            window=self.random.choice([0, 0, self.random.randint(1, columns)]), additive=self.random.randrange(2),
            operand_address=operand_address, operand_stride=operand_stride, address=address, stride=stride,
            scales_address=self._place(Memory.ROW, rows, 1, apart=True)[0],
        )  # fmt: skip

    def _norm(self) -> Instruction:
        columns = self._columns()
        words = -(-columns // self.config.columns)
        rows = self._rows((Memory.VALUE, words))
        source_address, source_stride = self._place(Memory.VALUE, words, rows, apart=False)
        address, stride = self._place(Memory.VALUE, words, rows, apart=True)
        if self.random.random() < 0.2 and (source_stride >= words or rows == 1):  # in place
            address, stride = source_address, source_stride
        return Norm(
            rows=rows, columns=columns, kind=self.random.choice(list(NormKind)), source_address=source_address,
            source_stride=source_stride, param_address=self._place(Memory.PARAM, words, 1, apart=False)[0],
            address=address, stride=stride, reciprocal=float(np.float32(1 / columns)),
            epsilon=self.random.choice([0.0, float(np.float32(1e-5)), 1.0]),
        )  # fmt: skip

    # -- the final state -----------------------------------------------------------------------------------------------

    def _drain(self) -> list[Instruction]:
        """Store the arenas, then what only other units can reach: ACC as values, ROW as multiples of a row of ones."""
        drained: list[Instruction] = []
        free = self.final.start

        def store(memory: Memory, address: int, words: int) -> None:
            nonlocal free
            drained.append(Store(memory=memory, dram_address=free, words=words, address=address))
            free += words * self.config.dram_word_bytes(memory)
            assert free <= self.final.stop

        for memory in STORABLE:
            store(memory, self.areas[memory].start, self.areas[memory].size)
        value = self.areas[Memory.VALUE]
        ones, minus_ones, scratch = value.start, value.start + 1, value.start + 2
        drained.append(Load(memory=Memory.VALUE, dram_address=self.sources[Memory.VALUE].start, words=2, address=ones))
        block = min(self.config.panel_rows, value.size - 2)
        for memory in (Memory.ACC, Memory.ROW):
            for start in range(self.areas[memory].start, self.areas[memory].stop, block):
                rows = min(block, self.areas[memory].stop - start)
                to = {"rows": rows, "columns": self.config.columns, "address": scratch, "stride": 1}
                if memory is Memory.ACC:
                    what = {**to, "source": Source.ACC, "source_address": start, "source_stride": 1}
                else:
                    what = {**to, "source": Source.VALUE, "source_address": ones, "row_scaled": 1, "row_address": start}
                drained.append(Map(**what))
                store(Memory.VALUE, scratch, rows)
                # bf16 shows 8 bits; what is left when these are taken away shows 8 more.
                drained.append(Map(**to, source=Source.VALUE, source_address=scratch, source_stride=1,
                                   combine=Combine.MULTIPLY, operand_address=minus_ones))  # fmt: skip
                drained.append(Map(**what, combine=Combine.ADD, operand_address=scratch, operand_stride=1))
                store(Memory.VALUE, scratch, rows)
        return drained

    def _content(self, memory: Memory, size: int) -> bytes:
        """Source bytes of a kind. Those of VALUE begin with a word of ones and one of minus ones."""
        content = random_data.content(self.config, memory, size, self.numbers, TABLE_ROWS)
        units = random_data.units(self.config) if memory is Memory.VALUE else b""
        return units + content[len(units) :]

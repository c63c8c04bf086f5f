"""Random legal programs over all units, for lock-step: every seed of a configuration gives one program.

Each memory gets a small arena, often across a bank boundary or at its end, in which all instructions work, so that they
meet: the same words, banks and rows again and again. DRAM holds a source area for each memory with content of its kind,
an area that STOREs write and LOADs read back, and a final area into which all that is on chip is written at the end.
compiler/synchronise.py makes the order safe; what it does not order is free to race, and must come out the same.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np

from ..arch.config import FETCH_GROUP, INSTRUCTION_BYTES, SCALAR_COUNT, Config, HardwareConfig, Memory, get_config
from ..arch.isa import Combine, Guard, Halt, Instruction, Load, Map, Matmul, Quantise, Softmax, Source, Store
from ..arch.program import Program
from ..arch.ranges import require_range
from ..compiler.synchronise import synchronise
from . import random_data
from .random_instructions import LONG_REACH, TABLE_ROWS, RandomInstructions
from .random_places import LOADABLE, STORABLE, Area, Places
from .random_tokens import with_spare_tokens

LONG = 20  # instructions of a program that may be made still longer
WIDE = 0.3  # of the programs end with rows of many columns
EARLY_HALT = 0.2  # of the programs end before their last instruction
SPARE_TOKENS = 0.4  # of the programs send and take tokens that they need not


def random_program(config: Config, seed: int, instructions: int = 40) -> Program:
    """A legal program of about `instructions` instructions, and what stores its results; with a random DRAM timing."""
    config = get_config(config)
    require_range("seed", seed, 0, 1 << 62)
    require_range("instructions", instructions, 1, 1 << 16)
    random = Random(f"{config.fingerprint} {seed}")
    latency = random.choice([1, 2, random.randint(1, 200 if random.random() < 0.9 else 400)])
    cycles_per_beat = random.choice([1, 1, 2, 3, 4])
    config = config.with_dram(latency_cycles=latency, cycles_per_beat=cycles_per_beat)
    return _Generator(config, random).program(f"random-{seed}", instructions)


class _Generator:
    def __init__(self, config: HardwareConfig, random: Random) -> None:
        self.config = config
        self.random = random
        self.numbers = np.random.default_rng(random.getrandbits(32))
        self.places = Places(config, random)
        self.scalars = [0, *(self._scalar() for _ in range(SCALAR_COUNT - 1))]
        self.instructions = RandomInstructions(config, self.places, random, self.scalars)

    def program(self, name: str, count: int) -> Program:
        body: list[Instruction] = []
        while len(body) < count:
            body += self.instructions.group() if self.random.random() < 0.2 else [self.instructions.instruction()]
        if self.places.loud and self.config.pe == "int8" and count >= LONG:
            body += self.instructions.deep()
        if count >= LONG and self.random.random() < WIDE:
            body += self.instructions.wide()
        if self.places.code.size // INSTRUCTION_BYTES > 4 * LONG_REACH and count >= LONG and self.random.random() < 0.6:
            body += self.instructions.desert()
        tables = self.instructions.tables
        body = [*tables.at_start(), *self._fill(), *body, Guard()]  # nothing of what is written at the end is void
        body += self._drain()
        if self.random.random() < EARLY_HALT:
            body += [Halt(), *(self.instructions.instruction() for _ in range(self.random.randint(1, 20)))]
        ordered = synchronise(self.config, body)
        if self.random.random() < SPARE_TOKENS:
            ordered = with_spare_tokens(ordered, self.random)
        groups = -(-(len(ordered) + 1) // FETCH_GROUP)
        assert groups * FETCH_GROUP * INSTRUCTION_BYTES <= self.places.code.size
        data = [(area.start, self._content(memory, area.size)) for memory, area in self.places.sources.items()]
        data.append((self.places.tables.start, tables.content))
        kv = self.instructions.kv
        data.append((self.places.cache.start, self._content(Memory.WEIGHT, kv.cache_bytes)))
        program = Program(
            self.config, (*ordered, Halt()), self.places.dram_bytes, tuple(data), name=name,
            registers=tuple(enumerate(self.scalars)), cache_address=self.places.cache.start,
            cache_bytes=kv.cache_bytes,
        )  # fmt: skip
        program.check()
        return program

    def _scalar(self) -> int:
        """Often a small size or place, and now and then one that is clamped wherever it is used."""
        return self.random.choice([
            0, 1, self.random.randrange(4), self.random.randrange(12), self.random.randrange(40),
            self.random.randrange(5000), self.random.choice([(1 << 20) - 1, 1 << 31, (1 << 32) - 1]),
        ])  # fmt: skip

    def _fill(self) -> list[Instruction]:
        """Load the whole arenas of each memory; compute ACC from ACT and WEIGHT, and ROW from VALUE."""
        fills = [self.places.fill(memory, area) for memory in LOADABLE for area in self.places.all[memory]]
        self.random.shuffle(fills)
        act, weight, value = (self.places.all[m][0] for m in (Memory.ACT, Memory.WEIGHT, Memory.VALUE))
        for acc in self.places.all[Memory.ACC]:
            rows = min(act.size, acc.size)
            for start in range(acc.start, acc.stop, rows):
                fills.append(Matmul(rows=min(rows, acc.stop - start), act_address=act.start, act_stride=1,
                                    weight_address=weight.start, acc_address=start, acc_stride=1))  # fmt: skip
        rows = min(value.size, act.size, self.config.panel_rows)
        for row in self.places.all[Memory.ROW]:
            for start in range(row.start, row.stop, rows):
                fills.append(Quantise(rows=min(rows, row.stop - start),
                                      columns=min(self.config.rows, self.config.columns), source=Source.VALUE,
                                      source_address=value.start, source_stride=1, address=act.start, stride=1,
                                      scales_address=start))  # fmt: skip
            if self.config.pe == "bf16":
                fills += self._fill_row_with_sums(row)
        return fills

    def _fill_row_with_sums(self, row: Area) -> list[Instruction]:
        """Scales of bf16 codes are all 1, those of probabilities are not: each half of ROW from the other."""
        act, acc = (self.places.all[m][0] for m in (Memory.ACT, Memory.ACC))
        half = row.start + row.size // 2
        rows = min(act.size, acc.size, row.size // 2, self.config.panel_rows)
        common = Softmax(rows=rows, columns=min(self.config.rows, self.config.columns), source_address=acc.start,
                         source_stride=1, param_address=self.places.all[Memory.PARAM][0].start, address=act.start,
                         stride=1)  # fmt: skip
        pairs = [(row.start, half), (half, row.start)]
        return [replace(common, row_address=read, scales_address=written) for read, written in pairs]

    def _drain(self) -> list[Instruction]:
        """Store the arenas, then what only other units can reach: ACC as values, ROW as multiples of a row of ones."""
        drained: list[Instruction] = []
        free = self.places.final.start

        def store(memory: Memory, address: int, words: int) -> None:
            nonlocal free
            drained.append(Store(memory=memory, dram_address=free, words=words, address=address))
            free += words * self.config.dram_word_bytes(memory)
            assert free <= self.places.final.stop

        for memory in STORABLE:
            for area in self.places.all[memory]:
                store(memory, area.start, area.size)
        value = self.places.all[Memory.VALUE][0]
        ones, minus_ones, scratch = value.start, value.start + 1, value.start + 2
        drained.append(
            Load(memory=Memory.VALUE, dram_address=self.places.sources[Memory.VALUE].start, words=2, address=ones)
        )
        block = self.places.panel
        areas = [(memory, area) for memory in (Memory.ACC, Memory.ROW) for area in self.places.all[memory]]
        for memory, area in areas:
            for start in range(area.start, area.stop, block):
                rows = min(block, area.stop - start)
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
        limit = self.instructions.kv.page_count if memory is Memory.PAGE else TABLE_ROWS
        content = random_data.content(self.config, memory, size, self.numbers, limit, self.places.loud)
        units = random_data.units(self.config) if memory is Memory.VALUE else b""
        return units + content[len(units) :]

"""What can be seen of a program's shape: tiles, chunks, the order of loops, how full memories are, how far loads run
ahead.

All follows from the instructions and their labels, whoever wrote them; how far ahead loads run, from a run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cache

import numpy as np

from ..arch.config import Memory, Unit
from ..arch.errors import require_type
from ..arch.isa import Load, Matmul
from ..arch.program import Program, require_program
from .footprints import Blocks, Footprints
from .profile import in_any_layer, layer_of, operator_of
from .result import Result
from .traffic import dram_bytes, tile_macs

WINDOW = 20_000  # instructions that are looked at word by word: enough for a few layers
_any_layer, _layer = cache(in_any_layer), cache(layer_of)


@dataclass
class Part:
    """A layer, or an operator of all layers: how many instructions of which kind, and what they move and multiply."""

    name: str
    instruction_counts: Counter[str] = field(default_factory=Counter)  # by mnemonic
    dram_read_bytes: int = 0
    dram_written_bytes: int = 0
    tile_macs: int = 0  # padding included
    panels: Counter[str] = field(default_factory=Counter)  # of Matmul: "rows × K × N", in rows and columns
    chunks: Counter[str] = field(default_factory=Counter)  # of LOAD: "memory: bytes"
    loops: Counter[str] = field(default_factory=Counter)  # what changes from one Matmul to the next

    def to_dict(self) -> dict:
        """Plain values."""
        return {name: dict(each) if isinstance(each, Counter) else each for name, each in vars(self).items()}


@dataclass(frozen=True)
class Occupancy:
    """How much of a memory a program uses. A word is live from when it is written until it was last read."""

    memory: str
    words: int  # that there are
    touched_words: int  # by any instruction
    live_words: int  # most at one time, in the order of the program


@dataclass(frozen=True)
class Ahead:
    """How far LOAD runs ahead of the unit that first reads what it brought, in the middle (median) of all loads."""

    memory: str
    loads: int
    cycles_ahead: int  # from the end of the load to the start of the reader
    instructions_ahead: int  # of the reader's unit, started between the start of the load and the reader's
    in_time: float  # share of loads that ended before the reader's unit had finished what it did before


@dataclass(frozen=True)
class Facts:
    """All of it."""

    layers: list[Part]
    operators: list[Part]
    occupancy: list[Occupancy]
    ahead: list[Ahead]
    followed_instructions: int  # instructions, the first, in which live words and loads were looked at

    def to_dict(self) -> dict:
        """Plain values."""
        return {
            "layers": [each.to_dict() for each in self.layers],
            "operators": [each.to_dict() for each in self.operators],
            "occupancy": [asdict(each) for each in self.occupancy],
            "ahead": [asdict(each) for each in self.ahead],
            "followed_instructions": self.followed_instructions,
        }


def facts(program: Program, result: Result | None = None) -> Facts:
    """Of a program; with a run of it, also how far loads run ahead."""
    require_program(program)
    require_type("the result", result, (Result, type(None)), "what heddle.simulate gives, or None")
    labels = program.labels or tuple(each.name for each in program.instructions)
    operators = [operator_of(label) for label in labels]
    layers = _parts(program, [_layer(each) for each in operators])
    operators = _parts(program, [_any_layer(each) for each in operators])
    ahead = _ahead(result) if result else []
    return Facts(layers, operators, _occupancy(program), ahead, min(WINDOW, len(program.instructions)))


# -- instructions ------------------------------------------------------------------------------------------------------


def _parts(program: Program, names: list[str]) -> list[Part]:
    config, parts, before = program.config, {}, {}
    for each, name in zip(program.instructions, names, strict=True):
        part = parts.setdefault(name, Part(name))
        part.instruction_counts[each.name] += 1
        read, written = dram_bytes(each, config)
        part.dram_read_bytes += read
        part.dram_written_bytes += written
        if isinstance(each, Load):
            part.chunks[f"{each.memory.name.lower()}: {read:,} bytes"] += 1
        if isinstance(each, Matmul):
            part.tile_macs += tile_macs(each, config)
            part.panels[f"{each.rows} × {each.k_tiles * config.rows} × {each.n_tiles * config.columns}"] += 1
            if name in before:
                part.loops[_what_changes(before[name], each)] += 1
            before[name] = each
    return list(parts.values())


def _what_changes(one: Matmul, two: Matmul) -> str:
    weights, rows = one.weight_address != two.weight_address, one.act_address != two.act_address
    if weights and rows:
        return "rows and weights"
    return "weights" if weights else "rows" if rows else "neither"


# -- memories ----------------------------------------------------------------------------------------------------------


def _occupancy(program: Program) -> list[Occupancy]:
    """Live words are counted in the first WINDOW instructions."""
    config = program.config
    footprints = Footprints(program.instructions, config)
    touched = {memory: np.zeros(config.words(memory), bool) for memory in Memory}
    for each in footprints.all:
        for memory, blocks in each.blocks:
            touched[memory][blocks.places] = True
    steps = [number for number in footprints.number[:WINDOW] if number >= 0]
    live = {memory: _Life(config.words(memory), len(steps)) for memory in Memory}
    for step, number in enumerate(steps):
        example = footprints.examples[number]
        for memory, blocks in sorted(footprints.all[number].blocks, key=lambda each: each[1].write):
            if blocks.write:
                live[memory].write(blocks, step)
            elif memory is not Memory.ACC or not isinstance(example, Matmul) or example.accumulate:
                live[memory].read(blocks, step)  # else it reads none but its own sums
    return [
        Occupancy(memory.name.lower(), config.words(memory), int(touched[memory].sum()), live[memory].most())
        for memory in Memory
        if touched[memory].any()
    ]


class _Life:
    """When each word of a memory was written and last read; `change` counts lives that begin and end at each step."""

    def __init__(self, words: int, steps: int) -> None:
        self.written, self.read_last = np.full(words, -1), np.full(words, -1)
        self.change = np.zeros(steps + 1, np.int64)

    def read(self, blocks: Blocks, step: int) -> None:
        """Some words are read: what was never written before lives from the beginning."""
        words = blocks.places
        self.written[words] = np.maximum(self.written[words], 0)
        self.read_last[words] = step

    def write(self, blocks: Blocks, step: int) -> None:
        """Some words are written: what they held has lived until it was last read."""
        words = blocks.places
        self._end(words, step)
        self.written[words] = step
        self.read_last[words] = -1

    def most(self) -> int:
        """Most words that live at one step."""
        self._end(np.arange(len(self.written)), len(self.change))
        return int(np.cumsum(self.change).max(initial=0))

    def _end(self, words: np.ndarray, step: int) -> None:
        """What is replaced at a step, even by its own reader, is gone by then."""
        used = words[self.read_last[words] >= 0]
        np.add.at(self.change, self.written[used], 1)
        np.add.at(self.change, np.minimum(self.read_last[used] + 1, step), -1)
        self.read_last[used] = -1


# -- loads -------------------------------------------------------------------------------------------------------------


def _ahead(result: Result) -> list[Ahead]:
    program, timing = result.program, result.timing
    assert timing is not None
    count = min(WINDOW, len(timing.dispatched))
    starts = {unit: [] for unit in Unit}  # of the instructions so far
    ends = dict.fromkeys(Unit, -1)  # of the latest
    loaded = {memory: np.full(program.config.words(memory), -1) for memory in Memory}
    found: dict[Memory, list[tuple[int, int, bool]]] = {memory: [] for memory in Memory}
    seen: set[int] = set()
    footprints = Footprints(program.instructions[:count], program.config)
    for index, each in enumerate(program.instructions[:count]):
        if each.unit is None:
            continue
        for memory, blocks in footprints.all[footprints.number[index]].blocks:
            words = loaded[memory][blocks.places]
            if blocks.write:
                loaded[memory][blocks.places] = index if isinstance(each, Load) else -1
                continue
            for load in (int(load) for load in np.unique(words) if load >= 0 and load not in seen):
                seen.add(load)
                start, between = timing.start[index], np.searchsorted(starts[each.unit], timing.start[load])
                in_time = timing.retire[load] <= max(ends[each.unit], timing.dispatched[index])
                ahead = len(starts[each.unit]) - int(between)
                found[memory].append((int(start - timing.retire[load]), ahead, bool(in_time)))
        starts[each.unit].append(timing.start[index])
        ends[each.unit] = timing.retire[index]
    return [
        Ahead(memory.name.lower(), len(loads), int(np.median([cycles for cycles, _, _ in loads])),
              int(np.median([ahead for _, ahead, _ in loads])), float(np.mean([in_time for _, _, in_time in loads])))
        for memory, loads in found.items()
        if loads
    ]  # fmt: skip

"""Where the time, the work and the bytes of a run went: by operator, by layer, and altogether.

A label reads "layers.3.attention: head 0 scores": the operator in front of the colon, and its layer up to the first
number. Equal operators of different layers are one operator, "layers.*.attention".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from ..arch.config import INSTRUCTION_BYTES, Memory, Unit
from ..arch.encoding import listing
from ..arch.errors import HeddleError, require_type
from ..arch.isa import INSTRUCTIONS, Instruction
from .critical import Link, critical_path
from .result import Result
from .trace import UNITS
from .traffic import dram_bytes, tile_macs, words

LEVELS = ("dram", *(memory.name.lower() for memory in Memory))
_LAYER = re.compile(r"^(.*?\.)?\d+(?=\.|$)")


@dataclass(frozen=True)
class Share:
    """What one operator or layer has of a run."""

    name: str
    instructions: int
    matrix_cycles: int  # in which MATRIX executed it
    active_cycles: int  # in which any unit did
    path_cycles: int  # on the critical path: these sum to the cycles of the run
    tile_macs: int  # multiply-accumulates of whole tiles, padding included
    read_bytes: dict[str, int] = field(default_factory=dict)  # by level
    written_bytes: dict[str, int] = field(default_factory=dict)
    busy_cycles: dict[str, int] = field(default_factory=dict)  # by unit

    @property
    def dram_bytes(self) -> int:
        """Read and written, the instructions themselves included."""
        return self.read_bytes["dram"] + self.written_bytes["dram"]

    def to_dict(self) -> dict:
        """Plain values."""
        return asdict(self)


def operator_of(label: str) -> str:
    """The operator of a label, with its layer."""
    return label.split(": ")[0]


def layer_of(operator: str) -> str:
    """The layer an operator belongs to: its name up to the first number, or its first part."""
    found = _LAYER.match(operator)
    return found.group() if found else operator.split(".")[0]


def in_any_layer(operator: str) -> str:
    """The operator with a star for the number of its layer."""
    found = _LAYER.match(operator)
    return re.sub(r"\d+$", "*", found.group()) + operator[found.end() :] if found else operator


class Profile:
    """Of a run with timing. Shares are in the order in which they first appear in the program."""

    def __init__(self, result: Result) -> None:
        require_type("the result", result, Result, "what heddle.simulate gives")
        if result.timing is None:
            raise HeddleError("a profile needs a run with timing: simulate(..., timing=True)")
        self.result = result
        self.count = len(result.timing.dispatched)
        program = result.program
        self.instructions: Sequence[Instruction] = program.instructions[: self.count]
        labels = program.labels or tuple(each.name for each in program.instructions)
        self.labels = [operator_of(label) for label in labels[: self.count]]

    @cached_property
    def path(self) -> list[Link]:
        """The critical path."""
        return critical_path(self.result)

    @cached_property
    def operators(self) -> list[Share]:
        """By operator, over all layers."""
        return self._shares([_in_any_layer(label) for label in self.labels])

    @cached_property
    def layers(self) -> list[Share]:
        """By layer."""
        return self._shares([_layer_of(label) for label in self.labels])

    @cached_property
    def whole(self) -> Share:
        """The whole run."""
        return self._shares([self.result.program.name] * self.count)[0]

    @property
    def path_by_unit(self) -> dict[str, int]:
        """Cycles of the critical path by what executed: units, fetch, dispatch."""
        cycles = dict.fromkeys([*(unit.name.lower() for unit in UNITS), "fetch", "dispatch"], 0)
        for link in self.path:
            cycles[link.kind] += link.cycles
        return cycles

    def path_by_operator(self) -> list[tuple[str, str, int]]:
        """(operator, unit, cycles) of the critical path, the longest first."""
        cycles: dict[tuple[str, str], int] = {}
        for link in self.path:
            key = _in_any_layer(self.labels[link.index]), link.kind
            cycles[key] = cycles.get(key, 0) + link.cycles
        return sorted(((*key, count) for key, count in cycles.items()), key=lambda each: -each[2])

    def longest_links(self, count: int) -> list[tuple[Link, str, str]]:
        """(link, instruction, label) of the longest of the critical path, in order of time."""
        labels = self.result.program.labels or ("",) * self.count
        links = sorted(sorted(self.path, key=lambda each: -each.cycles)[:count], key=lambda each: each.first)
        return [(each, " ".join(listing(self.instructions[each.index]).split()), labels[each.index]) for each in links]

    def to_dict(self) -> dict:
        """Plain values."""
        return {
            "whole": self.whole.to_dict(),
            "operators": [each.to_dict() for each in self.operators],
            "layers": [each.to_dict() for each in self.layers],
        }

    # -- sums over groups of instructions ------------------------------------------------------------------------------

    def _shares(self, names: list[str]) -> list[Share]:
        numbers: dict[str, int] = {}
        groups = np.array([numbers.setdefault(name, len(numbers)) for name in names])
        size = len(numbers)

        def total(content: NDArray) -> NDArray[np.int64]:
            return np.array([np.bincount(groups, column, size) for column in np.atleast_2d(content)]).astype(np.int64)

        (counts,), (path,) = total(np.ones(self.count)), total(self._path_cycles)
        busy, moved = total(self._busy), total(self._moved)
        active = _active_cycles(groups, self._start, self._retire, self._executes, size)
        return [
            Share(
                name, int(counts[i]), int(busy[Unit.MATRIX, i]), int(active[i]), int(path[i]), int(moved[-1, i]),
                {level: int(moved[2 * n, i]) for n, level in enumerate(LEVELS)},
                {level: int(moved[2 * n + 1, i]) for n, level in enumerate(LEVELS)},
                {unit.name.lower(): int(busy[n, i]) for n, unit in enumerate(UNITS)},
            )
            for name, i in numbers.items()
        ]  # fmt: skip

    @cached_property
    def _start(self) -> NDArray[np.int64]:
        return np.asarray(self.result._timing.start[: self.count], np.int64)

    @cached_property
    def _retire(self) -> NDArray[np.int64]:
        return np.asarray(self.result._timing.retire[: self.count], np.int64)

    @cached_property
    def _units(self) -> NDArray[np.int64]:
        return np.array([-1 if each.unit is None else each.unit for each in self.instructions])

    @cached_property
    def _executes(self) -> NDArray[np.bool_]:
        return self._units >= 0

    @cached_property
    def _path_cycles(self) -> NDArray[np.int64]:
        cycles = np.zeros(self.count, np.int64)
        for link in self.path:
            cycles[link.index] += link.cycles
        return cycles

    @cached_property
    def _busy(self) -> NDArray[np.int64]:
        """(units, instructions): cycles from start to retire; where two overlap, those of the earlier one."""
        busy = np.zeros((len(UNITS), self.count), np.int64)
        for number, unit in enumerate(UNITS):
            mine = np.flatnonzero(self._units == unit)
            retire = self._retire[mine]
            before = np.concatenate([[-1], retire[:-1]]) if len(mine) else retire
            busy[number, mine] = retire - np.maximum(self._start[mine], before + 1) + 1
        return busy

    @cached_property
    def _moved(self) -> NDArray[np.int64]:
        """(2 · levels + 1, instructions): bytes read and written at each level; the last row is tile_macs."""
        config, known, table, of = self.result.program.config, {}, [], []
        word_bytes = {memory: config.word_bits(memory) / 8 for memory in Memory}
        for each, void in self.result.dispatched:
            key = (type(each), _fields(type(each))(each)) if each.unit is not None and not void else None
            if key not in known:
                known[key] = len(table)
                row = [0.0] * (2 * len(LEVELS) + 1)
                if key is not None:
                    row[0], row[1] = dram_bytes(each, config)
                    for (memory, write), count in words(each, config).items():
                        row[2 + 2 * memory + write] = count * word_bytes[memory]
                    row[-1] = tile_macs(each, config)
                row[0] += INSTRUCTION_BYTES
                table.append(row)
            of.append(known[key])
        moved = np.array(table)[np.array(of)].T
        moved[0, -1] += self.result.bytes["fetch"] - INSTRUCTION_BYTES * self.count  # what fills the last group
        return moved


_layer_of, _in_any_layer = cache(layer_of), cache(in_any_layer)


@cache
def _fields(kind: type[Instruction]) -> attrgetter:
    """All that what an instruction moves may depend on."""
    assert kind in INSTRUCTIONS
    return attrgetter(
        "unit", *(each.name for each in fields(kind) if each.name not in ("wait", "signal", "dram_address"))
    )


def _active_cycles(groups: NDArray, start: NDArray, retire: NDArray, executes: NDArray, size: int) -> NDArray[np.int64]:
    """For each group the cycles in which at least one of its instructions executes."""
    far = int(retire.max(initial=0)) + 2  # groups are put one behind the other
    groups, start, retire = groups[executes], start[executes], retire[executes]
    order = np.lexsort((start, groups))
    first, last = (start + groups * far)[order], (retire + groups * far)[order]
    covered = np.concatenate([[-1], np.maximum.accumulate(last)[:-1]]) if len(last) else last
    own = np.maximum(last - np.maximum(first, covered + 1) + 1, 0)
    return np.bincount(groups[order], own, size).astype(np.int64)

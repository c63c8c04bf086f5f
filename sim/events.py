"""Counts of what a run does, for energy: products of the array, elements of vector arithmetic, words of each memory,
bytes of the port and commands of DRAM.

All follows from the instructions as units get them, by kinds: what is void does nothing. A word counts for each pass
over it (traffic.py); an element of VECTOR, SOFTMAX or NORM once for each row and column of its instruction. Products
are those of whole tiles, each digit of a code by itself: a pass over the array moves them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..arch.config import Memory, Unit
from ..arch.isa import Instruction, Map, Norm, OnlineSoftmax, Quantise, Reduce, Softmax
from .profile import in_any_layer, layer_of, operator_of
from .result import Result
from .traffic import dram_bytes, tile_macs, words

# (float multiplications, float additions and comparisons) that the datapath makes of an element in all its passes.
ELEMENT_OPERATIONS: dict[type[Instruction], tuple[int, int]] = {
    Map: (3, 3),  # × column scale, × row scale, + offset, a line of a table (× +), combined with the second operand
    Quantise: (4, 4),  # the same, the row's maximum, × 127 / maximum
    Reduce: (2, 2),
    Softmax: (3, 4),  # a score, the maximum, a power (× +), the sum, × 1 / sum
    OnlineSoftmax: (3, 4),
    Norm: (4, 4),  # Σx, x − mean, d², Σd², × deviation, × γ, + β
}


@dataclass(frozen=True)
class Events:
    """Event → how often. `UNIT.macs`, `UNIT.multiplies`, `UNIT.adds`; `UNIT.MEMORY.reads` and `.writes` in words;
    `port.read_bytes`, `port.written_bytes`; `dram.row_hits`, … of a banked DRAM; `instructions`."""

    counts: Mapping[str, int]

    def __getitem__(self, name: str) -> int:
        return self.counts.get(name, 0)

    def of_memory(self, memory: Memory) -> tuple[int, int]:
        """(words read, words written) by all units."""
        ends = tuple(f".{memory.name.lower()}.{what}" for what in ("reads", "writes"))
        reads, writes = (sum(n for name, n in self.counts.items() if name.endswith(end)) for end in ends)
        return reads, writes

    def to_dict(self) -> dict[str, int]:
        """Plain values."""
        return dict(self.counts)


def events(result: Result) -> Events:
    """Of a whole run, the instructions that are fetched and what DRAM is asked to do included."""
    config, work = result.program.config, result.work
    counts: dict[str, int] = {}
    for each, count in zip(work.examples, work.counts.tolist(), strict=True):
        if count and each.unit is not None:
            _add(counts, _events_of(each, config), count)
    _add(counts, {"port.read_bytes": result.bytes["fetch"], "instructions": int((work.units >= 0).sum())}, 1)
    if result.dram is not None:
        for name in ("row_hits", "row_misses", "row_conflicts", "refreshes"):
            counts[f"dram.{name}"] = int(result.dram[name])
    return Events(counts)


def events_by(result: Result, what: str) -> dict[str, Events]:
    """By "operator", over all layers, or by "layer"; what is fetched and what DRAM does are of none."""
    name_of = in_any_layer if what == "operator" else layer_of
    work, config = result.work, result.program.config
    labels = result.program.labels or tuple(each.name for each in result.program.instructions)
    names, pairs = {}, {}
    for label, kind, void in zip(labels, work.of.tolist(), work.void.tolist(), strict=False):
        if void:
            continue
        if label not in names:
            names[label] = name_of(operator_of(label))
        pair = names[label], kind
        pairs[pair] = pairs.get(pair, 0) + 1
    found: dict[str, dict[str, int]] = {}
    for (name, kind), count in pairs.items():
        each = work.examples[kind]
        if each.unit is not None:
            _add(found.setdefault(name, {}), _events_of(each, config), count)
    return {name: Events(counts) for name, counts in found.items()}


def _events_of(instruction: Instruction, config: Any) -> dict[str, int]:
    """What one instruction does."""
    assert instruction.unit is not None
    unit = Unit(instruction.unit).name.lower()
    found = {f"{unit}.macs": tile_macs(instruction, config)}
    operations = ELEMENT_OPERATIONS.get(type(instruction))
    if operations:
        elements = instruction.rows * instruction.columns  # type: ignore[attr-defined]
        found |= {f"{unit}.multiplies": elements * operations[0], f"{unit}.adds": elements * operations[1]}
    for (memory, write), count in words(instruction, config).items():
        found[f"{unit}.{memory.name.lower()}.{'writes' if write else 'reads'}"] = count
    read, written = dram_bytes(instruction, config)
    return found | {"port.read_bytes": read, "port.written_bytes": written}


def _add(counts: dict[str, int], more: Mapping[str, int], times: int) -> None:
    for name, count in more.items():
        if count:
            counts[name] = counts.get(name, 0) + int(count) * times

"""What a graph needs of memories however it is tiled: a look of microseconds that never refuses what compiles.

The thriftiest tiling computes a row at a time and a word of outputs after the other (search.py). So of a linear layer
WEIGHT holds the weights of a word of outputs and ACT the codes of a row at once, and of a norm VALUE a row and PARAM
its parameters. More may be needed; what compiles needs no less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..arch.config import HardwareConfig, Memory
from .graph import Graph
from .slices import mlps


@dataclass(frozen=True)
class Need:
    """What one operator needs: numbers along a side of the array, in words of a memory."""

    name: str
    memory: Memory
    numbers: int
    along: str  # "rows" or "columns" of the array: numbers of a word; "": one

    def words(self, config: HardwareConfig) -> int:
        """Words of the memory."""
        return -(-self.numbers // (getattr(config, self.along) if self.along else 1))


def needs(graph: Graph) -> list[Need]:
    """Those of a graph of operators, of each kind the greatest."""
    greatest: dict[tuple[Memory, str], Need] = {}
    for each in _needs(graph):
        key = each.memory, each.along
        if key not in greatest or each.numbers > greatest[key].numbers:
            greatest[key] = each
    return list(greatest.values())


def _needs(graph: Graph) -> Iterator[Need]:
    sliced = {each.down for each in mlps(graph)}
    for node in graph:
        name = node.layer or node.name
        if node.op == "linear" and node not in sliced:
            yield Need(name, Memory.WEIGHT, node.matrix.depth, "")
            yield Need(name, Memory.ACT, node.matrix.depth, "rows")
        elif node.op == "norm":
            yield Need(name, Memory.VALUE, node.columns, "columns")
            yield Need(name, Memory.PARAM, node.columns, "columns")


def lacking(found: Iterable[Need], config: HardwareConfig) -> str:
    """Why a machine has no room for it, in a line; empty if it may have."""
    for each in found:
        words, most = each.words(config), config.words(each.memory)
        if words > most:
            return f"{each.name} needs at least {words} words of {each.memory.name}, but {config.title} has {most}"
    return ""

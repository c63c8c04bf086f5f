"""What the evaluators of VECTOR hold while a program runs: up to four functions by table, by name.

The functions of a program that fit together are set once, at its start. Where they do not, each is set before it is
used, and if there is no room for it, all that was held is given up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig, Memory
from ..arch.functions import DESCRIPTOR_COUNT, HEADER_PLACE, TABLE_COUNT, WORD_COUNT, WORD_PLACE
from ..arch.isa import Function, VectorInstruction
from .functions import RELU, named
from .graph import Graph


class Piece(NamedTuple):
    """Entries of a table that go to places in a row."""

    entries: list[int]
    place: int

    def pairs(self, config: HardwareConfig) -> NDArray[np.float32]:
        """Words of PARAM that hold them, (words, columns, 2)."""
        per_word = config.word_elements(Memory.PARAM)
        padded = np.zeros(-(-len(self.entries) // per_word) * per_word, "<u8")
        padded[: len(self.entries)] = self.entries
        return padded.view("<f4").reshape(-1, per_word, 2)


class Evaluators:
    """What is held: for each function the number of its table and the place of its words."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[int, int]] = {}

    def copy(self) -> Evaluators:
        """The same, apart from it."""
        other = Evaluators()
        other.held = dict(self.held)
        return other

    def find(self, name: str) -> Function | None:
        """What instructions call a function, if it is held."""
        return Function(Function.TABLE_0 + self.held[name][0]) if name in self.held else None

    def take(self, name: str) -> bool:
        """Find room for a function. Returns whether there is any."""
        table, taken = named(name), self._taken()
        numbers = {number for number, _ in self.held.values()}
        places = range(0, WORD_COUNT - len(table.words) + 1, table.alignment)
        place = next((at for at in places if not taken[at : at + len(table.words)].any()), None)
        if place is None or len(numbers) == TABLE_COUNT:
            return False
        self.held[name] = min({*range(TABLE_COUNT)} - numbers), place
        return True

    def give_up(self) -> None:
        """Hold nothing."""
        self.held.clear()

    def pieces(self, name: str) -> list[Piece]:
        """All that must be set for a function that is held."""
        number, place = self.held[name]
        header, *others = named(name).moved(place).to_ints()
        return [
            Piece(others[:DESCRIPTOR_COUNT], number * DESCRIPTOR_COUNT),
            Piece(others[DESCRIPTOR_COUNT:], WORD_PLACE + place),
            Piece([header], HEADER_PLACE + number),
        ]

    def _taken(self) -> NDArray[np.bool_]:
        taken = np.zeros(WORD_COUNT, bool)
        for name, (_, place) in self.held.items():
            taken[place : place + len(named(name).words)] = True
        return taken


def functions_of(graph: Graph) -> list[str]:
    """The functions by table that the operators of a graph use, each once."""
    found = dict.fromkeys(node.attributes.get("function", "") for node in graph)
    return [name for name in found if name and name != RELU]


def together(names: Iterable[str]) -> Evaluators | None:
    """Evaluators that hold all these functions, if they fit."""
    evaluators = Evaluators()
    by_size = sorted(names, key=lambda name: (-named(name).alignment, name))
    return evaluators if all(evaluators.take(name) for name in by_size) else None


def uses_table(instruction: object) -> bool:
    """Whether an instruction has a function by table."""
    return isinstance(instruction, VectorInstruction) and instruction.function not in (Function.NONE, Function.RELU)

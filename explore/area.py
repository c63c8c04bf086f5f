"""Area as a tree: what a part takes, and the parts in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Area:
    """What one part takes.

    name     of the unit, or of the module
    count    how often it is in the part above
    figures  name → number, of one of it and all in it
    parts    what it is made of
    """

    name: str
    figures: Mapping[str, float]
    count: int = 1
    parts: tuple[Area, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        return {
            "unit": self.name, "count": self.count, **self.figures, "parts": [part.to_dict() for part in self.parts]
        }  # fmt: skip


def total(figures: list[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """The sum of (how often, figures)."""
    names = dict.fromkeys(name for _, each in figures for name in each)
    return {name: sum(count * each.get(name, 0) for count, each in figures) for name in names}


def tree(statistics: Path, top: str, figures: Callable[[str, Mapping[str, int]], Mapping[str, float]]) -> Area:
    """The area of the module `top` from what `stat -json` wrote: `figures` gives those of the cells (type → count) of a
    module itself."""
    modules = {
        name.removeprefix("\\"): module["num_cells_by_type"]
        for name, module in json.loads(statistics.read_text())["modules"].items()
    }

    def area(name: str, count: int) -> Area:
        parts = tuple(area(each, copies) for each, copies in modules[name].items() if each in modules)
        cells = {each: number for each, number in modules[name].items() if each not in modules}
        own = figures(name, cells)
        return Area(name, total([(1, own), *((part.count, part.figures) for part in parts)]), count, parts)

    return area(top, 1)

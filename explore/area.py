"""Area as a tree: what a part takes, and the parts in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Area:
    """What one part takes.

    name     of the part in the one above
    module   that it is an instance of, if that is written once
    figures  name → number, of one of it and all that is in it
    count    how often it is there
    parts    what it is made of; the rest is its own
    """

    name: str
    figures: Mapping[str, float]
    module: str = ""
    count: int = 1
    parts: tuple[Area, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        parts = [part.to_dict() for part in self.parts]
        return {"unit": self.name, "module": self.module, "count": self.count, **self.figures, "parts": parts}

    @staticmethod
    def from_dict(content: dict[str, Any]) -> Area:
        """The inverse of `to_dict`."""
        figures = {name: value for name, value in content.items() if name not in ("unit", "module", "count", "parts")}
        parts = tuple(map(Area.from_dict, content["parts"]))
        return Area(content["unit"], figures, content["module"], content["count"], parts)


def total(areas: Iterable[Area]) -> dict[str, float]:
    """What all of them take together."""
    areas = [*areas]
    names = dict.fromkeys(name for each in areas for name in each.figures)
    return {name: round(sum(each.count * each.figures[name] for each in areas), 1) for name in names}


def walk(area: Area, level: int = 0) -> Iterator[tuple[int, Area]]:
    """The area and all parts in it, with how deep each lies."""
    yield level, area
    for part in area.parts:
        yield from walk(part, level + 1)

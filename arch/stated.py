"""What a field of a configuration means, stated where it is declared: `rows: Annotated[int, Stated("…", "PEs", 2, 9)]`.

Checks, the comments of `heddle configs NAME` and docs/fields.md are made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import get_type_hints

from .errors import HeddleError
from .ranges import require_power_of_two, require_range


@dataclass(frozen=True)
class Stated:
    """Of one field. Without `low` and `high` it is no number."""

    meaning: str
    unit: str = ""
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    power_of_two: bool = False
    rule: str = ""  # what else must hold, in words; the class checks it
    cost: str = ""  # what a larger number, or the later choice, takes

    @property
    def comment(self) -> str:
        """In one line."""
        return f"{self.meaning}: {self.range}"

    @property
    def range(self) -> str:
        """What it may be, in words."""
        texts = [" or ".join(f'"{each}"' for each in self.choices)] if self.choices else []
        if self.low is not None:
            texts.append(f"{self.low:,} to {self.high:,} {self.unit}" + ", a power of two" * self.power_of_two)
        return "; ".join(filter(None, [*texts, self.rule]))


@cache
def stated_fields(cls: type) -> dict[str, Stated]:
    """Field → what is stated of it. Raises HeddleError for a field of which nothing is."""
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for each in fields(cls):
        found[each.name] = next((one for one in getattr(hints[each.name], "__metadata__", ())), None)
        if not isinstance(found[each.name], Stated):
            raise HeddleError(f"{cls.__name__}.{each.name} must be declared as Annotated[…, Stated(…)]")
    return found


def check_ranges(record: object, names: tuple[str, ...] = (), prefix: str = "") -> None:
    """Raise HeddleError for a number beyond its range, among `names` or of all fields."""
    for name, each in stated_fields(type(record)).items():
        if each.low is not None and each.high is not None and (not names or name in names):
            require_range(prefix + name, getattr(record, name), each.low, each.high)


def check_kinds(record: object, prefix: str = "") -> None:
    """Raise HeddleError for a number that must be a power of two, and a text that must be among choices."""
    for name, each in stated_fields(type(record)).items():
        value = getattr(record, name)
        if each.power_of_two:
            require_power_of_two(prefix + name, value)
        if each.choices and value not in each.choices:
            choices = " or ".join(map(repr, each.choices))
            raise HeddleError(f"{prefix}{name} must be {choices}, not {value!r}")

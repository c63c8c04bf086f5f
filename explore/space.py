"""The space of a sweep: which machines, on what, under which constraints, and what is to be least.

    config = "base"                               # where fields that are not named come from
    objectives = ["seconds", "area_ge"]           # least; "max mac_utilisation": most
    where = ["rows <= 2 * columns"]               # points for which one is not true are no points
    require = ["area_ge <= 2e6"]                  # results that break one are infeasible
    energy = "horowitz-45"                        # a table of energies (energy.py), or the path of one

    [parameters]
    rows = [8, 16, 32]                            # a grid
    columns = { from = 8, to = 64, times = 2 }    # powers; step = 8: a range
    dram = ["ideal", "HBM2"]                      # the memory behind the port; precision, tokens, …: of all workloads

    [derived]
    axi_bytes = "min(columns, 64)"                # a field worked out from others

    [[workloads]]
    model = "bert-base"
    tokens = 384

A parameter is a field of HardwareConfig, `dram`, or a field of the workloads (workload.py).
"""

from __future__ import annotations

import itertools
import math
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..arch.config import PRESETS, Config, HardwareConfig, get_config
from ..arch.errors import HeddleError, require_type, shown, unknown
from . import workload as workloads
from .energy import DEFAULT, read_table
from .expressions import Expression
from .workload import Workload

MOST_POINTS = 10_000_000
MOST_VALUES = 10_000
FIELDS = tuple(each.name for each in fields(HardwareConfig) if each.name not in ("name", "dram"))
Point = dict[str, Any]  # parameter → value
_OBJECTIVES = ("seconds", "area_ge")


@dataclass(frozen=True)
class Objective:
    """A figure to be least, or most."""

    figure: str
    most: bool = False

    @classmethod
    def parse(cls, text: object) -> Objective:
        """From "seconds" or "max mac_utilisation"."""
        require_type("an objective", text, str, "the name of a figure, or max and a name")
        words = str(text).split()
        if len(words) == 2 and words[0] in ("min", "max"):
            return cls(words[1], words[0] == "max")
        if len(words) != 1:
            raise HeddleError(f"an objective must be the name of a figure, or max and a name, not {text!r}")
        return cls(words[0])

    def __str__(self) -> str:
        return f"max {self.figure}" if self.most else self.figure


@dataclass(frozen=True)
class Space:
    """All that a sweep is about."""

    parameters: dict[str, tuple[Any, ...]]
    workloads: tuple[Workload, ...]
    config: HardwareConfig = field(default_factory=lambda: PRESETS["base"])
    derived: dict[str, Expression] = field(default_factory=dict)
    where: tuple[Expression, ...] = ()
    require: tuple[Expression, ...] = ()
    objectives: tuple[Objective, ...] = (Objective("seconds"), Objective("area_ge"))
    energy: str = DEFAULT
    name: str = "sweep"

    def __post_init__(self) -> None:
        if not self.parameters:
            raise HeddleError("a space must have parameters, such as rows = [8, 16, 32]")
        if not self.workloads:
            raise HeddleError("a space must have a workload, such as [[workloads]] with model = 'bert-base'")
        if not self.objectives:
            raise HeddleError("a space must have an objective, such as objectives = ['seconds']")
        names = [each.name for each in self.workloads]
        for name in names:
            if names.count(name) > 1:
                raise HeddleError(f"two workloads are called {name}: give each a name of its own")
        for name in [*self.parameters, *self.derived]:
            if name not in (*FIELDS, "dram", *workloads.FIELDS):
                raise unknown("parameter", name, [*FIELDS, "dram", *workloads.FIELDS], "parameters")
        for name in self.derived:
            if name in self.parameters:
                raise HeddleError(f"{name} must be a parameter or derived, not both")
        read_table(self.energy)
        known = {*FIELDS, *self.parameters, *self.derived}
        for each in (*self.derived.values(), *self.where):
            for name in sorted(each.names - known):
                raise unknown(f"name in {each.text!r}:", name, sorted(known), "names")
        if self.size > MOST_POINTS:
            raise HeddleError(f"a space must have at most {MOST_POINTS:,} points, not {self.size:,}")

    @property
    def size(self) -> int:
        """Points, those included that a `where` excludes."""
        return math.prod(len(values) for values in self.parameters.values())

    def points(self) -> Iterator[Point]:
        """All of them, in order, without those that a `where` excludes."""
        for values in itertools.product(*self.parameters.values()):
            point = dict(zip(self.parameters, values, strict=True))
            if self.contains(point):
                yield point

    def contains(self, point: Point) -> bool:
        """Whether no `where` excludes it."""
        if not self.where:
            return True
        names = self._names(point)
        return all(each.value(names) for each in self.where)

    def machine(self, point: Point) -> HardwareConfig:
        """Its configuration. Raises HeddleError for one that cannot be."""
        names = self._names(point)
        changes = {name: names[name] for name in (*self.parameters, *self.derived) if name in FIELDS}
        for name, value in changes.items():
            if isinstance(value, float):
                raise HeddleError(f"{name} must be a whole number, not {value:g}")
        if "dram" in names and names["dram"] is not None:
            ideal = replace(self.config, **changes, dram=type(self.config.dram)())
            return ideal.with_dram(names["dram"])
        return replace(self.config, **changes)

    def of_workload(self, point: Point) -> dict[str, Any]:
        """The fields of every workload that the point says."""
        names = self._names(point)
        return {name: names[name] for name in (*self.parameters, *self.derived) if name in workloads.FIELDS}

    def _names(self, point: Point) -> dict[str, Any]:
        """All fields with their values: of the configuration, of the point, derived in their order."""
        found: dict[str, Any] = {name: getattr(self.config, name) for name in FIELDS}
        found |= point
        for name, expression in self.derived.items():
            found[name] = expression.value(found)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes it again."""
        return {
            "name": self.name, "config": self.config.to_dict(),
            "parameters": {name: list(values) for name, values in self.parameters.items()},
            "derived": {name: each.text for name, each in self.derived.items()},
            "where": [each.text for each in self.where], "require": [each.text for each in self.require],
            "objectives": [str(each) for each in self.objectives], "energy": self.energy,
            "workloads": [{name: value for name, value in vars(each).items() if value is not None}
                          for each in self.workloads],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: object) -> Space:
        """From the tables of a TOML file, or such a dict. Raises HeddleError for what is unknown or missing."""
        if isinstance(content, Space):
            return content
        require_type("a space", content, Mapping, "a Space, a dict of its tables, or the path of a .toml file")
        assert isinstance(content, Mapping)
        known = [each.name for each in fields(cls)]
        for name in content:
            if name not in known:
                raise unknown("key of a space", name, known, "keys")
        given = dict(content)
        require_type("parameters", given.get("parameters", {}), Mapping, "a table of values by the names of fields")
        require_type("derived", given.get("derived", {}), Mapping, "a table of expressions by the names of fields")
        return cls(
            parameters={name: _values(name, each) for name, each in given.get("parameters", {}).items()},
            workloads=tuple(map(Workload.from_dict, _list("workloads", given.get("workloads", ())))),
            config=_config(given.get("config", "base")),
            derived={name: Expression(each) for name, each in given.get("derived", {}).items()},
            where=tuple(map(_condition, _list("where", given.get("where", ())))),
            require=tuple(map(_condition, _list("require", given.get("require", ())))),
            objectives=tuple(map(Objective.parse, _list("objectives", given.get("objectives", _OBJECTIVES)))),
            energy=_text("energy", given.get("energy", DEFAULT)),
            name=_text("name", given.get("name", "sweep")),
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Space:
        """From a TOML file; paths in it are as they are from here."""
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
            return cls.from_dict({"name": Path(path).stem} | content)
        except OSError as error:
            raise HeddleError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:  # of TOML, of UTF-8
            raise HeddleError(f"{path} is no TOML: {error}") from None
        except HeddleError as error:
            raise HeddleError(f"{path}: {error}") from None


def _config(given: Config) -> HardwareConfig:
    return HardwareConfig.from_dict(dict(given)) if isinstance(given, Mapping) else get_config(given)


def _values(name: str, given: object) -> tuple[Any, ...]:
    """A grid, a range or powers."""
    values = _series(name, given) if isinstance(given, Mapping) else [*_list(f"parameter {name}", given)]
    if not values:
        raise HeddleError(f"parameter {name} must have a value")
    for each in values:
        if not isinstance(each, int | str | None) or isinstance(each, bool):
            raise HeddleError(f"values of {name} must be whole numbers or texts, not {shown(each)}")
        if values.count(each) > 1:
            raise HeddleError(f"parameter {name} has {each} {values.count(each)} times")
    return tuple(values)


def _series(name: str, given: Mapping) -> list[int]:
    """{from, to, step} or {from, to, times}: both ends count."""
    kind = [each for each in ("step", "times") if each in given]
    if set(given) != {"from", "to", *kind} or len(kind) != 1:
        raise HeddleError(f"a range of {name} must have from, to and step, or from, to and times, not "
                          f"{', '.join(map(str, given)) or 'nothing'}")  # fmt: skip
    for key, least in (("from", 1), ("to", 1), (kind[0], 1 if kind[0] == "step" else 2)):
        if isinstance(given[key], bool) or not isinstance(given[key], int) or given[key] < least:
            raise HeddleError(f"{key} of {name} must be a whole number of at least {least}, not {given[key]!r}")
    found, each = [], given["from"]
    while each <= given["to"] and len(found) < MOST_VALUES:
        found.append(each)
        each = each + given["step"] if kind == ["step"] else each * given["times"]
    return found


def _condition(text: object) -> Expression:
    found = Expression(text)  # type: ignore[arg-type]
    if not found.is_condition:
        raise HeddleError(f"{found.text!r} must be a condition, such as 'area_ge <= 2e6'")
    return found


def _list(name: str, given: object) -> Sequence[Any]:
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise HeddleError(f"{name} must be a list, not {shown(given)}")
    return given


def _text(name: str, given: object) -> str:
    require_type(name, given, str, "text")
    return str(given)

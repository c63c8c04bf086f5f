"""The table of areas that is kept beside the RTL, so that a change of the RTL shows what it costs.

    python -m heddle.explore.table > explore/area.json

has the units of nano on an ECP5 and those of base in gates. A unit may stray from it by 3 %; further, and the table is
made anew and committed with the change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import yosys
from .synthesis import synthesise

FILE = Path(__file__).with_name("area.json")
ENTRIES = {"nano": "ecp5", "base": "generic"}  # machine → target
LEEWAY = 0.03
_REMEDY = "if that is what the change costs, commit what `make area` writes with it"


def measured(machine: str, units: tuple[str, ...] = ()) -> dict[str, Any]:
    """The entry of a machine, or those units of it, as the RTL is now."""
    synthesis = synthesise(machine, units, ENTRIES[machine])
    entry: dict[str, Any] = {"target": synthesis.target, "yosys": yosys.find().release}
    if synthesis.target == "generic":
        entry["gates_of"] = synthesis.kinds
    return entry | {"units": {unit.area.name: dict(unit.area.figures) for unit in synthesis.units}}


def committed(machine: str) -> dict[str, Any]:
    """The entry of a machine in the table."""
    return json.loads(FILE.read_text())[machine]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What of the units measured `now` strays from what they were, in a line each."""
    if before["yosys"] != now["yosys"]:
        yield f"the table is of Yosys {before['yosys']}, and cannot be compared with what {now['yosys']} makes"
        return
    for unit, figures in now["units"].items():
        for name, value in figures.items():
            was = before["units"].get(unit, {}).get(name, 0)
            if abs(value - was) > LEEWAY * was:
                yield f"{unit}: {name} was {was:,.0f} and is {value:,.0f}; {_REMEDY}"


def main() -> None:
    """Print the table."""
    print(json.dumps({machine: measured(machine) for machine in ENTRIES}, indent=1))


if __name__ == "__main__":
    main()

"""Tables and pictures of a simulation, shared by `run`, `simulate` and `report`."""

from pathlib import Path
from typing import Any

import heddle

from .shared import console, print_table


def print_stalls(result: Any) -> None:
    """Time per unit, and what the rest of its time was spent waiting for."""
    causes = [c for c in next(iter(result.stalls.values())) if any(unit[c] for unit in result.stalls.values())]
    rows = [
        (unit, *(f"{cycles[cause] / result.cycles:.1%}" if cycles[cause] else "·" for cause in causes))
        for unit, cycles in result.stalls.items()
    ]
    print_table("Where each unit's cycles went", ["unit", *(cause.replace("_", " ") for cause in causes)], rows)


def print_bytes(result: Any) -> None:
    """DRAM traffic by client."""
    moved = ", ".join(f"{client} {count:,}" for client, count in result.bytes.items())
    console.print(f"DRAM bytes: {moved}")


def print_dram(result: Any) -> None:
    """What the bursts found in a banked DRAM."""
    if result.dram is None:
        return
    found = {name: result.dram[f"row_{name}"] for name in ("hits", "misses", "conflicts")}
    rows = ", ".join(f"{count:,} {name} ({count / sum(found.values()):.1%})" for name, count in found.items())
    busy = result.dram["channel_busy_cycles"]
    console.print(f"DRAM rows: {rows}; {result.dram['refreshes']:,} refreshes in the way; channels busy "
                  f"{sum(busy) / len(busy) / result.cycles:.1%}")  # fmt: skip


def write_pictures(result: Any, timeline: Path | None, trace: Path | None) -> None:
    """The timeline picture and the Perfetto trace, where asked for."""
    if timeline is not None:
        program = result.program
        of = f" ({program.part})" if program.part else ""
        title = f"{program.name}{of} on {program.config.title}: {result.cycles:,} cycles"
        heddle.write_timeline(timeline, result.trace, program.instructions, title, program.labels)
    if trace is not None:
        heddle.write_chrome_trace(trace, result.chrome_trace())

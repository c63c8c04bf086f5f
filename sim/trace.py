"""What was recorded of a run: when each instruction arrived, was dispatched, started and retired; and its export."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.config import HardwareConfig, Unit
from ..arch.encoding import listing
from ..arch.errors import require_type
from ..arch.files import write_whole
from ..arch.isa import Instruction

UNITS = tuple(Unit)


class Record(NamedTuple):
    """One instruction's passage: what the retire port of the RTL reports."""

    index: int  # place in the program
    unit: Unit
    start: int  # cycle
    retire: int  # cycle


@dataclass
class Timing:
    """Cycles of a run, by place in the program. Lists end where the program halted; −1 means not yet."""

    arrived: list[int] = field(default_factory=list)
    dispatched: list[int] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    retire: list[int] = field(default_factory=list)
    last_token: list[Unit | None] = field(default_factory=list)  # whose token was the last thing a start waited for
    beat_cycles: list[int] = field(default_factory=list)  # cycles with beats under way, for LOAD, STORE and KV
    cycles: int = 0  # h: the run took so many
    fetch_beats: int = 0  # that FETCH has read by the end of the run
    dram: dict | None = None  # of a banked DRAM: what `BankedDram.statistics` says
    arrays: dict[str, NDArray[np.int64]] = field(default_factory=dict, compare=False, repr=False)

    def array(self, name: str) -> NDArray[np.int64]:
        """One of the lists of cycles as an array, of a run that is over. Do not write to it."""
        if name not in self.arrays:
            self.arrays[name] = np.array(getattr(self, name), np.int64)
        return self.arrays[name]


def busy_cycles(units: NDArray[np.int64], timing: Timing) -> dict[Unit, int]:
    """Cycles in which each unit executed something, from start to retire, both counted. `units` are those of the
    instructions; −1: none."""
    busy, start, retire = dict.fromkeys(UNITS, 0), timing.array("start"), timing.array("retire")
    for unit in UNITS:
        places = np.flatnonzero(units == unit)  # in program order, so in order of start and of retire
        covered = np.concatenate([[-1], retire[places][:-1]])
        busy[unit] = int((retire[places] - np.maximum(start[places], covered + 1) + 1).sum()) if len(places) else 0
    return busy


def utilisation(useful_macs: int, cycles: int, config: HardwareConfig) -> float:
    """Useful multiply-accumulates per PE and cycle, from 0 to 1."""
    return useful_macs / (config.rows * config.columns * cycles) if cycles else 0.0


def chrome_trace(
    records: Sequence[Record], instructions: Sequence[Instruction], labels: Sequence[str], config: HardwareConfig
) -> dict[str, Any]:
    """The run in the JSON trace format of chrome://tracing, which ui.perfetto.dev reads. One cycle is shown as 1 µs.

    A unit is a thread; what overlaps with an earlier instruction of its unit is shown in a further thread of that.
    """
    events, tracks = [], {}
    free: dict[tuple[Unit, int], int] = {}  # for each track, the cycle from which it is free
    for record in sorted(records, key=lambda each: each.start):
        lane = next(lane for lane in range(len(records)) if free.get((record.unit, lane), 0) <= record.start)
        free[record.unit, lane] = record.retire + 1
        thread = int(record.unit) * 100 + lane
        tracks[thread] = record.unit.name + (f" (overlapping {lane})" if lane else "")
        instruction = instructions[record.index]
        label = labels[record.index] if labels else ""
        events.append({
            "name": label or instruction.name, "cat": instruction.name, "ph": "X", "pid": 0, "tid": thread,
            "ts": record.start, "dur": record.retire - record.start + 1,
            "args": {"index": record.index, "instruction": listing(instruction)},
        })  # fmt: skip
    names = [
        {"name": "thread_name", "ph": "M", "pid": 0, "tid": thread, "args": {"name": name}}
        for thread, name in sorted(tracks.items())
    ]
    process = {"name": "process_name", "ph": "M", "pid": 0, "args": {"name": f"heddle {config.title}"}}
    return {"traceEvents": [process, *names, *events], "otherData": {"unit of time": "1 us is one cycle"}}


def write_chrome_trace(path: str | os.PathLike[str], trace: dict[str, Any]) -> None:
    """Write what `chrome_trace` returned. Raises HeddleError if the file cannot be written."""
    require_type("the trace", trace, dict, "what Result.chrome_trace() gives")
    write_whole(path, json.dumps(trace))

"""Runs in the copy of the package whose hw/ has faults built in: which of them there are, and which programs find them.

`python -m heddle.cosim.fault_runner`, with a task as JSON on standard input: the faults that a machine has ("probe"),
or random programs in lock-step on each of them ("run"). One that is found is a line in the file of rows at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..arch.errors import HeddleError, ToolError
from ..sim.machine import simulate
from .engines.job import Job, Outcome
from .generated_faults import FIRST_INSTRUCTIONS, INSTRUCTIONS, KILLED, MACHINES, FaultRow, append_row
from .lockstep import Tally, engine_named, make_job, trace_depth
from .mutations import DRAM_BASE
from .random_programs import random_program


def probe(machine: str) -> list[int]:
    """The numbers of all faults that the machine has."""
    from amaranth.hdl import Fragment

    from ..hw import switches  # type: ignore[attr-defined]  # it is in the copy alone
    from ..hw.top import Top
    from ..hw.verilog import VerilogPlatform

    switches.PROBES = True
    platform, done = VerilogPlatform(), set()
    Fragment.get(Top(MACHINES[machine], debug=True), platform)
    while waiting := [name for name in platform.components if name not in done]:
        for name in waiting:
            Fragment.get(platform.components[name], platform)
        done.update(waiting)
    return sorted(switches.LIVE)


def run(machine: str, faults: dict[int, dict[str, Any]], programs: int, rows: Path, sources: str) -> None:
    """Run up to `programs` programs on each fault, until one finds it."""
    config, pending = MACHINES[machine], dict(faults)
    for number in range(programs):
        if not pending:
            break
        program = random_program(config, number, INSTRUCTIONS if number else FIRST_INSTRUCTIONS)
        result = simulate(program, {})
        job = replace(make_job(program, {}, result, DRAM_BASE), inputs=(("fault", 0),))
        jobs = [job, *(replace(job, inputs=(("fault", fault),)) for fault in pending)]
        outcomes = _outcomes(program.config, jobs, trace_depth(program))
        for fault, outcome in zip((0, *pending), outcomes, strict=True):
            difference = _difference(result, outcome)
            if fault == 0:
                if difference:
                    raise HeddleError(f"without any fault program {number} differs: {difference}")
            elif difference:
                known = pending.pop(fault)
                found = FaultRow(**known["row"], outcome=KILLED, by=machine, programs=known["programs"] + number + 1,
                                 report=difference, sources=sources)  # fmt: skip
                append_row(rows, found)


def _outcomes(config: Any, jobs: Sequence[Job], depth: int) -> Iterator[Outcome | str]:
    """What becomes of each job; the message, if the simulator does not survive it."""
    try:
        yield from engine_named("verilator")(config, list(jobs), depth)
    except ToolError as error:
        if len(jobs) == 1:
            yield str(error)
        else:
            half = len(jobs) // 2
            yield from _outcomes(config, jobs[:half], depth)
            yield from _outcomes(config, jobs[half:], depth)


def _difference(result: Any, outcome: Outcome | str) -> str:
    """Where a run differs first from what the simulator says; "": nowhere."""
    if isinstance(outcome, str):
        return f"the simulator of the RTL stops: {outcome.splitlines()[-1]}"
    tally = Tally()
    tally.add(0, result, outcome)
    return str(tally.first or "")


def _main() -> None:
    task = json.loads(sys.stdin.read())
    if task["do"] == "probe":
        print(json.dumps([probe(machine) for machine in MACHINES]))
    else:
        faults = {int(number): fault for number, fault in task["faults"].items()}
        run(task["machine"], faults, task["programs"], Path(task["rows"]), task["sources"])


if __name__ == "__main__":
    _main()

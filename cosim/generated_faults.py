"""Faults that a program makes of hw/, hundreds in one build, and what random programs in lock-step find of them.

A copy of the package is rewritten (cosim/fault_sites.py) so that each fault of a sample stands in the design behind a
multiplexer, and an input of the bench says which of them there is. A process in the copy runs one random program after
the other, each on all faults that are not found yet, so that most cost one short run. A fault that no program finds
on any machine that has it has survived, unless cosim/survivors.toml says why it is none.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from ..arch import processes
from ..arch.config import PRESETS, HardwareConfig
from ..arch.errors import HeddleError
from .build import cached
from .fault_sites import GeneratedFault, choose, rewrite
from .mutations import CROWDED, TIME_LIMIT_SECONDS, copy_package

_NANO = PRESETS["nano"]
# In this order, until one finds the fault.
MACHINES: dict[str, HardwareConfig] = {
    "nano": _NANO,
    "nano, float32": replace(_NANO, name="nano-float32", value_format="float32", vector_format="float32", rows=5,
                             columns=3, vector_lanes=1, load_outstanding=1, dram=CROWDED),
    "nano, bf16": replace(_NANO, name="nano-bf16", pe="bf16", rows=4, columns=8, vector_lanes=4, queue_depth=2),
}  # fmt: skip
FIRST_INSTRUCTIONS, INSTRUCTIONS = 8, 40  # of the first program, which finds most of them, and of the others
PROGRAMS = 24
KILLED, EQUIVALENT, SURVIVED = "killed", "equivalent", "survived"


@dataclass(frozen=True)
class FaultRow:
    """What became of one fault."""

    fault: str  # its key
    path: str
    line: int
    kind: str
    outcome: str  # killed, equivalent, survived
    by: str = ""  # the machine on which it was found; or why none finds it, if that is known
    programs: int = 0  # that were run until then, on all machines
    report: str = ""  # the first difference
    sources: str = ""  # hash of what it was made of

    def __str__(self) -> str:
        return f"{self.fault.replace(':', f':{self.line}:', 1)}"


@dataclass(frozen=True)
class FaultCampaign:
    """What became of a sample of faults."""

    possible: int  # faults that some machine has
    rows: list[FaultRow] = field(default_factory=list)

    def count(self, outcome: str, path: str | None = None) -> int:
        """Faults of this outcome, in all files or in one."""
        return sum(row.outcome == outcome and path in (None, row.path) for row in self.rows)

    def rate(self) -> float:
        """The share that is killed, of those that are not equivalent."""
        faults = len(self.rows) - self.count(EQUIVALENT)
        return self.count(KILLED) / faults if faults else 1.0

    def unknown(self) -> list[FaultRow]:
        """Those that survived without cosim/survivors.toml saying why."""
        return [row for row in self.rows if row.outcome == SURVIVED and not row.by]

    def table(self) -> list[tuple[str, int, int, int, int]]:
        """(file, made, killed, equivalent, survived) of each file that has any."""
        made = Counter(row.path for row in self.rows)
        return [(path, made[path], self.count(KILLED, path), self.count(EQUIVALENT, path), self.count(SURVIVED, path))
                for path in sorted(made)]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        names = ("made", KILLED, EQUIVALENT, SURVIVED)
        return {
            "possible_faults": self.possible, "planted_faults": len(self.rows), KILLED: self.count(KILLED),
            EQUIVALENT: self.count(EQUIVALENT), SURVIVED: self.count(SURVIVED), "killed_share": self.rate(),
            "fault_files": {path: dict(zip(names, counts, strict=True)) for path, *counts in self.table()},
            "faults": {row.fault: asdict(row) for row in self.rows},
        }  # fmt: skip


def generated_faults(
    sample: int, seed: int = 0, file: str | None = None, programs: int = PROGRAMS, rows: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FaultCampaign:  # fmt: skip
    """Plant `sample` faults of hw/, or of one `file` of it ("hw/pe.py"), chosen by `seed` (all, if there are no more).

    programs  random programs to run on each machine
    rows      a file of JSON lines, to which what becomes of each fault is appended; faults that stand there already,
              made of the same sources, are not run again
    progress  called with (faults done, faults in all), machine by machine

    Raises HeddleError for a file that has no faults, and RuntimeError if the programs differ without any fault.
    """
    with processes.temporary_folder("heddle-faults-") as folder:
        package = folder / "heddle"
        copy_package(package)
        faults = {fault.number: fault for fault in rewrite(package)}
        sources = _hash(package)
        present = _probe(folder, sources)
        possible = sorted(set().union(*present.values()))
        if file is not None:
            possible = [number for number in possible if faults[number].path == file]
            if not possible:
                raise HeddleError(f"no faults can be made of {file}: name a file with logic, such as hw/pe.py")
        chosen = sorted(Random(f"faults {seed}").sample(possible, min(sample, len(possible))))
        choose(package, set(chosen))
        rows = rows or folder / "rows.jsonl"
        programs_run: Counter[int] = Counter()
        for machine, there in present.items():
            pending = _pending(rows, sources, faults, chosen)
            work = {number: {"row": _place(faults[number]), "programs": programs_run[number]}
                    for number in pending if number in there}  # fmt: skip
            if work:
                _child(folder, {"do": "run", "machine": machine, "faults": work, "programs": programs,
                                "rows": str(rows), "sources": sources})  # fmt: skip
                programs_run.update(dict.fromkeys(work, programs))
            if progress:
                progress(len(chosen) - len(_pending(rows, sources, faults, chosen)), len(chosen))
        known = known_survivors()
        for number in _pending(rows, sources, faults, chosen):
            key = faults[number].key
            outcome = EQUIVALENT if key in known["equivalent"] else SURVIVED
            reason = known["equivalent"].get(key) or known["survive"].get(key, "")
            append_row(rows, FaultRow(**_place(faults[number]), outcome=outcome, by=reason, sources=sources,
                                      programs=programs_run[number]))  # fmt: skip
        done = _read(rows, sources)
        return FaultCampaign(len(possible), [done[faults[number].key] for number in chosen])


def known_survivors() -> dict[str, dict[str, str]]:
    """What cosim/survivors.toml says: key → reason, of faults that are `equivalent` to none, and of those that
    `survive` all that is run."""
    return tomllib.loads(Path(__file__).with_name("survivors.toml").read_text())


def append_row(path: Path, row: FaultRow) -> None:
    """Add a row to a file of rows."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def _read(path: Path, sources: str) -> dict[str, FaultRow]:
    """The rows of a file that are of these sources, by their faults. Raises HeddleError if it is no file of rows."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = FaultRow(**json.loads(line))
        except (TypeError, ValueError):
            raise HeddleError(f"{path} is not a file of generated faults: {line[:60]!r}") from None
        if row.sources == sources:
            found[row.fault] = row
    return found


def _pending(rows: Path, sources: str, faults: dict[int, GeneratedFault], chosen: list[int]) -> list[int]:
    done = _read(rows, sources)
    return [number for number in chosen if faults[number].key not in done]


def _place(fault: GeneratedFault) -> dict[str, Any]:
    return {"fault": fault.key, "path": fault.path, "line": fault.line, "kind": fault.kind}


def _hash(package: Path) -> str:
    """Identifies the rewritten sources, with what all faults of them may be."""
    content = hashlib.sha256()
    for path in sorted(path for folder in ("hw", "arch") for path in (package / folder).rglob("*.py")):
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


def _probe(folder: Path, sources: str) -> dict[str, set[int]]:
    """Machine → the faults that it has."""

    def build(entry: Path) -> None:
        (entry / "present.json").write_text(_child(folder, {"do": "probe"}))

    entry = cached("faults", f"{sources} {MACHINES}", build, "the list of faults that can be made")
    present = json.loads((entry / "present.json").read_text())
    return dict(zip(MACHINES, map(set, present), strict=True))


def _child(folder: Path, task: dict[str, Any]) -> str:
    """Let cosim/fault_runner.py of the rewritten package do a task; what it prints."""
    result = processes.run(
        [sys.executable, "-m", f"{__package__}.fault_runner"], input=json.dumps(task), cwd=folder, text=True,
        env={**os.environ, "PYTHONPATH": str(folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=TIME_LIMIT_SECONDS,
    )  # fmt: skip
    if result.returncode:
        raise RuntimeError(f"the rewritten package does not run:\n{result.stderr[-2000:]}")
    return result.stdout

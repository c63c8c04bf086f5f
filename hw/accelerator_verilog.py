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
from .accelerator import Accelerator
from .verilog import to_verilog

TOP = "heddle"  # name of the top module
_PACKAGES = [Path(__file__).parent, Path(__file__).parent.parent / "arch"]


def accelerator_verilog(config: Config) -> str:
    """Verilog of `Accelerator(config)` as module `heddle`, clock `clk`, reset `rst`; ports as in hw/accelerator.py with
    `__` between the parts of a name (`axi__awvalid`, `control__awvalid`).

    A text once made is kept in the user's cache (or $HEDDLE_CACHE) while neither configuration nor RTL changes.
    Several processes may ask at a time; without a writable cache it is made each time.
    """
    config = get_config(config)
    path = cache_folder() / f"{TOP}-{config.fingerprint}-{_source_hash()}.v"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        pass
    text = to_verilog(Accelerator(config), name=TOP)
    with suppress(OSError, HeddleError):  # a cache that cannot be written is done without
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    return text


def cache_folder() -> Path:
    """Where texts are kept."""
    return Path(os.environ.get("HEDDLE_CACHE") or platformdirs.user_cache_dir("heddle")) / "verilog"


def _source_hash() -> str:
    """Of all that decides the text beside the configuration: our sources and the release of Amaranth."""
    digest = hashlib.sha256(version("amaranth").encode())
    for path in _sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for package in _PACKAGES:
        yield from sorted(package.rglob("*.py"))

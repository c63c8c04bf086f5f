"""numba, with its compiled code kept on disk beside built RTL, so that only the first run on a machine waits for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import platformdirs

_njit: Any = numba.njit
_config: Any = numba.core.config  # type: ignore[attr-defined]
# The functions allocate nothing. With numba's reference counts (nrt) each access to a record would count the array that
# holds it, atomically: 16 times slower.
OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
_ARCH = Path(__file__).parents[1] / "arch"


def cache_folder(package: Path) -> Path:
    """Where compiled code of a folder is kept: under $HEDDLE_CACHE, or the user's cache directory. Numba looks for
    changes in the file of the outermost function only, so there is a place for each state of all files that may matter:
    those of the folder, and those of arch, whose constants are compiled in."""
    root = Path(os.environ.get("HEDDLE_CACHE") or platformdirs.user_cache_dir("heddle"))
    return root / "numba" / _state_of(package)


@cache
def _state_of(package: Path) -> str:
    sources = hashlib.sha256(numba.__version__.encode())
    for path in sorted([Path(__file__), *_ARCH.rglob("*.py"), *package.glob("*.py")]):
        sources.update(path.name.encode() + b"\0" + path.read_bytes())
    return sources.hexdigest()[:16]


def inlined(function: Callable) -> Any:
    """A compiled function that becomes part of those that call it: to pass them a dozen arrays would cost more than
    what they do."""
    return _njit(inline="always", **OPTIONS)(function)


def inlined_late(function: Callable) -> Any:
    """The same for small functions of numbers: LLVM does it, which is quicker to compile."""
    return _njit(forceinline=True, **OPTIONS)(function)


def compiled(function: Callable) -> Any:
    """A compiled function that others call."""
    return _njit(**OPTIONS)(function)


def entry(function: Callable) -> Any:
    """A compiled function that Python calls, kept on disk. Where nothing can be written, it is compiled each time."""
    before = _config.CACHE_DIR
    try:
        folder = cache_folder(Path(function.__code__.co_filename).parent)
        folder.mkdir(parents=True, exist_ok=True)
        _config.CACHE_DIR = str(folder)
        return _njit(cache=True, **OPTIONS)(function)
    except (OSError, RuntimeError):
        return _njit(**OPTIONS)(function)
    finally:
        _config.CACHE_DIR = before

"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from threading import get_ident

from .errors import HeddleError, require_type


def write_whole(path: str | os.PathLike[str], content: str | bytes | Callable[[Path], object]) -> None:
    """Write a file, text as UTF-8; what was there is replaced only when all has been written.

    `content` may be a function, which is given a path with the same suffix to write to. A device or a pipe, which
    cannot be replaced, is written as it is. Raises HeddleError if that cannot be done.
    """
    require_writable(path)
    target = Path(os.path.realpath(path))  # of a link, what it points to
    try:
        if _is_special(target):
            _write(target, content)
            return
        partial = target.with_name(f".{target.stem[:100]}.{os.getpid()}-{get_ident()}.partial{target.suffix}")
        try:
            _write(partial, content)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HeddleError(f"cannot write {path}: {error.strerror or error}") from None


def require_path(path: object) -> None:
    """Raise HeddleError for what cannot be the path of a file."""
    require_type("the path of a file", path, (str, os.PathLike), "text or a pathlib.Path")


def require_writable(path: str | os.PathLike[str], suffixes: tuple[str, ...] = ()) -> None:
    """Raise HeddleError unless a file can be written there, as far as can be told before. It must end in one of
    `suffixes`, if there are any."""
    require_path(path)
    try:
        target = Path(os.path.realpath(path))
        if suffixes and target.suffix.lower() not in suffixes:
            raise HeddleError(f"cannot write {path}: the name must end in {' or '.join(_last_apart(suffixes))}")
        if target.is_dir():
            raise HeddleError(f"cannot write {path}: it is a directory")
        if not target.parent.is_dir():
            what = "is not one" if target.parent.exists() else "does not exist"
            raise HeddleError(f"cannot write {path}: its directory {what}")
        if not os.access(target if _is_special(target) else target.parent, os.W_OK):
            raise HeddleError(f"cannot write {path}: its directory cannot be written to")
    except OSError as error:
        raise HeddleError(f"cannot write {path}: {error.strerror or error}") from None
    except ValueError:  # a NUL in the name
        raise HeddleError(f"cannot write {str(path)!r}: no file can have that name") from None


def _last_apart(names: tuple[str, ...]) -> list[str]:
    """All but the last, with commas between, if there are any; and the last."""
    return [", ".join(names[:-1]), names[-1]] if len(names) > 1 else [*names]


def _is_special(path: Path) -> bool:
    """Whether something is there that is no file, such as a device or a pipe."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

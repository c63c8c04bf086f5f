"""The rows of a sweep on disk: a journal that lines are appended to as they come, and the space that they are of.

A line is written whole by one call of the system, so that a process that is killed leaves whole lines, and at most one
that is torn, at the end: that is cut off when the journal is opened again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..arch.errors import HeddleError
from ..arch.files import write_whole

ROWS, SPACE, FRAME = "rows.jsonl", "space.json", "rows.parquet"
Row = dict[str, Any]


class Journal:
    """Rows by their keys. Without a folder they are in memory alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.rows, self._file = folder, [], None
        self._by_key: dict[str, Row] = {}
        if folder is not None:
            for row in _whole_rows(folder / ROWS):
                self._enter(row)

    def __enter__(self) -> Journal:
        """Open for writing. Raises HeddleError if another process writes there."""
        if self.folder is None:
            return self
        try:
            self.folder.mkdir(exist_ok=True)
            self._file = os.open(self.folder / ROWS, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise HeddleError(f"cannot write {self.folder}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise HeddleError(f"{self.folder} must be of one sweep at a time: another one is writing there") from None
        end = _end_of_whole_lines(self.folder / ROWS)
        os.ftruncate(self._file, end)
        os.lseek(self._file, end, os.SEEK_SET)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def append(self, row: Row) -> None:
        """Keep a row, on disk before this returns."""
        if self._file is not None:
            line = (json.dumps(row, separators=(",", ":")) + "\n").encode()
            while line:
                line = line[os.write(self._file, line) :]
        self._enter(row)

    def find(self, key: str) -> Row | None:
        """The row of that key, if there is one."""
        return self._by_key.get(key)

    def save_space(self, content: dict[str, Any]) -> None:
        """Write what the rows are of beside them."""
        if self.folder is not None:
            write_whole(self.folder / SPACE, json.dumps(content, indent=1))

    def _enter(self, row: Row) -> None:
        self.rows.append(row)
        self._by_key[row["key"]] = row


def read_space(folder: Path) -> dict[str, Any]:
    """What the rows in a folder are of. Raises HeddleError for a folder without a sweep."""
    try:
        return json.loads((folder / SPACE).read_text())
    except OSError as error:
        raise HeddleError(f"{folder} must be the folder of a sweep, with {SPACE}: {error.strerror}") from None
    except ValueError:
        raise HeddleError(f"{folder / SPACE} must be the space of a sweep, and is no JSON") from None


def _whole_rows(path: Path) -> Iterator[Row]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
                _ = row["key"], row["point"], row["workload"], row["status"]
            except (ValueError, KeyError, TypeError):
                raise HeddleError(f"{path}: line {number} must be a row of a sweep") from None
            yield row


def _end_of_whole_lines(path: Path) -> int:
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        while at > 0:
            start = max(0, at - 65536)
            file.seek(start)
            found = file.read(at - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            at = start
    return 0

"""Commands that end when we end, and folders that go when we go: by an exception, by a signal, by `kill -9`.

A command runs in a session of its own, led by a shell. The shell has the reading end of a pipe whose writing end only
this process holds; when that closes, which the system sees to however we end, a watcher kills the whole session:

    this process ── pipe ──> sh ─┬─ watcher: waits for the end of the pipe, then kills the session
                                 └─ the command, and whatever it starts

It needs nothing but a POSIX shell. A folder has a watcher of its own, which waits in the same way and removes it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

# $0 is the pipe. Input is passed on by hand, for what a shell starts in the background would have none.
_SESSION = """
exec 3<"$0" 4<&0
"$@" <&4 3<&- 4<&- &
command=$!
exec 4<&- </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
watcher=$!
wait $command
code=$?
exec 2>/dev/null
kill -KILL $watcher
wait $watcher
exit $code
"""
# What ends with us may still be writing there.
_FOLDER = 'PATH=/bin:/usr/bin; read -r _; rm -rf -- "$0" || { sleep 1; rm -rf -- "$0"; }'


class Commands:
    """Runs commands, from any thread. Leaving the with-block kills those that are not done."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen] = set()
        self._over = False

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._over = True
            for process in self._running:
                _kill(process)

    def run(
        self, command: Sequence[str | os.PathLike[str]], *, input: Any = None, timeout: float | None = None,
        **options: Any,
    ) -> subprocess.CompletedProcess:  # fmt: skip
        """As `subprocess.run`: what the command started ends with it if it is not done in time. A command that a signal
        ended has the return code 128 + its number. Without `input` there is none to read."""
        read, write = os.pipe()  # the writing end is not inherited by what is started
        try:
            with self._lock:
                if self._over:
                    raise RuntimeError("the commands have been stopped")
                process = subprocess.Popen(
                    ["/bin/sh", "-c", _SESSION, f"/dev/fd/{read}", *command], pass_fds=[read], start_new_session=True,
                    stdin=subprocess.DEVNULL if input is None else subprocess.PIPE, **options,
                )  # fmt: skip
                self._running.add(process)
            try:
                with process:  # waits for its end
                    try:
                        output, errors = process.communicate(input, timeout)
                    except BaseException:
                        _kill(process)
                        raise
            finally:
                with self._lock:
                    self._running.discard(process)
        finally:
            os.close(read)
            os.close(write)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


def run(
    command: Sequence[str | os.PathLike[str]], *, input: Any = None, timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess:
    """One command, as `Commands.run`."""
    with Commands() as commands:
        return commands.run(command, input=input, timeout=timeout, **options)


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder that is gone after the with-block, and when this process is."""
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", _FOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert watcher.stdin is not None
    try:
        yield Path(folder)
    finally:
        watcher.stdin.close()
        watcher.wait()


def _kill(process: subprocess.Popen) -> None:
    """All of its session."""
    with suppress(ProcessLookupError, PermissionError):  # of one that has just ended
        os.killpg(process.pid, signal.SIGKILL)  # its group's number is its own: it leads a session

"""How a command ends: by a signal, a mistake, or because what it prints to is full or gone; none with a traceback.

Exit codes are those of other commands: 2 for a mistake, 128 + the number of the signal that stopped us (130 for Ctrl-C,
143 for SIGTERM), 141 when the reader of our output has gone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import click
from heddle.layers import HeddleError, ToolError

MISTAKE = 2
READER_GONE = 128 + signal.SIGPIPE


class Stopped(KeyboardInterrupt):
    """A signal has asked us to stop: all that ends with Ctrl-C ends in the same way."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def ends() -> Iterator[None]:
    """Runs a command: what it raises becomes an exit code, and a line on standard error."""
    if sys.stderr is None:  # closed: without a stand-in, the next file that is opened would be taken for it
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        _exit(MISTAKE, "standard output is closed")
    for stream in (sys.stdout, sys.stderr):
        _take_all_characters(stream)
    with _log_on_stderr(), _signals_as_stops():
        try:
            yield
        except BaseException as error:
            _end(error)
            raise


def _end(error: BaseException) -> None:
    """Exit as befits the error. One that nothing can be said of is left to show where it came from."""
    if isinstance(error, HeddleError | ToolError):
        _exit(MISTAKE, str(error))
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        sys.exit(MISTAKE)
    if isinstance(error, click.ClickException):
        error.show()
        sys.exit(MISTAKE)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        stop = error.__cause__ if isinstance(error, click.Abort) else error
        _exit(128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT), "stopped")
    if isinstance(error, BrokenPipeError | ReaderGoneError):
        _drop_output()
        sys.exit(READER_GONE)
    if isinstance(error, OSError):
        _exit(MISTAKE, _what_failed(error))
    if isinstance(error, MemoryError):
        _exit(MISTAKE, "there is not enough memory")


class ReaderGoneError(Exception):
    """The reader of our output has gone: a BrokenPipeError that click does not see."""


@contextmanager
def output_written() -> Iterator[None]:
    """All that was printed has left us at the end of the with-block, or an error says why it cannot."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGoneError from None


def _what_failed(error: OSError) -> str:
    """Of an error of the system: on which file, if that is known. Files that we write say so themselves; what is left
    is our output."""
    _drop_output()
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else f"cannot write what is to be printed: {reason}"


def _drop_output() -> None:
    """Let Python write what is left nowhere, rather than complain when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(code: int, message: str) -> None:
    with suppress(OSError):
        click.echo(f"heddle: {message}", err=True)
    sys.exit(code)


def _take_all_characters(stream: Any) -> None:
    """A stream whose encoding lacks a character shows a question mark for it."""
    if hasattr(stream, "reconfigure") and (stream.encoding or "").lower().replace("-", "") != "utf8":
        stream.reconfigure(errors="replace")


@contextmanager
def _signals_as_stops() -> Iterator[None]:
    """While this holds, SIGTERM and SIGHUP stop us as Ctrl-C does; not where nohup had SIGHUP ignored."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():  # others cannot hear of signals
        yield
        return
    heard = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, stop)) for number in heard]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


class _Lines(logging.Handler):
    """Prints each record as a line on standard error, wherever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            click.echo(record.getMessage(), err=True)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    """While this holds, what the library has to say of its progress is on standard error."""
    log, lines = logging.getLogger("heddle"), _Lines()
    before = log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.setLevel(before)

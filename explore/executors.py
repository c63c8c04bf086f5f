"""Where jobs run: in this process, in others of this machine, or on a Dask cluster. All are `concurrent.futures`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ..arch.errors import HeddleError
from ..arch.ranges import require_range

MOST_WORKERS = 1024


class InProcess(Executor):
    """Runs a job when it is submitted."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*arguments, **options))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def executor(workers: int = 1, scheduler: str | None = None) -> Iterator[tuple[Executor, int]]:
    """(where to run, how many jobs run at a time). One worker is this process. Leaving the with-block early drops what
    has not begun, and ends processes.

    scheduler   the address of a Dask cluster; `workers` then says how many jobs it runs at a time (1: as many as it has
                threads). Raises HeddleError without the extra `cluster`, and for a cluster that does not answer.
    """
    require_range("workers", workers, 1, MOST_WORKERS)
    if scheduler is not None:
        with _dask(scheduler, workers) as found:
            yield found
    elif workers == 1:
        yield InProcess(), 1
    else:
        with _processes(workers) as pool:
            yield pool, workers


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    try:
        yield pool
    except BaseException:
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for each in processes:
            each.terminate()
        raise
    pool.shutdown()


def _begin() -> None:
    """A worker leaves Ctrl-C to its parent, ends with it however that ends, and computes on one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    import_module("torch").set_num_threads(1)


@contextmanager
def _dask(scheduler: str, workers: int) -> Iterator[tuple[Executor, int]]:
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise HeddleError("a scheduler needs Dask: pip install 'heddle[cluster]'") from None
    try:
        client = distributed.Client(scheduler, timeout=10)
    except (OSError, ValueError, TimeoutError) as error:
        raise HeddleError(f"no Dask scheduler answers at {scheduler}: {error or 'it took too long'}") from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise HeddleError(f"the Dask scheduler at {scheduler} must have workers, and has none")
        pool = client.get_executor(pure=False)
        try:
            yield pool, workers if workers > 1 else threads
        except BaseException:
            pool.shutdown(wait=False)
            raise

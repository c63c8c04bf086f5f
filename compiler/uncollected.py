"""Compiling without Python's cyclic garbage collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """While this holds (or the function it decorates runs), no cycles are looked for: PyTorch alone has hundreds of
    thousands of objects, and to walk them again and again as tasks are made took a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

"""What an engine is given for one run of the accelerator, and what it gives back. Plain data: it crosses processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype([("index", np.int64), ("start", np.int64), ("retire", np.int64)])


@dataclass(frozen=True)
class Job:
    """One run: what DRAM holds, how it behaves, how much program there is, and when to give up."""

    image: NDArray[np.uint8]
    groups: int  # of 8 instructions, from address 0
    latency: int  # cycles
    cycles_per_beat: int
    limit: int  # cycles
    scalars: tuple[tuple[int, int], ...] = ()  # (number, value) of the scalar registers; the others hold 0
    cache_address: int = 0  # the region of the KV cache
    cache_bytes: int = 0


@dataclass(frozen=True)
class Outcome:
    """One run as the RTL saw it."""

    finished: bool  # the interrupt came within the limit
    registers: dict[int, int]  # CSR offset → value after the run
    trace: dict[str, NDArray]  # unit name → RECORD array in order of retirement
    image: NDArray[np.uint8]  # DRAM after the run
    violation: bool  # the AXI port broke a rule


def records_of_words(words: list[int]) -> NDArray:
    """RECORD array of trace words, laid out as cosim/bench.py says."""
    content = [(word & 0xFFFFFFFF, word >> 32 & 0xFFFFFFFFFFFF, word >> 80) for word in words]
    return np.array(content, RECORD)

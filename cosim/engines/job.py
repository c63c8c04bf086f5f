"""What an engine is given for runs of the accelerator, and what it gives back. Plain data: it crosses processes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...arch.ranges import make_plain, require_range

MOST_CYCLES = (1 << 40) - 1  # that the RTL counts
RECORD = np.dtype([("index", np.int64), ("start", np.int64), ("retire", np.int64)])


@dataclass(frozen=True, kw_only=True)
class Work:
    """A program as the host hands it over: what DRAM holds, how much of it is program, and when to give up."""

    image: NDArray[np.uint8]
    groups: int  # of 8 instructions, from the start of DRAM
    limit: int  # cycles
    scalars: tuple[tuple[int, int], ...] = ()  # (number, value) of the scalar registers; the others hold 0
    cache_address: int = 0  # the region of the KV cache
    cache_bytes: int = 0
    dram_base: int = 0  # where DRAM stands; all other addresses count from there
    inputs: tuple[tuple[str, int], ...] = ()  # of the bench, beside those that each has: set before the reset


@dataclass(frozen=True, kw_only=True)
class Job(Work):
    """One run, and the timing of its DRAM. From reset, but for runs that are aborted before."""

    latency: int  # cycles
    cycles_per_beat: int
    aborts: tuple[int, ...] = ()  # cycles: for each, an earlier run of the same program is aborted in it


@dataclass(frozen=True)
class Outcome:
    """One run as the RTL saw it."""

    finished: bool  # the interrupt came within the limit
    registers: dict[int, int]  # CSR offset → value after the run
    trace: dict[str, NDArray]  # unit name → RECORD array in order of retirement
    image: NDArray[np.uint8]  # DRAM after the run
    violation: bool  # the AXI port broke a rule


@dataclass(frozen=True)
class Window:
    """Cycles to record, counted from the start pulse, both included. `last` None: to the end of the run."""

    first: int = 0
    last: int | None = None

    def __post_init__(self) -> None:
        require_range("the first cycle of a waveform", self.first, 0, MOST_CYCLES)
        if self.last is not None:
            require_range("the last cycle of a waveform", self.last, self.first, MOST_CYCLES)
        make_plain(self, "first", "last")


def records_of_words(words: list[int]) -> NDArray:
    """RECORD array of trace words, laid out as cosim/bench.py says."""
    content = [(word & 0xFFFFFFFF, word >> 32 & 0xFFFFFFFFFFFF, word >> 80) for word in words]
    return np.array(content, RECORD)


# -- on a hostile DRAM -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mood:
    """How the hostile DRAM behaves in one run: see cosim/hostile_dram.py."""

    seed: int
    odds: tuple[int, ...]  # of AW, W, B, AR, R
    spell: int
    order: int


@dataclass(frozen=True)
class Attempt:
    """One run on the hostile DRAM, and how it is disturbed. `when` is from 0 to 1: in which of the bursts, or of the
    cycles, of the last run that nothing disturbed."""

    mood: Mood
    disturbance: str = "none"  # none; starts: start is written during the run; error: a burst errs; abort
    when: float = 0.0
    error_code: int = 2  # SLVERR or DECERR
    error_whole: bool = False  # all beats of a read
    hasty: bool = False  # start again at once, while the machine still drains, and abort that, too


@dataclass(frozen=True, kw_only=True)
class HostileJob(Work):
    """Attempts one after the other, with a reset before the first only. DRAM is filled anew before each."""

    attempts: tuple[Attempt, ...] = field(default=())


@dataclass(frozen=True)
class AttemptOutcome:
    """One attempt as the RTL saw it."""

    finished: bool  # the interrupt came within the limit, and the machine was idle soon after
    status: int  # STATUS and ERROR after it
    error: int
    cycles: int
    bursts: int
    broken: int  # rules of cosim/axi_rules.py
    quiet: bool  # nothing was in flight when the machine was idle
    image: NDArray[np.uint8]  # DRAM after it

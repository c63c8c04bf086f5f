"""FETCH: asks for groups of instructions as there is room for them, and says when each has arrived."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..arch.config import FETCH_BUFFER, FETCH_GROUP, INSTRUCTION_BYTES, HardwareConfig
from .dram import Burst


class Fetch:
    """The DRAM client that reads the program.

    `dispatched` is the dispatcher's own growing list of the cycle d(i) of each instruction: a group is requested only
    while requested − dispatched ≤ 8. `arrivals` grows by the cycle in which each instruction's last beat comes.
    """

    writes = False

    def __init__(self, config: HardwareConfig, groups: int, dispatched: Sequence[int]) -> None:
        self.groups = groups
        self.dispatched = dispatched
        self.arrivals: list[int] = []
        self.beat_bytes = min(32, config.axi_bytes)
        self.requested = 0  # groups
        self.after_grant = 1  # the first request is up in cycle 1

    @property
    def up(self) -> int | None:
        """First cycle with room for the next group."""
        if self.requested == self.groups:
            return None
        needed = (self.requested - 1) * FETCH_GROUP  # instructions dispatched, so that at most one group is not
        if needed <= 0:
            return self.after_grant
        if needed > len(self.dispatched):
            return None
        return max(self.after_grant, self.dispatched[needed - 1] + 1)

    @property
    def burst(self) -> Burst:
        """The next group."""
        size = FETCH_GROUP * INSTRUCTION_BYTES
        return Burst(self.requested * size, size // self.beat_bytes, beat_bytes=self.beat_bytes)

    def beats_by(self, cycle: int, pace: int) -> int:
        """Beats that have come by the end of a cycle, one every `pace` cycles within a group."""
        return beats_by(np.array(self.arrivals), cycle, self.beat_bytes, pace)

    def granted(self, grant: int, first: int, last: int) -> None:
        """Instructions arrive in the cycles of their last beats."""
        per_beat = (last - first) // (self.burst.beats - 1)
        per_instruction = INSTRUCTION_BYTES // self.beat_bytes
        self.arrivals += [first + ((i + 1) * per_instruction - 1) * per_beat for i in range(FETCH_GROUP)]
        self.requested += 1
        self.after_grant = grant + 1


def beats_by(arrivals: NDArray[np.int64], cycle: int, beat_bytes: int, pace: int) -> int:
    """How many of the beats of instructions whose last ones come in `arrivals` come up to, and in, the last cycle of a
    run. Those that may come later are of instructions that were not dispatched: no more than the buffer holds."""
    beats = INSTRUCTION_BYTES // beat_bytes
    late = arrivals[-FETCH_BUFFER:, None] - np.arange(beats) * pace
    return (len(arrivals) - len(late)) * beats + int((late <= cycle).sum())

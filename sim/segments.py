"""What of DRAM an instruction moves: equally long segments, each cut into bursts."""

from __future__ import annotations

from typing import NamedTuple

from ..arch.config import HardwareConfig
from .dram import Burst, segment_bursts

ALL = -1  # a mask of all bits


class Segments(NamedTuple):
    """`count` segments of `length_bytes`; segment i stands at address + ((first + i) & mask)·stride_bytes. All segments
    of one instruction are cut into bursts alike, wherever data (indices, page tables) put them."""

    address: int  # bytes
    count: int
    length_bytes: int
    stride_bytes: int = 0
    first: int = 0
    mask: int = ALL
    setup_cycles: int = 0  # before the request of the first burst of each
    whole: bool = False  # each in a burst of its own, whatever its length

    def bursts(self, config: HardwareConfig) -> list[Burst]:
        """All bursts in order."""
        if self.whole:
            return [Burst(self.address, self.length_bytes // config.axi_bytes)] * self.count
        return [
            burst
            for place in range(self.first, self.first + self.count)
            for burst in segment_bursts(
                config, self.address + (place & self.mask) * self.stride_bytes, self.length_bytes, self.setup_cycles
            )
        ]

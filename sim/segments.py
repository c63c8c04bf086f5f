"""What of DRAM an instruction moves: equally long segments, each cut into bursts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arch.config import PAGE_LIMIT, HardwareConfig
from ..arch.errors import HeddleError
from ..arch.isa import Instruction
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


def segments_of(instruction: Instruction, config: HardwareConfig) -> Segments:
    """The pieces of DRAM that an instruction moves, in whole beats. Where data choose their places, all at that which
    does not hang on them."""
    moved = instruction.transfer(config)
    beats = -(-moved.piece_bytes // config.axi_bytes)
    return Segments(moved.address, moved.pieces, beats * config.axi_bytes, moved.stride)


# -- places that data choose -------------------------------------------------------------------------------------------


def require_inside(name: str, region: str, low: int, stop: int, size: int) -> None:
    """Raise HeddleError if an instruction would touch bytes [low, stop) of a region of `size` bytes that end before:
    DRAM, by the row numbers of a gather, or the KV cache, by its page numbers."""
    if low < 0 or stop > size:
        numbers = "row numbers in INDEX" if region == "DRAM" else "page numbers in PAGE"
        raise HeddleError(f"{name}: beyond {region}: bytes {low} to {stop - 1} of a region of {size}: make the "
                          f"{numbers} smaller")  # fmt: skip


def require_rows(name: str, places: NDArray[np.integer]) -> None:
    """Raise HeddleError if a scatter would write in front of its table. `places` count from there."""
    if places.min() < 0:
        raise HeddleError(f"{name}: beyond DRAM: rows of a scatter are numbered from 0 on: make the row numbers in "
                          "INDEX greater")  # fmt: skip


def require_pages(name: str, pages: NDArray[np.integer]) -> None:
    """Raise HeddleError unless all are page numbers."""
    if pages.min() < 0 or pages.max() >= PAGE_LIMIT:
        wrong = pages[(pages < 0) | (pages >= PAGE_LIMIT)][0]
        raise HeddleError(f"{name}: beyond the KV cache: page number {wrong} is not from 0 to {PAGE_LIMIT - 1}")

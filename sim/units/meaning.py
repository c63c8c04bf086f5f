"""What the simulator knows of an instruction: each file of a unit has it in a table, by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...arch.config import HardwareConfig
from ..segments import Segments
from ..state import State


class Meaning(NamedTuple):
    """Of an instruction that a unit executes: one of `cycles` and `segments`."""

    execute: Callable[[Any, State, HardwareConfig], None]  # changes the state
    kernel: bool  # whether sim/kernels has the same, compiled; if not, this is all there is
    cycles: Callable[[Any, HardwareConfig], int] | None = None  # D: from start to retire
    segments: Callable[[Any, HardwareConfig], Segments] | None = None  # of DRAM, whose port decides when it retires
    # Where the next one may start before this one retires: from start to that cycle, and how much later than that one
    # starts itself behind another that is under way.
    occupied: Callable[[Any, HardwareConfig], int] | None = None
    headway: Callable[[Any, HardwareConfig], int] | None = None

"""What there is compiled of an instruction: each file of a unit has it in a table, by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...arch.config import HardwareConfig
from ..state import State


class Kernel(NamedTuple):
    """The same as `units.Meaning.execute`."""

    execute: Callable[[Any, State, HardwareConfig], None]
    bf16: bool  # whether it holds for bf16 PEs too

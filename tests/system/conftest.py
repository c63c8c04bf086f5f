"""Machines that whole models run on."""


import pytest
from heddle.arch.config import PRESETS, HardwareConfig

from ..machines import ROOMY


@pytest.fixture
def configs() -> dict[str, HardwareConfig]:
    """The presets, and an odd array that shares no factor with anything."""
    return {**PRESETS, "odd": ROOMY}

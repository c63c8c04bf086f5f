"""Machines that whole models run on."""

from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS, HardwareConfig


@pytest.fixture
def configs() -> dict[str, HardwareConfig]:
    """The presets, and an odd array that shares no factor with anything."""
    odd = replace(PRESETS["nano"], name="odd", rows=3, columns=5, vector_lanes=1, act_words=4096, weight_words=8192,
                  value_words=4096, acc_words=4096)  # fmt: skip
    return {**PRESETS, "odd": odd}

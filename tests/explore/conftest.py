"""The tools that come as wheels: their figures do not depend on what else is installed."""

import pytest
from heddle.explore import yosys


@pytest.fixture
def tool():
    """Yosys."""
    return yosys.wheel()

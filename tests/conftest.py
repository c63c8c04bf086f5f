"""For all tests: none depends on how busy the machine is, or on the terminal."""

import os

from hypothesis import HealthCheck, settings

# No limit in seconds, neither for an example nor for the making of examples.
settings.register_profile("heddle", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heddle")

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it: tables would be as narrow as that

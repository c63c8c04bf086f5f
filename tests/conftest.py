"""For all tests: none depends on how busy the machine is."""

from hypothesis import HealthCheck, settings

# No limit in seconds, neither for an example nor for the making of examples.
settings.register_profile("heddle", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heddle")

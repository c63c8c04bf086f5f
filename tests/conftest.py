"""For all tests: none depends on how busy the machine is, on the terminal, or on who started it."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# No limit in seconds, neither for an example nor for the making of examples.
settings.register_profile("heddle", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heddle")

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it: tables would be as narrow as that

# In the background of a shell, or under nohup, these are ignored, and what a test starts would inherit it.
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_handlecrashitem(crashitem, report, sched):
    """One whose process ended, by its limit of seconds or by the system, is run once more; then it has failed."""
    if crashitem not in _ended:
        _ended.add(crashitem)
        report.outcome = "rerun"
        sched.mark_test_pending(crashitem)


_ended: set[str] = set()

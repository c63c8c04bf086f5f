"""The AXI campaign: random programs on a hostile DRAM, disturbed and run again. Some by default, all among the long."""

from dataclasses import replace

import numpy as np
import pytest
from heddle.arch.config import PRESETS
from heddle.arch.registers import ErrorKind, Register
from heddle.cosim.axi_rules import Rule
from heddle.cosim.engines.job import Attempt, AttemptOutcome, HostileJob, Mood
from heddle.cosim.hostile import Campaign, campaign, judge

from ..machines import ARRAY_36X36, ONE_BURST, ROOMY
from .conftest import NANO

DONE, ERROR, ABORTED = (Register.STATUS.mask(name) for name in ("done", "error", "aborted"))
LONG = {  # machine, jobs of three runs
    "nano": (NANO, 90),
    "3x5": (ROOMY, 60),
    "small": (PRESETS["small"], 40),
    "short bursts, one in flight": (ONE_BURST, 40),
    "36x36 behind a port of 64 bytes": (ARRAY_36X36, 10),
}


def check(found: Campaign, jobs: int) -> None:
    assert not found.problems, "\n".join(found.problems)
    assert found.wrong_bytes == 0 and found.runs == 3 * jobs


def test_runs_on_a_hostile_dram_are_right_and_keep_the_rules():
    found = campaign(NANO, range(8))
    check(found, 8)
    assert found.errors and found.aborts


@pytest.mark.long
@pytest.mark.parametrize("config,jobs", LONG.values(), ids=LONG)
def test_more_runs_on_a_hostile_dram_are_right_and_keep_the_rules(config, jobs):
    check(campaign(config, range(1000, 1000 + jobs)), jobs)


@pytest.mark.long
@pytest.mark.parametrize("config", [NANO, ROOMY], ids=["nano", "3x5"])
def test_after_any_abort_the_next_run_is_right(config):
    found = campaign(config, range(2000, 2100), ("abort",))
    check(found, 100)
    assert found.aborts == 100


# -- the judge ---------------------------------------------------------------------------------------------------------


def judged(attempt: Attempt, **changes) -> Campaign:
    """What the judge says of one attempt whose outcome is faultless but for the changes."""
    image = np.arange(16, dtype=np.uint8)
    outcome = AttemptOutcome(True, DONE, 0, 100, 9, 0, True, image.copy())
    job = HostileJob(image=image, groups=1, limit=9, attempts=(attempt,))
    return judge([5], [job], [image], [[replace(outcome, **changes)]])


def test_the_judge_sees_every_kind_of_fault():
    mood = Mood(1, (255,) * 5, 0, 0)
    clean, abort, error = Attempt(mood), Attempt(mood, "abort"), Attempt(mood, "error")
    assert not judged(clean).problems and judged(clean).runs == judged(clean).clean == 1
    assert not judged(abort, status=ABORTED, image=np.zeros(16)).problems
    response = dict(status=ERROR, error=int(ErrorKind.AXI_RESPONSE), image=np.zeros(16))
    assert not judged(error, **response).problems and judged(error, **response).errors == 1
    wrong = judged(clean, image=np.zeros(16))
    assert wrong.wrong_bytes == 15 and wrong.problems == ("seed 5, attempt 0 (none): 15 bytes of DRAM are wrong",)
    broken = judged(abort, status=ABORTED, broken=1 << Rule.ACROSS_4_KIB)
    assert "broken on the port: across 4 kib" in broken.problems[0]
    assert "does not come to rest" in judged(clean, finished=False).problems[0]
    assert "something is in flight" in judged(clean, quiet=False).problems[0]
    assert "ends with ['error'], not with ['done']" in judged(clean, status=ERROR, error=4).problems[0]
    assert "ends with ['done'], not with ['aborted']" in judged(abort).problems[0]
    assert "the error is BANK_CONFLICT" in judged(error, status=ERROR, error=1).problems[0]

"""explore/executors.py: the same rows in this process, in two and on a cluster; killed at any moment, nothing twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from heddle.arch.errors import HeddleError
from heddle.explore.executors import InProcess, executor
from heddle.explore.space import Space
from heddle.explore.sweep import Sweep, run

TOML = """
config = "nano"
parameters = { rows = [4, 6, 8], columns = [4, 8], value_words = [16, 256], axi_bytes = [4, 8] }
workloads = ["encoder-layer", "bert-tiny"]
objectives = ["seconds", "sram_bits"]
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "space.toml"
    path.write_text(TOML)
    return path


def rows(folder):
    """Without what hangs on the moment."""
    lines = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return sorted(json.dumps({key: each for key, each in row.items() if key != "cpu_seconds"}) for row in lines)


@pytest.fixture(scope="module")
def expected(space, tmp_path_factory):
    folder = tmp_path_factory.mktemp("expected")
    run(Space.read(space), folder)
    return rows(folder)


def test_a_job_that_raises_is_a_future_that_does():
    with executor() as (pool, at_once):
        assert isinstance(pool, InProcess) and at_once == 1
        assert pool.submit(divmod, 7, 2).result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 7, 0).result()


def test_mistakes_are_named():
    with pytest.raises(HeddleError, match="workers must be a whole number from 1"), executor(0):
        pass


@pytest.mark.long
def test_two_processes_give_the_same_rows(space, expected, tmp_path):
    run(Space.read(space), tmp_path, workers=2)
    assert rows(tmp_path) == expected


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_two_workers_gives_the_same_rows(space, expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        run(Space.read(space), tmp_path, scheduler=cluster.scheduler_address)
    assert rows(tmp_path) == expected


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_is_stopped_goes_on(space, expected, tmp_path, number):
    """Three times at a random moment; then to its end. Nothing is computed twice, and no process is left."""
    chance, command = random.Random(int(number)), [sys.executable, "-m", "heddle", "sweep", str(space), "-o", "s"]
    for _ in range(3):
        process = subprocess.Popen([*command, "--workers", "2"], cwd=tmp_path, stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        before = _lines(tmp_path / "s")
        while process.poll() is None and _lines(tmp_path / "s") < before + chance.randint(1, 6):
            time.sleep(0.05)
        process.send_signal(number)
        process.wait(60)
        assert _gone(process.pid), "a process of the sweep is left"
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert rows(tmp_path / "s") == expected
    assert len(Sweep.open(tmp_path / "s").outcomes) == 24


def _gone(group):
    """Whether no process of a group is left, within a minute."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def _lines(folder):
    path = folder / "rows.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0

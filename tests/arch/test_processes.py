"""arch/processes.py: what is started ends, and folders go, however the process that started them ends."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from heddle.arch import processes

# A grandchild that says it is there, and holds a pipe open for as long as it lives.
HOLD = "(echo here; sleep 100000) > {pipe} & wait"


class Pipe:
    """A named pipe. Waiting is for what happens at its other end, however long that takes."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = path
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._writer = os.open(path, os.O_WRONLY)  # so that nothing read yet is no end
        os.set_blocking(self._reader, True)

    def wait_for_writer(self):
        assert os.read(self._reader, 100) == b"here\n"

    def wait_for_end(self):
        os.close(self._writer)
        while os.read(self._reader, 100):
            pass
        os.close(self._reader)


@pytest.fixture
def pipe(tmp_path):
    return Pipe(tmp_path / "pipe")


def wait_until_gone(path):
    while path.exists():
        time.sleep(0.02)


def test_a_command_gets_its_input_and_gives_its_output_and_code():
    command = ["sh", "-c", "cat; echo wrong >&2; exit 3"]
    found = processes.run(command, input="words\n", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (found.returncode, found.stdout, found.stderr) == (3, "words\n", "wrong\n")
    assert processes.run(["sh", "-c", "kill -9 $$"], stderr=subprocess.DEVNULL).returncode == 128 + 9
    nothing = processes.run(["cat"], text=True, stdout=subprocess.PIPE)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    with pytest.raises(FileNotFoundError):
        processes.run(["true"], cwd="/nonexistent")


def test_arguments_pass_as_they_are(tmp_path):
    words = ["a b", "$HOME", "'", '"', "*", ""]
    found = processes.run(["printf", "%s\\n", *words], cwd=tmp_path, text=True, stdout=subprocess.PIPE)
    assert found.stdout.split("\n")[:-1] == words


def test_what_is_not_done_in_time_is_ended(pipe):
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(["sh", "-c", HOLD.format(pipe=pipe.path)], timeout=1)
    pipe.wait_for_end()


def test_leaving_the_block_ends_what_other_threads_run(pipe):
    with ThreadPoolExecutor(2) as pool, processes.Commands() as commands:
        running = pool.submit(commands.run, ["sh", "-c", HOLD.format(pipe=pipe.path)])
        pipe.wait_for_writer()
    assert running.result().returncode != 0
    pipe.wait_for_end()
    with pytest.raises(RuntimeError):
        commands.run(["true"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_a_process_started_ends_with_it(pipe, tmp_path, number):
    folders = tmp_path / "folders"
    folders.mkdir()
    program = f"""
from pathlib import Path
from heddle.arch import processes
with processes.temporary_folder("of-a-test-", Path({str(folders)!r})) as folder:
    (folder / "file").write_text("content")
    processes.run(["sh", "-c", {HOLD.format(pipe=pipe.path)!r}], cwd=folder)
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as process:
        pipe.wait_for_writer()
        (folder,) = folders.iterdir()
        process.send_signal(number)
    pipe.wait_for_end()
    wait_until_gone(folder)


def test_a_temporary_folder_is_gone_after_its_block(tmp_path):
    with processes.temporary_folder("a b-", tmp_path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("content")
    assert not folder.exists()
    with pytest.raises(ValueError), processes.temporary_folder("x", tmp_path) as folder:
        raise ValueError
    assert not folder.exists()
    with processes.temporary_folder("x", tmp_path) as folder:
        folder.rename(tmp_path / "kept")  # as a build does
    assert (tmp_path / "kept").is_dir()

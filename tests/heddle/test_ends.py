"""heddle/cli/ends.py: commands end with all that they started, with the usual exit codes, and no traceback."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from heddle.cli.ends import ends
from heddle.cli.shared import progress

# A tool that says it is there, and then works for ever: in place of Icarus, a C++ compiler, Yosys, Verilator.
TOOL = "#!/bin/sh\n(echo here; sleep 100000) > {pipe} & wait\n"
# The command, with tools of that kind and nothing built before.
PROGRAM = """
import sys
from pathlib import Path
from heddle.cli import main
from heddle.cosim.engines import hdl, icarus, verilator
from heddle.hw import verilog
tools = Path({tools!r})
hdl.bench_sources = lambda *_: tools / "sources"
verilator.require = lambda: tools / "root"
if {fake_build}:
    icarus.cached = lambda *_: tools
class Python:
    executable = str(tools / "yosys")
verilog.sys = Python
sys.argv = ["heddle", *{arguments!r}]
main()
"""
COSIM = ["cosim", "random", "--config", "nano", "--programs", "1", "--engine", "icarus"]
COMMANDS = {
    "cosim": COSIM,
    "cosim, building": COSIM,
    "cosim, building for Verilator": [*COSIM[:-1], "verilator"],
    "run": ["run", "encoder-layer", "--config", "nano", "--images", "2", "--engine", "icarus"],
    "generate": ["generate", "gpt2", "--prompt", "a", "--tokens", "2", "--engine", "icarus"],
    "synth": ["synth", "nano", "--unit", "write_channel"],
    "verilog": ["verilog", "--config", "nano", "-o", "nano.v"],
}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a command; when it is returned, a tool that it called is at work. Also returns the end of that tool."""
    pipe, tools, temporary = tmp_path / "pipe", tmp_path / "tools", tmp_path / "temporary"
    os.mkfifo(pipe)
    for folder in (tools / "sources", tools / "root" / "bin", temporary):
        folder.mkdir(parents=True)
    for name in ("iverilog", "vvp", "c++", "yosys", "root/bin/verilator_bin"):
        (tools / name).write_text(TOOL.format(pipe=pipe))
        (tools / name).chmod(0o755)
    for name in ("bench.v", "top.v"):
        (tools / "sources" / name).write_text("")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(temporary))
    reader, writer = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), os.open(pipe, os.O_WRONLY)
    os.set_blocking(reader, True)
    processes = []

    def call(what):
        if what in ("synth", "verilog", "cosim, building", "cosim, building for Verilator"):
            monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path / "cache"))  # where nothing has been built
        program = PROGRAM.format(tools=str(tools), arguments=COMMANDS[what], fake_build="building" not in what)
        process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)  # fmt: skip
        processes.append(process)
        assert os.read(reader, 5) == b"here\n"

        def end():
            os.close(writer)
            while os.read(reader, 100):
                pass

        return process, end

    yield call
    for process in processes:
        process.kill()
        process.stderr.close()
        process.wait()
    os.close(reader)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_ends_what_a_command_started(start, tmp_path, number):
    ends_with(start, tmp_path, "cosim", number)


@pytest.mark.parametrize("what", [
    "cosim, building", "cosim, building for Verilator", "synth", "verilog", pytest.param("run", marks=pytest.mark.long),
    pytest.param("generate", marks=pytest.mark.long),
])  # fmt: skip
def test_every_command_ends_what_it_started(start, tmp_path, what):
    ends_with(start, tmp_path, what, signal.SIGTERM)


@pytest.mark.parametrize("what", ["cosim, building for Verilator", "verilog"])
def test_what_a_command_started_ends_when_it_is_killed(start, tmp_path, what):
    ends_with(start, tmp_path, what, signal.SIGKILL)


def ends_with(start, tmp_path, what, number):
    process, end = start(what)
    process.send_signal(number)
    code, error = process.wait(), process.stderr.read()
    end()
    if number == signal.SIGKILL:
        assert code == -number
    else:
        assert code == 128 + number and error.splitlines()[-1] == "heddle: stopped" and "Traceback" not in error
    while left := [*(tmp_path / "temporary").glob("heddle-*"), *(tmp_path / "cache").glob("rtl/.building-*")]:
        assert number == signal.SIGKILL, left  # its folders are removed a moment later
        time.sleep(0.02)


def test_a_signal_that_nohup_had_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit, match="143"), ends():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


# -- output ------------------------------------------------------------------------------------------------------------


def call(arguments, **options):
    """`heddle ARGUMENTS` in a process of its own: (exit code, standard error)."""
    command = [sys.executable, "-c", "from heddle.cli import main; main()", *map(str, arguments)]
    found = subprocess.run(command, stderr=subprocess.PIPE, text=True, **options)
    return found.returncode, found.stderr


def test_an_output_that_is_full_is_a_mistake():
    for arguments in (["configs"], ["configs", "nano"], ["configs", "--json"]):
        with open("/dev/full", "w") as full:
            code, error = call(arguments, stdout=full)
        assert code == 2 and error == "heddle: cannot write what is to be printed: No space left on device\n"


def test_a_reader_that_has_gone_ends_the_command_as_it_does_others():
    for arguments in (["configs"], ["configs", "nano"], ["configs", "--json"]):
        reader, writer = os.pipe()
        os.close(reader)
        code, error = call(arguments, stdout=writer)
        os.close(writer)
        assert (code, error) == (128 + signal.SIGPIPE, "")


def test_closed_streams():
    close = "import os, sys; os.close({}); os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
    main_of = "from heddle.cli import main; main()"
    for number, code, error in ((1, 2, "heddle: standard output is closed\n"), (2, 2, "")):
        command = [sys.executable, "-c", close.format(number), main_of, "configs", "none"]
        found = subprocess.run(command, capture_output=True, text=True)
        assert (found.returncode, found.stderr) == (code, error)


def test_an_encoding_without_our_characters_shows_others():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    code, error = call(["configs"], env=environment, stdout=subprocess.DEVNULL)
    assert (code, error) == (0, "")


def test_a_traceback_is_left_to_what_nobody_foresaw(monkeypatch):
    with pytest.raises(ZeroDivisionError), ends():
        print(1 / 0)


def test_errors_of_the_system_and_of_tools_are_a_line(heddle, monkeypatch):
    import heddle.cosim.lockstep as lockstep
    from heddle.arch.errors import ToolError

    for error, message in (
        (OSError(28, "No space left on device", "x"), "heddle: x: No space left on device"),
        (MemoryError(), "heddle: there is not enough memory"),
        (ToolError("c++ failed:\nthe end of its output"), "heddle: c++ failed:\nthe end of its output"),
    ):

        def fail(*arguments, error=error, **options):
            raise error

        monkeypatch.setattr(lockstep, "engine_named", lambda name, fail=fail: fail)
        code, output, text = heddle("cosim", "random", "--config", "nano", "--programs", "1", "--engine", "amaranth")
        assert code == 2 and not output and text.endswith(message + "\n")


# -- where it is -------------------------------------------------------------------------------------------------------


def test_long_work_says_where_it_is_without_a_terminal(capsys):
    with ends():
        with progress("Making programs", 1000, "program") as advance:
            for _ in range(1000):
                advance()
        with progress("Simulating", 3) as advance:
            advance(3)
        with progress("Compiling x", None) as advance:
            advance()
    output, error = capsys.readouterr()
    lines = [f"Making programs: program {count}00 of 1,000" for count in range(1, 10)]
    assert not output and error.splitlines() == ["Making programs", *lines, "Simulating", "Compiling x"]


def test_a_build_is_announced_and_its_result_is_kept(tmp_path, monkeypatch, capsys):
    from heddle.cosim.build import cached

    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path))
    for _ in range(2):
        with ends():
            cached("thing", "key", lambda folder: None, "the RTL of nano (Icarus)")
    first, last = capsys.readouterr().err.splitlines()
    assert first == "building the RTL of nano (Icarus): this may take minutes, and is kept"
    assert last.startswith("built the RTL of nano (Icarus) in ")


def test_json_is_all_that_is_printed(heddle):
    code, output, error = heddle("compile", "encoder-layer", "--config", "nano", "-o", "x.heddle", "--json")
    assert code == 0 and json.loads(output)["instructions"] and "Compiling encoder-layer for nano" in error


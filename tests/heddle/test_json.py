"""The vocabulary of --json: every name that a command prints stands in docs/json.md, with one type in all commands."""

import json
import re
from pathlib import Path

import pytest
from heddle.arch.config import PRESETS
from heddle.cli import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
VOCABULARY = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", PAGE.read_text(), re.M))
IDENTITY = {"machine", "changed_fields", "fingerprint", "clock_mhz", "dram"}
TYPES = {
    "text": str, "integer": int, "number": (int, float), "yes/no": bool, "list": list, "object": dict, "map": dict,
    "null": type(None),
}  # fmt: skip

SPACE = 'config = "nano"\nparameters = { rows = [4, 7] }\nworkloads = ["encoder-layer"]\n'
PROGRAM = ("compile", "encoder-layer", "--config", "nano", "-o", "layer.heddle")
RUNS = {
    "compile": PROGRAM,
    "audit": ("compile", "encoder-layer", "--config", "nano", "--audit", "--precision", "mpl=w8a16"),
    "list": ("list", "layer.heddle"),
    "lint": ("lint", "layer.heddle"),
    "explain": ("explain", "layer.heddle"),
    "simulate": ("simulate", "layer.heddle", "--dram", "HBM2"),
    "report": ("report", "layer.heddle", "--free"),
    "run": ("run", "encoder-layer", "--config", "nano", "--images", 1, "--rtl-images", 0),
    "check an encoder": ("check", "encoder-layer", "--config", "nano"),
    "check a decoder": ("check", "tiny", "--config", "nano", "--tokens", 8),
    "generate": ("generate", "tiny", "--config", "nano", "--prompt", "ab", "--tokens", 2, "--context", 8),
    "sample": ("generate", "tiny", "--config", "nano", "--prompt", "ab", "--tokens", 1, "--temperature", 1),
    "embed": ("embed", "a cat sees", "the dog hears", "--config", "nano"),
    "kv-report": ("kv-report", "tiny", "--config", "nano", "--contexts", 8),
    "zoo": ("zoo", "norms"),
    "cosim": ("cosim", "random", "--config", "nano", "--engine", "icarus", "--programs", 1),
    "sweep": ("sweep", "space.toml", "-o", "rows", "--workers", 1),
    "sweep, checked": ("sweep", "space.toml", "--check"),
    "report of a sweep": ("report", "rows", "--html", "rows.html"),
    "synth": ("synth", "nano", "--unit", "write_channel", "--place", "--seeds", 2),
    "synth in gates": ("synth", "nano", "--unit", "write_channel", "--target", "generic"),
    "verilog": ("verilog", "--config", "nano"),
    "registers": ("registers",),
    "registers of a machine": ("registers", "--config", "nano"),
    "illegal": ("cosim", "illegal", "--config", "nano", "--engine", "icarus", "--programs", 1),
    "faults": ("cosim", "faults", "--sample", 2, "--file", "hw/pe.py", "--programs", 2),
    "configs": ("configs",),
    "a config": ("configs", "small", "--dram", "DDR4-2400"),
    "drams": ("configs", "--drams"),
    "bench": ("bench", "gemm-512"),
}  # fmt: skip


def entries(content):
    """(name, value) of all that is not within a map."""
    if isinstance(content, list):
        for each in content:
            yield from entries(each)
    elif isinstance(content, dict):
        for name, value in content.items():
            yield name, value
            if VOCABULARY.get(name) != "map":
                yield from entries(value)


def test_a_name_stands_once_on_the_page():
    names = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.M)
    assert len(names) == len(VOCABULARY) == len(set(names))


def test_every_command_is_run_here():
    assert {arguments[0] for arguments in RUNS.values()} == set(COMMANDS)


LONG = ("cosim", "illegal", "faults")
WITHOUT = [RUNS[name] for name in ("drams", "registers", "sweep", "sweep, checked", "report of a sweep",
                                          "faults")]  # a machine  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(run, id=name, marks=[pytest.mark.long] if name in LONG else []) for name, run in RUNS.items()],
)
def test_what_is_printed_stands_on_the_page(heddle, tiny, minilm, tmp_path, arguments):
    if "layer.heddle" in arguments:
        heddle(*PROGRAM)
    if "space.toml" in arguments or "rows" in arguments:
        (tmp_path / "space.toml").write_text(SPACE)
    if "rows.html" in arguments:
        heddle("sweep", "space.toml", "-o", "rows", "--workers", 1)
    code, output, error = heddle(*arguments, "--json")
    assert code == 0 or arguments[0] == "check" or "--audit" in arguments, error  # it may miss a threshold
    figures = json.loads(output)
    assert figures["version"] and arguments[0] == figures["command"]
    whose = {"configs": figures.get("configs"), "bench": [each["figures"] for each in figures.get("benchmarks", [])]}
    for each in whose.get(arguments[0]) or [figures]:
        assert set(each) >= IDENTITY or arguments in WITHOUT
    for name, value in entries(figures):
        assert name in VOCABULARY, f"{name} is not in docs/json.md"
        kinds = [TYPES[kind] for kind in VOCABULARY[name].split(" or ")]
        right = any(isinstance(value, kind) and (kind is bool) == isinstance(value, bool) for kind in kinds)
        assert right, f"{name} is {value!r}, not {VOCABULARY[name]}"


def test_a_changed_machine_is_not_passed_off_as_its_preset(heddle, tmp_path):
    (tmp_path / "mine.toml").write_text(heddle("configs", "nano")[1].replace("queue_depth = 4", "queue_depth = 8"))
    heddle("compile", "encoder-layer", "--config", "mine.toml", "-o", "layer.heddle")
    figures = json.loads(heddle("simulate", "layer.heddle", "--json")[1])
    assert figures["machine"] == "nano" and figures["changed_fields"] == ["queue_depth"]
    assert figures["fingerprint"] != PRESETS["nano"].fingerprint
    for command in ("simulate", "report", "explain", "list"):
        assert "nano (changed)" in heddle(command, "layer.heddle")[1]
    code, output, _ = heddle("run", "encoder-layer", "--config", "mine.toml", "--images", 1, "--rtl-images", 0)
    assert code == 0 and "encoder-layer on nano (changed)" in output
    assert {each.name for each in (tmp_path / "build").iterdir()} == {
        "encoder-layer-nano-changed-timeline.png", "encoder-layer-nano-changed-trace.json",
    }  # fmt: skip


def test_a_machine_of_another_name_or_clock_is_not_called_changed(heddle, tmp_path):
    toml = heddle("configs", "nano")[1]
    for old, new in (('name = "nano"', 'name = "mine"'), ("clock_mhz = 1000", "clock_mhz = 500")):
        (tmp_path / "mine.toml").write_text(toml.replace(old, new))
        figures = json.loads(heddle("configs", "mine.toml", "--json")[1])
        assert figures["changed_fields"] == [] and figures["dram"]["name"] == "ideal"


def test_the_memory_behind_the_port_is_named(heddle, tmp_path):
    behind = json.loads(heddle("configs", "nano", "--dram", "HBM2", "--json")[1])["dram"]
    assert behind["name"] == "HBM2" and behind["channels"] == 8
    toml = heddle("configs", "nano", "--dram", "HBM2")[1]
    (tmp_path / "mine.toml").write_text(re.sub(r"t_rcd = \d+", "t_rcd = 99", toml))
    assert json.loads(heddle("configs", "mine.toml", "--json")[1])["dram"]["name"] == "banked"

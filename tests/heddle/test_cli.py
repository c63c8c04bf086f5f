"""The heddle command: what it prints, its JSON, and one clear line for every mistake."""

import json

import pytest
from heddle.cli import COMMANDS


@pytest.fixture
def program_file(heddle, tmp_path):
    code, _, error = heddle("compile", "encoder-layer", "--config", "nano", "-o", "layer.heddle")
    assert code == 0, error
    return tmp_path / "layer.heddle"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(heddle, command):
    code, output, _ = heddle(command, "--help")
    assert code == 0
    assert f"Example: heddle {command}" in output
    assert "--json" in output


def test_configs_round_trip_through_a_file(heddle, tmp_path):
    _, toml, _ = heddle("configs", "nano")
    (tmp_path / "mine.toml").write_text(toml)
    code, output, _ = heddle("configs", "mine.toml", "--json")
    assert code == 0 and json.loads(output)["config"]["rows"] == 4
    _, output, _ = heddle("configs", "--json")
    names = [each["machine"] for each in json.loads(output)["configs"]]
    assert names == ["nano", "small", "ecp5", "base", "edge", "server"]
    assert "128×128" in heddle("configs")[1]


def test_a_program_file_can_be_listed_and_simulated(heddle, program_file, tmp_path):
    code, output, _ = heddle("list", program_file)
    assert code == 0 and "matmul" in output and "softmax" in output
    listed = json.loads(heddle("list", program_file, "--json")[1])
    assert listed["machine"] == "nano" and listed["listing"]
    code, output, _ = heddle("simulate", program_file, "--json", "--trace", "run.json", "--timeline", "run.svg")
    figures = json.loads(output)
    assert code == 0 and {"cycles", "mac_utilisation", "stall_cycles", "moved_bytes"} <= set(figures)
    assert all(sum(unit.values()) == figures["cycles"] for unit in figures["stall_cycles"].values())
    assert json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    assert (tmp_path / "run.svg").read_text().startswith("<?xml")
    slower = json.loads(heddle("simulate", program_file, "--json", "--latency", 200)[1])
    assert slower["cycles"] > figures["cycles"]
    assert "MAC utilisation" in heddle("simulate", program_file)[1]


def test_memories_are_listed_and_simulated(heddle, program_file):
    listed = json.loads(heddle("configs", "--drams", "--json")[1])["drams"]
    assert listed["HBM2"]["channels"] == 8 and "JESD235A" in heddle("configs", "--drams")[1]
    behind = json.loads(heddle("configs", "nano", "--dram", "HBM2", "--json")[1])
    assert behind["dram"]["model"] == "banked"
    ideal = json.loads(heddle("simulate", program_file, "--json")[1])
    banked = json.loads(heddle("simulate", program_file, "--json", "--dram", "DDR4-2400")[1])
    assert "dram_events" not in ideal and banked["dram_events"]["row_hits"] > 0 and banked["cycles"] != ideal["cycles"]
    assert "channels busy" in heddle("simulate", program_file, "--dram", "DDR4-2400")[1]
    for arguments in (["simulate", program_file, "--dram", "DDR9"], ["run", "encoder-layer", "--dram", "DDR9"]):
        code, output, error = heddle(*arguments)
        assert code == 2 and not output and "unknown DRAM 'DDR9'; presets are ideal, DDR4-2400" in error
    assert heddle("configs", "--dram", "HBM2")[0] == 2


def test_run_reports_accuracy_and_writes_pictures(heddle, tmp_path):
    code, output, error = heddle("run", "digits-vit", "--images", 20, "--rtl-images", 0, "--json")
    figures = json.loads(output)
    assert code == 0, error
    assert {"accuracy_fp32", "accuracy", "output_sqnr_db", "inputs", "cycles_per_input", "mac_utilisation",
            "seconds"} <= set(figures)  # fmt: skip
    assert figures["inputs"] == 20 and figures["accuracy"] >= 90
    names = {each.name for each in (tmp_path / "build").iterdir()}
    assert names == {"digits-vit-small-timeline.png", "digits-vit-small-trace.json"}


def test_compile_shows_its_passes(heddle):
    code, output, error = heddle("compile", "encoder-layer", "--config", "nano", "-o", "x.heddle", "--passes", "--json")
    assert code == 0 and json.loads(output)["instructions"] > 10
    for name in ("capture", "fuse", "quantise", "schedule"):
        assert f"── {name} " in error


def test_cosim_compares_a_file_and_random_programs(heddle, program_file):
    for what in ((program_file,), ("random", "--config", "nano", "--programs", "3", "--seed", "5")):
        code, output, error = heddle("cosim", *what, "--json")
        figures = json.loads(output)
        assert code == 0, error
        assert {"engine", "machine", "programs", "instructions", "cycles"} <= set(figures)
        assert figures["different_bytes"] == figures["different_cycles"] == 0
        assert figures["engine"] == "verilator" and figures["machine"] == "nano" and figures["instructions"] > 0


def test_registers_are_written_in_every_format(heddle, tmp_path):
    assert heddle("registers")[1].startswith("# Registers")
    code, output, _ = heddle("registers", "--format", "c", "--config", "nano", "-o", "registers.h")
    assert code == 0 and "registers.h" in output
    assert "#define HEDDLE_ROWS_VALUE 0x4u" in (tmp_path / "registers.h").read_text()
    code, _, error = heddle("registers", "--format", "ipxact")
    assert code == 2 and "unknown format 'ipxact'; formats are markdown, c, rdl, json" in error
    code, _, error = heddle("registers", "-o", "none/registers.h")
    assert code == 2 and "cannot write none/registers.h" in error


@pytest.mark.parametrize("options", [[], ["--debug"]], ids=["", "debug"])
def test_verilog_is_written(heddle, tmp_path, options):
    code, output, _ = heddle("verilog", "--config", "nano", "-o", "nano.v", "--json", *options)
    assert code == 0 and json.loads(output)["modules"] > 10
    top = (tmp_path / "nano.v").read_text().partition("endmodule")[0]
    assert "module heddle(" in top and ("output retire_load_valid;" in top) == bool(options)


MISTAKES = {
    "unknown model": (["run", "resnet"], "unknown model 'resnet'; models are digits-vit"),
    "unknown preset": (["run", "digits-vit", "--config", "huge"], "unknown configuration 'huge'; presets are nano"),
    "missing config file": (["configs", "none.toml"], "cannot read configuration none.toml"),
    "unknown engine": (["cosim", "random", "--engine", "modelsim"], "unknown engine 'modelsim'; engines are verilator"),
    "too many images": (["run", "digits-vit", "--images", "541"], "--images must be from 1 to 540, not 541"),
    "no images": (["run", "digits-vit", "--images", "0"], "--images must be from 1 to 540, not 0"),
    "more on the RTL than simulated": (
        ["run", "digits-vit", "--images", "1", "--rtl-images", "2"], "--rtl-images must be from 0 to --images (1)"
    ),
    "cosim of too many images": (["cosim", "digits-vit", "--images", "541"], "--images must be from 1 to 540"),
    "no programs": (["cosim", "random", "--programs", "0"], "--programs must be at least 1"),
    "missing file": (["simulate", "none.heddle"], "cannot read none.heddle"),
    "no such directory": (["compile", "encoder-layer", "-o", "none/x.heddle"], "its directory does not exist"),
    "verilog into no directory": (["verilog", "-o", "none/x.v"], "its directory does not exist"),
    "too large a model": (
        ["compile", "digits-vit", "--config", "tiny.toml", "-o", "x.heddle"], "words"
    ),
    "field out of range": (["configs", "bad.toml"], "rows must be a whole number from 2 to 256, not 0"),
    "unknown command": (["sing"], "No such command 'sing'"),
    "unknown option": (["run", "digits-vit", "--colour"], "No such option"),
    "latency out of range": (["simulate", "x.heddle", "--latency", "0"], "cannot read x.heddle"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_remedy_and_exit_code_2(heddle, tmp_path, mistake):
    arguments, message = MISTAKES[mistake]
    toml = heddle("configs", "nano")[1]
    (tmp_path / "bad.toml").write_text(toml.replace("rows = 4", "rows = 0", 1))
    tiny = toml.replace("value_words = 2048", "value_words = 64").replace("act_words = 2048", "act_words = 64")
    (tmp_path / "tiny.toml").write_text(tiny)
    before = sorted(each.name for each in tmp_path.iterdir())
    code, output, error = heddle(*arguments)
    assert code == 2
    assert message in error
    assert "Traceback" not in error and not output
    if error.startswith("heddle:"):
        assert error.count("\n") == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == before, "a partial file was left"


def test_a_damaged_or_foreign_file_is_refused(heddle, program_file):
    whole = program_file.read_bytes()
    program_file.write_bytes(whole[: len(whole) // 2])
    for command in ("list", "simulate", "cosim"):
        code, _, error = heddle(command, program_file)
        assert code == 2 and "not a Heddle program, or is truncated" in error
    program_file.write_bytes(whole)
    code, _, error = heddle("simulate", program_file, "--config", "base")
    assert code == 2 and "was compiled for nano" in error and "compile it again" in error
    code, _, error = heddle("cosim", program_file, "--config", "small")
    assert code == 2 and "was compiled for nano" in error


def test_a_missing_simulator_is_named_with_the_remedy(heddle, program_file, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HEDDLE_CACHE", str(tmp_path / "cache"))
    code, _, error = heddle("cosim", program_file, "--engine", "icarus")
    assert code == 2 and "iverilog" in error and "install" in error.lower()

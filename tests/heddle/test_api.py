"""The public names take what they may be given in any form, and answer anything else with what would be right."""

import subprocess
import sys
from dataclasses import replace

import heddle
import numpy as np
import pytest
import torch
from heddle.arch.config import Unit
from torch import nn

NANO = heddle.get_config("nano")
X = torch.zeros(1, 4, 8)
MODEL = nn.Linear(8, 8).eval()


def gpt2():
    from heddle.models.gpt2 import Gpt2, Gpt2Config

    return Gpt2(Gpt2Config(context=32, width=16, depth=1, heads=2)).eval()


def session():
    return heddle.Session(MODEL, "nano", heddle.CachePlan(8))  # its program is never made


@pytest.fixture(scope="module")
def program():
    return heddle.compile(MODEL, (X,), "nano")


@pytest.fixture(scope="module")
def result(program):
    return heddle.simulate(program, values=False)


def test_a_configuration_may_be_a_name_or_a_file(program, tmp_path):
    (tmp_path / "mine.toml").write_text(NANO.to_toml())
    assert heddle.get_config(NANO) is NANO and heddle.get_config(tmp_path / "mine.toml") == NANO
    for config in (NANO, "nano", tmp_path / "mine.toml", str(tmp_path / "mine.toml")):
        assert heddle.compile(MODEL, (X,), config).instructions == program.instructions
        assert heddle.random_program(config, 3).listing() == heddle.random_program(NANO, 3).listing()
    large = heddle.LANGUAGE_MODELS["gpt2"].model()
    assert heddle.Session(large, "small", heddle.CachePlan(32)).config is heddle.PRESETS["small"]
    tiny, plan = gpt2(), heddle.CachePlan(32)
    assert heddle.compile_decoder(tiny, "nano", plan).code == heddle.compile_decoder(tiny, NANO, plan).code


def test_a_memory_may_be_a_preset_or_a_part(program, result):
    banked = NANO.with_dram("HBM2").dram
    part = heddle.DRAM_PRESETS["HBM2"]
    cycles = {heddle.simulate(program, values=False, dram=dram).cycles for dram in ("HBM2", part, banked)}
    assert len(cycles) == 1 and cycles != {result.cycles}
    assert heddle.simulate(program, values=False, dram="ideal").cycles == result.cycles
    assert NANO.with_dram(part) == NANO.with_dram(banked) == NANO.with_dram("HBM2")
    assert NANO.with_dram() is NANO and NANO.with_dram(banked, t_rcd=30) == NANO.with_dram("HBM2", t_rcd=30)
    profile = heddle.Profile(result)
    roofs = {heddle.roofline(profile, dram).peak_bytes_per_cycle for dram in ("HBM2", part, banked)}
    assert roofs == {banked.bytes_per_cycle(NANO.axi_bytes)}


def test_a_memory_that_cannot_serve_the_port_is_refused(program):
    narrow = replace(NANO.with_dram("HBM2").dram, access_bytes=4, interleave_bytes=256)
    wide = heddle.compile(nn.Linear(16, 16).eval(), (torch.zeros(1, 4, 16),), "base")
    with pytest.raises(heddle.HeddleError, match="dram.access_bytes must be at least axi_bytes"):
        heddle.simulate(wide, values=False, dram=narrow)


CONFIG = r"a configuration must be a HardwareConfig, the name of a preset \(nano, .*\) or the path of a .toml file"
PROGRAM = "the program must be a Program, as heddle.compile makes and Program.load reads, not "
IDS = "ids must be whole numbers, one for each token, not "
MISTAKES = {
    "get_config: a number": (lambda p, r: heddle.get_config(3), CONFIG + r", not 3 \(a int\)"),
    "get_config: a near miss": (
        lambda p, r: heddle.get_config("smal"), r"'smal' \(did you mean small\?\); presets are"
    ),
    "with_dram: a number": (
        lambda p, r: NANO.with_dram(3), "dram must be a DramConfig, a DramPart or one of ideal, DDR4"
    ),
    "with_dram: a field": (lambda p, r: NANO.with_dram(t_rdc=3), r"did you mean dram.t_rcd\?"),
    "HardwareConfig: dram": (lambda p, r: replace(NANO, dram="HBM2"), r"dram must be a DramConfig \(with_dram takes"),
    "HardwareConfig: name": (lambda p, r: replace(NANO, name="a/b"), "name must be 1 to 64 characters"),
    "HardwareConfig: rows": (
        lambda p, r: replace(NANO, rows="4"), "rows must be a whole number from 2 to 256, not '4'"
    ),
    "DramConfig: model": (lambda p, r: heddle.DramConfig("HBM2"), "dram.model must be 'ideal' or 'banked'"),
    "compile: config": (lambda p, r: heddle.compile(MODEL, (X,), None), CONFIG + ", not None"),
    "compile: model": (
        lambda p, r: heddle.compile("gpt2", (X,), "nano"), "the model must be a torch.nn.Module, not 'gpt2'"
    ),
    "compile: class": (lambda p, r: heddle.compile(nn.Linear, (X,), "nano"), "the model must be a torch.nn.Module"),
    "compile: input": (
        lambda p, r: heddle.compile(MODEL, X, "nano"), r"example_inputs must be a tuple .* such as \(x,\)"
    ),
    "compile: array": (
        lambda p, r: heddle.compile(MODEL, (X.numpy(),), "nano"), "each of example_inputs must be a tensor"
    ),
    "compile: precision": (
        lambda p, r: heddle.compile(MODEL, (X,), "nano", precision=8), "precision must be one of w8a8,"
    ),
    "compile: no precision": (lambda p, r: heddle.compile(MODEL, (X,), "nano", precision=""), "unknown precision ''"),
    "compile: tiling": (lambda p, r: heddle.compile(MODEL, (X,), "nano", tiling=4), "tiling must be a Tiling, or None"),
    "sweep: space": (lambda p, r: heddle.sweep(3), "space must be the path of a .toml file, a dict"),
    "Captures": (
        lambda p, r: heddle.compile(MODEL, (X,), "nano", captures=heddle.Captures),
        "captures must be Captures, or None, not",
    ),
    "compile: name": (lambda p, r: heddle.compile(MODEL, (X,), "nano", name=4), r"name must be text, not 4"),
    "compile: show": (
        lambda p, r: heddle.compile(MODEL, (X,), "nano", show=True), r"show must be a function of \(pass"
    ),
    "compile: layer": (
        lambda p, r: heddle.compile(nn.Sequential(MODEL), (X,), "nano", precision={"00": "w8a16"}),
        "unknown layer '00'.*; layers with a precision are ",
    ),
    "audit: config": (lambda p, r: heddle.audit(MODEL, (X,), 3), CONFIG),
    "audit: model": (lambda p, r: heddle.audit("gpt2", (X,), "nano"), "the model must be a torch.nn.Module"),
    "audit: input": (lambda p, r: heddle.audit(MODEL, X, "nano"), "example_inputs must be a tuple"),
    "check: samples": (lambda p, r: heddle.check(MODEL, [], "nano"), "samples must hold at least one set of inputs"),
    "check: a sample": (lambda p, r: heddle.check(MODEL, [X], "nano"), "example_inputs must be a tuple"),
    "choose_precision: PEs": (
        lambda p, r: heddle.choose_precision(MODEL, [(X,)], replace(NANO, pe="bf16")), "there is nothing to choose"
    ),
    "calibrate": (lambda p, r: heddle.calibrate("gpt2", []), "the model must be a torch.nn.Module"),
    "calibrate: inputs": (lambda p, r: heddle.calibrate(MODEL, [3]), "each set of inputs must be a tuple of tensors"),
    "compile_decoder: config": (lambda p, r: heddle.compile_decoder(MODEL, 3, heddle.CachePlan(8)), CONFIG),
    "compile_decoder: plan": (
        lambda p, r: heddle.compile_decoder(MODEL, "nano", 8), r"plan must be a CachePlan, such as"
    ),
    "compile_decoder: model": (
        lambda p, r: heddle.compile_decoder("gpt2", "nano", heddle.CachePlan(8)), "the model must be a torch.nn.Module"
    ),
    "compile_decoder: tokens": (
        lambda p, r: heddle.compile_decoder(MODEL, "nano", heddle.CachePlan(8), tokens=1.5),
        "tokens must be a whole number from 1 to .*, not 1.5",
    ),
    "compile_decoder: context": (
        lambda p, r: heddle.compile_decoder(MODEL, "nano", heddle.CachePlan(8), context=0),
        "context must be a whole number from 1",
    ),
    "CachePlan": (lambda p, r: heddle.CachePlan("8"), "tokens must be a whole number from 1 to .*, not '8'"),
    "CachePlan: none": (lambda p, r: heddle.CachePlan(0), "tokens must be a whole number from 1 to .*, not 0"),
    "Tiling": (lambda p, r: heddle.Tiling(parts=0), "parts must be a whole number from 1"),
    "PrecisionRule": (lambda p, r: heddle.PrecisionRule("w8a9"), r"unknown precision 'w8a9' \(did you mean w8a8\?\)"),
    "PrecisionRule: name": (lambda p, r: heddle.PrecisionRule({3: "w8a8"}), "name of a layer with a precision must be"),
    "Session: config": (lambda p, r: heddle.Session(MODEL, 3, heddle.CachePlan(8)), CONFIG),
    "Session: plan": (lambda p, r: heddle.Session(MODEL, "nano", 8), "plan must be a CachePlan"),
    "Session: model": (lambda p, r: heddle.Session("gpt2", "nano", heddle.CachePlan(8)), "the model must be a torch"),
    "Session: engine": (
        lambda p, r: heddle.Session(MODEL, "nano", heddle.CachePlan(8), engine="iccarus"), r"did you mean icarus\?"
    ),
    "Session: chunk": (
        lambda p, r: heddle.Session(MODEL, "nano", heddle.CachePlan(8), chunk=0), "chunk must be a whole"
    ),
    "Session.step: None": (lambda p, r: session().step(None), IDS + "None"),
    "Session.step: 5": (lambda p, r: session().step(5), IDS + r"5 \(a int"),
    "Session.step: text": (lambda p, r: session().step("a"), IDS + "'a'"),
    "Session.step: 1.5": (lambda p, r: session().step([1.5]), IDS),
    "Session.step: -1": (lambda p, r: session().step([-1]), "each of ids must be a whole number from 0"),
    "Session.feed: None": (lambda p, r: session().feed(None), IDS + "None"),
    "Session.feed: 5": (lambda p, r: session().feed(5), IDS + "5"),
    "simulate: program": (lambda p, r: heddle.simulate("x.heddle"), PROGRAM + "'x.heddle'"),
    "simulate: dram": (lambda p, r: heddle.simulate(p, values=False, dram="HBM"), r"did you mean HBM2\?"),
    "simulate: a number": (
        lambda p, r: heddle.simulate(p, values=False, dram=3), "dram must be a DramConfig, a DramPart or"
    ),
    "simulate: inputs": (
        lambda p, r: heddle.simulate(p, np.zeros((4, 8))), "inputs must be name → array, or a list of"
    ),
    "simulate: a list": (
        lambda p, r: heddle.simulate(p, [np.zeros((4, 8))]), "each set of inputs must be name → array"
    ),
    "simulate: a name": (
        lambda p, r: heddle.simulate(p, {"inputs": np.zeros((4, 8))}), r"for 'inputs', did you mean 'input'\?"
    ),
    "simulate: engine": (lambda p, r: heddle.simulate(p, engine="verilator"), "engine must be 'auto', 'plain' or"),
    "simulate: free": (lambda p, r: heddle.simulate(p, values=False, free="load"), "free must be a tuple of units"),
    "simulate: unit": (
        lambda p, r: heddle.simulate(p, values=False, free=["load"]), "each of free must be a Unit: LOAD"
    ),
    "lockstep: program": (lambda p, r: heddle.lockstep("x.heddle"), "programs must be a Program, or a list of them"),
    "lockstep: a list": (lambda p, r: heddle.lockstep(["x.heddle"]), PROGRAM),
    "lockstep: engine": (lambda p, r: heddle.lockstep(p, None, "sim"), "unknown engine 'sim'; engines are verilator"),
    "lockstep: no engine": (lambda p, r: heddle.lockstep(p, None, None), "unknown engine None; engines are verilator"),
    "lockstep: inputs": (lambda p, r: heddle.lockstep(p, 3), "inputs must be name → array, or a list of such, not 3"),
    "lint": (lambda p, r: heddle.lint("x.heddle"), PROGRAM),
    "require_ordered": (lambda p, r: heddle.require_ordered(None), PROGRAM + "None"),
    "facts": (lambda p, r: heddle.facts(r), PROGRAM),
    "facts: result": (lambda p, r: heddle.facts(p, 3), "the result must be what heddle.simulate gives, or None"),
    "Profile": (lambda p, r: heddle.Profile(p), "the result must be what heddle.simulate gives"),
    "Profile: no timing": (
        lambda p, r: heddle.Profile(heddle.simulate(p, {"input": np.zeros((4, 8))}, timing=False)), "a run with timing"
    ),
    "roofline": (lambda p, r: heddle.roofline(r), "the profile must be a Profile"),
    "write_roofline": (lambda p, r: heddle.write_roofline("x.png", r), "the content must be a Roofline"),
    "write_roofline: suffix": (
        lambda p, r: heddle.write_roofline("x.bmp", heddle.roofline(heddle.Profile(r))), "must end in .png, .svg or"
    ),
    "write_timeline": (
        lambda p, r: heddle.write_timeline("none/x.png", r.trace, p.instructions, ""), "its directory does not exist"
    ),
    "write_chrome_trace": (
        lambda p, r: heddle.write_chrome_trace("x", r), "the trace must be what Result.chrome_trace"
    ),
    "write_chrome_trace: path": (lambda p, r: heddle.write_chrome_trace("none/x", {}), "cannot write none/x"),
    "Program.save": (lambda p, r: p.save("none/x.heddle"), "cannot write none/x.heddle: its directory does not exist"),
    "Program.save: None": (lambda p, r: p.save(None), "the path of a file must be text or a pathlib.Path, not None"),
    "Program.save: choices": (
        lambda p, r: replace(p, choices=(3,)).save("x.heddle"), "choices must be Choice each, not 3"
    ),
    "Program.at": (lambda p, r: p.at(3), "positions are for decoders; program has none"),
    "isa": (lambda p, r: heddle.isa.Load(words="8"), "load: words must be a whole number, not .8."),
    "Tensor": (
        lambda p, r: p.inputs()[0].pack(np.zeros((4, 9)), p.config), r"input 'input' must have shape \(4, 8\)"
    ),
    "Program.load": (lambda p, r: heddle.Program.load("."), "cannot read .: Is a directory"),
    "random_program": (lambda p, r: heddle.random_program(3, 0), CONFIG),
    "random_program: seed": (lambda p, r: heddle.random_program("nano", "a"), "seed must be a whole number from 0"),
    "illegal": (lambda p, r: heddle.illegal(3, 1), CONFIG),
    "illegal: engine": (lambda p, r: heddle.illegal("nano", 1, engine="iccarus"), r"did you mean icarus\?"),
    "illegal: programs": (lambda p, r: heddle.illegal("nano", 0), "programs must be a whole number from 1"),
    "record": (lambda p, r: heddle.record("x.heddle", None, "icarus", "x.vcd"), PROGRAM),
    "record: engine": (lambda p, r: heddle.record(p, None, "iccarus", "x.vcd"), r"did you mean icarus\?"),
    "record: suffix": (lambda p, r: heddle.record(p, None, "icarus", "x.lxt"), r"must end in \.fst or \.vcd"),
    "record: path": (
        lambda p, r: heddle.record(p, None, "icarus", None), "the path of a file must be text or a pathlib.Path"
    ),
    "record: window": (
        lambda p, r: heddle.record(p, None, "icarus", "x.vcd", 5), r"window must be a Window .*, not 5 \(a int\)"
    ),
    "write_timeline: path": (
        lambda p, r: heddle.write_timeline(None, r.trace, p.instructions, ""), "the path of a file must be text"
    ),
    "write_roofline: path": (
        lambda p, r: heddle.write_roofline(3, heddle.roofline(heddle.Profile(r))), "the path of a file must be text"
    ),
    "REGISTER_FILES: a number": (lambda p, r: heddle.REGISTER_FILES["c"](3), CONFIG),
    "REGISTER_FILES: a near miss": (lambda p, r: heddle.REGISTER_FILES["rdl"]("smal"), r"did you mean small\?"),
    "Window": (lambda p, r: heddle.Window("3"), "the first cycle of a waveform must be a whole number from 0"),
    "accelerator_verilog": (lambda p, r: heddle.accelerator_verilog(None), CONFIG),
    "synthesise": (lambda p, r: heddle.synthesise(3), CONFIG),
    "synthesise: a unit": (lambda p, r: heddle.synthesise("nano", ["vecto"]), r"did you mean vector\?"),
    "synthesise: units": (
        lambda p, r: heddle.synthesise("nano", "vector"), r"units must be a list of names, .*, not 'vector' \(a str\)"
    ),
    "synthesise: a number": (lambda p, r: heddle.synthesise("nano", [3]), "each of units must be the name of"),
    "synthesise: target": (lambda p, r: heddle.synthesise("nano", target="ecp"), r"did you mean ecp5\?"),
    "synthesise: library": (
        lambda p, r: heddle.synthesise("nano", target="generic", library=3), "the path of a file must be text"
    ),
    "synthesise: a library on an ECP5": (
        lambda p, r: heddle.synthesise("nano", library="x.lib"), "a Liberty file is for the target generic"
    ),
    "synthesise: seeds": (lambda p, r: heddle.synthesise("nano", seeds=3), "seeds must be a list of whole numbers"),
    "synthesise: seed": (
        lambda p, r: heddle.synthesise("nano", seeds=[0]), "each of seeds must be a whole number from 1"
    ),
    "synthesise: placed in gates": (
        lambda p, r: heddle.synthesise("nano", target="generic", seeds=[1]), "can be placed only for the target ecp5"
    ),
    "SGD": (lambda p, r: heddle.SGD(-1), "rate must be a number from 0 on, not -1"),
    "SGD: momentum": (lambda p, r: heddle.SGD(0.1, 1), "momentum must be a number from 0 on and below 1, not 1"),
    "AdamW": (lambda p, r: heddle.AdamW("fast"), "rate must be a number from 0 on, not 'fast'"),
    "AdamW: betas": (lambda p, r: heddle.AdamW(0.1, 0.9), r"betas must be two numbers, such as \(0.9, 0.999\)"),
    "Training": (lambda p, r: heddle.Training("gpt2", (), "base", heddle.SGD(1)), "the model must be a torch.nn.Modul"),
    "Training: optimiser": (lambda p, r: heddle.Training(MODEL, (), "base", "adam"), "the optimiser must be SGD or Ad"),
    "Training: inputs": (
        lambda p, r: heddle.Training(torch.nn.Linear(4, 4), (torch.zeros(2, 5),), "base", heddle.SGD(1)),
        "cannot be differentiated for these inputs: mat1 and mat2 shapes",
    ),
    "get_shape": (lambda p, r: heddle.get_shape("bert-bse"), r"unknown model 'bert-bse' \(did you mean bert-base\?\)"),
    "get_shape: a number": (lambda p, r: heddle.get_shape(3), "the name of a shape must be one of bert-base"),
    "get_shape: a file": (lambda p, r: heddle.get_shape("none.json"), "cannot read none.json: No such file"),
    "greedy": (lambda p, r: heddle.greedy("gpt2", [1], 1), "the model must be a torch.nn.Module"),
    "greedy: no ids": (lambda p, r: heddle.greedy(MODEL, None, 1), IDS),
    "greedy: texts": (lambda p, r: heddle.greedy(MODEL, ["a"], 1), IDS),
    "greedy: context": (
        lambda p, r: heddle.greedy(gpt2(), [1] * 30, 4),
        r"the model must take ids \(1, up to 33\) .*; ids must be of its vocabulary, and fit its context: ",
    ),
    "greedy: vocabulary": (lambda p, r: heddle.greedy(gpt2(), [1 << 30], 1), "ids must be of its vocabulary"),
    "greedy: ids": (lambda p, r: heddle.greedy(MODEL, [], 1), "ids must be at least one token"),
    "load_text": (
        lambda p, r: heddle.load_text("tests"), r"unknown split 'tests' \(did you mean test\?\); splits are train"
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_says_what_would_be_right(program, result, tmp_path, monkeypatch, mistake):
    monkeypatch.chdir(tmp_path)
    call, message = MISTAKES[mistake]
    with pytest.raises(heddle.HeddleError, match=message) as caught:
        call(program, result)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_every_public_name_that_takes_arguments_has_a_mistake():
    data = {"HeddleError", "DRAM_PRESETS", "Memory", "Unit", "WORKLOADS", "PRESETS", "LANGUAGE_MODELS", "SHAPES",
            "ENGINES", "REGISTER_FILES", "last_run", "Result", "Comparison"}  # fmt: skip
    assert {name.split(":")[0].split(".")[0] for name in MISTAKES} >= set(heddle.__all__) - data


def test_the_package_lists_its_names_and_its_version():
    assert {*heddle.__all__, "__version__"} <= {*dir(heddle)}
    found = subprocess.run([sys.executable, "-m", "heddle", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith(f"heddle {heddle.__version__}, commit ")


def test_free_units_may_be_any_collection(program, result):
    collections = [Unit.LOAD], {Unit.LOAD}, (Unit.LOAD,)
    cycles = {heddle.simulate(program, values=False, free=free).cycles for free in collections}
    assert len(cycles) == 1 and cycles.pop() < result.cycles


def test_numbers_of_numpy_are_plain_ones():
    three = np.int64(3)
    for given, plain in (
        (heddle.CachePlan(three, three, three), heddle.CachePlan(3, 3, 3)),
        (heddle.Tiling(three, three, three), heddle.Tiling(3, 3, 3)),
        (heddle.Window(three, three), heddle.Window(3, 3)),
    ):
        assert repr(given) == repr(plain)

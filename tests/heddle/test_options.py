"""Every option of every command: wrong values are refused before any work, and so is what would mean nothing."""

import click
import pytest
from heddle.cli import COMMANDS, cli

ALWAYS = None  # the option means something whatever else is given

# For each option of each command: arguments with which it means nothing, and what is said then.
MEANS_NOTHING = {
    "run": {
        "--config": ALWAYS, "--precision": ALWAYS, "--dram": ALWAYS, "--images": ALWAYS, "--rtl-images": ALWAYS,
        "--output-dir": ALWAYS,
        "--tokens": ("digits-vit --tokens 3", "--tokens is for a directory with weights; digits-vit has inputs of its"),
        "--seed": ("digits-vit --seed 3", "--seed is for a directory with weights; digits-vit has inputs of its own"),
        "--engine": ("digits-vit --rtl-images 0 --engine icarus", "--engine means nothing with --rtl-images 0"),
    },
    "generate": {
        "--prompt": ALWAYS, "--tokens": ALWAYS, "--config": ALWAYS, "--precision": ALWAYS, "--engine": ALWAYS,
        "--temperature": ALWAYS, "--context": ALWAYS,
        "--top-k": ("gpt2 --prompt a --top-k 3", "--top-k is for sampling: it needs a --temperature above 0"),
        "--top-p": ("gpt2 --prompt a --top-p 0.5", "--top-p is for sampling"),
        "--seed": ("gpt2 --prompt a --seed 0", "--seed is for sampling"),
    },
    "embed": {"--config": ALWAYS, "--precision": ALWAYS, "--engine": ALWAYS, "--plain": ALWAYS},
    "check": {
        "--config": ALWAYS, "--precision": ALWAYS,
        "--tokens": ("digits-vit --tokens 3", "--tokens is for language models and directories; digits-vit is"),
    },
    "kv-report": {
        "--config": ALWAYS, "--contexts": ALWAYS, "--plot": ALWAYS,
        "--layers": ("gpt2 --layers 3", "--layers is for shapes, such as gpt2-xl; gpt2 is timed whole"),
    },
    "compile": {
        "--config": ALWAYS, "--precision": ALWAYS, "--audit": ALWAYS,
        "--output": ("digits-vit --audit -o x", "--output writes a file: --audit writes none"),
        "--passes": ("digits-vit --audit --passes", "--passes prints passes: --audit prints what is missing"),
        "--no-fuse": ("gpt2 -o x --no-fuse", "--no-fuse is for models without a cache"),
        "--tokens": ("digits-vit -o x --tokens 3", "--tokens is for full-size and language models; digits-vit has one"),
        "--context": ("bert-base -o x --context 9", "--context is for decoders, which have a cache; bert-base has"),
        "--layers": ("gpt2 -o x --layers 2", "--layers is for full-size models, such as gpt2-xl; gpt2 is compiled"),
    },
    "list": {},
    "lint": {
        "--config": ALWAYS, "--all": ("layer.heddle --all --json", "--all is for the lines: --json has all findings"),
    },
    "explain": {
        "--config": ALWAYS, "--position": ("layer.heddle --position 3", "--position is for decoders; encoder-layer"),
    },
    "simulate": {
        "--config": ALWAYS, "--dram": ALWAYS, "--latency": ALWAYS, "--cycles-per-beat": ALWAYS, "--timeline": ALWAYS,
        "--trace": ALWAYS, "--races": ALWAYS,
        "--position": ("layer.heddle --position 0", "--position is for decoders; encoder-layer has no positions"),
    },
    "report": {
        "--config": ALWAYS, "--dram": ALWAYS, "--latency": ALWAYS, "--cycles-per-beat": ALWAYS, "--chain": ALWAYS,
        "--free": ALWAYS, "--roofline": ALWAYS, "--timeline": ALWAYS, "--trace": ALWAYS, "--races": ALWAYS,
        "--position": ("layer.heddle --position 0", "--position is for decoders; encoder-layer has no positions"),
        "--layers": ("layer.heddle --layers --json", "--layers is for the tables: --json has the layers"),
        "--html": ALWAYS, "--energy": ("layer.heddle --energy tpuv4i-7", "--energy is of the page: it needs --html"),
    },
    "cosim": {
        "--config": ("faults --config nano", "--config means nothing for faults, which are run on machines of their"),
        "--engine": ("faults --engine icarus", "--engine means nothing for faults"),
        "--sample": ("random --sample 3", "--sample is for faults"),
        "--file": ("illegal --file x", "--file is for faults"), "--rows": ("random --rows x", "--rows is for faults"),
        "--images": ("random --images 1", "--images is for a MODEL or FILE; --programs says how many are made"),
        "--programs": ("layer.heddle --programs 3", "--programs is for random programs; --images says how many"),
        "--seed": ("digits-vit --seed 3", "--seed is for random programs, a FILE and a directory; a MODEL"),
        "--races": ("random --races", "--races is for a FILE; programs that are made have no race"),
        "--waves": ("illegal --waves x.vcd", "--waves is for programs that run to their end"),
        "--waves-from": ("random --waves-from 3", "--waves-from and --waves-to are of a waveform: name its file"),
        "--waves-to": ("random --waves-to 3", "--waves-from and --waves-to are of a waveform: name its file"),
    },
    "zoo": {"--rtl": ALWAYS, "--full": ALWAYS, "--output": ALWAYS},
    "bench": {
        "--timeout": ALWAYS,
        "--scalesim": ("gpt2-decode --scalesim", "--scalesim is for gemm-512 and bert-layer, of which none is named"),
    },
    "sweep": {
        "--output": ("space.toml --check --output x", "--output means nothing with --check, which runs nothing"),
        "--workers": ("space.toml --check --workers 2", "--workers means nothing with --check"),
        "--scheduler": ("space.toml --check --scheduler x", "--scheduler means nothing with --check"),
        "--search": ("space.toml --check --search gp", "--search means nothing with --check"),
        "--evaluations": ("space.toml --check --evaluations 2", "--evaluations means nothing with --check"),
        "--seed": ("space.toml --search exhaustive --seed 3", "--seed is for a search; all points are run"),
        "--audit": ("space.toml --check --audit 1", "--audit means nothing with --check"),
        "--engine": ("space.toml --engine icarus", "--engine is of an audit: it needs --audit N"),
        "--check": ALWAYS,
    },
    "synth": {
        "--unit": ALWAYS, "--target": ALWAYS,
        "--liberty": ("nano --liberty x.lib", "--liberty is for --target generic"),
        "--place": ("nano --target generic --place", "--place is for --target ecp5"),
        "--seeds": ("nano --seeds 3", "--seeds is for placements: it needs --place"),
    },
    "verilog": {"--config": ALWAYS, "--output": ALWAYS, "--debug": ALWAYS},
    "registers": {
        "--format": ("--json --format c", "--format is of the text: --json has the registers under its own names"),
        "--config": ALWAYS, "--output": ALWAYS,
    },
    "configs": {
        "--dram": ("--dram HBM2", "--dram needs a configuration to be behind"),
        "--drams": ("small --drams", "NAME means nothing beside --drams"),
    },
}  # fmt: skip

SPACE = 'config = "nano"\nparameters = { rows = [4, 8] }\nworkloads = ["encoder-layer"]\n'
FILE = "cannot write none/x: its directory does not exist"
PICTURE = "cannot write x.bmp: the name must end in .png, .svg or .pdf"
CONFIG = "unknown configuration 'smal' (did you mean small?)"
DRAM = "unknown DRAM 'DDR4-240' (did you mean DDR4-2400?)"
ENGINE = "unknown engine 'verilater' (did you mean verilator?)"
PRECISION = "unknown precision 'w8a61' (did you mean w8a16?)"
OF_FILE = {
    "--config": ("layer.heddle --config smal", CONFIG), "--dram": ("layer.heddle --dram DDR4-240", DRAM),
    "--latency": ("layer.heddle --latency 0", "dram.latency_cycles must be a whole number from 1 to 4095, not 0"),
    "--cycles-per-beat": ("layer.heddle --cycles-per-beat 256", "dram.cycles_per_beat must be a whole number from 1"),
    "--position": ("cached.heddle --position -1", "--position must be at least 0, not -1"),
    "--timeline": ("layer.heddle --timeline x.bmp", PICTURE), "--trace": ("layer.heddle --trace none/x", FILE),
    "--roofline": ("layer.heddle --roofline x.bmp", PICTURE), "--chain": ("layer.heddle --chain -1", "-1 is not in"),
}  # fmt: skip

# For each option with a value: one that it cannot have, and what is said then.
WRONG_VALUE = {
    "run": {
        "--config": ("digits-vit --config smal", CONFIG), "--dram": ("digits-vit --dram DDR4-240", DRAM),
        "--precision": ("digits-vit --precision w8a61", PRECISION),
        "--tokens": ("weights --tokens 0", "--tokens must be at least 1, not 0"),
        "--seed": ("weights --seed -1", "--seed must be at least 0, not -1"),
        "--images": ("encoder-layer --images 999999999999", "--images must be from 1 to 100000, not 999999999999"),
        "--rtl-images": ("digits-vit --rtl-images -1", "--rtl-images must be from 0 to --images (540), not -1"),
        "--engine": ("digits-vit --engine verilater", ENGINE),
        "--output-dir": ("digits-vit --output-dir layer.heddle", "cannot make layer.heddle: File exists"),
    },
    "generate": {
        "--prompt": (["gpt2", "--prompt", ""], "the prompt is empty"),
        "--tokens": ("gpt2 --prompt a --tokens 0", "--tokens must be at least 1, not 0"),
        "--config": ("gpt2 --prompt a --config smal", CONFIG),
        "--precision": ("gpt2 --prompt a --precision w8a61", PRECISION),
        "--engine": ("gpt2 --prompt a --engine verilater", ENGINE),
        "--temperature": ("gpt2 --prompt a --temperature nan", "temperature must be a number of at least 0, not nan"),
        "--top-k": ("gpt2 --prompt a --temperature 1 --top-k 0", "top_k must be at least 1, not 0"),
        "--top-p": ("gpt2 --prompt a --temperature 1 --top-p nan", "top_p must be above 0 and at most 1, not nan"),
        "--seed": ("gpt2 --prompt a --temperature 1 --seed -1", "--seed must be at least 0, not -1"),
        "--context": ("gpt2 --prompt a --context 257", "--context must be from 1 to 256"),
    },
    "embed": {
        "--config": ("text --config smal", CONFIG), "--precision": ("text --precision w8a61", PRECISION),
        "--engine": ("text --engine verilater", ENGINE),
    },
    "check": {
        "--config": ("gpt2 --config smal", CONFIG), "--precision": ("gpt2 --precision w8a61", PRECISION),
        "--tokens": ("gpt2 --tokens 0", "--tokens must be at least 1, not 0"),
    },
    "kv-report": {
        "--config": ("gpt2 --config smal", CONFIG), "--plot": ("gpt2 --plot x.bmp", PICTURE),
        "--contexts": (["gpt2", "--contexts", ""], "--contexts must be whole numbers with commas between"),
        "--layers": ("gpt2-xl --layers 0", "gpt2-xl must have at least 1 layer, not 0"),
    },
    "compile": {
        "--config": ("digits-vit -o x --config smal", CONFIG), "--output": ("digits-vit -o none/x", FILE),
        "--precision": ("digits-vit -o x --precision w8a61", PRECISION),
        "--tokens": ("gpt2 -o x --tokens 0", "--tokens must be from 1 to 256, the context, not 0"),
        "--context": ("gpt2 -o x --context 0", "--context must be from 1 to 256, the context of gpt2, not 0"),
        "--layers": ("gpt2-small -o x --layers 99999999999", "--layers must be from 1 to 1,000, not 99999999999"),
    },
    "list": {},
    "lint": {"--config": OF_FILE["--config"]},
    "explain": {name: OF_FILE[name] for name in ("--config", "--position")},
    "simulate": {name: OF_FILE[name] for name in OF_FILE if name not in ("--roofline", "--chain")},
    "report": OF_FILE | {
        "--html": ("layer.heddle --html x.htm", "cannot write x.htm: the name must end in .html"),
        "--energy": ("layer.heddle --html x.html --energy horowitz", "unknown energy table 'horowitz' (did you mean"),
    },
    "cosim": {
        "--config": OF_FILE["--config"], "--engine": ("random --engine verilater", ENGINE),
        "--images": ("layer.heddle --images 0", "--images must be at least 1 and at most 100,000, not 0"),
        "--programs": ("random --programs 99999999999", "--programs must be at least 1 and at most 100,000, not 999"),
        "--seed": ("random --seed -1", "--seed must be at least 0, not -1"),
        "--sample": ("faults --sample 0", "--sample must be at least 1 and at most 100,000, not 0"),
        "--file": ("faults --file hw/pee.py", "no faults can be made of hw/pee.py"),
        "--rows": ("faults --rows none/x", FILE),
        "--waves": ("random --waves x.lxt", "cannot write x.lxt: the name must end in .fst or .vcd"),
        "--waves-from": ("random --waves x.vcd --waves-from -1", "the first cycle of a waveform must be a whole"),
        "--waves-to": ("random --waves x.vcd --waves-from 9 --waves-to 8", "must be a whole number from 9 to"),
    },
    "zoo": {"--output": ("norms --output none/x", FILE), "--full": ("norms --full smal", CONFIG)},
    "bench": {"--timeout": ("gemm-512 --timeout nan", "--timeout must be above 0 and at most 1e+06 seconds, not nan")},
    "sweep": {
        "--output": ("space.toml -o layer.heddle", "'layer.heddle' is a file"),
        "--workers": ("space.toml --workers 0", "0 is not in the range"),
        "--scheduler": ("space.toml --scheduler nowhere:1", "no Dask scheduler answers at nowhere:1"),
        "--search": ("space.toml --search gpp", "unknown search 'gpp' (did you mean gp?)"),
        "--evaluations": ("space.toml --evaluations 9", "evaluations must be a whole number from 1 to 2, not 9"),
        "--seed": ("space.toml --seed -1", "seed must be a whole number from 0"),
        "--audit": ("space.toml --audit -1", "-1 is not in the range"),
        "--engine": ("space.toml --audit 1 --engine verilater", ENGINE),
    },
    "synth": {
        "--unit": ("nano --unit vecto", "unknown unit 'vecto' (did you mean vector?); units are csr, "),
        "--target": ("nano --target ecp6", "unknown target 'ecp6' (did you mean ecp5?); targets are ecp5, generic"),
        "--liberty": ("nano --target generic --liberty none.lib", "cannot read Liberty file none.lib: No such file"),
        "--seeds": ("nano --place --seeds 1,x", "--seeds must be a number from 1 to 100, or different numbers"),
    },
    "verilog": {"--config": ("--config smal", CONFIG), "--output": ("-o none/x", FILE)},
    "registers": {
        "--format": ("--format rld", "unknown format 'rld' (did you mean rdl?); formats are markdown, c, rdl, json"),
        "--config": ("--config smal", CONFIG), "--output": ("-o none/x", FILE),
    },
    "configs": {"--dram": ("small --dram DDR4-240", DRAM)},
}  # fmt: skip


def options_of(command: str) -> list[click.Option]:
    return [each for each in cli.get_command(click.Context(cli), command).params if isinstance(each, click.Option)]


def cases(table):
    return [(command, option, *found) for command in table for option, found in table[command].items() if found]


def test_the_tables_have_every_option_of_every_command():
    assert set(MEANS_NOTHING) == set(WRONG_VALUE) == set(COMMANDS)
    for command in COMMANDS:
        names = {each.opts[-1]: each for each in options_of(command)}
        assert set(MEANS_NOTHING[command]) == set(names) - {"--json"}, command
        assert set(WRONG_VALUE[command]) == {name for name, each in names.items() if not each.is_flag}, command


@pytest.fixture
def refused(heddle, tmp_path, programs):
    """A command is refused, in a line that says so, before anything is printed or written."""
    for name in ("layer.heddle", "cached.heddle", "weights", "space.toml"):
        (tmp_path / name).symlink_to(programs / name)
    before = sorted(each.name for each in tmp_path.iterdir())

    def check(command, arguments, message):
        arguments = arguments.split() if isinstance(arguments, str) else arguments
        code, output, error = heddle(command, *arguments)
        assert (code, output) == (2, "") and message in error, error
        assert "Traceback" not in error and (error.startswith("Usage:") or error.count("\n") == 1)
        assert sorted(each.name for each in tmp_path.iterdir()) == before

    return check


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder with the program of an encoder, that of a decoder, and a directory as if of Hugging Face."""
    import heddle as package
    import torch
    from heddle.models.gpt2 import Gpt2, Gpt2Config

    folder = tmp_path_factory.mktemp("programs")
    (folder / "weights").mkdir()
    (folder / "weights" / "model.safetensors").touch()
    (folder / "space.toml").write_text(SPACE)
    layer = package.compile(torch.nn.Linear(8, 8).eval(), (torch.zeros(1, 4, 8),), "nano", name="encoder-layer")
    layer.save(folder / "layer.heddle")
    model = Gpt2(Gpt2Config(context=32, width=16, depth=1, heads=2)).eval()
    package.compile_decoder(model, "nano", package.CachePlan(32)).save(folder / "cached.heddle")
    return folder


@pytest.mark.parametrize("command, option, arguments, message", cases(MEANS_NOTHING))
def test_an_option_that_would_mean_nothing_is_refused(refused, command, option, arguments, message):
    refused(command, arguments, message)


@pytest.mark.parametrize("command, option, arguments, message", cases(WRONG_VALUE))
def test_a_value_that_an_option_cannot_have_is_refused(refused, command, option, arguments, message):
    refused(command, arguments, message)


@pytest.mark.parametrize("command, arguments, message", [
    ("cosim", "random --seed 1 --seed 1", "--seed is given 2 times"),
    ("simulate", "layer.heddle --latency 3 --dram HBM2 --latency 5", "--latency is given 2 times"),
    ("bench", "gemm-512 gemm-512", "the benchmark gemm-512 is named twice"),
    ("report", "layer.heddle --timeline a.svg --roofline a.svg", "would be written twice"),
    ("simulate", "layer.heddle --timeline a.svg --trace ./a.svg", "would be written twice"),
    ("cosim", "digits-vit --races", "--races is for a FILE; what is compiled here has no race"),
    ("configs", "--drams --dram HBM2", "--dram means nothing beside --drams"),
    ("check", "gpt2 --precision w8a8 --precision w8a16", "--precision is given twice for *"),
    ("run", "digits-vit --precision =w8a8", "--precision must be PATTERN=w16a16, or one of w8a8"),
    ("compile", "digits-vit", "-o FILE must say which file to write; only --audit does without"),
    ("synth", "nano --unit vector --unit vector", "units must be different, but vector is there 2 times"),
    ("synth", "nano --place --seeds 2,2", "--seeds must be a number from 1 to 100, or different numbers"),
])  # fmt: skip
def test_what_is_said_twice_is_refused(refused, command, arguments, message):
    refused(command, arguments, message)


@pytest.mark.parametrize("arguments, message", [
    ("simulat x", "No such command 'simulat' (did you mean simulate?); commands are run, generate"),
    ("run digit-vit", "unknown model 'digit-vit' (did you mean digits-vit?)"),
    ("generate deepsek --prompt a", "unknown model 'deepsek' (did you mean deepseek?)"),
    ("check bert-tny", "unknown model 'bert-tny' (did you mean bert-tiny?)"),
    ("kv-report gpt2xl", "unknown model 'gpt2xl' (did you mean gpt2-xl?)"),
    ("compile bertbase -o x", "unknown model 'bertbase' (did you mean bert-base?)"),
    ("bench gemm512", "unknown benchmark 'gemm512' (did you mean gemm-512?)"),
    ("configs NANO", "unknown configuration 'NANO' (did you mean nano?)"),
    ("synth NANO", "unknown configuration 'NANO' (did you mean nano?)"),
    ("synth nano --unit vector.panl", "unknown part of vector 'panl' (did you mean panel?)"),
])  # fmt: skip
def test_what_was_meant_is_suggested(heddle, arguments, message):
    code, output, error = heddle(*arguments.split())
    assert code == 2 and not output and message in error


@pytest.mark.parametrize("arguments", [["run", ""], ["compile", "", "-o", "x"], ["check", ""], ["kv-report", ""],
                                       ["cosim", ""], ["bench", ""], ["configs", ""], ["list", ""], ["synth", ""],
                                       ["synth", "nano", "--unit", ""]])  # fmt: skip
def test_an_empty_name_is_unknown(heddle, arguments):
    code, output, error = heddle(*arguments)
    assert code == 2 and not output and ("unknown" in error or "cannot read" in error) and "Traceback" not in error

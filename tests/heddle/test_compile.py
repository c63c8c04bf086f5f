"""heddle compile of models without weights and of language models, and what the other commands make of the files."""

import json
import re
from dataclasses import replace

import pytest
from heddle import SHAPES, CachePlan, HeddleError, compile_decoder, get_config, get_shape, simulate
from heddle.models.llama import Llama, LlamaConfig

BERT = {
    "model_type": "bert", "vocab_size": 97, "max_position_embeddings": 16, "hidden_size": 32, "num_hidden_layers": 3,
    "num_attention_heads": 4, "intermediate_size": 64,
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "vocab_size": 61, "max_position_embeddings": 6000, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48,
}  # fmt: skip


@pytest.fixture
def configs(tmp_path):
    """Directories with the config.json of a small encoder and a small decoder."""
    for name, fields in (("bert", BERT), ("llama", LLAMA)):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text(json.dumps(fields))


def figures_of(heddle, *arguments):
    code, output, error = heddle(*arguments, "--json")
    assert code == 0, error
    return json.loads(output)


def all_read(heddle, *position):
    """x.heddle is a file without weights that all commands for timing read, and no other; gives its timing."""
    assert figures_of(heddle, "lint", "x.heddle")["clean"]
    explained = figures_of(heddle, "explain", "x.heddle", *position)
    reported = figures_of(heddle, "report", "x.heddle", *position)
    assert explained["cycles"] == reported["cycles"] and explained["choices"]
    for command in (["lint"], ["explain", *position], ["report", *position], ["simulate"], ["list"]):
        code, output, error = heddle(command[0], "x.heddle", *command[1:])
        assert code == 0 and output, error
    code, _, error = heddle("cosim", "x.heddle")
    assert code == 2 and "compiled without weights" in error
    return reported


def test_an_encoder_of_full_size_is_compiled_by_name(heddle, tmp_path):
    compiled = figures_of(
        heddle, "compile", "bert-base", "--config", "base", "--layers", 1, "--tokens", 16, "-o", "x.heddle"
    )
    layer = 16 * (4 * 768 * 768 + 2 * 768 * 3072) + 2 * 16 * 16 * 768
    assert compiled["useful_macs"] == layer + 768 * 768 + 2 * 768 and compiled["timing_only"]
    assert (tmp_path / "x.heddle").stat().st_size < 40_000
    found = all_read(heddle)
    assert found["program"] == "bert-base" and found["useful_macs"] == compiled["useful_macs"]


def test_a_decoder_of_full_size_is_compiled_by_name(heddle, tmp_path):
    compiled = figures_of(heddle, "compile", "gpt2-small", "--config", "base", "--layers", 1, "-o", "x.heddle")
    weights = 4 * 768 * 768 + 2 * 768 * 3072 + 768 * 50257
    assert compiled["useful_macs"] == weights + 2 * 768 and compiled["timing_only"]
    assert (tmp_path / "x.heddle").stat().st_size < 40_000
    found = all_read(heddle, "--position", 1000)
    assert found["program"] == "gpt2-small decode" and found["useful_macs"] == weights + 1001 * 2 * 768
    assert "--position" in heddle("compile", "gpt2-small", "--config", "base", "--layers", 1, "-o", "x.heddle")[1]


@pytest.mark.parametrize("path", ["models/bert", "models/bert/config.json"])
def test_an_encoder_is_compiled_from_its_config(heddle, configs, path):
    whole = figures_of(heddle, "compile", path, "--config", "nano", "-o", "x.heddle")
    less = figures_of(heddle, "compile", path, "--config", "nano", "-o", "x.heddle", "--tokens", 8, "--layers", 1)
    macs = [
        layers * (tokens * (4 * 32 * 32 + 2 * 32 * 64) + 2 * tokens**2 * 32) + 32 * 32 + 32 * 2
        for layers, tokens in ((3, 16), (1, 8))
    ]
    assert [whole["useful_macs"], less["useful_macs"]] == macs
    assert figures_of(heddle, "simulate", "x.heddle")["program"] == "bert"


def test_a_decoder_is_compiled_from_its_config(heddle, configs):
    compile = ("compile", "models/llama", "--config", "nano", "-o", "x.heddle")
    layers = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    assert figures_of(heddle, *compile, "--context", 64)["useful_macs"] == layers + 2 * 2 * 32 + 32 * 61
    chunk = figures_of(heddle, *compile, "--context", 64, "--tokens", 4)  # the head is for the last token of a prompt
    assert chunk["useful_macs"] == 4 * layers + (1 + 2 + 3 + 4) * 2 * 2 * 32
    assert figures_of(heddle, "simulate", "x.heddle")["program"] == "llama prefill"
    code, output, error = heddle(*compile, "--context", 6001)
    assert code == 2 and "--context must be from 1 to 6000, the context of llama, not 6001" in error


DEEPSEEK = {
    "model_type": "deepseek_v3", "vocab_size": 61, "max_position_embeddings": 64, "hidden_size": 32,
    "num_hidden_layers": 9, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 48,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "first_k_dense_replace": 2, "n_routed_experts": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "layers", "part"),
    [
        ("latent.json", (), "2 of 9 layers (the dense ones)"),
        ("latent.json", ("--layers", 1), "1 of 9 layers"),
        ("models/bert", ("--layers", 1), "1 of 3 layers"),
        ("models/bert", ("--layers", 4), "4 layers instead of 3"),
        ("models/bert", (), None),
    ],
)
def test_a_model_that_is_built_in_part_says_so(heddle, configs, tmp_path, model, layers, part):
    (tmp_path / "latent.json").write_text(json.dumps(DEEPSEEK))
    compile = ("compile", model, "--config", "nano", *layers, "-o", "x.heddle")
    assert figures_of(heddle, *compile)["part"] == part
    for command in ("explain", "report", "simulate", "list", "lint"):
        assert figures_of(heddle, command, "x.heddle")["part"] == part
    for command in (compile, *((each, "x.heddle") for each in ("explain", "report", "simulate", "list", "lint"))):
        output = heddle(*command)[1]
        assert f"It has {part}." in output if part else not re.search(r"It has \d", output)


def test_what_is_ignored_in_a_file_changes_no_cycle():
    """A head that shares its weights with the embedding. Nor do biases, which are built."""
    config = get_config("nano")

    def cycles(model):
        program = compile_decoder(model, config, CachePlan(16), context=16)
        return simulate(program, values=False).cycles

    decoder = LlamaConfig(vocabulary=61, context=16, width=32, depth=1, heads=4, hidden=48)
    expected, tied = cycles(Llama(decoder)), Llama(decoder)
    tied.head.weight = tied.tokens.weight
    biased = replace(decoder, qkv_bias=True, output_bias=True, mlp_bias=True)
    assert cycles(tied) == cycles(Llama(biased)) == expected


def test_a_sliding_window_that_sees_the_whole_cache_changes_nothing(heddle, tmp_path):
    """And its mask, which would have a thousand million elements, is never made."""
    found = []
    for name, fields in (("llama", LLAMA), ("mistral", LLAMA | {"model_type": "mistral", "sliding_window": 4096})):
        (tmp_path / f"{name}.json").write_text(json.dumps(fields | {"max_position_embeddings": 32768}))
        figures_of(heddle, "compile", f"{name}.json", "--config", "nano", "--context", 64, "-o", "x.heddle")
        found.append(figures_of(heddle, "report", "x.heddle")["cycles"])
    assert found[0] == found[1]


def test_a_language_model_is_compiled_with_its_weights(heddle, tiny):
    assert not figures_of(heddle, "compile", "tiny", "--config", "nano", "-o", "x.heddle")["timing_only"]
    assert figures_of(heddle, "simulate", "x.heddle")["program"] == "tiny decode"
    figures_of(heddle, "compile", "tiny", "--config", "nano", "-o", "x.heddle", "--tokens", 4, "--context", 16)
    assert figures_of(heddle, "report", "x.heddle", "--position", 12)["program"] == "tiny prefill"


MISTAKES = {
    "unknown model": (
        ["resnet"],
        "unknown model 'resnet'; models are digits-vit, bert-tiny, encoder-layer, encoder-layer-post, gpt2, llama, "
        f"deepseek, {', '.join(SHAPES)}, or the path of a config.json"
    ),
    "tokens of a workload": (["digits-vit", "--tokens", "5"], "--tokens is for full-size and language models; digits-"),
    "context of a workload": (["bert-tiny", "--context", "5"], "--context is for full-size and language models"),
    "layers of a workload": (["encoder-layer", "--layers", "0"], "--layers is for full-size and language models"),
    "layers of a language model": (["gpt2", "--layers", "2"], "--layers is for full-size models, such as gpt2-xl"),
    "context of an encoder": (["bert-base", "--context", "9"], "--context is for decoders, which have a cache; bert-b"),
    "no layer": (["bert-base", "--layers", "0"], "bert-base must have at least 1 layer, not 0"),
    "layers with experts": (
        ["deepseek-v3", "--layers", "10"],
        "deepseek-v3 must have at most 3 layers, not 10: the others of its 61 have experts, which are not built"
    ),
    "a window": (
        ["window.json", "--context", "20000"],
        "window has a sliding window: its context must be at most 16384, not 20000"
    ),
    "a family": (["mamba.json"], 'not "mamba": it has no attention'),
    "no token": (["bert-base", "--tokens", "0"], "bert-base takes from 1 to 512 tokens, not 0"),
    "too many tokens": (["bert-base", "--tokens", "513"], "bert-base takes from 1 to 512 tokens, not 513"),
    "tokens of an image": (["vit-b16", "--tokens", "9"], "vit-b16 always has 197 tokens, not 9"),
    "too much context": (["gpt2-xl", "--context", "1025"], "--context must be from 1 to 1024, the context of gpt2-xl"),
    "no context": (["gpt2", "--context", "0"], "--context must be from 1 to 256, the context of gpt2, not 0"),
    "no tokens at a time": (["gpt2-small", "--tokens", "0"], "--tokens must be from 1 to 1024, the context, not 0"),
    "more tokens than context": (
        ["gpt2-small", "--tokens", "9", "--context", "8"], "--tokens must be from 1 to 8, the context, not 9"
    ),
    "no file": (["none/config.json"], "cannot read none/config.json: No such file or directory"),
    "no file in a directory": (["models"], "cannot read models/config.json: No such file or directory"),
    "bad field": (["bad.json"], 'bad.json: num_key_value_heads must be a whole number above 0, not "2"'),
    "not JSON": (["binary.json"], "binary.json is not a JSON file"),
    "a JSON list": (["list.json"], "list.json must hold a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_remedy_and_exit_code_2(heddle, configs, tmp_path, mistake):
    (tmp_path / "bad.json").write_text(json.dumps(LLAMA | {"num_key_value_heads": "2"}))
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "mamba.json").write_text('{"model_type": "mamba"}')
    window = LLAMA | {"model_type": "mistral", "sliding_window": 8, "max_position_embeddings": 32768}
    (tmp_path / "window.json").write_text(json.dumps(window))
    arguments, message = MISTAKES[mistake]
    code, output, error = heddle("compile", *arguments, "-o", "x.heddle")
    assert code == 2 and message in error and not output
    assert error.startswith("heddle:") and error.count("\n") == 1
    assert not (tmp_path / "x.heddle").exists()


def test_running_what_has_no_weights_names_what_to_use(heddle, configs):
    for model, name in (("bert-base", "bert-base"), ("models/llama/config.json", "llama")):
        for command in ("run", "cosim"):
            code, _, error = heddle(command, model)
            assert code == 2 and f"{model} is a shape without weights" in error
            assert f"use heddle compile {model} -o {name}.heddle, then heddle simulate {name}.heddle" in error
    code, _, error = heddle("run", "gpt2")
    assert code == 2 and "gpt2 is a language model: use heddle generate gpt2" in error


def test_shapes_are_public(tmp_path):
    assert get_shape("bert-base") is SHAPES["bert-base"]
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    assert get_shape(str(tmp_path)).layers == 3
    with pytest.raises(HeddleError, match=r"unknown model 'bert' \(did you mean bert-base\?\); models are bert-base"):
        get_shape("bert")
    with pytest.raises(HeddleError, match="cannot read .*none.json: No such file"):
        get_shape(str(tmp_path / "none.json"))


def test_a_decoder_in_a_file_runs_in_lockstep(heddle):
    figures_of(heddle, "compile", "gpt2", "--config", "small", "--context", "16", "-o", "gpt2.heddle")
    figures = figures_of(heddle, "cosim", "gpt2.heddle", "--engine", "verilator")
    assert figures["first_difference"] is None and figures["cycles"] > 100_000


def test_an_audit_lists_what_is_missing_and_writes_nothing(heddle, configs, tmp_path):
    audit = ("compile", "models/bert", "--audit", "--config", "nano")
    code, output, error = heddle(*audit, "--precision", "*.nothing=w8a16")
    assert code == 1 and "precision: unknown layer '*.nothing'" in output, error
    code, output, error = heddle(*audit, "--layers", 1, "--tokens", 4)
    assert code == 0 and "compiles: " in output, error
    assert not list(tmp_path.glob("*.heddle"))

"""Models of Hugging Face directories: compiled and run with their weights, or refused by what is wrong with them."""

import json
import re
import shutil
import struct
import sys

import heddle as api
import numpy as np
import pytest
import torch
from heddle import pretrained
from safetensors.torch import load_file, save_file

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

BERT = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48,
    "max_position_embeddings": 24,
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory as the library writes it: a BERT with a classifier of three labels."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("hf") / "tiny-bert"
    config = transformers.BertConfig(**BERT, num_labels=3)
    transformers.BertForSequenceClassification(config).save_pretrained(path)
    return path


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "tiny-bert")


def test_a_directory_runs_with_its_weights(heddle, saved):
    options = ("--config", "base", "--precision", "w16a16", "--tokens", 9, "--images", 2, "--rtl-images", 0, "--json")
    code, output, error = heddle("run", saved, *options)
    assert code == 0, error
    figures = json.loads(output)
    assert figures["program"] == "tiny-bert" and figures["inputs"] == 2 and figures["output_sqnr_db"] > 40


def test_the_program_computes_what_the_classifier_does(heddle, saved):
    code, output, error = heddle("compile", saved, "--precision", "w16a16", "--tokens", 7, "-o", "x.heddle")
    assert code == 0, error
    ids = np.array([5, 39, 0, 7, 7, 21, 3])
    found = api.simulate(api.Program.load("x.heddle"), {"input_ids": ids}).outputs["logits"]
    model = transformers.BertForSequenceClassification.from_pretrained(saved).eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(ids)[None]).logits.numpy()
    assert np.corrcoef(found.ravel(), logits.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(found.ravel(), logits.ravel(), atol=0.02 * np.abs(logits).max())


def test_a_module_in_one_call_with_inputs_by_name(saved):
    model = pretrained.load(str(saved))
    ids, seen = torch.tensor([[4, 9, 33, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]])
    config = api.get_config("small")
    program = api.compile(model, {"attention_mask": seen, "input_ids": ids}, config, precision="w16a16")
    assert program.takes() == {"input_ids": (5,), "attention_mask": (5,)}
    for mask in ([1, 1, 1, 0, 0], [1, 1, 1, 1, 1]):
        found = api.simulate(program, {"input_ids": ids[0].numpy(), "attention_mask": np.array(mask)}).outputs["logits"]
        theirs = pretrained.golden(model, {"input_ids": ids, "attention_mask": torch.tensor([mask])})["logits"]
        np.testing.assert_allclose(found.reshape(theirs.shape), theirs, atol=0.02 * np.abs(theirs).max())


def test_a_cache_is_left_out_and_said_to_be():
    sizes = {"vocab_size": 20, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 8}
    model = pretrained.build("gpt2", sizes, 0)
    program = api.compile(model, pretrained.example_inputs(model, 4), api.get_config("nano"))
    assert [each.name for each in program.outputs()] == ["last_hidden_state"]
    (choice,) = [each for each in program.choices if each.what == "results"]
    assert choice.chosen.startswith("tensors alone: without ")  # how the library calls it differs between its releases
    assert choice.chosen.endswith(" (DynamicCache)")


def test_inputs_hang_on_the_seed_alone(saved):
    model = pretrained.load(str(saved))
    first, again, other = (pretrained.example_inputs(model, 12, seed)["input_ids"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (1, 12) and int(first.max()) < 40


class Other(transformers.BertModel):
    """Computes something else when it is exported."""

    def forward(self, *args, **kwargs):
        found = super().forward(*args, **kwargs)
        return found.last_hidden_state * (2 if torch.compiler.is_exporting() else 1)


def test_what_export_makes_something_else_of_is_refused():
    model, ids = Other(transformers.BertConfig(**BERT)).eval(), {"input_ids": torch.tensor([[4, 9, 33]])}
    with pytest.raises(api.HeddleError, match="captures Other otherwise than a call computes it: its result output"):
        api.compile(model, ids, "base")


# -- what is wrong with a directory ------------------------------------------------------------------------------------


def _changed(name, value):
    def change(folder):
        fields = json.loads((folder / "config.json").read_text())
        fields[name] = value
        (folder / "config.json").write_text(json.dumps(fields))

    return change


def _without(name):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        del tensors[name]
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return change


def _cut(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def _wrong_header(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")


def _pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _lost_part(folder):
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"classifier.bias": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


MISTAKES = {
    "no config.json": (lambda folder: (folder / "config.json").unlink(), "config.json is missing: a model's directory"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json is not a JSON file"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), r"must hold a JSON object, not \[\]"),
    "unknown type": (_changed("model_type", "bertt"), r"unknown model_type 'bertt' \(did you mean bert\?\): it must"),
    "no type": (_changed("model_type", None), "model_type must be the name of an architecture .*, not null"),
    "unknown class": (_changed("architectures", ["MyBert"]), "architectures must name a model of .*'MyBert'"),
    "wrong field": (_changed("hidden_size", "wide"), "config.json: .*hidden_size"),
    "other sizes": (_changed("intermediate_size", 64), "cannot be loaded: .*|has other shapes of"),
    "more layers": (_changed("num_hidden_layers", 2), "model.safetensors lacks bert.encoder.layer.1.* and [0-9]+ more"),
    "a tensor lost": (_without("bert.pooler.dense.weight"), "lacks bert.pooler.dense.weight, which BertFor"),
    "cut": (_cut, "cannot be loaded: .*"), "wrong header": (_wrong_header, "cannot be loaded: .*[Hh]eader"),
    "a pickle": (_pickled, "pytorch_model.bin is a pickle or of another library, and is not read"),
    "a part lost": (_lost_part, "cannot be loaded: .*model-00001-of-00002.safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_end_with_a_line(heddle, copy, name):
    change, message = MISTAKES[name]
    change(copy)
    code, output, error = heddle("run", copy, "--rtl-images", 0)
    assert code == 2 and output == ""
    (line,) = [line for line in error.splitlines() if line.startswith("heddle: ")]
    assert re.search(message, line), line


def test_code_of_a_directory_is_not_executed(heddle, copy):
    (copy / "evil.py").write_text("raise SystemExit('executed')")
    _changed("auto_map", {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"})(copy)
    code, _, error = heddle("compile", copy, "--config", "base", "-o", "x.heddle")
    assert code == 0, error


def test_options_that_mean_nothing(heddle, saved):
    for option in ("--context", "--layers"):
        code, _, error = heddle("compile", saved, "-o", "x", option, 3)
        assert code == 2 and f"{option} means nothing for a directory with weights" in error
    for option, value in (("--tokens", 0), ("--seed", -1)):
        code, _, error = heddle("run", saved, option, value)
        assert code == 2 and f"{option} must be at least {max(value + 1, 0)}, not {value}" in error
    code, _, error = heddle("run", saved, "--tokens", 25, "--rtl-images", 0)
    assert code == 2 and "BertForSequenceClassification does not take input_ids (1, 25)" in error


def test_without_the_extra_it_is_asked_for(heddle, saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, _, error = heddle("run", saved)
    assert code == 2 and "a model of Hugging Face needs the extra hf: pip install 'heddle[hf]'" in error


@pytest.mark.long
def test_a_directory_runs_in_lockstep(heddle, saved):
    code, output, error = heddle("cosim", saved, "--config", "nano", "--images", 1, "--seed", 3, "--json")
    assert code == 0, error
    figures = json.loads(output)
    assert figures["runs"] == 1 and figures["different_bytes"] == figures["different_cycles"] == 0

"""heddle generate with a directory of Hugging Face: encoder–decoders as transformers writes them."""

import json

import heddle as api
import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
from heddle.causal import read  # noqa: E402
from heddle.seq2seq import Bound  # noqa: E402

IDS = [5, 7, 9, 11, 3, 8, 4]
ENDS = {"eos_token_id": None, "pad_token_id": 1, "forced_eos_token_id": None}
HALVES = {
    f"{half}_{name}": size for half in ("encoder", "decoder")
    for name, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 24))
} | {"d_model": 16, "vocab_size": 24, "decoder_start_token_id": 2} | ENDS  # fmt: skip
T5 = {"vocab_size": 24, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2,
      "decoder_start_token_id": 0} | ENDS  # fmt: skip
WHISPER = {"num_mel_bins": 8, "max_source_positions": 6, "max_target_positions": 32, "suppress_tokens": None,
           "begin_suppress_tokens": None}  # fmt: skip
MODELS = {
    "bart": lambda: transformers.BartForConditionalGeneration(transformers.BartConfig(**HALVES)),
    "mbart": lambda: transformers.MBartForConditionalGeneration(
        transformers.MBartConfig(**HALVES, forced_bos_token_id=9)
    ),
    "t5": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**T5)),
    "whisper": lambda: transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**HALVES, **WHISPER)),
}


SEEDS = {"bart": 5, "mbart": 34, "t5": 20, "whisper": 23}  # of weights that leave no two logits near each other


def saved(name, path):
    torch.manual_seed(SEEDS[name])
    model = MODELS[name]()
    for each in model.parameters():
        if each.ndim > 1:
            torch.nn.init.normal_(each, std=0.4)
    model.generation_config.eos_token_id = None
    model.save_pretrained(path)
    return path


@pytest.mark.parametrize("name", ["bart", pytest.param("mbart", marks=pytest.mark.long), "t5", "whisper"])
def test_greedy_answers_are_those_of_pytorch(name, heddle, tmp_path):
    path = saved(name, tmp_path / name)
    model = read(str(path))
    prompt = " ".join(map(str, IDS))
    if name == "whisper":
        prompt = str(tmp_path / "sound.npy")
        np.save(prompt, np.random.default_rng(3).normal(size=(8, 12)).astype(np.float32))
    code, output, error = heddle("generate", path, "--prompt", prompt, "--tokens", 4, "--config", "small",
                                 "--precision", "w16a16", "--json")  # fmt: skip
    assert code == 0, error
    figures = json.loads(output)
    expected = api.greedy(Bound(model.model(), model.source(prompt)), model.first, 4)[0]
    if name != "whisper":  # which generates in a way of its own
        answer = model.module.generate(torch.tensor([IDS]), max_new_tokens=len(model.first) + 3, do_sample=False)
        assert answer[0].tolist() == model.first + expected
    assert figures["text"] == model.decode(expected) and figures["matches_pytorch"] is True


def test_what_a_source_needs_is_named(heddle, tmp_path):
    path = saved("whisper", tmp_path / "whisper")
    code, _, error = heddle("generate", path, "--prompt", tmp_path / "none.npy", "--tokens", 2)
    assert code == 2 and "must be a .npy file with its input_features" in error
    settings = json.loads((path / "generation_config.json").read_text())
    (path / "generation_config.json").write_text(json.dumps(settings | {"num_beams": 4}))
    np.save(tmp_path / "sound.npy", np.zeros((8, 12), np.float32))
    code, _, error = heddle("generate", path, "--prompt", tmp_path / "sound.npy", "--tokens", 2)
    assert code == 2 and "asks for num_beams = 4, but text is made of the likeliest token" in error


def test_a_session_needs_a_source_before_its_first_token(tmp_path):
    model = read(str(saved("bart", tmp_path / "bart"))).model()
    session = api.Session(model, "small", api.CachePlan(8), options={"source": {"source": torch.tensor([IDS])}})
    with pytest.raises(api.HeddleError, match="needs a source before its first token: call `encode`"):
        session.step([2])
    with pytest.raises(api.HeddleError, match="only an encoder–decoder takes a source"):
        api.Session(model, "small", api.CachePlan(8)).encode(source=[1])

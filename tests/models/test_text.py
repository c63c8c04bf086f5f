"""What all language models share: causality, export, weights, greedy text."""

import math
import warnings

import pytest
import torch
from heddle.models import text
from heddle.models.docstrings import ALPHABET
from heddle.models.llama import Llama, LlamaConfig
from heddle.models.text import LANGUAGE_MODELS, PROMPTS, greedy
from heddle.models.train_text import evaluate, load_ids

PERPLEXITY = {
    "gpt2": 4.2,
    "llama": 3.6,
    "deepseek": 3.6,
}  # bounds per character of the first 8,192 of the test split, where weights ship


def untrained(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return LANGUAGE_MODELS[name].architecture(LANGUAGE_MODELS[name].config).eval()


def windowed() -> torch.nn.Module:
    torch.manual_seed(0)
    return Llama(LlamaConfig(window=3)).eval()


MODELS = {**{name: lambda name=name: untrained(name) for name in LANGUAGE_MODELS}, "llama, window": windowed}


def test_names_are_their_keys():
    assert list(LANGUAGE_MODELS) == ["gpt2", "llama", "deepseek"]
    assert all(name == language_model.name for name, language_model in LANGUAGE_MODELS.items())


def test_vocabularies_are_the_alphabet():
    assert {language_model.config.vocabulary for language_model in LANGUAGE_MODELS.values()} == {len(ALPHABET)}


@pytest.mark.parametrize("name", MODELS)
def test_a_later_token_changes_no_earlier_logits(name):
    model = MODELS[name]()
    ids = torch.randint(0, 96, (1, 12))
    changed = ids.clone()
    changed[0, 7] = (ids[0, 7] + 1) % 96
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(after[:, :7], before[:, :7], rtol=0, atol=1e-6)
    assert not torch.allclose(after[:, 7], before[:, 7])


@pytest.mark.parametrize("name", MODELS)
def test_a_prefix_has_the_logits_of_the_whole(name):
    model = MODELS[name]()
    ids = torch.randint(0, 96, (2, 12))
    with torch.no_grad():
        torch.testing.assert_close(model(ids[:, :5]), model(ids)[:, :5], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_whole_context_exports(name):
    model = MODELS[name]()
    ids = torch.randint(0, 96, (1, 256))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own pytree, inside run_decompositions
        exported = torch.export.export(model, (ids,), strict=False).run_decompositions({})
    operations = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert {"aten.linear.default", "aten.scaled_dot_product_attention.default"} <= operations
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(ids), model(ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PERPLEXITY)
def test_shipped_weights_are_small_and_predict_held_out_text(name):
    language_model = LANGUAGE_MODELS[name]
    assert language_model.weights.stat().st_size < 3_000_000
    model = language_model.model()
    assert not model.training and {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert math.exp(evaluate(model, load_ids("test")[:8193], language_model.context)) < PERPLEXITY[name]


@pytest.mark.parametrize("name", PERPLEXITY)
def test_greedy_text_is_the_same_every_time(name):
    language_model = LANGUAGE_MODELS[name]
    prompt = language_model.encode(PROMPTS[0])
    (first, logits), (second, _) = (greedy(language_model.model(), prompt, 12) for _ in range(2))
    assert first == second and logits.shape == (12, 96)
    assert language_model.encode(language_model.decode(first)) == first
    with torch.no_grad():
        whole = language_model.model()(torch.tensor([prompt + first]))[0]
    torch.testing.assert_close(whole[len(prompt) - 1 : -1], logits, rtol=1e-4, atol=1e-4)


def test_prompts_and_their_text_fit_the_context():
    assert len(set(PROMPTS)) == 5
    for language_model in LANGUAGE_MODELS.values():
        assert all(len(language_model.encode(prompt)) + 64 <= language_model.context for prompt in PROMPTS)


def test_missing_weights_say_how_to_make_them(monkeypatch, tmp_path):
    monkeypatch.setattr(text, "WEIGHTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"missing: make it with python -m heddle\.models\.train_text llama"):
        LANGUAGE_MODELS["llama"].model()

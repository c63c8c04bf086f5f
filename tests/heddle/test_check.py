"""heddle check: its measures by hand, its verdict and its exit code."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle import fidelity
from heddle.arch.config import PRESETS
from heddle.models.text import LANGUAGE_MODELS


def test_measures_by_hand():
    layer = fidelity.compare("x", np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[3.0, 4.0], [1.0, 1.0]]))
    assert layer.sqnr_db == pytest.approx(10 * np.log10(26))
    assert layer.cosine == pytest.approx(np.sqrt(0.5))
    same = fidelity.compare("x", np.ones((2, 3)), np.ones((2, 3)))
    assert same.sqnr_db == float("inf") and same.cosine == pytest.approx(1)
    random = torch.Generator().manual_seed(0)
    logits, targets = torch.randn((9, 7), generator=random) * 5, torch.randint(0, 7, (9,), generator=random)
    expected = torch.nn.functional.cross_entropy(logits, targets).exp().item()
    assert fidelity.perplexity(logits.numpy(), targets.numpy()) == pytest.approx(expected, rel=1e-5)
    assert fidelity.Threshold("x", 1.0, 1.0).reached and not fidelity.Threshold("x", 0.9, 1.0).reached
    assert fidelity.Threshold("x", 1.0, 1.0, False).reached and not fidelity.Threshold("x", 1.1, 1.0, False).reached


@pytest.fixture
def deeper(tiny, monkeypatch):
    """The language model `deeper`: `tiny` with two layers."""
    language_model = replace(tiny, name="deeper", config=replace(tiny.config, depth=2))
    monkeypatch.setitem(LANGUAGE_MODELS, "deeper", language_model)
    return language_model


def test_a_cut_model_is_the_first_layers_of_the_whole(deeper):
    model = deeper.model()
    cut = fidelity.truncated(model, 1)
    assert len(cut.layers) == 1 and len(model.layers) == 2
    assert torch.equal(cut.layers[0].mlp.up.weight, model.layers[0].mlp.up.weight)


def test_a_pass_over_more_text_than_the_context_is_several_sequences(tiny):
    model = tiny.model()
    ids = torch.randint(0, 96, (42,), generator=torch.Generator().manual_seed(3)).tolist()
    logits = fidelity.teacher_forced(model, PRESETS["small"], ids, 32, "w16a16")
    with torch.no_grad():
        golden = torch.cat([model(torch.tensor([ids[:32]]))[0], model(torch.tensor([ids[32:41]]))[0]])
    np.testing.assert_array_equal(logits.golden, golden.numpy())
    assert logits.targets.tolist() == ids[1:]
    assert fidelity.compare("", logits.golden, logits.found).sqnr_db > 36
    np.testing.assert_array_equal(
        logits.found[np.arange(41), logits.likeliest], logits.found.max(1)
    )  # chosen before rounding: among the greatest
    assert 0.9 <= logits.top1_agreement <= 1


def test_a_language_model_is_judged(heddle, deeper):
    """It is not trained, so the perplexity of 16 tokens is off by chance: what counts is that the verdict says so."""
    code, output, _ = heddle("check", "deeper", "--tokens", 16, "--precision", "bf16", "--json")
    figures = json.loads(output)
    assert [each["name"] for each in figures["layers"]] == ["layer 1", "layer 2", "logits"]
    assert all(each["sqnr_db"] > 35 and each["cosine"] > 0.999 for each in figures["layers"])
    assert figures["perplexity"] / figures["perplexity_fp32"] == figures["perplexity_ratio"]
    assert [each["name"] for each in figures["thresholds"]] == ["perplexity ratio", "top-1 agreement"]
    ratio, agreement = figures["thresholds"]
    assert ratio["reached"] is (ratio["value"] <= fidelity.PERPLEXITY_RATIO["bf16"])
    assert agreement["reached"] is (agreement["value"] >= fidelity.TOP1_AGREEMENT)
    assert figures["reached"] is (ratio["reached"] and agreement["reached"]) is (code == 0)


def test_a_threshold_that_fails_is_exit_code_1(heddle, tiny, monkeypatch):
    monkeypatch.setattr(fidelity, "TOP1_AGREEMENT", 1.1)
    code, output, _ = heddle("check", "tiny", "--tokens", 8)
    assert code == 1 and "NO" in output and "layer 1" in output


def test_an_encoder_layer_is_compared(heddle):
    code, output, error = heddle("check", "encoder-layer", "--config", "nano", "--json")
    assert code == 0, error
    figures = json.loads(output)
    assert figures["layers"][0]["sqnr_db"] > 30 and figures["thresholds"] == [] and figures["reached"] is True


def test_the_layer_that_loses_most_is_named(heddle, tiny_minilm):
    code, output, error = heddle("check", tiny_minilm, "--config", "small", "--tokens", 6, "--json")
    assert code == 0, error
    figures = json.loads(output)
    assert [each["name"] for each in figures["layers"]] == ["encoder.layer.0", "last_hidden_state", "pooler_output"]
    assert all(each["sqnr_db"] > 30 for each in figures["layers"]) and figures["inputs"] == 4
    loss = figures["loses_most"]
    assert loss["layer"].split(".")[0] in ("encoder", "pooler") and loss["precision"] == "w8a8"
    assert 0 < loss["share"] <= 1
    assert f"{loss['layer']} loses most, " in loss["message"] and loss["cause"] in loss["message"]


def test_layers_of_a_module_are_compared_with_pytorch():
    torch.manual_seed(2)

    class Stack(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(2))

        def forward(self, x, scale=None):
            for block in self.blocks:
                x = torch.relu(block(x))
            return x, x.sum(-1)

    model, samples = Stack().eval(), [(torch.randn(1, 4, 8),) for _ in range(3)]
    found = fidelity.check(model, samples, "small", precision={"blocks.1": "w16a16"})
    assert [each.name for each in found.layers] == ["blocks.0", "blocks.1"]
    assert [each.name for each in found.outputs] == ["output_0", "output_1"]
    assert all(35 < each.sqnr_db < 60 for each in (*found.layers, *found.outputs))
    assert found.loss.layer == "blocks.0" and found.loss.share > 0.99
    assert "forward" not in model.__dict__ and not model.blocks[0]._forward_hooks
    assert str(found).splitlines()[-1].startswith("blocks.0 loses most")
    halves = fidelity.check(model.bfloat16(), [(each.bfloat16(),) for (each,) in samples[:1]], "small")
    assert halves.outputs[0].sqnr_db > 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpt5"], "unknown model 'gpt5' (did you mean gpt2?); models are gpt2, llama, deepseek"),
        (["tiny", "--tokens", "0"], "--tokens must be at least 1, not 0"),
        (["tiny", "--tokens", "100000000"], "--tokens must be below"),
        (["tiny", "--precision", "w4a4"], "unknown precision 'w4a4'"),
        (["tiny", "--config", "huge"], "unknown configuration 'huge'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(heddle, tiny, arguments, message):
    code, output, error = heddle("check", *arguments)
    assert code == 2 and message in error and error.count("\n") == 1 and not output

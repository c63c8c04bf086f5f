"""heddle generate: text, figures, and one clear line for every mistake."""

import json
from dataclasses import replace

import pytest
from heddle.arch.config import PRESETS
from heddle.compiler.cache import CachePlan
from heddle.cosim import lockstep
from heddle.models.text import greedy
from heddle.session import Session

PROMPT = "Open a file"


def test_greedy_text_is_that_of_pytorch_and_the_figures_are_those_of_the_runs(heddle, tiny):
    arguments = "generate", "tiny", "--prompt", PROMPT, "--tokens", 5, "--precision", "w16a16"
    code, output, error = heddle(*arguments, "--json")
    assert code == 0, error
    figures = json.loads(output)
    model, ids = tiny.model(), tiny.encode(PROMPT)
    assert figures["text"] == tiny.decode(greedy(model, ids, 5)[0])
    assert figures["matches_pytorch"] is True and figures["tokens"] == 5 and figures["stopped"] is False
    assert (figures["model"], figures["machine"], figures["precision"], figures["engine"], figures["prompt"]) == (
        "tiny", "small", "w16a16", "sim", PROMPT
    )  # fmt: skip
    session = Session(model, PRESETS["small"], CachePlan(32), chunk=8, context=32, options={"precision": "w16a16"})
    prompt = session.feed(ids)
    steps = [session.step([token]) for token in tiny.encode(figures["text"])[:-1]]
    assert figures["prefill_cycles"] == sum(run.cycles for run in prompt)
    assert figures["cycles_per_token"] == sum(run.cycles for run in steps) / 4
    assert figures["tokens_per_second"] == pytest.approx(1e9 / figures["cycles_per_token"])
    assert figures["seconds"] > 0
    code, printed, _ = heddle(*arguments)
    assert code == 0
    assert printed.startswith(PROMPT + figures["text"] + "\n")
    assert f"{figures['prefill_cycles']:,}" in printed and "yes" in printed and "tokens per second" in printed


def test_one_token_comes_from_the_prompt_alone(heddle, tiny):
    figures = json.loads(heddle("generate", "tiny", "--prompt", "a", "--tokens", 1, "--context", 8, "--json")[1])
    assert figures["tokens"] == 1 and figures["cycles_per_token"] is figures["tokens_per_second"] is None


def test_sampled_text_depends_on_the_seed_alone(heddle, tiny):
    def text(*options):
        figures = json.loads(
            heddle("generate", "tiny", "--prompt", "abc", "--tokens", 6, "--context", 16, "--json", *options)[1]
        )
        assert figures["matches_pytorch"] is (None if "--temperature" in options else True)
        return figures["text"]

    hot = "--temperature", 5, "--top-p", 0.99
    assert text(*hot, "--seed", 1) == text(*hot, "--seed", 1) != text(*hot, "--seed", 2)
    assert text("--temperature", 5, "--top-k", 1) == text()


def test_bf16_means_bf16_pes(heddle, tiny):
    figures = json.loads(
        heddle("generate", "tiny", "--prompt", PROMPT, "--tokens", 2, "--precision", "bf16", "--json")[1]
    )
    assert figures["machine"] == "small-bf16" and figures["precision"] == "bf16" and figures["matches_pytorch"]


@pytest.mark.parametrize("as_json", [False, True])
def test_stopping_keeps_the_text_so_far(heddle, tiny, monkeypatch, tmp_path, as_json):
    step, calls = Session.step, []

    def interrupted(session, ids):
        calls.append(ids)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(session, ids)

    monkeypatch.setattr(Session, "step", interrupted)
    arguments = ["generate", "tiny", "--prompt", "12345678", "--tokens", 9] + ["--json"] * as_json
    code, output, error = heddle(*arguments)
    expected = tiny.decode([tokens[0] for tokens in calls])
    assert code == 130 and "heddle: stopped" in error and "Traceback" not in error
    if as_json:
        figures = json.loads(output)
        assert figures["stopped"] is True and figures["text"] == expected and figures["tokens"] == 3
    else:
        assert output == "12345678" + expected + "\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("difference", [None, "byte 7"])
def test_runs_on_the_rtl_are_summed(heddle, tiny, monkeypatch, difference):
    comparison = lockstep.Comparison("verilator", "small", 1, 1, 100, 1000, bool(difference), 0, 0, difference)
    monkeypatch.setattr(lockstep, "lockstep", lambda *arguments: comparison)
    monkeypatch.setattr("heddle.cosim.engines.verilator.require", lambda: None)
    arguments = "generate", "tiny", "--prompt", "ab", "--tokens", 2, "--context", 8, "--engine", "verilator"
    code, output, _ = heddle(*arguments, "--json")
    rtl = json.loads(output)["rtl"]
    runs = 1 if difference else 3
    assert code == (1 if difference else 0)
    assert rtl == replace(comparison, programs=runs, runs=runs, instructions=100 * runs, cycles=1000 * runs).to_dict()
    assert f"{1 if difference else 0} different bytes" in heddle(*arguments)[1]


MISTAKES = {
    "unknown model": (["gpt5"], "unknown model 'gpt5' (did you mean gpt2?); language models are gpt2, llama, deepseek"),
    "unknown characters": (["tiny", "--prompt", "naïve"], "character 2 of the text is 'ï'"),
    "no prompt": (["tiny", "--prompt", ""], "the prompt is empty"),
    "no tokens": (["tiny", "--tokens", "0"], "--tokens must be at least 1, not 0"),
    "too many tokens": (
        ["tiny", "--tokens", "31"], "a prompt of 2 tokens and 31 more are 33, but tiny's context is 32"
    ),
    "too many for --context": (
        ["tiny", "--tokens", "9", "--context", "10"], "a prompt of 2 tokens and 9 more are 11, but --context is 10"
    ),
    "a context not trained for": (["tiny", "--context", "33"], "--context must be from 1 to 32"),
    "negative temperature": (["tiny", "--temperature", "-1"], "temperature must be a number of at least 0, not -1"),
    "top_k": (["tiny", "--top-k", "0"], "top_k must be at least 1, not 0"),
    "top_p": (["tiny", "--top-p", "1.01"], "top_p must be above 0 and at most 1, not 1.01"),
    "negative seed": (["tiny", "--temperature", "1", "--seed", "-1"], "--seed must be at least 0, not -1"),
    "unknown engine": (["tiny", "--engine", "modelsim"], "unknown engine 'modelsim'; engines are sim, verilator"),
    "unknown precision": (["tiny", "--precision", "w4a4"], "unknown precision 'w4a4'; precisions are w8a8"),
    "unknown config": (["tiny", "--config", "huge"], "unknown configuration 'huge'"),
    "int8 on bf16 PEs": (
        ["tiny", "--config", "bf16.toml", "--precision", "w8a8"], "the bf16 PEs of mine compute in bf16"
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(heddle, tiny, tmp_path, mistake):
    arguments, message = MISTAKES[mistake]
    (tmp_path / "bf16.toml").write_text(replace(PRESETS["nano"], name="mine", pe="bf16").to_toml())
    options = [] if "--prompt" in arguments else ["--prompt", "ab"]
    options += [] if {"--tokens", "--context"} & {*arguments} else ["--tokens", "4"]
    code, output, error = heddle("generate", *arguments, *options)
    assert code == 2 and message in error and error.count("\n") == 1 and not output


def test_missing_weights_are_named(heddle, tiny, monkeypatch, tmp_path):
    monkeypatch.setattr("heddle.models.text.WEIGHTS", tmp_path)
    code, _, error = heddle("generate", "llama", "--prompt", "ab", "--tokens", 1)
    assert code == 2 and "llama-docstrings.safetensors is missing: make it with" in error and error.count("\n") == 1


def test_a_missing_simulator_is_named_before_anything_is_compiled(heddle, tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, error = heddle("generate", "tiny", "--prompt", "ab", "--tokens", 1, "--engine", "icarus")
    assert code == 2 and "iverilog" in error

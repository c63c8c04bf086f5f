"""Language models at work: their text and their numbers against PyTorch, and every byte and cycle against the RTL."""


import numpy as np
import pytest
import torch
from heddle import fidelity
from heddle.arch.config import PRESETS
from heddle.compiler.cache import CachePlan
from heddle.models.docstrings import load_text
from heddle.models.llama import Llama, LlamaConfig
from heddle.models.text import LANGUAGE_MODELS, PROMPTS, greedy
from heddle.session import Session

from ..machines import SMALL_BF16

SMALL = PRESETS["small"]
MODELS = [
    pytest.param(name, marks=pytest.mark.skipif(not each.weights.is_file(), reason=f"{name} has no weights yet"))
    for name, each in LANGUAGE_MODELS.items()
]
pytestmark = pytest.mark.long


def config_of(precision):
    return SMALL_BF16 if precision == "bf16" else SMALL


def generate(session, ids, tokens):
    """(tokens, logits they were chosen by) by the accelerator's own choice."""
    run, chosen, logits = session.feed(ids)[-1], [], []
    while True:
        chosen.append(int(run.next[-1]))
        logits.append(run.logits[-1])
        if len(chosen) == tokens:
            return chosen, np.stack(logits)
        run = session.step(chosen[-1:])


@pytest.mark.parametrize("precision", ["w16a16", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_64_tokens_of_greedy_text_are_those_of_pytorch(name, precision):
    language_model = LANGUAGE_MODELS[name]
    model = language_model.model()
    session = Session(model, config_of(precision), CachePlan(96), chunk=8, context=language_model.context,
                      options={"precision": precision})  # fmt: skip
    for prompt in PROMPTS:
        ids = language_model.encode(prompt)
        session.restart()
        assert language_model.decode(generate(session, ids, 64)[0]) == language_model.decode(greedy(model, ids, 64)[0])


@pytest.mark.parametrize("precision", list(fidelity.PERPLEXITY_RATIO))
@pytest.mark.parametrize("name", MODELS)
def test_perplexity_and_likeliest_tokens_keep_within_the_thresholds(name, precision):
    """Where 0.2 % count, of so much text that the ratio itself is good to less: of 512 characters it is not."""
    language_model = LANGUAGE_MODELS[name]
    characters = 513 if fidelity.PERPLEXITY_RATIO[precision] > 1.005 else 2561
    model, ids = language_model.model(), language_model.encode(load_text("test")[:characters])
    logits = fidelity.teacher_forced(model, config_of(precision), ids, language_model.context, precision)
    golden, found = logits.perplexities
    assert found / golden <= fidelity.PERPLEXITY_RATIO[precision]
    assert logits.top1_agreement >= fidelity.TOP1_AGREEMENT


def compare(model, config, engine, prompt, steps, **options):
    """Lock-step of a prompt and some decode steps; the session raises for any difference."""
    sequences, chunk = options.get("sequences", 1), options.pop("chunk", 2 * config.columns)
    plan = CachePlan(options.pop("tokens"), options.pop("page_tokens", 0))
    session = Session(model, config, plan, chunk=chunk, context=model.config.context, engine=engine, **options)
    for sequence in range(sequences):
        run = session.feed([(token + sequence) % 96 for token in prompt], sequence)[-1]
    following = [int(run.next[-1])] * sequences
    for _ in range(steps):
        following = session.step(following).next.tolist()
    assert all(run.comparison.agrees and run.comparison.instructions for run in session.runs)
    assert {run.kind for run in session.runs} == {"prefill", "decode"}
    return session


@pytest.mark.parametrize("name", MODELS)
def test_a_prompt_and_four_tokens_on_small_in_lockstep(name):
    model = LANGUAGE_MODELS[name].model()
    compare(model, SMALL, "verilator", LANGUAGE_MODELS[name].encode("This module prov"), 4, tokens=64)


@pytest.mark.parametrize("precision", ["w8a16", "w16a16", "bf16"])
def test_more_bits_on_small_in_lockstep(precision):
    compare(tiny(), config_of(precision), "verilator", range(16), 2, tokens=32, options={"precision": precision})


def tiny(window=0):
    """One layer, with all that the larger ones have."""
    torch.manual_seed(0)
    config = LlamaConfig(context=64, width=32, depth=1, heads=4, kv_heads=2, hidden=48, window=window)
    return Llama(config).eval()


def test_on_nano_under_icarus():
    compare(tiny(), PRESETS["nano"], "icarus", range(8), 2, tokens=32)


def test_two_sequences_in_lockstep():
    session = compare(tiny(), SMALL, "verilator", range(16), 3, tokens=32, sequences=2)
    assert session.runs[-1].logits.shape[0] == 2


def test_a_prompt_longer_than_a_page_in_lockstep():
    session = compare(tiny(), SMALL, "verilator", range(40), 2, tokens=48, page_tokens=8)
    assert session.page_tokens == 8 and len({*session.tables[0].tolist()}) == 6


def test_pages_that_left_the_window_are_used_again_in_lockstep():
    session = compare(tiny(window=9), SMALL, "verilator", range(40), 2, tokens=48, page_tokens=8, chunk=8, window=9)
    assert session.pages < session.entries and session.lengths == [42]

"""Decoders that read a source: it is taken once, and each run for tokens reads both caches."""

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS
from heddle.arch.errors import HeddleError
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.cosim.lockstep import lockstep
from heddle.sim.machine import simulate
from torch import nn

ROWS, WIDTH, WORDS = 7, 16, 19


class Answers(nn.Module):
    """An encoder layer, then decoder layers as nn.Transformer has them."""

    def __init__(self, extra: bool = False):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 2, 24, batch_first=True)
        self.layers = nn.ModuleList(nn.TransformerDecoderLayer(WIDTH, 2, 24, batch_first=True) for _ in range(2))
        self.embedding, self.positions = nn.Embedding(WORDS, WIDTH), nn.Embedding(40, WIDTH)
        self.head = nn.Linear(WIDTH, WORDS)
        self.extra = extra

    def forward(self, source, ids):
        states = self.encoder(source)
        x = self.embedding(ids) + self.positions(torch.arange(ids.shape[1]))
        if self.extra:
            x = x + states.mean(1, keepdim=True)
        hidden = torch.triu(torch.full((ids.shape[1], ids.shape[1]), -torch.inf), 1)
        for layer in self.layers:
            x = layer(x, states, tgt_mask=hidden)
        return self.head(x)


def model_of(extra: bool = False) -> nn.Module:
    torch.manual_seed(5)
    return Answers(extra).eval()


SOURCE = {"source": torch.zeros(1, ROWS, WIDTH)}


def program_of(model, config, tokens, **options):
    return compile_decoder(model, config, CachePlan(20, 8, 4), tokens=tokens, source=SOURCE, tiling=Tiling(), **options)


@pytest.fixture(scope="module")
def programs():
    return {tokens: program_of(model_of(), PRESETS["nano"], tokens) for tokens in (0, 8, 1)}


def inputs_of(ids, start):
    count = len(ids)
    return {"ids": ids.numpy(), "positions": start + np.arange(count), "pages": np.array([[2, 0, 3]])}


def test_a_source_a_prompt_and_steps_are_the_whole_sequence(programs):
    source, ids = torch.randn(1, ROWS, WIDTH), torch.randint(0, WORDS, (1, 11))
    with torch.no_grad():
        golden = model_of()(source, ids)[0].double().numpy()
        states = model_of().encoder(source)[0].double().numpy()
    result = simulate(programs[0], {"source": source[0].numpy()})
    found, logits = result.outputs["states"][0].reshape(ROWS, WIDTH), []
    assert 10 * np.log10((states**2).sum() / ((states - found) ** 2).sum()) > 30
    for start, count in ((0, 8), (8, 1), (9, 1), (10, 1)):
        program = programs[count].with_cache(result.cache[0]).at(start)
        result = simulate(program, inputs_of(ids[0, start : start + count], start))
        logits.append(result.outputs["logits"][0])
    logits = np.concatenate(logits)
    assert 10 * np.log10((golden**2).sum() / ((golden - logits) ** 2).sum()) > 27


def test_keys_and_values_of_a_source_are_made_once(programs):
    """Of a source in the program that takes it alone: a step multiplies only what is made of its token."""
    per_layer = WIDTH * (3 + 1 + 1 + 1) * WIDTH + 2 * WIDTH * 24  # q, k, v, out; queries of the source, out; the MLP
    seen = 2 * WIDTH * (1 + ROWS)  # itself, and all of the source
    assert programs[1].total_macs == 2 * (per_layer + seen) + WIDTH * WORDS
    assert [each.name for each in programs[1].inputs()] != [] and "source" not in programs[1].takes()


@pytest.mark.long
def test_a_source_and_a_step_on_the_rtl(programs):
    source = {"source": np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)}
    assert lockstep(programs[0], source, "verilator").agrees
    program = programs[1].with_cache(simulate(programs[0], source).cache[0]).at(3)
    assert lockstep(program, inputs_of(torch.tensor([4]), 3), "verilator").agrees


def test_bad_requests_are_named(nano):
    model = model_of()
    with pytest.raises(HeddleError, match="add.*it reads .* which is made of the source: only keys"):
        program_of(model_of(extra=True), nano, 1)
    with pytest.raises(HeddleError, match="takes one sequence at a time, not 2"):
        program_of(model, nano, 1, sequences=2)
    with pytest.raises(HeddleError, match="tokens must be a whole number from 1 to"):
        compile_decoder(model, nano, CachePlan(20, 8), tokens=0)
    with pytest.raises(HeddleError, match="here states, and one input more, the ids of its tokens; forward takes"):
        compile_decoder(model, nano, CachePlan(20, 8), source={"states": SOURCE["source"]})
    with pytest.raises(HeddleError, match="source of source must be a tensor"):
        compile_decoder(model, nano, CachePlan(20, 8), source={"source": 3})

"""Decoders with a cache: what a plain forward over the whole sequence gives, in any pieces, on any machine."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Append, Guard, Matmul, Stream
from heddle.arch.program import Program
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.models import deepseek, gpt2, llama
from heddle.sim.machine import simulate
from torch import nn

from ..machines import BF16, NANO

TOKENS = 40


class Biased(nn.Module):
    """Tells places apart by a bias of each head, linear in the distance of two tokens (Press et al., 2022)."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(19, 16), nn.Linear(16, 19)
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, ids):
        x = self.embedding(ids)
        q, k, v = (each(x).unflatten(-1, (2, 8)).transpose(1, 2) for each in (self.q, self.k, self.v))
        places = torch.arange(ids.shape[1])
        distance = places[:, None] - places
        bias = torch.where(distance >= 0, -torch.tensor([0.5, 0.125])[:, None, None] * distance, -torch.inf)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.head(x + self.out(seen.transpose(1, 2).flatten(2)))


class Written(nn.Module):
    """Attention of four heads in two groups, written out: `shaped` makes weights of scaled scores that are masked."""

    def __init__(self, window=TOKENS):
        super().__init__()
        self.window = window
        self.embedding, self.places, self.head = nn.Embedding(19, 16), nn.Embedding(TOKENS, 16), nn.Linear(16, 19)
        self.q, self.k, self.v = (nn.Linear(16, size) for size in (32, 16, 16))
        self.out = nn.Linear(32, 16)
        self.sinks = nn.Parameter(torch.tensor([-1.0, 0.5, 2.0, 0.0]))

    def forward(self, ids):
        places = torch.arange(ids.shape[1])
        x = self.embedding(ids) + self.places(places)
        q, k, v = (each(x).unflatten(-1, (-1, 8)).transpose(1, 2) for each in (self.q, self.k, self.v))
        k, v = (each.repeat_interleave(2, dim=1) for each in (k, v))
        distance = places[:, None] - places
        hidden = torch.full(distance.shape, -torch.inf).where((distance < 0) | (distance >= self.window), 0.0)
        weights = self.shaped(q @ k.transpose(-2, -1) * 1.5, hidden)
        return self.head(x + self.out((weights @ v).transpose(1, 2).flatten(2)))


class Normed(nn.Module):
    """Two layers whose heads of six features are normalised, so that they are numbers and no projections, and end
    within a word."""

    def __init__(self):
        super().__init__()
        self.embedding, self.places, self.head = nn.Embedding(19, 16), nn.Embedding(TOKENS, 16), nn.Linear(16, 19)
        self.layers = nn.ModuleList(nn.Linear(16, size) for size in (24, 12, 12, 24, 12, 12))
        self.outs = nn.ModuleList(nn.Linear(24, 16) for _ in range(2))

    def forward(self, ids):
        x = self.embedding(ids) + self.places(torch.arange(ids.shape[1]))
        for number, out in enumerate(self.outs):
            q, k, v = (each(x).unflatten(-1, (-1, 6)).transpose(1, 2) for each in self.layers[3 * number :][:3])
            q, k = (nn.functional.rms_norm(each, (6,)) for each in (q, k))
            seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + out(seen.transpose(1, 2).flatten(2))
        return self.head(x)


class Capped(Written):
    """No score is beyond 2 (Gemma 2, 2024, section 2.2)."""

    def shaped(self, scores, hidden):
        return (2 * torch.tanh(scores / 2) + hidden).softmax(-1)


class Sinks(Written):
    """Each head has a score that takes weight, but has no value (gpt-oss, 2025)."""

    def shaped(self, scores, hidden):
        sinks = self.sinks[None, :, None, None].expand(-1, -1, scores.shape[2], 1)
        both = torch.cat([scores + hidden, sinks], -1)
        return (both - both.amax(-1, keepdim=True)).softmax(-1)[..., :-1]


class Chunked(Written):
    """Tokens see those of their chunk of nine before them (Llama 4, 2025)."""

    def shaped(self, scores, hidden):
        chunk = torch.arange(scores.shape[-1]) // 9
        return (scores + hidden.masked_fill(chunk[:, None] != chunk, -torch.inf)).softmax(-1)


SIZES = {"vocabulary": 19, "context": TOKENS, "width": 16, "depth": 1}
MODELS = {
    "gpt2": lambda: gpt2.Gpt2(gpt2.Gpt2Config(**SIZES, heads=2)),
    "llama": lambda: llama.Llama(llama.LlamaConfig(**SIZES, heads=4, kv_heads=2, hidden=24)),
    "window": lambda: llama.Llama(llama.LlamaConfig(**SIZES, heads=2, kv_heads=1, hidden=24, window=7)),
    "deepseek": lambda: deepseek.Deepseek(
        deepseek.DeepseekConfig(**SIZES, heads=2, query_rank=12, kv_rank=10, plain_width=8, rotary_width=8,
                                value_width=6, hidden=24)
    ),
    "bias": Biased,
    "norm": Normed,
    "cap": Capped,
    "cap, window": lambda: Capped(window=9),
    "chunks": Chunked,
    "sink": Sinks,
    "sink, window": lambda: Sinks(window=9),
}  # fmt: skip


def model_of(name: str) -> nn.Module:
    torch.manual_seed(3)
    return MODELS[name]().eval()


def program_of(model, config, plan, **options) -> Program:
    return compile_decoder(model, config, plan, tiling=Tiling(), **options)


def sqnr_db(golden, found) -> float:
    golden = np.asarray(golden, np.float64)
    return 10 * np.log10((golden**2).sum() / ((golden - found) ** 2).sum())


class Sequence:
    """Runs programs one after the other on a cache with its pages in no order."""

    def __init__(self, config, plan):
        entries = -(-plan.tokens // plan.page_tokens)
        self.config, self.cache = config, None
        self.table = np.random.RandomState(0).permutation(plan.pages)[:entries]

    def run(self, program, ids, start):
        program = (program if self.cache is None else program.with_cache(self.cache)).at(start)
        inputs = {"ids": ids.numpy(), "positions": start + np.arange(len(ids)), "pages": self.table[None]}
        result = simulate(program, inputs)
        self.cache = result.cache[0]
        return result.outputs["logits"][0], result.outputs["next"][0, 0]


def plan_of(config) -> CachePlan:
    page = 2 * config.columns
    return CachePlan(TOKENS, page, pages=-(-TOKENS // page) + 1)


@pytest.fixture(params=["nano", "odd", "nano-bf16"])
def machine(request, nano, odd):
    return {"nano": nano, "odd": odd, "nano-bf16": BF16}[request.param]


def test_useful_macs_are_those_of_keys_that_are_seen(nano):
    """Scores and context: two products of a head's width, for each head and each key in the window."""
    for name in ("gpt2", "window"):  # of 2 heads of 8 features
        program = program_of(model_of(name), nano, plan_of(nano), tokens=2)
        window = 7 if name == "window" else 40
        seen = {at: min(at + 1, window) + min(at + 2, window) for at in (0, 3, 6, 30)}
        found = [program.at(at).total_macs - program.total_macs for at in seen]
        assert found == [2 * 2 * 8 * (keys - seen[0]) for keys in seen.values()]


@pytest.mark.parametrize("name", MODELS)
def test_a_prompt_and_then_token_by_token_is_the_whole_sequence(name, machine):
    model, plan = model_of(name), plan_of(machine)
    chunk = 2 * machine.columns
    prefill, decode = (program_of(model, machine, plan, tokens=tokens) for tokens in (chunk, 1))
    ids = torch.randint(0, 19, (1, 2 * chunk + 3))
    with torch.no_grad():
        golden = model(ids)[0].numpy()
    sequence, logits, following = Sequence(machine, plan), [], []
    for start in (0, chunk):
        found = sequence.run(prefill, ids[0, start : start + chunk], start)
        logits.append(found[0])
        following.append(found[1])
    for start in range(2 * chunk, ids.shape[1]):
        found = sequence.run(decode, ids[0, start : start + 1], start)
        logits.append(found[0])
        following.append(found[1])
    logits = np.concatenate(logits)
    assert sqnr_db(golden, logits) > (36 if machine.pe == "bf16" else 27)
    chosen = logits[np.arange(len(logits)), np.concatenate(following)]
    assert (chosen == logits.max(1)).all()  # the accelerator's choice, made before rounding, is among the greatest


@pytest.mark.parametrize("name", MODELS)
def test_a_prompt_whose_rows_go_in_groups_is_the_whole_sequence(name, nano):
    """From a position on, with a rest; a few registers serve all panels."""
    model, plan, columns = model_of(name), plan_of(nano), nano.columns
    first, many = (compile_decoder(model, nano, plan, tokens=tokens, tiling=Tiling(group_rows=rows))
                   for tokens, rows in ((columns, 0), (5 * columns + 3, 2 * columns)))  # fmt: skip
    ids = torch.randint(0, 19, (1, 6 * columns + 3))
    with torch.no_grad():
        golden = model(ids)[0].numpy()
    sequence = Sequence(nano, plan)
    found = [sequence.run(first, ids[0, :columns], 0)[0], sequence.run(many, ids[0, columns:], columns)[0]]
    assert sqnr_db(golden, np.concatenate(found)) > 27
    assert len(many.scalars) <= 8


def test_the_compiler_chooses_how_many_tokens_of_a_prompt_to_take_at_once(nano):
    program = program_of(model_of("gpt2"), nano, plan_of(nano), tokens=None)
    choice = program.choices[0]
    assert choice.what == "tokens of a prompt at a time" and choice.chosen == str(program.tokens) == "32"
    assert set(choice.considered) == {"32"}  # 64 are more than the cache has


def test_two_sequences_at_different_places_are_each_as_if_alone(nano):
    model, plan = model_of("llama"), replace(plan_of(nano), pages=12)
    both, alone = (program_of(model, nano, plan, sequences=count) for count in (2, 1))
    tables = np.random.RandomState(1).permutation(12).reshape(2, -1)[:, :5]
    cache, kept = None, {}
    for step, (first, second) in enumerate([(3, 5), (4, 6), (7, 8)]):
        program = both if cache is None else both.with_cache(cache)
        places = (step, step)
        result = simulate(
            program.at(*places), {"ids": np.array([first, second]), "positions": np.array(places), "pages": tables}
        )
        cache = result.cache[0]
        kept[step] = result.outputs["logits"][0]
    for number, tokens in enumerate([(3, 4, 7), (5, 6, 8)]):
        cache = None
        for step, token in enumerate(tokens):
            program = alone if cache is None else alone.with_cache(cache)
            result = simulate(
                program.at(step),
                {"ids": np.array([token]), "positions": np.array([step]), "pages": tables[number : number + 1]},
            )
            cache = result.cache[0]
            np.testing.assert_array_equal(result.outputs["logits"][0, 0], kept[step][number])


def test_one_program_serves_every_position_and_takes_longer_with_more_tokens(nano):
    program = program_of(model_of("gpt2"), nano, plan_of(nano))
    cycles = [simulate(program.at(position), values=False).cycles for position in (0, 1, 2, 12, 39)]
    assert cycles[0] < cycles[3] < cycles[4]
    assert cycles[0] == cycles[1]  # one block of tokens, one group of scores


def test_blocks_beyond_the_newest_token_are_void_and_masked_tiles_are_not_computed(nano):
    wide = replace(nano, weight_words=512)  # so that a block holds few tokens
    program = program_of(model_of("gpt2"), wide, plan_of(wide))
    assert any(isinstance(each, Guard) for each in program.instructions)
    early, late = (simulate(program.at(position), values=False).bytes["stream"] for position in (0, 39))
    assert late == early * 10  # 10 blocks of 4 tokens against 1
    scores = [each for each in program.instructions if isinstance(each, Matmul) and each.n_register]
    assert scores and all(each.resolved(program.at(3).scalar_values, wide).n_tiles == 1 for each in scores)


@pytest.mark.parametrize("precision", ["w8a16", "w16a16", {"layers.*.mlp*": "w16a16"}])
def test_more_bits_are_nearer_to_pytorch(precision):
    """In float32: at 44 dB, of bf16 values, what is between them counts too."""
    model, nano, plan = model_of("gpt2"), NANO, plan_of(NANO)
    ids = torch.randint(0, 19, (1, 8))
    with torch.no_grad():
        golden = model(ids)[0].numpy()
    found = {}
    for choice in ("w8a8", precision):
        program = program_of(model, nano, plan, tokens=8, precision=choice)
        found[str(choice)] = sqnr_db(golden, Sequence(nano, plan).run(program, ids[0], 0)[0])
    assert found[str(precision)] > found["w8a8"] + 0.5


def test_keys_and_values_are_cached_once_per_kv_head_and_latents_once_for_all(nano):
    llama_program = program_of(model_of("llama"), nano, plan_of(nano))
    latent_program = program_of(model_of("deepseek"), nano, plan_of(nano))
    codes = [each for each in llama_program.instructions if isinstance(each, Append) and each.heads > 1]
    assert {each.heads for each in codes} == {2}
    assert all(each.heads == 1 for each in latent_program.instructions if isinstance(each, Append))
    streams = [each for each in latent_program.instructions if isinstance(each, Stream)]
    values = [each for each in streams if each.words < each.token_words]
    assert values, "the values are the first words of what is cached as keys"


def test_without_the_head_the_output_is_what_the_head_reads(nano):
    model = model_of("gpt2")
    program = program_of(model, nano, plan_of(nano), tokens=4, head=False)
    ids = torch.randint(0, 19, (1, 4))
    with torch.no_grad():
        golden = model.norm(model.layers[0](model.tokens(ids) + model.positions(torch.arange(4))))[0]
    result = simulate(program, {"ids": ids[0].numpy(), "positions": np.arange(4), "pages": np.arange(5)[None]})
    assert sqnr_db(golden, result.outputs["logits"][0]) > 27
    assert "next" not in program.tensors


def test_a_program_with_a_cache_survives_a_file(nano, tmp_path):
    program = program_of(model_of("llama"), nano, plan_of(nano)).at(5)
    program.save(tmp_path / "decode.heddle")
    loaded = Program.load(tmp_path / "decode.heddle")
    assert loaded.scalar_values == program.scalar_values and loaded.cache_bytes == program.cache_bytes
    assert loaded.at(9).scalar_values == program.at(9).scalar_values


def test_bad_requests_are_named(nano):
    model, plan = model_of("gpt2"), plan_of(nano)
    with pytest.raises(HeddleError, match="the cache is for 41 tokens, but the model's context is 40"):
        program_of(model, nano, replace(plan, tokens=41), context=40)
    with pytest.raises(HeddleError, match="65537 tokens, but onlinesoftmax places .* at most 65536 tokens"):
        program_of(model, nano, CachePlan((1 << 16) + 1, page_tokens=1024), context=70_000)
    with pytest.raises(HeddleError, match="many tokens of one sequence or one token of many"):
        program_of(model, nano, plan, tokens=4, sequences=2)
    with pytest.raises(HeddleError, match="page_tokens must be 4 times a power of two on nano, not 12"):
        program_of(model, nano, replace(plan, page_tokens=12))
    message = r"page tables of 1 sequences of 40 tokens take 10 entries, but nano \(changed\) has 4"
    with pytest.raises(HeddleError, match=message):
        program_of(model, replace(nano, page_words=4), replace(plan, page_tokens=4))
    with pytest.raises(HeddleError, match="compute in w8a8, w8a16 or w16a16, not bf16"):
        program_of(model, nano, plan, precision="bf16")
    with pytest.raises(HeddleError, match="unknown precision 'int4'"):
        program_of(model, nano, plan, precision="int4")


def test_attention_that_is_not_causal_is_refused(nano):
    class Bidirectional(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.qkv = nn.Embedding(19, 8), nn.Linear(8, 24)

        def forward(self, ids):
            q, k, v = self.qkv(self.tokens(ids)).chunk(3, -1)
            return torch.nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]

    with pytest.raises(HeddleError, match="a decoder's attention must be causal"):
        program_of(Bidirectional().eval(), nano, plan_of(nano))

"""Useful multiply-accumulates: those of the model, by hand from its shapes, whatever the tiling."""


import pytest
import torch
from heddle.arch.config import PRESETS
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.compiler.pipeline import compile
from heddle.models import deepseek, gpt2, llama
from heddle.sim.machine import simulate
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..machines import ODD

BASE, NANO = PRESETS["base"], PRESETS["nano"]
WAYS = [Tiling(), Tiling(3, 16), Tiling(group_rows=16), Tiling(2, 4, 32), Tiling(1, 8, 16, thrifty=True), None]


class Attention(nn.Module):
    """heads · head = width features of queries, and of keys and values those of `kv_heads`; projected again or not."""

    def __init__(self, width, heads, kv_heads=0, out=False, **options):
        super().__init__()
        self.heads, self.kv_heads, self.options = heads, kv_heads or heads, options
        self.q = nn.Linear(width, width)
        self.k, self.v = (nn.Linear(width, width * self.kv_heads // heads) for _ in range(2))
        self.o = nn.Linear(width, width) if out else nn.Identity()

    def forward(self, x):
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (each(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for each in (self.k, self.v))
        gqa = {"enable_gqa": True} if self.kv_heads < self.heads else {}
        mixed = functional.scaled_dot_product_attention(q, k, v, **self.options, **gqa)
        return self.o(mixed.transpose(1, 2).flatten(2))


class Repeated(Attention):
    """Key heads repeated for each of their queries' heads, as older models have it."""

    def forward(self, x):
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (each(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for each in (self.k, self.v))
        times, tokens = self.heads // self.kv_heads, x.shape[1]
        k, v = (each[:, :, None].expand(1, -1, times, tokens, -1).reshape(1, self.heads, tokens, -1) for each in (k, v))
        return functional.scaled_dot_product_attention(q, k, v, **self.options).transpose(1, 2).flatten(2)


def macs_of(model, tokens, width, config=BASE, tiling=None):
    return compile(model.eval(), [torch.zeros(1, tokens, width)], config, tiling=tiling).total_macs


def triangle(tokens):
    return tokens * (tokens + 1) // 2


@pytest.mark.parametrize("tiling", WAYS, ids=str)
@pytest.mark.parametrize(("config", "width", "tokens"), [(BASE, 16, 8), (BASE, 32, 64), (ODD, 10, 33), (NANO, 24, 17)])
def test_causal_attention_counts_the_pairs_that_are_seen(config, width, tokens, tiling):
    """Three projections, and scores and context of each pair, over heads that make up `width` together."""
    by_hand = 3 * tokens * width * width + triangle(tokens) * 2 * width
    assert macs_of(Attention(width, 2, is_causal=True), tokens, width, config, tiling) == by_hand


def test_two_heads_of_16_features_and_64_tokens():
    """3 projections of 32 × 32 for 64 tokens; 2,080 pairs of 2 · 32 features."""
    assert macs_of(Attention(32, 2, is_causal=True), 64, 32) == 3 * 64 * 32 * 32 + 2080 * 64 == 329_728
    assert macs_of(Attention(16, 2, is_causal=True), 8, 16) == 3 * 8 * 16 * 16 + 36 * 32 == 7296


@pytest.mark.parametrize("tiling", [Tiling(), Tiling(group_rows=16), None], ids=str)
def test_what_is_not_masked_is_what_pytorch_counts(tiling):
    model, x = Attention(24, 3, out=True).eval(), torch.zeros(1, 40, 24)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(x)
    assert macs_of(model, 40, 24, tiling=tiling) == counter.get_total_flops() // 2


@pytest.mark.parametrize("tiling", [Tiling(), Tiling(group_rows=16), None], ids=str)
def test_a_window_counts_what_is_in_it(tiling):
    tokens, window = 40, 7
    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)
    mask = (distance >= 0) & (distance < window)
    pairs = triangle(window) + (tokens - window) * window
    model = Attention(24, 3, attn_mask=mask)
    assert macs_of(model, tokens, 24, tiling=tiling) == 3 * tokens * 24 * 24 + pairs * 2 * 24


@pytest.mark.parametrize("kind", ["boolean", "infinite", "least", "per head"])
def test_a_constant_mask_counts_what_it_does_not_hide(kind):
    tokens, width, heads = 12, 24, 3
    seen = (torch.rand(heads if kind == "per head" else 1, tokens, tokens) > 0.6) | torch.eye(tokens, dtype=torch.bool)
    hidden = torch.finfo(torch.float32).min if kind == "least" else -torch.inf
    mask = seen[None] if kind == "boolean" else torch.randn(1, *seen.shape).masked_fill(~seen, hidden)
    pairs = seen.expand(heads, tokens, tokens).sum().item()
    model = Attention(width, heads, attn_mask=mask)
    assert macs_of(model, tokens, width, NANO) == 3 * tokens * width**2 + pairs * 2 * (width // heads)


def test_a_mask_of_less_than_hides_counts_all_however_it_is_tiled():
    """−10,000 is a number that is added: the pairs are computed, where rows go in groups too."""
    model = Attention(16, 2, attn_mask=torch.full((8, 8), -1e4).triu(1))
    for tiling in (None, Tiling(), Tiling(group_rows=4)):
        assert macs_of(model, 8, 16, tiling=tiling) == 3 * 8 * 256 + 64 * 2 * 16


def test_blocks_of_a_mask_count_whole():
    """Blocks of 4 × 4 pairs: the diagonal, and the first column of blocks."""
    blocks = torch.eye(6, dtype=torch.bool)
    blocks[:, 0] = True
    mask = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1)
    assert macs_of(Attention(16, 2, attn_mask=mask), 24, 16, NANO) == 3 * 24 * 256 + 11 * 16 * 2 * 16


@pytest.mark.parametrize("kind", [Attention, Repeated])
@pytest.mark.parametrize("tiling", [Tiling(), Tiling(group_rows=16), None], ids=str)
def test_keys_of_grouped_queries_are_projected_once(kind, tiling):
    """4 heads of 6 features, of which 2 share a key: 12 features of keys and of values."""
    tokens = 24
    by_hand = tokens * (24 * 24 + 2 * 24 * 12) + triangle(tokens) * 2 * 24
    assert macs_of(kind(24, 4, 2, is_causal=True), tokens, 24, BASE, tiling) == by_hand


def test_a_layer_of_patches_counts_patches():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut, self.head = nn.Conv2d(3, 20, 4, 4), nn.Linear(20, 5)

        def forward(self, image):
            return self.head(self.cut(image).flatten(2).transpose(1, 2))

    for tiling in (Tiling(), Tiling(3, 16), Tiling(group_rows=4), None):
        program = compile(Patches().eval(), [torch.zeros(1, 3, 16, 12)], NANO, tiling=tiling)
        assert program.total_macs == 12 * (48 * 20 + 20 * 5)


SIZES = {"vocabulary": 19, "context": 40, "width": 16, "depth": 2}


@pytest.mark.parametrize(("tokens", "position"), [(1, 0), (1, 30), (8, 0), (8, 16), (5, 3)])
@pytest.mark.parametrize("window", [0, 7])
def test_a_decoder_counts_what_its_new_tokens_see(tokens, position, window):
    """Grouped queries (4 heads, 2 of keys), 2 layers, and a head of 19 logits."""
    config = llama.LlamaConfig(**SIZES, heads=4, kv_heads=2, hidden=24, window=window)
    program = compile_decoder(llama.Llama(config).eval(), NANO, CachePlan(40), tokens=tokens, tiling=Tiling())
    seen = [position + token + 1 for token in range(tokens)]
    pairs = sum(min(each, window) if window else each for each in seen)
    layer = tokens * (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24) + pairs * 2 * 16
    assert program.at(position).total_macs == 2 * layer + tokens * 19 * 16


def test_a_decoder_of_several_sequences_counts_each_at_its_place():
    model = gpt2.Gpt2(gpt2.Gpt2Config(**SIZES, heads=2)).eval()
    program = compile_decoder(model, NANO, CachePlan(40), sequences=3, tiling=Tiling()).at(0, 9, 30)
    layer = 3 * (4 * 16 * 16 + 2 * 16 * 64) + (1 + 10 + 31) * 2 * 16
    assert program.total_macs == 2 * layer + 3 * 19 * 16


def test_latent_attention_counts_latents_as_keys():
    """Queries are made to be multiplied by the latents themselves; values are made of what was attended to."""
    config = deepseek.DeepseekConfig(**SIZES, heads=2, query_rank=12, kv_rank=10, plain_width=8, rotary_width=8,
                                     value_width=6, hidden=24)  # fmt: skip
    program = compile_decoder(deepseek.Deepseek(config).eval(), NANO, CachePlan(40), tiling=Tiling()).at(20)
    queries, keys, values = 16 * 12 + 12 * 2 * (10 + 8), 16 * (10 + 8), 2 * 6 * (10 + 16)
    layer = queries + keys + values + 3 * 16 * 24 + 21 * 2 * (10 + 8 + 10)
    assert program.total_macs == 2 * layer + 19 * 16


def test_utilisation_is_of_the_same_number():
    program = compile(Attention(16, 2, is_causal=True).eval(), [torch.zeros(1, 8, 16)], NANO)
    result = simulate(program, values=False)
    assert result.mac_utilisation == 7296 / (16 * result.cycles) and result.to_dict()["useful_macs"] == 7296

"""What must compile: every model of which each operator's least piece fits the memories; the rest is refused for the
limit that is true."""

import math
from random import Random

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS, Memory
from heddle.arch.errors import HeddleError
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.compiler.pipeline import compile
from heddle.models.gpt2 import Gpt2, Gpt2Config
from heddle.sim.lint import lint
from heddle.sim.machine import simulate
from torch import nn
from torch.nn import functional

from ..machines import BASE_BF16, BF16, ODD, ODD_BF16

NANO = PRESETS["nano"]
MACHINES = {
    "nano": NANO, "odd": ODD, "small": PRESETS["small"], "base": PRESETS["base"], "nano-bf16": BF16,
    "base-bf16": BASE_BF16, "odd-bf16": ODD_BF16,
}  # fmt: skip


def compiled(model, rows, features, config):
    """A program without values."""
    return compile(model.to("meta"), [torch.zeros(1, rows, features)], config)


MOST_FEATURES = 65_535  # of a row of codes, that the field of an instruction can count


def lacking(config, k, n):
    """The memories that are too small for a row of K and of N features or a word of N of the weights."""
    words = {
        Memory.VALUE: -(-max(k, n) // config.columns),
        Memory.ACT: -(-k // config.rows),
        Memory.WEIGHT: -(-k // config.rows) * config.rows,
    }
    return {memory for memory, count in words.items() if count > config.words(memory)}


def random_products(seed, count, names, most_rows):
    """(configuration, M, K, N), sizes even on a logarithmic scale to beyond what fits; not too long to compile."""
    random = Random(seed)
    while count:
        config = MACHINES[random.choice(names)]
        most_k, most_n = (1.3 * config.words(each) * config.columns for each in (Memory.ACT, Memory.VALUE))
        m, k, n = (round(math.exp(random.uniform(0, math.log(most)))) for most in (most_rows, most_k, most_n))
        if m * (-(-n // config.columns)) * -(-k // config.rows) < 60_000 or lacking(config, k, n):
            yield config, m, k, n
            count -= 1


def check_product(config, m, k, n):
    """It compiles, or what is refused is a memory for which it is too large, or a row of K that no instruction can
    count. Of a row of N each can do a part."""
    if k > MOST_FEATURES:
        with pytest.raises(HeddleError, match=f"at most {MOST_FEATURES}|even i[fn]"):
            compiled(nn.Linear(k, n, device="meta"), m, k, config)
        return
    missing = lacking(config, k, n)
    if not missing:
        compiled(nn.Linear(k, n, device="meta"), m, k, config)
        return
    with pytest.raises(HeddleError, match="even i[fn]") as refusal:
        compiled(nn.Linear(k, n, device="meta"), m, k, config)
    assert any(f"words of {memory.name}, but {config.title} has {config.words(memory)}" in str(refusal.value)
               for memory in missing)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "m", "k", "n"),
    [("nano", m, 16, 820) for m in (12, 13, 14)] + [("nano", m, 8, 1172) for m in (62, 63, 64)]
    + [("base", m, 584, 4720) for m in (55, 56, 57)],
)  # fmt: skip
def test_neighbours_of_a_product_that_compiles_do(name, m, k, n):
    compiled(nn.Linear(k, n, bias=False), m, k, PRESETS[name])


def test_products_of_any_size_compile_if_their_least_pieces_fit():
    for product in random_products(1, 40, ["nano", "odd", "nano-bf16", "odd-bf16"], 64):
        check_product(*product)


@pytest.mark.long
@pytest.mark.parametrize("name", MACHINES)
def test_many_products_of_any_size_compile_if_their_least_pieces_fit(name):
    for product in random_products(2, 60, [name], 200):
        check_product(*product)


@pytest.mark.parametrize("edge", [0, 1])
def test_the_last_features_that_fit_and_one_more(edge):
    """One word of outputs of the weights fills WEIGHT of `nano` at K = 4096; a row of results VALUE at N = 8192."""
    check_product(NANO, 3, 4096 + edge, 5)
    check_product(NANO, 2, 5, 8192 + edge)


@pytest.mark.parametrize(
    ("name", "m", "sizes"),
    [("nano", 13, (16, 820)), ("nano", 5, (8, 2300)), ("odd", 7, (13, 4000, 11)), ("nano-bf16", 6, (9, 2600, 30)),
     ("base", 2, (16, 65_540))],
)  # fmt: skip
def test_values_of_what_goes_in_small_pieces(run, name, m, sizes):
    """The second has more parameters than PARAM holds at once, the last more outputs than an instruction can count,
    the others more rows than VALUE or ACT."""
    layers = [nn.Linear(k, n) for k, n in zip(sizes, sizes[1:], strict=False)]
    model = nn.Sequential(*[each for layer in layers for each in (layer, nn.GELU())][:-1])
    found = run(model, MACHINES[name], torch.randn(1, m, sizes[0]), tiling=None)
    assert found.sqnr_db > 35 and not lint(found.program)


class Attention(nn.Module):
    """Attention with a residual."""

    def __init__(self, width, heads, **options):
        super().__init__()
        self.heads, self.options = heads, options
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        y = self.norm(x)
        q, k, v = (each(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        return x + self.o(functional.scaled_dot_product_attention(q, k, v, **self.options).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """An encoder layer."""

    def __init__(self, width, heads, hidden, **options):
        super().__init__()
        self.attention, self.norm = Attention(width, heads, **options), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        x = self.attention(x)
        return x + self.down(functional.gelu(self.up(self.norm(x))))


def test_values_of_an_encoder_whose_layers_are_cut(run):
    """Neither all rows at once nor whole layers fit: hidden features of 16 bits, which do not go in slices, a row of
    which fills two thirds of ACT."""
    precision = {"up": "w8a16", "down": "w8a16"}
    model = Layer(20, 2, 2000, is_causal=True)
    found = run(model, ODD, torch.randn(1, 12, 20), tiling=None, precision=precision)
    assert found.sqnr_db > 36 and "smallest pieces" in found.program.choices[0].chosen and not lint(found.program)


def test_values_of_attention_in_small_pieces(run):
    """A mask of any kind needs all rows at once; projections and mask go in pieces."""
    rows = 13
    mask = (torch.rand(rows, rows) > 0.5) | torch.eye(rows, dtype=torch.bool)
    tiling = Tiling(parts=3, thrifty=True)
    found = run(Attention(345, 3, attn_mask=mask), ODD, torch.randn(1, rows, 345), tiling=tiling)
    assert found.sqnr_db > 35 and not lint(found.program)


def test_values_of_an_mlp_that_fits_in_slices(run):
    """Hidden features that fill two thirds of ACT in a row."""
    found = run(Layer(20, 2, 4000, is_causal=True), ODD, torch.randn(1, 12, 20), tiling=None)
    assert found.sqnr_db > 36 and not lint(found.program)
    assert any("slices" in each.chosen for each in found.program.choices)


def test_more_ids_than_index_holds(run):
    model = nn.Sequential(nn.Embedding(19, 12), nn.Linear(12, 8))
    assert run(model, NANO, torch.randint(0, 19, (1, 115)), tiling=None).sqnr_db > 36


def small_layers(seed, count, most_width, most_hidden):
    """(configuration, rows, model, width) of layers that fit by the estimate of `layer_fits`."""
    random = Random(seed)
    while count:
        config = random.choice([NANO, ODD, PRESETS["small"]])
        heads = random.randint(1, 4)
        width = heads * round(math.exp(random.uniform(1, math.log(most_width / heads))))
        hidden, rows = (round(math.exp(random.uniform(1, math.log(most)))) for most in (most_hidden, 100))
        if layer_fits(config, width, heads, hidden):
            yield config, rows, Layer(width, heads, hidden, is_causal=random.random() < 0.5), width
            count -= 1


def layer_fits(config, width, heads, hidden):
    """Whether VALUE holds, of a block of rows, x, the result of the attention with its heads padded to words, and as
    much as a head's queries again; the weights go in chunks anyway."""
    head = -(-width // heads // config.columns)
    words = config.columns * (-(-width // config.columns) + heads * head + 3 * head)
    return words <= config.words(Memory.VALUE) and not lacking(config, max(width, hidden), max(width, hidden))


def test_small_encoder_layers_of_any_size_compile():
    for config, rows, model, width in small_layers(3, 12, 120, 1500):
        compiled(model, rows, width, config)


@pytest.mark.long
def test_encoder_layers_of_any_size_compile():
    for config, rows, model, width in small_layers(4, 25, 300, 3000):
        compiled(model, rows, width, config)


def test_a_chunk_of_a_decoder_whose_head_goes_in_groups_of_rows():
    """32 rows of 2,000 logits are 16,000 words of VALUE, of which `nano` has 2,048; the places of the greatest stay on
    chip from group to group."""
    model = Gpt2(Gpt2Config(vocabulary=2000, context=32, width=64, depth=1, heads=4)).eval()
    program = compile_decoder(model, NANO, CachePlan(32), tokens=32)
    ids = torch.randint(0, 2000, (1, 32))
    pages = np.arange(program.tensors["pages"].columns)[None]
    result = simulate(program, {"ids": ids[0].numpy(), "positions": np.arange(32), "pages": pages})
    logits, winners = result.outputs["logits"][0], result.outputs["next"][0]
    with torch.no_grad():
        golden = model(ids)[0].double().numpy()
    assert 10 * np.log10((golden**2).sum() / ((golden - logits) ** 2).sum()) > 25 and not lint(program)
    size = -(-2000 // len(winners) // 4) * 4
    for group, places in enumerate(winners):  # logits are stored as bf16: greatest ones may be equal
        part = logits[:, group * size : (group + 1) * size]
        np.testing.assert_array_equal(part[np.arange(32), places], part.max(1))


@pytest.mark.long
def test_a_prompt_whose_rows_do_not_fit_at_once_goes_in_groups_in_one_call():
    """VALUE would have to hold 64 rows of x and of the result, 16 words each, beside what a head projects."""
    model = Gpt2(Gpt2Config(vocabulary=300, context=64, width=64, depth=1, heads=4)).eval()
    program = compile_decoder(model, NANO, CachePlan(64), tokens=64)
    rows = next(each for each in program.choices if each.what == "rows")
    assert rows.chosen.startswith("in groups, layer by layer")
    assert "are needed at once, but nano has" in str(rows.considered["all at once"])
    ids = torch.randint(0, 300, (1, 64), generator=torch.Generator().manual_seed(2))
    pages = np.arange(program.tensors["pages"].columns)[None]
    result = simulate(program, {"ids": ids[0].numpy(), "positions": np.arange(64), "pages": pages})
    with torch.no_grad():
        golden = model(ids)[0].double().numpy()
    found = result.outputs["logits"][0]
    assert 10 * np.log10((golden**2).sum() / ((golden - found) ** 2).sum()) > 30


def test_the_refusal_of_a_given_tiling_is_its_own():
    with pytest.raises(HeddleError, match="linear needs 3280 words of VALUE, but nano has 2048"):
        compile(nn.Linear(16, 1638), [torch.zeros(1, 8, 16)], NANO, tiling=Tiling())

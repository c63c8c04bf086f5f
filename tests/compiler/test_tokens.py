"""From a sequence to a few of its tokens: whatever a decoder computes of each token, and what it may not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Append, Map
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.sim.machine import simulate
from torch import Tensor, nn
from torch.nn import functional

TOKENS, WIDTH, HEADS, VOCABULARY = 16, 16, 2, 19


def rotate_half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


def rotate_every_two(x: Tensor) -> Tensor:
    return torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)


def angles(tokens: int, width: int) -> Tensor:
    return torch.arange(tokens)[:, None] * 100.0 ** (-torch.arange(0, width, 2) / width)  # (T, width / 2)


def rotary(x: Tensor) -> Tensor:
    both = torch.cat([angles(*x.shape[-2:])] * 2, -1)
    return x * both.cos() + rotate_half(x) * both.sin()


def interleaved(x: Tensor) -> Tensor:
    both = angles(*x.shape[-2:]).repeat_interleave(2, -1)
    return x * both.cos() + rotate_every_two(x) * both.sin()


def partial_rotary(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat([rotary(x[..., :half]), x[..., half:]], -1)


def unit_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def causal_mask(tokens: int) -> Tensor:
    return torch.ones(tokens, tokens, dtype=torch.bool).tril()


def fused_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def grouped(x: Tensor, groups: int) -> Tensor:
    batch, heads, tokens, width = x.shape
    return x[:, :, None].expand(batch, heads, groups, tokens, width).reshape(batch, heads * groups, tokens, width)


def written_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(-1, -2)
    scores = torch.where(causal_mask(q.shape[-2]), scores, torch.finfo(torch.float32).min)
    return functional.softmax(scores / q.shape[-1] ** 0.5, -1) @ v


class Decoder(nn.Module):
    """One layer; `turn` is done to queries and keys, `attend` to all three."""

    def __init__(self, turn=lambda x: x, attend=fused_attention, kv_heads=HEADS, head=8, positions=False):
        super().__init__()
        self.turn, self.attend, self.kv_heads, self.head = turn, attend, kv_heads, head
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.randn(TOKENS, WIDTH)) if positions else None
        self.query = nn.Linear(WIDTH, HEADS * head)
        self.key, self.value = nn.Linear(WIDTH, kv_heads * head), nn.Linear(WIDTH, kv_heads * head)
        self.output, self.logits = nn.Linear(HEADS * head, WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(*x.shape[:-1], heads, self.head).transpose(1, 2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        if self.positions is not None:
            x = x + self.positions[: ids.shape[1]]
        q = self.turn(self.split(self.query(x), HEADS))
        k, v = self.turn(self.split(self.key(x), self.kv_heads)), self.split(self.value(x), self.kv_heads)
        groups = HEADS // self.kv_heads
        y = self.attend(q, grouped(k, groups), grouped(v, groups))
        return self.logits(x + self.output(y.transpose(1, 2).flatten(2)))


DECODERS = {
    "rotary as halves of a whole, one kv-head": lambda: Decoder(rotary, kv_heads=1),
    "interleaved": lambda: Decoder(interleaved),
    "part of a head": lambda: Decoder(partial_rotary, kv_heads=1),
    "normed heads": lambda: Decoder(lambda x: rotary(unit_norm(x))),
    "computed heads of no whole words": lambda: Decoder(lambda x: rotary(unit_norm(x)), head=6),
    "written out": lambda: Decoder(attend=written_attention, positions=True),
    "heads apart": lambda: Decoder(attend=lambda q, k, v: torch.tanh(fused_attention(q, k, v))),
    "interleaved and then not": lambda: Decoder(lambda x: unit_norm(interleaved(x))),
}


def decoded(model: nn.Module, config, ids: Tensor) -> tuple[np.ndarray, list]:
    """(logits of all tokens, the two programs): a chunk of eight, then one by one."""
    plan = CachePlan(TOKENS, 2 * config.columns, TOKENS // (2 * config.columns) + 2)
    entries = -(-TOKENS // plan.page_tokens)
    table = np.arange(entries)[None, ::-1] + 1
    prefill, decode = (compile_decoder(model, config, plan, tokens=n, tiling=Tiling()) for n in (8, 1))
    result, logits = None, []
    for start, stop in [(0, 8), *((place, place + 1) for place in range(8, ids.shape[1]))]:
        program = prefill if result is None else decode.with_cache(result.cache[0])
        inputs = {"ids": ids[0, start:stop].numpy(), "positions": np.arange(start, stop), "pages": table}
        used = {tensor.name for tensor in program.inputs()}
        result = simulate(program.at(start), {name: inputs[name] for name in used})
        logits.append(result.outputs["logits"][0])
    return np.concatenate(logits), [prefill, decode]


def sqnr_db(golden: np.ndarray, found: np.ndarray) -> float:
    return 10 * np.log10((golden**2).sum() / ((golden - found) ** 2).sum())


@pytest.fixture
def machine(nano):
    """Wide enough for what goes through VALUE, with bf16 PEs."""
    return replace(nano, name="wide", pe="bf16", value_words=1 << 13, act_words=1 << 12, row_words=1 << 11)


@pytest.mark.parametrize("name", DECODERS)
def test_a_prompt_and_then_token_by_token_is_the_whole_sequence(name, machine):
    torch.manual_seed(5)
    model = DECODERS[name]().eval()
    ids = torch.randint(0, VOCABULARY, (1, 11))
    with torch.no_grad():
        golden = model(ids)[0].numpy()
    found, _ = decoded(model, machine, ids)
    assert sqnr_db(golden[:8], found[:8]) > 38 and sqnr_db(golden[8:], found[8:]) > 38


def test_rotations_of_any_spelling_are_taken_in(machine):
    """A rotation that is part of quantising takes no instruction of its own."""
    torch.manual_seed(5)
    counts = {}
    for name in ("rotary as halves of a whole, one kv-head", "interleaved"):
        model = DECODERS[name]().eval()
        program = compile_decoder(model, machine, CachePlan(TOKENS), tokens=8, tiling=Tiling())
        counts[name] = [each for each in program.instructions if isinstance(each, Map) and each.source.name == "VALUE"]
    assert not any(counts.values())


def test_heads_that_repeat_are_cached_once(machine):
    torch.manual_seed(5)
    program = compile_decoder(Decoder(kv_heads=1).eval(), machine, CachePlan(TOKENS), tiling=Tiling())
    assert {each.heads for each in program.instructions if isinstance(each, Append)} == {1}


class Mixing(nn.Module):
    def __init__(self, function, of_ids=lambda ids: ids):
        super().__init__()
        self.tokens, self.function, self.of_ids = nn.Embedding(VOCABULARY, WIDTH), function, of_ids

    def forward(self, ids: Tensor) -> Tensor:
        return self.function(self.tokens(self.of_ids(ids)))


MIXING = {
    "shifted": lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
    "the mean of all": lambda x: x - x.mean(1, keepdim=True),
    "the last": lambda x: x[:, -1:],
    "in reverse": lambda x: x.flip(1),
    "softmax over tokens": lambda x: x.softmax(1),
    "products of tokens": lambda x: (x @ x.transpose(1, 2)) @ x,
    "turned": lambda x: x.transpose(1, 2).reshape(1, TOKENS, WIDTH),
    "every other": lambda x: x[:, ::2].repeat_interleave(2, 1),
    "cumulated": lambda x: x.cumsum(1),
    "attention without a mask": lambda x: functional.scaled_dot_product_attention(x[None], x[None], x[None])[0],
}


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_tokens_is_refused(name, machine):
    with pytest.raises(HeddleError, match="mixes the tokens|must be causal|a row for each token"):
        compile_decoder(Mixing(MIXING[name]).eval(), machine, CachePlan(TOKENS), tokens=8)


def test_ids_that_are_computed_of_others_are_refused(machine):
    with pytest.raises(HeddleError, match="ids must choose rows of tables and nothing else"):
        model = Mixing(lambda x: x, of_ids=lambda ids: ids.cumsum(1)).eval()
        compile_decoder(model, machine, CachePlan(TOKENS), tokens=8)

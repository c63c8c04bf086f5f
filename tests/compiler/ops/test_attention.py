"""Attention in its spellings and masks."""

from dataclasses import replace

import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Masking, Softmax
from heddle.compiler.builder import Tiling
from heddle.compiler.ops import STREAMED
from heddle.compiler.ops.cached_attention import take_sight
from heddle.compiler.pipeline import front_end
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """Projections, then `function(q, k, v)` on (B, H, T, D)."""

    def __init__(self, function, width=12, heads=3, key_heads=3, project=True):
        super().__init__()
        self.function, self.heads, self.key_heads = function, heads, key_heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width * key_heads // heads)
        self.v = nn.Linear(width, width * key_heads // heads, bias=False)
        self.o = nn.Linear(width, width) if project else nn.Identity()

    def forward(self, x, memory=None):
        memory = x if memory is None else memory
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.k(memory).unflatten(-1, (self.key_heads, -1)).transpose(1, 2)
        v = self.v(memory).unflatten(-1, (self.key_heads, -1)).transpose(1, 2)
        return self.o(self.function(q, k, v).transpose(1, 2).flatten(2))


def written_out(q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5, -1) @ v


def scaled_queries(q, k, v):
    return torch.matmul((q * 0.3 @ k.mT).softmax(dim=-1), v)


sdpa = functional.scaled_dot_product_attention
SPELLINGS = {
    "sdpa": sdpa,
    "scale": lambda q, k, v: sdpa(q, k, v, scale=0.2),
    "written out": written_out,
    "scaled queries": scaled_queries,
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_is_one_softmax_per_head(run, odd, name):
    found = run(Attention(SPELLINGS[name]), odd, torch.randn(4, 7, 12))
    assert found.sqnr_db > 36
    assert sum(isinstance(each, Softmax) for each in found.program.instructions) == 3


def test_causal_and_triangular_masks_are_the_same_program(run, nano):
    triangle = torch.full((7, 7), float("-inf")).triu(1)
    by_flag = run(Attention(lambda q, k, v: sdpa(q, k, v, is_causal=True)), nano, torch.randn(4, 7, 12))
    torch.manual_seed(0)
    by_mask = run(Attention(lambda q, k, v: sdpa(q, k, v, attn_mask=triangle)), nano, torch.randn(4, 7, 12))
    assert by_flag.sqnr_db > 36 and by_flag.program.instructions == by_mask.program.instructions
    assert all(each.causal for each in by_flag.program.instructions if isinstance(each, Softmax))


@pytest.mark.parametrize("kind", ["additive", "per head", "boolean"])
def test_other_constant_masks_are_added(run, odd, kind):
    generator = torch.Generator().manual_seed(3)
    mask = {
        "additive": torch.randn(6, 6, generator=generator),
        "per head": torch.randn(3, 6, 6, generator=generator),
        "boolean": (torch.rand(6, 6, generator=generator) > 0.5) | torch.eye(6, dtype=torch.bool),
    }[kind]
    found = run(Attention(lambda q, k, v: sdpa(q, k, v, attn_mask=mask)), odd, torch.randn(4, 6, 12))
    assert found.sqnr_db > 36
    assert all(each.mask is Masking.ADDITIVE for each in found.program.instructions if isinstance(each, Softmax))


def test_a_mask_of_zeros_is_none(run, nano):
    found = run(Attention(lambda q, k, v: sdpa(q, k, v, attn_mask=torch.zeros(5, 5))), nano, torch.randn(1, 5, 12))
    assert not any(each.mask for each in found.program.instructions if isinstance(each, Softmax))


def test_key_heads_can_serve_several_query_heads(run, nano):
    model = Attention(lambda q, k, v: sdpa(q, k, v, enable_gqa=True), width=16, heads=4, key_heads=2)
    assert run(model, nano, torch.randn(4, 6, 16)).sqnr_db > 36


def test_queries_can_look_at_another_sequence(run, config):
    found = run(Attention(sdpa), config, torch.randn(4, 4, 12), torch.randn(4, 9, 12))
    assert found.sqnr_db > 36
    assert found.program.useful_macs == 4 * 12 * 12 * 2 + 2 * 9 * 12 * 12 + 3 * 4 * 9 * 8


def test_more_rows_than_a_panel_has(run, nano):
    found = run(Attention(lambda q, k, v: sdpa(q, k, v, is_causal=True)), nano, torch.randn(1, 41, 12))
    assert found.sqnr_db > 34
    softmaxes = [each for each in found.program.instructions if isinstance(each, Softmax)]
    assert sum(each.rows for each in softmaxes) == 3 * 41 and max(each.rows for each in softmaxes) <= nano.panel_rows
    assert all(each.offset + each.rows == each.columns for each in softmaxes)  # what the last row of a panel sees


def test_heads_padded_to_words_can_be_stored_and_added(run, odd):
    assert run(Attention(sdpa, project=False), odd, torch.randn(2, 6, 12)).sqnr_db > 34

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention(sdpa, project=False)

        def forward(self, x):
            return x + self.attention(x)

    assert run(Residual(), odd, torch.randn(2, 6, 12)).sqnr_db > 34


def test_a_computed_mask_is_added(run, nano):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention(sdpa)

        def forward(self, x, mask):
            self.attention.function = lambda q, k, v: sdpa(q, k, v, attn_mask=mask)
            return self.attention(x)

    assert run(Masked(), nano, torch.randn(2, 6, 12), 3 * torch.randn(2, 1, 6, 6)).sqnr_db > 30


@pytest.mark.parametrize("name", ["sdpa", "written out"])
def test_a_scale_of_0_gives_the_mean_of_the_values(run, nano, name):
    function = {
        "sdpa": lambda q, k, v: sdpa(q, k, v, scale=0.0),
        "written out": lambda q, k, v: torch.softmax(q @ k.mT * 0.0, -1) @ v,
    }[name]
    assert run(Attention(function), nano, torch.randn(2, 6, 12)).sqnr_db > 36


def test_a_scale_of_0_leaves_the_mask(run, nano):
    mask = torch.randn(6, 6)
    assert run(Attention(lambda q, k, v: sdpa(q, k, v, mask, scale=0.0)), nano, torch.randn(2, 6, 12)).sqnr_db > 36


@pytest.mark.parametrize("boolean", [True, False])
@pytest.mark.parametrize("pe", ["int8", "bf16"])
def test_a_row_that_sees_nothing_gives_0(run, nano, boolean, pe):
    seen = torch.ones(6, 6, dtype=torch.bool)
    seen[2] = seen[4, 1:] = False
    mask = seen if boolean else torch.randn(6, 6).masked_fill(~seen, float("-inf"))
    model = Attention(lambda q, k, v: sdpa(q, k, v, attn_mask=mask), project=False)
    found = run(model, replace(nano, name="machine", pe=pe), torch.randn(3, 6, 12))
    assert found.sqnr_db > 34 and not found.golden[:, 2].any() and not found.output[:, 2].any()


def test_a_shifted_mask_is_the_same_program(run, nano):
    mask, x = 3 * torch.randn(6, 6).round(decimals=2), torch.randn(2, 6, 12)
    outputs = []
    for shift in (0.0, 128.0, 1024.0):
        torch.manual_seed(0)
        found = run(Attention(lambda q, k, v, m=mask + shift: sdpa(q, k, v, attn_mask=m)), nano, x)
        assert found.sqnr_db > 36
        outputs.append(found.output)
    assert abs(outputs[2] - outputs[0]).max() < 0.01


def test_a_written_out_row_that_sees_nothing_is_refused(run, nano):
    mask = torch.zeros(3, 6, 6)
    mask[1, 4] = float("-inf")
    with pytest.raises(HeddleError, match="row 4 of head 1 of its mask .* hides everything"):
        run(Attention(lambda q, k, v: torch.softmax(q @ k.mT + mask, -1) @ v), nano, torch.randn(1, 6, 12))


def test_a_written_out_boolean_mask_is_added_as_numbers(run, nano):
    mask = torch.rand(6, 6) > 0.5
    model = Attention(lambda q, k, v: torch.softmax(q @ k.mT + mask, -1) @ v)
    assert run(model, nano, torch.randn(2, 6, 12)).sqnr_db > 36


def test_scaled_probabilities(run, nano):
    scaled = Attention(lambda q, k, v: torch.softmax(q @ k.mT, -1) * 0.5 @ v)
    assert run(scaled, nano, torch.randn(2, 6, 12)).sqnr_db > 30


def test_scores_divided_by_0_are_refused(run, nano):
    with pytest.raises(HeddleError, match="it divides by 0"):
        run(Attention(lambda q, k, v: torch.softmax(q @ k.mT / 0.0, -1) @ v), nano, torch.randn(1, 6, 12))


DISTANCE = torch.arange(6)[:, None] - torch.arange(6)
BANDS = {
    "causal": (DISTANCE >= 0, 0),
    "window": ((DISTANCE >= 0) & (DISTANCE < 3), 3),
    "itself": (DISTANCE == 0, 1),
    "shifted": (torch.where(DISTANCE >= 0, 100.0, float("-inf")), 0),
    "-1e9": (torch.where(DISTANCE >= 0, 0.0, -1e9), 0),
    "least": (torch.where(DISTANCE >= 0, 0.0, torch.finfo(torch.float32).min), 0),
}
NO_BANDS = {
    "slopes": -DISTANCE.abs().float(),
    "weak": torch.where(DISTANCE >= 0, 0.0, -5.0),
    "nothing": torch.zeros(6, 6, dtype=torch.bool),
}


def cached(function):
    model = Attention(function).eval()
    graph = front_end(model, [torch.zeros(1, 6, 12)], lambda name, result: None, operators=STREAMED)
    return next(node for node in graph if node.op == "cached_attention")


@pytest.mark.parametrize("name", BANDS)
def test_masks_that_a_decoder_can_have(name):
    mask, window = BANDS[name]
    node = cached(lambda q, k, v: sdpa(q, k, v, attn_mask=mask))
    assert (node.sight.causal, node.sight.window, node.sight.added) == (True, window, None)
    take_sight(node)


@pytest.mark.parametrize("name", NO_BANDS)
def test_masks_that_a_decoder_cannot_have_are_refused(name):
    node = cached(lambda q, k, v: sdpa(q, k, v, attn_mask=NO_BANDS[name]))
    with pytest.raises(HeddleError, match="must be causal, or a sliding window"):
        take_sight(node)


@pytest.mark.parametrize("name", NO_BANDS)
def test_masks_that_rows_in_groups_can_have(run, nano, name):
    model = Attention(lambda q, k, v: sdpa(q, k, v, attn_mask=NO_BANDS[name]))
    assert run(model, nano, torch.randn(2, 6, 12), tiling=Tiling(group_rows=4)).sqnr_db > 36


def test_a_mask_that_large_scores_outweigh_is_no_mask_for_a_decoder():
    mask = torch.full((6, 6), -1e4).triu(1)
    with pytest.raises(HeddleError, match="hide by False, minus infinity or a number as low as -1e9, not by -10000"):
        take_sight(cached(lambda q, k, v: sdpa(q, k, v, attn_mask=mask)))


def test_scores_that_outweigh_a_mask_are_seen_in_spite_of_it(run, nano):
    """A key's score is 60,000 times its place, so all tokens attend to the last, though −10,000 is added."""
    model = Attention(lambda q, k, v: sdpa(q, k, v, attn_mask=torch.full((8, 8), -1e4).triu(1)), project=False)
    for layer in (model.q, model.k):
        layer.weight.data.zero_()
        layer.bias.data.fill_(1000.0 if layer is model.q else 0.0)
    model.k.weight.data[:, 0] = 30
    x = torch.randn(2, 8, 12)
    x[:, :, 0] = torch.arange(8.0)
    found = run(model, nano, x)
    assert found.sqnr_db > 30 and torch.equal(model(x)[:, 0], model(x)[:, 7])
    assert run(model, nano, x, tiling=Tiling(group_rows=4)).sqnr_db > 30


def test_a_cache_takes_a_scale_of_0():
    assert cached(lambda q, k, v: sdpa(q, k, v, scale=0.0)).scale == 0


def test_heads_joined_along_tokens_are_refused():
    with pytest.raises(HeddleError, match="must be made of the same tokens"):
        cached(lambda q, k, v: sdpa(q, torch.cat([k, k], 2), torch.cat([v, v], 2)))

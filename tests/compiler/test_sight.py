"""Tiles of keys that panels of queries see: what is live, what is hidden, and that cycles and bytes follow."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS
from heddle.arch.isa import Matmul, Softmax
from heddle.compiler.builder import Tiling
from heddle.compiler.pipeline import compile
from heddle.compiler.sight import Band, Panel, Sight
from heddle.sim.machine import simulate
from torch import nn
from torch.nn import functional


class Masked(nn.Module):
    """Self-attention under a mask (true: seen), or none."""

    def __init__(self, mask=None, width=16, heads=2):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.register_buffer("mask", mask)

    def forward(self, x):
        q, k, v = (each(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        return self.o(found.transpose(1, 2).flatten(2))


def masks(tokens, width):
    place = torch.arange(tokens)
    distance, block = place[:, None] - place, place // width
    generator = torch.Generator().manual_seed(0)
    window = (block[:, None] - block).abs() <= 1
    random = torch.rand(block.max() + 1, block.max() + 1, generator=generator)[block][:, block] < 2 * width / tokens
    return {
        "causal": distance >= 0,
        "window": distance.abs() < width,
        "causal window": (distance >= 0) & (distance < width),
        "global": window | (block == 0) | (block[:, None] == 0),
        "blocks": window | (block == 0) | (block[:, None] == 0) | random,
        "strided": (distance >= 0) & ((distance < width) | (distance % width == 0)),
        "dilated": (distance.abs() < 3 * width) & (distance % 3 == 0),
    }


def added(seen):
    return Sight(*seen.shape, added=torch.zeros(1, *seen.shape).masked_fill(~seen, -torch.inf))


def test_a_band_of_packed_columns_needs_no_mask():
    seen = torch.zeros(8, 24, dtype=torch.bool)
    seen[:, :4] = True  # the first tile, and from the fourth on a triangle
    for query in range(8):
        seen[query, 12 : 13 + query] = True
    found = added(seen).hidden(0, Panel(0, 8, (0, 3, 4)), 4)
    assert found == (Band(causal=True, offset=4, window=0), None)


@pytest.mark.parametrize("shift", [-3, 0, 5])
def test_a_window_is_a_band(shift):
    distance = torch.arange(8)[:, None] + shift - torch.arange(16)
    band, numbers = added(distance.abs() <= 3).hidden(0, Panel(2, 5, (0, 1, 2, 3)), 4)
    row, column = np.arange(5)[:, None] + band.offset, np.arange(16)
    seen = (column <= row if band.causal else True) & (column > row - band.window if band.window else True)
    assert numbers is None and np.array_equal(seen & np.ones((5, 16), bool), (distance.abs() <= 3)[2:7].numpy())


def test_a_row_that_sees_nothing_is_no_band():
    seen = torch.ones(4, 8, dtype=torch.bool)
    seen[2] = False
    _, numbers = added(seen).hidden(0, Panel(0, 4, (0, 1)), 4)
    assert np.isneginf(numbers[2]).all() and not numbers[[0, 1, 3]].any()


def test_panels_see_what_their_queries_see():
    seen = masks(48, 8)["blocks"]
    panels = added(seen).panels(0, (0, 48), 16, 4, 4, lambda rows, tiles, runs: rows * tiles)
    assert [each.start for each in panels] == [0, *np.cumsum([each.count for each in panels])[:-1]]
    for each in panels:
        rows = seen[each.start : each.start + each.count]
        assert each.tiles == tuple(rows.unflatten(1, (-1, 4)).any(2).any(0).nonzero().flatten().tolist())


@pytest.mark.parametrize(("machine", "rows"), [("nano", 12), ("odd", 0)])
@pytest.mark.parametrize("name", masks(48, 4))
def test_masked_attention_is_right(run, request, name, machine, rows):
    config, mask = request.getfixturevalue(machine), masks(48, 4)[name]
    found = run(Masked(mask), config, torch.randn(2, 48, 16), tiling=Tiling(group_rows=rows))
    everything = run(Masked(), config, torch.randn(1, 48, 16), tiling=Tiling(group_rows=rows))
    assert found.sqnr_db > 34
    assert array_cycles(found.program, config) < array_cycles(everything.program, config)


@pytest.mark.parametrize("rows", [0, 8])
def test_scores_of_queries_that_see_nothing_or_far_apart(run, nano, rows):
    mask = torch.rand(48, 48) < 0.05
    mask[16:32] = mask[40] = False
    found = run(Masked(mask), nano, torch.randn(2, 48, 16), tiling=Tiling(group_rows=rows))
    blind = found.golden[:, 16]
    assert found.sqnr_db > 32 and np.abs(found.output[:, [*range(16, 32), 40]] - blind[:, None]).max() < 0.02


def test_numbers_are_added_to_more_scores_than_stay_on_chip_with_their_keys(run, nano):
    """Each query sees 96 tokens, but a block of the cache has fewer: its scores are whole, its keys go by."""
    small = replace(nano, name="small", weight_words=256)
    found = run(Masked(torch.randn(2, 96, 96)), small, torch.randn(1, 96, 16), tiling=Tiling(group_rows=8))
    assert found.sqnr_db > 34
    assert {each.columns for each in found.program.instructions if isinstance(each, Softmax)} == {96}


@pytest.mark.parametrize("name", ["window", "blocks"])
def test_bf16_gathers_no_scales(run, nano, name):
    machine = replace(nano, name="machine", pe="bf16", value_format="float32")
    assert run(Masked(masks(48, 4)[name]), machine, torch.randn(1, 48, 16), precision="bf16").sqnr_db > 40


def test_layers_with_different_masks_are_not_taken_for_equal(nano):
    one, other = (Masked(masks(32, 4)[name]) for name in ("window", "strided"))
    model = nn.Sequential(one, other).eval()
    x = torch.randn(1, 32, 16)
    program = compile(model, (x,), nano, tiling=Tiling(group_rows=8))
    found, golden = simulate(program, {"input": x.numpy()}).outputs["output"], model(x).detach().numpy()
    assert 10 * np.log10((golden**2).sum() / ((golden - found.reshape(golden.shape)) ** 2).sum()) > 30


class Rotated(Masked):
    """The same, with queries and keys rotated by their place, or normalised."""

    def __init__(self, mask, rotated):
        super().__init__(mask)
        self.rotated, self.norm = rotated, nn.LayerNorm(8)
        angles = torch.arange(len(mask))[:, None] * 100.0 ** -torch.arange(0, 1, 0.25).repeat(2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def changed(self, x):
        first, second = x.chunk(2, -1)
        return x * self.cos + torch.cat([-second, first], -1) * self.sin if self.rotated else self.norm(x)

    def forward(self, x):
        q, k, v = (each(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        found = functional.scaled_dot_product_attention(self.changed(q), self.changed(k), v, attn_mask=self.mask)
        return self.o(found.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("rotated", [True, False])
def test_queries_that_are_computed_see_live_tiles_of_long_sequences(run, nano, rotated):
    mask = masks(64, 8)["blocks"]
    found, everything = (
        run(Rotated(each, rotated), nano, torch.randn(1, 64, 16), tiling=Tiling(group_rows=16))
        for each in (mask, torch.ones_like(mask))
    )
    assert found.sqnr_db > 36
    assert array_cycles(found.program, nano) < array_cycles(everything.program, nano)


def array_cycles(program, config):
    """Cycles of the array in products of an attention."""
    attentions = [each for each in program.instructions if isinstance(each, Matmul)]
    return sum(each.k_tiles * each.n_tiles * max(each.rows, config.tile_turnaround_cycles) for each in attentions)


@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("name", ["causal", "window", "blocks"])
def test_cycles_follow_the_live_blocks(name, width):
    """The rest of the layer takes what it takes with no mask, besides 16 · 8 cycles for a block of 16 × 16 scores."""
    tokens, config, tiling = 1024, PRESETS["base"], Tiling(1, 8, 128)
    mask = masks(tokens, width)[name]
    blocks = int(mask.reshape(64, 16, 64, 16).any(3).any(1).sum())
    x = torch.randn(1, tokens, 64)
    full, found = (
        simulate(compile(Masked(each, 64, 1).eval(), (x,), config, tiling=tiling), values=False)
        for each in (None, mask)
    )
    expected = full.cycles - 128 * (64 * 64 - blocks)
    assert found.cycles < 1.1 * expected
    once = 16 * (64 + 64 + 8)  # bytes of a block: keys, values, scales
    assert found.bytes["stream"] < min(full.bytes["stream"], blocks * once)

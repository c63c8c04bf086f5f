"""Segments: where a graph is cut, which are equal, and what programs of repeated layers and groups of rows compute."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Append, Load, Stream
from heddle.compiler.builder import Tiling
from heddle.compiler.ops import STREAMED
from heddle.compiler.pipeline import compile, front_end
from heddle.compiler.segments import segments
from heddle.models import bert, encoder, llama, vit
from heddle.sim.lint import lint
from heddle.sim.machine import simulate
from torch import nn

BERT = bert.BertConfig(vocabulary=23, positions=40, width=16, depth=5, heads=2, hidden=24, classes=3)


def streamed_graph(model, *inputs):
    return front_end(model.eval(), inputs, lambda name, graph: None, operators=STREAMED)


def ids(tokens):
    generator = torch.Generator().manual_seed(tokens)
    return torch.randint(0, 23, (1, tokens), generator=generator), torch.randint(0, 2, (1, tokens), generator=generator)


def test_equal_layers_have_one_signature():
    pieces = segments(streamed_graph(bert.seeded(BERT), *ids(11)))
    layers = [piece for piece in pieces if piece.attentions]
    assert len(layers) == 5 and len({piece.signature for piece in layers}) == 1
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(node.op != "stored" for node in pieces[0].graph)
    for piece in pieces[1:]:
        assert [node.op for node in piece.graph if not node.inputs and node.op not in ("constant", "input")] == [
            "stored"
        ]


def test_a_layer_of_another_size_is_another_segment():
    model = bert.seeded(BERT)
    model.layers[2].up, model.layers[2].down = nn.Linear(16, 40), nn.Linear(40, 16)
    layers = [piece for piece in segments(streamed_graph(model, *ids(11))) if piece.attentions]
    assert len({piece.signature for piece in layers}) > 1


def test_nothing_is_cut_while_a_second_value_is_alive():
    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = (nn.Linear(8, 8) for _ in range(3))

        def forward(self, x):
            y = torch.relu(self.first(x))
            return self.third(torch.relu(self.second(y)) * y)

    (piece,) = segments(streamed_graph(Skipping(), torch.zeros(1, 5, 8)))
    assert [node.op for node in piece.graph].count("linear") == 3


def test_equal_pieces_with_results_of_their_own_are_not_one():
    class Apart(nn.Module):
        def forward(self, x, y):
            return {name: torch.relu(nn.functional.layer_norm(each, (8,))) for name, each in (("x", x), ("y", y))}

    graph = streamed_graph(Apart(), torch.zeros(1, 5, 8), torch.zeros(1, 5, 8))
    pieces = segments(graph, finest=True)
    ends = [piece.signature for piece in pieces if piece.graph.names != [None]]
    assert len(ends) == len(set(ends)) == 2


@pytest.mark.parametrize("group", [4, 8, 16])
@pytest.mark.parametrize("tokens", [11, 32])
def test_groups_of_rows_give_what_pytorch_gives(run, nano, group, tokens):
    found = run(bert.seeded(BERT), nano, *(torch.cat([each] * 2) for each in ids(tokens)), tiling=Tiling(1, 8, group))
    assert found.sqnr_db > 30
    assert not list(lint(found.program))
    appended = sum(each.tokens for each in found.program.instructions if isinstance(each, Append))
    assert appended == 5 * 2 * 3 * tokens  # layers, heads, keys and values and scales


def test_causal_attention_in_groups_skips_what_is_masked(run, nano):
    torch.manual_seed(3)
    model = CausalLayer()
    found = run(model, nano, torch.randn(2, 24, 16), tiling=Tiling(1, 8, 8))
    assert found.sqnr_db > 33
    tokens = {each.blocks for each in found.program.instructions if isinstance(each, Stream)}
    assert tokens == {2, 4, 6}  # blocks of 4 tokens, for the groups that end at 8, 16 and 24
    rows = sum(range(1, 25))
    assert found.program.useful_macs == 24 * 4 * 16 * 16 + rows * 2 * 16


class CausalLayer(nn.Module):
    """x + attention(x), causal."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x):
        q, k, v = (each(x).view(len(x), -1, 2, 8).transpose(1, 2) for each in (self.query, self.key, self.value))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.out(y.transpose(1, 2).reshape(len(x), -1, 16))


def test_attention_of_more_bits(run, nano):
    """All rows at once its products have codes of two digits too; through the cache each projection has its passes."""
    model = encoder.seeded(encoder.PreNormLayer, encoder.EncoderConfig(width=16, heads=2, hidden=24))
    x = torch.randn(2, 11, 16)
    fewer, whole, groups = (
        run(model, nano, x, tiling=tiling, precision=precision).sqnr_db
        for tiling, precision in ((None, "w8a8"), (None, "w16a16"), (Tiling(1, 8, 8), "w16a16"))
    )
    assert whole > 50 and groups > fewer


def test_vit_in_groups_is_close_to_pytorch(run, nano):
    torch.manual_seed(0)
    model = vit.Vit(vit.VitConfig())
    found = run(model, nano, torch.rand(2, 1, 8, 8), tiling=Tiling(1, 8, 8))
    assert found.sqnr_db > 30 and not list(lint(found.program))


def test_repeated_layers_are_the_layers_one_by_one(nano):
    """The masks that are repeated are those that the last copies need: the lint, which knows nothing of copies, agrees,
    and so does a program of which each copy was worked out by itself."""
    model, inputs = bert.seeded(replace(BERT, depth=9)), ids(11)
    program = compile(model, inputs, nano, tiling=Tiling(1, 8, 8))
    (period,) = program.periods
    assert period.count >= 5
    assert not list(lint(program))
    body = program.instructions[period.start : period.start + period.length]
    steps = set()
    for copy in range(period.count):
        start = period.start + copy * period.length
        for first, other in zip(body, program.instructions[start : start + period.length], strict=True):
            if isinstance(first, Load) and first.dram_address != other.dram_address:
                steps.add((other.dram_address - first.dram_address) / copy)
                assert (other.dram_address - first.dram_address) % nano.burst_bytes == 0
                first = replace(first, dram_address=other.dram_address)
            if isinstance(first, (Append, Stream)):
                first = replace(first, dram_address=other.dram_address)
            assert first == other
    assert len(steps) == 1
    result = simulate(program, {"ids": inputs[0][0].numpy(), "segments": inputs[1][0].numpy()})
    golden = model(*inputs)[0].detach().numpy()
    assert np.abs(result.outputs["output"][0] - golden).max() < 0.1


def test_groups_of_rotated_heads_attend_to_each_other(nano):
    torch.manual_seed(0)
    sizes = llama.LlamaConfig(vocabulary=23, context=24, width=16, depth=1, heads=2, kv_heads=1, hidden=24)
    model = llama.Llama(sizes).eval()
    ids = torch.randint(0, 23, (1, 24))
    program = compile(model, [ids], nano, tiling=Tiling(1, 8, 8))
    golden = model(ids)[0].detach().numpy()
    found = simulate(program, {"ids": ids[0].numpy()}).outputs["output"].reshape(golden.shape)
    assert 10 * np.log10((golden**2).sum() / ((golden - found) ** 2).sum()) > 30


class Stack(nn.Module):
    """Equal layers, and nothing behind the last."""

    def __init__(self, layers, keep=0):
        super().__init__()
        sizes = encoder.EncoderConfig(width=16, heads=2, hidden=24)
        self.layers = nn.ModuleList(encoder.seeded(encoder.PostNormLayer, sizes, seed) for seed in range(layers))
        self.keep = keep  # rows that the second layer gets; 0: all

    def forward(self, x):
        for number, layer in enumerate(self.layers):
            x = layer(x[:, : self.keep] if number == 1 and self.keep else x)
        return x


def test_the_last_of_equal_layers_gives_the_output(run, nano):
    found = run(Stack(5), nano, torch.randn(2, 11, 16), tiling=Tiling(1, 8, 8))
    assert found.sqnr_db > 30 and not list(lint(found.program))
    with torch.device("meta"):
        model = Stack(0)
        model.layers.extend(
            encoder.PostNormLayer(encoder.EncoderConfig(width=16, heads=2, hidden=24)) for _ in range(5)
        )
    weightless = compile(model.eval(), [torch.zeros(1, 11, 16)], nano, tiling=Tiling(1, 8, 8))
    assert [each.shape for each in weightless.outputs()] == [(11, 16)]
    assert len(weightless.instructions) == len(found.program.instructions)


def test_a_layer_on_fewer_rows_sees_those_only(run, nano):
    found = run(Stack(2, keep=8), nano, torch.randn(2, 16, 16), tiling=Tiling(1, 8, 8))
    assert found.sqnr_db > 40


def test_constants_that_are_read_twice_are_not_two(run, nano):
    class Adding(nn.Module):
        def __init__(self):
            super().__init__()
            self.p, self.r = nn.Parameter(torch.randn(1, 12, 16)), nn.Parameter(torch.randn(1, 12, 16))
            self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(4))

        def forward(self, x):
            for number, norm in enumerate(self.norms):
                x = nn.functional.gelu(norm(x + self.p) + (self.p if number % 2 else self.r))
            return x

    torch.manual_seed(5)
    assert run(Adding(), nano, torch.randn(2, 12, 16), tiling=Tiling(1, 8, 4)).sqnr_db > 35


def test_a_mask_that_hides_nothing_is_none(run, nano):
    class Masked(CausalLayer):
        def forward(self, x):
            q, k, v = (each(x).view(len(x), -1, 2, 8).transpose(1, 2) for each in (self.query, self.key, self.value))
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
            y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return x + self.out(y.transpose(1, 2).reshape(len(x), -1, 16))

    torch.manual_seed(4)
    assert run(Masked(), nano, torch.randn(2, 12, 16), tiling=Tiling(1, 8, 8)).sqnr_db > 33


def test_keys_of_other_tokens_are_refused(nano):
    class Crossing(CausalLayer):
        def forward(self, x, memory):
            q = self.query(x).view(1, -1, 2, 8).transpose(1, 2)
            k, v = (each(memory).view(1, -1, 2, 8).transpose(1, 2) for each in (self.key, self.value))
            y = nn.functional.scaled_dot_product_attention(q, k, v)
            return self.out(y.transpose(1, 2).reshape(1, -1, 16))

    with pytest.raises(HeddleError, match="must be made of the same tokens"):
        compile(Crossing(), [torch.zeros(1, 8, 16), torch.zeros(1, 16, 16)], nano, tiling=Tiling(1, 8, 8))

"""Models without weights: the same graphs, instructions and cycles, and nothing in memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.arch.program import Program
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder, decoder_graph
from heddle.compiler.matrix import joined, pairs_of_columns, quantise_matrix
from heddle.compiler.pipeline import compile, front_end
from heddle.compiler.precision import Precision, PrecisionRule
from heddle.compiler.smooth import calibrate
from heddle.compiler.weightless import ShapeOnly, has_bytes, padded, same_values, shape_only, to_numpy
from heddle.cosim.lockstep import lockstep
from heddle.models import bert, deepseek, encoder, gpt2, llama, vit
from heddle.sim.machine import simulate
from torch import nn

TOKENS = 24
SIZES = {"vocabulary": 19, "context": TOKENS, "width": 16, "depth": 2}
DECODERS = {
    "gpt2": lambda: gpt2.Gpt2(gpt2.Gpt2Config(**SIZES, heads=2)),
    "llama": lambda: llama.Llama(llama.LlamaConfig(**SIZES, heads=4, kv_heads=2, hidden=24)),
    "deepseek": lambda: deepseek.Deepseek(
        deepseek.DeepseekConfig(**SIZES, heads=2, query_rank=12, kv_rank=10, plain_width=8, rotary_width=8,
                                value_width=6, hidden=24)
    ),
}  # fmt: skip
IDS = torch.zeros(1, 16, dtype=torch.int64)
LAYER = encoder.EncoderConfig(width=12, heads=3)
ENCODERS = {
    "bert": (lambda: bert.Bert(bert.BertConfig(depth=1)), (IDS, IDS)),
    "vit": (lambda: vit.Vit(vit.VitConfig(depth=1, width=16)), (torch.zeros(1, 1, 8, 8),)),
    "pre-norm": (lambda: encoder.PreNormLayer(LAYER), (torch.zeros(1, 5, 12),)),
    "post-norm": (lambda: encoder.PostNormLayer(LAYER), (torch.zeros(1, 5, 12),)),
}


def with_and_without(build) -> tuple[nn.Module, nn.Module]:
    with torch.device("meta"):
        without = build()
    return build().eval(), without.eval()


def ignore(name, result):
    pass


# -- arrays ------------------------------------------------------------------------------------------------------------


def test_a_shape_is_cut_and_turned_like_an_array_and_takes_no_memory():
    array = shape_only((1 << 20, 1 << 20), np.int8)
    words = array[4:1024].reshape(-1, 4, 1 << 20).transpose(0, 2, 1)
    assert words.shape == (255, 1 << 20, 4) and words.dtype == np.int8
    assert isinstance(words.reshape(-1, 4), ShapeOnly) and not has_bytes(np.zeros(1), words)
    assert has_bytes(np.zeros(3), torch.zeros(2), None) and not has_bytes(torch.empty(2, device="meta"))


@pytest.mark.parametrize("work", [lambda x: x * 2, lambda x: np.pad(x, 1), lambda x: x.sum()])
def test_no_arithmetic_is_done_on_a_shape(work):
    with pytest.raises(TypeError):
        work(shape_only((2, 3)))


def test_tensors_on_meta_become_shapes_of_their_type():
    assert to_numpy(torch.empty(2, 3, device="meta", dtype=torch.int64)).dtype == np.int64
    np.testing.assert_array_equal(to_numpy(torch.ones(2)), [1, 1])


def test_without_bytes_only_the_same_part_of_one_tensor_is_equal():
    tensor, other = torch.empty(4, 2, device="meta"), torch.empty(4, 2, device="meta")
    assert same_values(tensor[1:], tensor[1:]) and same_values(tensor, tensor.reshape(4, 2))
    assert not same_values(tensor[1:], tensor[:3]) and not same_values(tensor, other)
    assert not same_values(tensor, torch.zeros(4, 2))
    assert same_values(torch.ones(2), torch.ones(2)) and not same_values(torch.ones(2), torch.zeros(2))


@pytest.mark.parametrize("precision", [Precision.W8A8, Precision.W16A16, Precision.BF16])
def test_matrices_have_the_shapes_of_those_with_weights(precision, nano):
    real = [quantise_matrix(torch.randn(n, 7), torch.randn(n), 0.5, precision) for n in (3, 6)]
    empty = [quantise_matrix(torch.empty(n, 7, device="meta"), None, 0.5, precision) for n in (3, 6)]
    for one, other in [(joined(real, nano).spread(4, 5), joined(empty, nano).spread(4, 5)), (real[0], empty[0])]:
        assert str(one) == str(other) and len(one.digits) == len(other.digits)
        for name in ("codes", "scale", "offset"):
            mine, theirs = getattr(one, name), getattr(other, name)
            assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype) and not has_bytes(theirs)
        assert one.words(nano).shape == other.words(nano).shape
        assert one.pairs(nano).shape == other.pairs(nano).shape
    assert padded(np.ones(2), [(1, 0)]).tolist() == [0, 1, 1]
    assert pairs_of_columns(torch.empty(5, device="meta"), torch.zeros(5), nano).shape == (2, 4, 2)


# -- graphs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_have_the_same_graph_and_cycles(name, nano):
    build, inputs = ENCODERS[name]
    models = with_and_without(build)
    real, empty = (str(front_end(model, inputs, ignore)) for model in models)
    assert real == empty
    real, empty = (compile(model, inputs, nano, tiling=Tiling()) for model in models)
    assert empty.timing_only and not real.timing_only and set(empty.data) < set(real.data)  # tables of functions
    assert empty.instructions == real.instructions and empty.dram_bytes == real.dram_bytes
    assert simulate(empty, values=False).cycles == simulate(real, values=False).cycles


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("tokens", [1, 8])
def test_decoders_have_the_same_graph_and_cycles(name, tokens, nano):
    models = with_and_without(DECODERS[name])
    rule = PrecisionRule()
    real, empty = (str(decoder_graph(model, TOKENS, tokens, rule, None, True, ignore)) for model in models)
    assert real == empty
    real, empty = (
        compile_decoder(model, nano, CachePlan(TOKENS), tokens=tokens, tiling=Tiling()).at(7) for model in models
    )
    assert empty.timing_only and set(empty.data) < set(real.data)  # tables of functions
    assert empty.instructions == real.instructions
    assert simulate(empty, values=False).cycles == simulate(real, values=False).cycles


@pytest.mark.parametrize("precision", ["w8a16", "w16a16", "bf16"])
def test_other_precisions_have_the_same_instructions(precision, nano):
    config = replace(nano, name="nano-bf16", pe="bf16") if precision == "bf16" else nano
    real, empty = (
        compile_decoder(model, config, CachePlan(TOKENS), tokens=8, tiling=Tiling(), precision=precision)
        for model in with_and_without(DECODERS["gpt2"])
    )
    assert empty.instructions == real.instructions


def test_outliers_are_not_smoothed_where_there_are_none(nano):
    real, empty = with_and_without(DECODERS["llama"])
    ranges = calibrate(real, [(IDS,)])
    options = {"tokens": 8, "tiling": Tiling(), "ranges": ranges}
    programs = [compile_decoder(each, nano, CachePlan(TOKENS), **options) for each in (real, empty)]
    assert programs[0].instructions == programs[1].instructions


def test_a_banked_memory_takes_as_long(nano):
    dram = nano.with_dram("DDR4-2400").dram
    real, empty = (
        compile_decoder(model, nano, CachePlan(TOKENS), tokens=8, tiling=Tiling()).at(4)
        for model in with_and_without(DECODERS["gpt2"])
    )
    cycles = simulate(empty, values=False, dram=dram).cycles
    assert cycles == simulate(real, values=False, dram=dram).cycles != simulate(real, values=False).cycles


def test_tables_on_the_cpu_meet_weights_on_meta(nano):
    real, model = with_and_without(DECODERS["llama"])
    model.cos, model.sin = real.cos, real.sin
    programs = [compile_decoder(each, nano, CachePlan(TOKENS), tiling=Tiling()) for each in (real, model)]
    assert programs[0].instructions == programs[1].instructions
    rotary, *functions = sorted(set(programs[1].data) & set(programs[0].data))
    assert len(programs[1].data) == 1 + len(functions) and len(functions) == 3  # what three loads set
    assert model.tokens.weight.is_meta, "the model is as it was"


def test_one_table_without_bytes_is_enough_for_timing_only(nano):
    model, empty = with_and_without(DECODERS["llama"])
    model.cos, model.sin = empty.cos, empty.sin
    program = compile_decoder(model, nano, CachePlan(TOKENS))  # several tilings are tried
    assert program.timing_only and program.data


def test_a_tied_head_stays_tied_while_the_model_is_captured():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, ids):
            return self.head(self.tokens(ids))

    real, empty = with_and_without(Tied)
    assert str(front_end(real, (IDS,), ignore)) == str(front_end(empty, (IDS,), ignore))
    assert empty.head.weight is empty.tokens.weight and empty.head.weight.is_meta


def test_an_error_leaves_the_model_as_it_was():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return self.linear(x)[:, : int(x.sum())]

    model = with_and_without(Broken)[1]
    with pytest.raises(HeddleError, match="cannot capture Broken"):
        front_end(model, (torch.zeros(1, 2, 4),), ignore)
    assert model.linear.weight.is_meta and model.linear.bias.is_meta


def test_a_mask_without_values_is_refused(nano):
    config = llama.LlamaConfig(**SIZES, heads=2, kv_heads=1, hidden=24, window=7)
    with torch.device("meta"):
        model = llama.Llama(config)
    with pytest.raises(HeddleError, match="mask .* is on the device meta; masks must have values"):
        compile_decoder(model, nano, CachePlan(TOKENS), tiling=Tiling())
    model.mask = llama.banded_mask(TOKENS, 7)
    assert compile_decoder(model, nano, CachePlan(TOKENS), tiling=Tiling()).timing_only


# -- programs ----------------------------------------------------------------------------------------------------------


def test_values_of_a_program_without_weights_are_refused(nano, tmp_path):
    model = with_and_without(DECODERS["gpt2"])[1]
    program = compile_decoder(model, nano, CachePlan(TOKENS), tiling=Tiling(), name="gpt2")
    message = "gpt2 was compiled without weights: it has timing only, and computes no values"
    with pytest.raises(HeddleError, match=message):
        simulate(program)
    with pytest.raises(HeddleError, match=message):
        lockstep(program, engine="amaranth")
    with pytest.raises(HeddleError, match=message):
        _ = program.at(3).image
    program.save(tmp_path / "gpt2.heddle")
    loaded = Program.load(tmp_path / "gpt2.heddle")
    assert loaded.timing_only
    assert simulate(loaded, values=False).cycles == simulate(program, values=False).cycles


def test_a_large_image_is_not_made_for_timing(nano):
    model = with_and_without(DECODERS["gpt2"])[1]
    program = compile_decoder(model, nano, CachePlan(TOKENS), tiling=Tiling())
    large = replace(program, dram_bytes=1 << 40)  # would not fit anywhere
    moved = large.at(1).at(2)
    assert simulate(moved, values=False).cycles == simulate(program.at(2), values=False).cycles


def test_programs_at_other_positions_share_one_image(nano):
    model = with_and_without(DECODERS["gpt2"])[0]
    program = compile_decoder(model, nano, CachePlan(TOKENS), tiling=Tiling())
    assert program.at(1).at(2).image is program.image is program.at(5).image

"""Compilations that share what they capture give the programs that they give by themselves."""

from dataclasses import replace

import heddle
import pytest
import torch
from torch import nn

NANO = heddle.get_config("nano")
MACHINES = [NANO, replace(NANO, rows=8), replace(NANO, act_words=1024), replace(NANO, pe="bf16")]
X = torch.zeros(1, 6, 16)


def mlp():
    torch.manual_seed(3)
    return nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16)).eval()


def content(program):
    return program.code, program.data, program.choices, program.tensors, program.labels


def test_programs_of_shared_captures_are_those_of_single_compilations():
    model, captures = mlp(), heddle.Captures()
    for config in [*MACHINES, MACHINES[0]]:
        shared = heddle.compile(model, (X,), config, captures=captures)
        assert content(shared) == content(heddle.compile(model, (X,), config))


def test_so_are_decoders_without_weights():
    from heddle.models.gpt2 import Gpt2, Gpt2Config

    model = Gpt2(Gpt2Config(context=32, width=16, depth=2, heads=2)).eval()
    plan, captures = heddle.CachePlan(32), heddle.Captures()
    for tokens in (1, 8, 1):
        for config in (NANO, MACHINES[1]):
            shared = heddle.compile_decoder(model, config, plan, tokens=tokens, captures=captures)
            assert content(shared) == content(heddle.compile_decoder(model, config, plan, tokens=tokens))


def test_other_inputs_precisions_and_weights_are_captured_anew():
    model, captures = mlp(), heddle.Captures()
    for x, precision in ((X, "w8a8"), (X, "w16a16"), (torch.zeros(1, 9, 16), "w8a8")):
        shared = heddle.compile(model, (x,), NANO, precision=precision, captures=captures)
        assert content(shared) == content(heddle.compile(model, (x,), NANO, precision=precision))
    with torch.no_grad():
        model[1].weight.mul_(-1)
    assert content(heddle.compile(model, (X,), NANO, captures=captures)) == content(heddle.compile(model, (X,), NANO))


def test_what_cannot_be_captured_is_refused_again():
    class Signed(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x  # control flow on data

    model, captures = Signed(), heddle.Captures()
    for _ in range(2):
        with pytest.raises(heddle.HeddleError, match="cannot capture Signed"):
            heddle.compile(model, (torch.zeros(1, 4, 4),), NANO, captures=captures)


def test_captures_are_of_one_model():
    captures = heddle.Captures()
    heddle.compile(mlp(), (X,), NANO, captures=captures)
    with pytest.raises(heddle.HeddleError, match="captures must be of one model"):
        heddle.compile(mlp(), (X,), NANO, captures=captures)
    with pytest.raises(heddle.HeddleError, match="captures must be Captures, or None, not 3"):
        heddle.compile(mlp(), (X,), NANO, captures=3)

"""The timing of a segment by itself, as the search judges it."""

from itertools import product, starmap

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS
from heddle.compiler import search
from heddle.compiler.builder import Tiling
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.compiler.pipeline import compile
from heddle.models import encoder, gpt2
from heddle.sim.machine import simulate


def layer():
    return encoder.seeded(encoder.PreNormLayer, encoder.EncoderConfig())


def test_what_is_said_of_a_way_is_what_the_simulator_says_of_its_program(nano):
    x = [torch.zeros(1, 10, 24)]
    searched = compile(layer(), x, nano)
    (simulated,) = (each for each in searched.choices if each.what == "simulated")
    assert simulated.considered[simulated.chosen] == simulate(searched, values=False).cycles
    given = {str(each): each for each in starmap(Tiling, product((1, 2, 3, 4), (4, 8, 16)))}
    both = [name for name in simulated.considered if name in given]  # what may be said of a tiling that is given, too
    assert both
    for name in both:
        program = compile(layer(), x, nano, tiling=given[name])
        assert simulated.considered[name] == simulate(program, values=False).cycles


def test_the_judge_overrules_the_estimate(nano, monkeypatch):
    """Whatever it likes best of the finalists is chosen, and computes the same."""
    x = torch.randn(1, 10, 24)
    first = compile(layer(), [x], nano)
    (before,) = (each for each in first.choices if each.what == "simulated")
    judged = iter(range(len(before.considered), 0, -1))
    monkeypatch.setattr(search, "rehearse", lambda *_: next(judged))
    other = compile(layer(), [x], nano)
    assert other.choices[2].chosen == list(before.considered)[-1]
    outputs = [simulate(each, {"x": x.numpy()}).outputs["output"] for each in (first, other)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("tokens", [1, 4])
def test_a_decoder_is_judged_over_its_positions(tokens):
    """The first, the last, and the one between, of a program that is one segment."""
    plan = CachePlan(32)
    model = gpt2.Gpt2(gpt2.Gpt2Config(context=32, width=16, depth=1, heads=2)).eval()
    program = compile_decoder(model, PRESETS["nano"], plan, tokens=tokens)
    (simulated,) = (each for each in program.choices if each.what.startswith("simulated"))
    last = plan.tokens - tokens
    cycles = [simulate(program.at(each), values=False).cycles for each in (0, last // 2, last)]
    assert simulated.considered[simulated.chosen] == sum(cycles) // 3

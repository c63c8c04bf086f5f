"""Which functions by table evaluators hold, and how a program sets them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.config import PRESETS, Memory
from heddle.arch.functions import DESCRIPTOR_COUNT, HEADER_PLACE, PLACE_COUNT, WORD_PLACE, Table, evaluate
from heddle.arch.isa import Function, Map, Quantise, Tables
from heddle.compiler.builder import Tiling
from heddle.compiler.evaluators import Evaluators, together
from heddle.compiler.functions import GOLDEN, named
from heddle.sim.lint import lint
from torch import nn

FOUR = ["gelu", "tanh", "reciprocal", "relu"]


def placed(evaluators, names):
    """All that evaluators hold, each place written once at most."""
    found = np.zeros(PLACE_COUNT, np.int64)
    for name in names:
        for entries, place in evaluators.pieces(name):
            assert not found[place : place + len(entries)].any(), name
            found[place : place + len(entries)] = entries
    return found


def test_what_is_held_are_the_functions():
    evaluators = together(FOUR)
    assert evaluators is not None
    entries = placed(evaluators, FOUR)
    x = np.linspace(-9, 9, 999).astype(np.float32)
    for name in FOUR:
        number = evaluators.find(name) - Function.TABLE_0
        table = Table.from_ints([entries[HEADER_PLACE + number],
                                 *entries[number * DESCRIPTOR_COUNT : (number + 1) * DESCRIPTOR_COUNT],
                                 *entries[WORD_PLACE:HEADER_PLACE]])  # fmt: skip
        exact = GOLDEN[name](torch.tensor(x, dtype=torch.float64))
        np.testing.assert_allclose(evaluate(table, x, 16), exact, rtol=2**-10.9, atol=2**-31)


def test_no_more_than_there_is_room_for():
    assert together(["gelu", "silu"]) is None and together([*FOUR, "sqrt"]) is None
    assert together([*FOUR[1:], "sqrt"]) is not None and not together([]).held


def test_what_is_copied_is_held_apart():
    evaluators = Evaluators()
    other = evaluators.copy()
    assert other.take("tanh") and evaluators.find("tanh") is None and other.find("tanh") is Function.TABLE_0


@pytest.mark.parametrize("name", ["nano", "small"])
def test_pieces_fill_words_of_param(name):
    config, evaluators = PRESETS[name], together(["tanh"])
    for piece in evaluators.pieces("tanh"):
        pairs = piece.pairs(config)
        assert pairs.shape[1:] == (config.columns, 2) and pairs.dtype == np.float32
        numbers = pairs.reshape(-1).view(np.uint64)
        assert numbers[: len(piece.entries)].tolist() == piece.entries and not numbers[len(piece.entries) :].any()
        assert len(numbers) < len(piece.entries) + config.word_elements(Memory.PARAM)


def setting(program):
    """The numbers of its instructions that set tables, and the functions of those that use one."""
    places = [i for i, each in enumerate(program.instructions) if isinstance(each, Tables)]
    users = {i: each.function for i, each in enumerate(program.instructions)
             if isinstance(each, (Map, Quantise)) and each.function not in (Function.NONE, Function.RELU)}  # fmt: skip
    return places, users


class Layers(nn.Module):
    def __init__(self, *functions, width=6):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in functions)
        self.functions = functions

    def forward(self, x):
        for layer, function in zip(self.layers, self.functions, strict=True):
            x = x + function(layer(x))
        return x


F = torch.nn.functional


def test_functions_that_fit_together_are_set_once(run, config):
    found = run(Layers(F.gelu, torch.tanh, F.gelu, torch.erf), config, torch.randn(4, 5, 6))
    assert found.sqnr_db > 33 and lint(found.program) == []
    places, users = setting(found.program)
    assert len(places) == 9 and len(set(users.values())) == 3


def test_functions_that_do_not_are_set_before_each_use(run, config):
    model = Layers(F.gelu, F.silu, F.mish, F.gelu, torch.tanh, torch.sigmoid)
    found = run(model, config, torch.randn(4, 5, 6), tiling=None)
    assert found.sqnr_db > 33 and lint(found.program) == []
    assert len(setting(found.program)[0]) == 6 * 3


def test_segments_find_their_functions_set_at_the_start_of_the_program(run, nano):
    model = Layers(*[F.gelu] * 4)
    found = run(model, nano, torch.randn(4, 24, 6), tiling=Tiling(group_rows=8))
    places, users = setting(found.program)
    assert found.sqnr_db > 33 and lint(found.program) == []
    assert len(places) == 3 and max(places) < min(users) and len(users) >= 4 * 3


def test_segments_whose_functions_do_not_fit_set_them_each(run, nano):
    found = run(Layers(*[F.gelu, F.silu] * 2), nano, torch.randn(4, 24, 6), tiling=Tiling(group_rows=8))
    assert found.sqnr_db > 33 and lint(found.program) == []
    assert len(setting(found.program)[0]) >= 4 * 3


def test_a_small_param_takes_a_table_in_parts(run, nano):
    config = replace(nano, name="thin", param_words=16, param_banks=1)
    found = run(Layers(F.gelu), config, torch.randn(4, 5, 6))
    assert found.sqnr_db > 33 and len(setting(found.program)[0]) > 16


def test_a_function_has_the_name_of_its_power():
    assert named("x^0.75") is named("x^0.75")
    np.testing.assert_allclose(evaluate(named("x^0.75"), [0.0625, 16.0], 16), [0.125, 8], rtol=2**-11)

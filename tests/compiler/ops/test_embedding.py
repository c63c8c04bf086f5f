"""Gathered rows of a table."""

import numpy as np
import pytest
import torch
from heddle.arch import numerics
from heddle.arch.errors import HeddleError
from heddle.compiler.builder import Tiling
from heddle.sim.machine import simulate
from torch import nn


@pytest.mark.parametrize(("width", "parts"), [(8, 1), (21, 2)])
def test_rows_are_copied_as_bf16(run, config, width, parts):
    model = nn.Embedding(19, width)
    found = run(model, config, torch.randint(0, 19, (4, 11)), tiling=Tiling(parts))
    np.testing.assert_array_equal(found.output, numerics.to_bf16(found.golden))


def test_one_input_can_choose_from_two_tables(run, nano):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Embedding(9, 6), nn.Embedding(9, 6)

        def forward(self, ids):
            return self.a(ids) + self.b(ids)

    assert run(Two(), nano, torch.randint(0, 9, (3, 5))).sqnr_db > 42


def test_an_id_beyond_the_table_is_an_error_not_a_wrong_row(run, nano):
    program = run(nn.Embedding(9, 6), nano, torch.zeros(1, 5, dtype=torch.int64)).program
    with pytest.raises(HeddleError, match="from 0 to 8, the last of the 9 rows that it chooses from, not 10000000 at"):
        simulate(program, {program.inputs()[0].name: np.full((1, 5), 10_000_000)}, timing=False)


def test_computed_ids_are_the_hosts(run, nano):
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 6)

        def forward(self, ids):
            return self.table(ids + 1)

    assert run(Shifted(), nano, torch.tensor([[0, 3, 7, 1, 1]])).sqnr_db > 45


def test_ids_that_are_found_are_not_computed_with(run, nano):
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 6)

        def forward(self, x):
            return self.table(x.argmax(-1) + 1)

    with pytest.raises(HeddleError, match="aten.add.Tensor .* argmax_2 has whole numbers, which can only choose rows"):
        run(Shifted(), nano, torch.randn(1, 5, 6))

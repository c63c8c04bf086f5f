"""NORM against torch, in place and elsewhere, and its duration."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.config import ROW_SUM_INTERVAL, Memory
from heddle.arch.isa import Norm, NormKind, Statistics
from heddle.arch.numerics import to_bf16
from heddle.sim import units

ROWS, COLUMNS = 5, 14


@pytest.mark.parametrize("kind", list(NormKind))
@pytest.mark.parametrize("in_place", [False, True])
def test_norm_agrees_with_torch(config, make_state, fill_panel, fill_params, kind, in_place):
    rng = np.random.default_rng(4)
    x = to_bf16(rng.normal(2, 3, (2, ROWS, COLUMNS)).astype(np.float32))
    gamma, beta = rng.normal(1, 0.3, COLUMNS).astype(np.float32), rng.normal(size=COLUMNS).astype(np.float32)
    state = make_state(config, batch=2)
    stride = fill_panel(state, Memory.VALUE, 8, x)
    fill_params(state, 2, gamma, beta)
    address = 8 if in_place else 90
    units.execute(Norm(rows=ROWS, columns=COLUMNS, kind=kind, source_address=8, source_stride=stride, param_address=2,
                      address=address, stride=stride, reciprocal=1 / COLUMNS, epsilon=1e-5), state, config)  # fmt: skip
    found = state.panel(Memory.VALUE, address, stride, ROWS, stride * config.columns)
    x, gamma, beta = (torch.from_numpy(each) for each in (x, gamma, beta))
    if kind is NormKind.LAYER:
        expected = torch.nn.functional.layer_norm(x, (COLUMNS,), gamma, beta, 1e-5)
    else:
        expected = torch.nn.functional.rms_norm(x, (COLUMNS,), gamma, 1e-5) + beta
    relative = 2**-8 if config.value_format == "bf16" else 1e-6
    np.testing.assert_allclose(found[..., :COLUMNS], expected.numpy(), rtol=relative, atol=2e-6)
    assert not found[..., COLUMNS:].any()


@pytest.mark.parametrize("kind", list(NormKind))
@pytest.mark.parametrize("statistics", [Statistics.MOMENTS, Statistics.SUMS])
def test_statistics_agree_with_torch(config, make_state, fill_panel, fill_params, kind, statistics):
    x = to_bf16(np.random.default_rng(4).normal(2, 3, (2, ROWS, COLUMNS)).astype(np.float32))
    state = make_state(config, batch=2)
    stride = fill_panel(state, Memory.VALUE, 8, x)
    fill_params(state, 2, np.ones(COLUMNS), np.zeros(COLUMNS))
    units.execute(Norm(rows=ROWS, columns=COLUMNS, kind=kind, source_address=8, source_stride=stride, param_address=2,
                      address=90, stride=stride, reciprocal=1 / COLUMNS, epsilon=1e-5, statistics=statistics,
                      statistics_address=20), state, config)  # fmt: skip
    x = torch.from_numpy(x).double()
    d = x - x.mean(-1, keepdim=True) if kind is NormKind.LAYER else x
    expected = [x.sum(-1), (d**2).sum(-1)]
    if statistics is Statistics.MOMENTS:
        expected = [x.mean(-1), 1 / ((d**2).mean(-1) + 1e-5).sqrt()]
    for place, each in enumerate(expected[kind is NormKind.RMS :]):
        found = state.row_numbers(20 + place * ROWS, ROWS)
        np.testing.assert_allclose(found, each.numpy(), rtol=2e-6 if config.vector_format == "float32" else 2**-9)


def test_passes_take_the_time_the_manual_says(nano, odd):
    def duration(config, rows, groups, word_groups, layer):
        rows_of_sums = (rows - 1) * max(groups, ROW_SUM_INTERVAL) + groups + 2
        mean = rows_of_sums + config.row_sum_cycles + 3
        rounds = config.vector_format == "tf32"  # x − mean; the mean of squares; and no Newton step
        deviation = rows_of_sums + 5 + rounds + 3 + config.row_sum_cycles + 3 + rounds + 4 + 8 + 13 * (not rounds)
        output = rows * word_groups + 2 + 5 + rounds + 6 + 4 + 1
        return mean * layer + deviation + output

    assert units.cycles(Norm(rows=3, columns=5), nano) == duration(nano, 3, 3, 4, layer=1)
    assert units.cycles(Norm(rows=3, columns=5, kind=NormKind.RMS), nano) == duration(nano, 3, 3, 4, layer=0)
    assert units.cycles(Norm(rows=4, columns=6), odd) == duration(odd, 4, 6, 10, layer=1)
    tf32 = replace(nano, vector_format="tf32")
    assert units.cycles(Norm(rows=3, columns=5), tf32) == duration(tf32, 3, 3, 4, layer=1)

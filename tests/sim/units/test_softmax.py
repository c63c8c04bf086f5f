"""SOFTMAX against torch, with every kind of mask, and its duration."""

import numpy as np
import pytest
import torch
from heddle.arch.config import Memory
from heddle.arch.isa import Softmax
from heddle.sim.units import softmax

ROWS, COLUMNS = 6, 9


@pytest.fixture
def scores():
    return np.random.default_rng(3).integers(-20000, 20000, (2, ROWS, COLUMNS)).astype(np.int32)


def run(config, make_state, fill_panel, fill_params, scores, mask=None, **fields):
    """Probabilities times V's scales, (batch, ROWS, COLUMNS), from the codes and scales that come out."""
    key_scale, value_scale = np.linspace(0.5, 1.5, COLUMNS), np.linspace(2, 0.25, COLUMNS)
    row = np.linspace(1e-4, 3e-4, ROWS).astype(np.float32)
    state = make_state(config, batch=2)
    stride = fill_panel(state, Memory.ACC, 16, scores)
    fill_params(state, 3, key_scale, value_scale)
    state.write_row_numbers(5, row[None])
    if mask is not None:
        fill_panel(state, Memory.VALUE, 100, mask)
    words = -(-COLUMNS // config.rows)
    softmax.execute(
        Softmax(rows=ROWS, columns=COLUMNS, source_address=16, source_stride=stride, param_address=3, row_address=5,
                additive=int(mask is not None), operand_address=100, operand_stride=stride, address=40, stride=words,
                scales_address=60, **fields), state, config)  # fmt: skip
    codes = state[Memory.ACT].read(40, words, ROWS, words).reshape(2, ROWS, -1)
    assert not codes[..., COLUMNS:].any()
    found = codes[..., :COLUMNS] * state.row_numbers(60, ROWS)[..., None]
    t = torch.from_numpy(scores * key_scale * row[:, None]) * np.log(2)
    return found, t, torch.from_numpy(value_scale)


def check(found, t, value_scale):
    """Codes have 8 bits: half a step of a row's largest is the tolerance."""
    expected = (torch.softmax(t, -1).nan_to_num(0) * value_scale).numpy()
    step = expected.max(-1, keepdims=True) / 127
    assert (np.abs(found - expected) <= 0.51 * step + 1e-18).all()


def test_probabilities_times_value_scales_are_those_of_torch(config, make_state, fill_panel, fill_params, scores):
    check(*run(config, make_state, fill_panel, fill_params, scores))


@pytest.mark.parametrize(
    ("causal", "offset", "window"), [(1, 0, 0), (1, 3, 0), (1, -2, 0), (1, 3, 2), (0, 0, 3), (1, -6, 0)]
)
def test_hidden_columns_take_no_part(config, make_state, fill_panel, fill_params, scores, causal, offset, window):
    fields = dict(causal=causal, offset=offset, window=window)
    found, t, value_scale = run(config, make_state, fill_panel, fill_params, scores, **fields)
    for m in range(ROWS):
        for n in range(COLUMNS):
            if (causal and n > m + offset) or (window and n <= m + offset - window):
                t[:, m, n] = -torch.inf
                assert not found[:, m, n].any()
    check(found, t, value_scale)  # a row that sees nothing is zero


def test_an_additive_mask_is_added_in_units_of_log2(config, make_state, fill_panel, fill_params, scores):
    mask = np.zeros((ROWS, COLUMNS), np.float32)
    mask[:, 2], mask[1, 5] = -np.inf, 1.5
    found, t, value_scale = run(config, make_state, fill_panel, fill_params, scores, mask)
    assert not found[..., 2].any()
    check(found, t + torch.from_numpy(mask) * np.log(2), value_scale)


def test_three_passes_take_the_time_the_manual_says(nano, odd):
    def passes(config, rows, groups, act_groups):
        tree = config.row_sum_tree_cycles
        front = 1 + config.drain_front_cycles + 4 + 1  # MEMORY, front, ADD, masks
        maximum = rows * groups + front + config.row_maximum_cycles + 1
        # ADD and exp2; the sum; rcp, MULTIPLY, ROW
        sums = (rows - 1) * max(groups, tree) + groups + front + 4 + 3 + config.row_sum_cycles + 3 + 3 + 1
        codes = rows * act_groups + front + 4 + 3 + 3 + config.quantise_cycles
        return maximum + sums + codes

    assert softmax.cycles(Softmax(rows=3, columns=5), nano) == passes(nano, 3, 3, 4)
    assert softmax.cycles(Softmax(rows=3, columns=5), odd) == passes(odd, 3, 5, 6)
    long = 2 * nano.row_sum_tree_cycles + 40  # columns: more groups than the tree takes
    assert softmax.cycles(Softmax(rows=3, columns=long), nano) == passes(nano, 3, long // 2, -(-long // 4) * 2)

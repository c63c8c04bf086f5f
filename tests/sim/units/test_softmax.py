"""SOFTMAX against torch, with every kind of mask, and its duration."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.config import Memory
from heddle.arch.isa import Masking, OnlineSoftmax, Result, Softmax, Source
from heddle.arch.numerics import to_bf16
from heddle.sim import units

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
    units.execute(
        Softmax(rows=ROWS, columns=COLUMNS, source_address=16, source_stride=stride, param_address=3, row_address=5,
                mask=Masking.NONE if mask is None else Masking.ADDITIVE, operand_address=100,
                operand_stride=stride, address=40, stride=words,
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


@pytest.mark.parametrize("lengths", [None, [[7, 1, 0, 12, 3, 9], [2, 9, 4, -1, 7, 8]]])
def test_values_become_the_probabilities_of_torch(config, make_state, fill_panel, fill_params, lengths):
    x = to_bf16(np.random.default_rng(2).normal(0, 3, (2, ROWS, COLUMNS)).astype(np.float32))
    state = make_state(config, batch=2)
    stride = fill_panel(state, Memory.VALUE, 16, x)
    fill_params(state, 3, np.full(COLUMNS, np.log2(np.e)), np.ones(COLUMNS))
    mask = Masking.NONE if lengths is None else Masking.LENGTHS
    if lengths is not None:
        per_word = config.word_elements(Memory.INDEX)
        numbers = np.zeros((2, 1, -(-(ROWS + 3) // per_word), per_word), np.int32)
        numbers.reshape(2, -1)[:, 3 : 3 + ROWS] = lengths
        state[Memory.INDEX].write(0, 0, numbers)
    units.execute(
        Softmax(rows=ROWS, columns=COLUMNS, source=Source.VALUE, source_address=16, source_stride=stride,
                param_address=3, mask=mask, operand_address=3, result=Result.VALUES, address=100, stride=stride),
        state, config)  # fmt: skip
    found = state.panel(Memory.VALUE, 100, stride, ROWS, stride * config.columns)
    t = torch.from_numpy(x).double()
    if lengths is not None:
        t = t.masked_fill(torch.arange(COLUMNS) >= torch.tensor(lengths)[:, :, None], -torch.inf)
    expected = torch.softmax(t, -1).nan_to_num(0).numpy()
    np.testing.assert_allclose(found[..., :COLUMNS], expected, rtol=2**-7 if config.value_format == "bf16" else 5e-4)
    assert not found[..., COLUMNS:].any()


def test_three_passes_take_the_time_the_manual_says(nano, odd):
    def passes(config, rows, groups, act_groups):
        front = 2 + 10  # MEMORY, SCORE
        maximum = rows * groups + front + config.row_maximum_cycles + 3
        tree = {1: 0, 2: 1}[config.vector_lanes]
        sums = (rows - 1) * max(groups, 5) + groups + front + 7 + 5 + tree  # POWER, and to the sum
        sums += 8 + 4 + 3 + 1  # rcp, other products, MULTIPLY, ROW
        codes = rows * act_groups + front + 7 + 3 + config.quantise_cycles
        return maximum + sums + codes

    assert units.cycles(Softmax(rows=3, columns=5), nano) == passes(nano, 3, 3, 4)
    assert units.cycles(Softmax(rows=3, columns=5), odd) == passes(odd, 3, 5, 6)
    tf32 = replace(nano, vector_format="tf32")
    assert units.cycles(Softmax(rows=3, columns=5), tf32) == passes(tf32, 3, 3, 4)
    long = 48  # columns: more groups than the products of a row take
    assert units.cycles(Softmax(rows=3, columns=long), nano) == passes(nano, 3, long // 2, -(-long // 4) * 2)


def online(config, make_state, fill_panel, fill_params, scores, widths, **fields):
    """The attention of `scores` (2, ROWS, COLUMNS) to random values, block by block of these widths, as the machine's
    instructions combine it; and what torch makes of t. `fields` may hold causal, window, together and offset."""
    rng = np.random.default_rng(4)
    key_scale, value_scale = np.linspace(0.5, 1.5, COLUMNS), np.linspace(2, 0.25, COLUMNS)
    row = np.linspace(1e-4, 3e-4, ROWS).astype(np.float32)
    values = rng.normal(size=(COLUMNS, 3))
    state = make_state(config, batch=2)
    state.write_row_numbers(5, row[None])
    out, start = np.zeros((2, ROWS, 3)), 0
    for width in widths:
        stride = fill_panel(state, Memory.ACC, 16, scores[..., start : start + width])
        fill_params(state, 3, key_scale[start : start + width], value_scale[start : start + width])
        words = -(-width // config.rows)
        instruction = OnlineSoftmax(
            rows=ROWS, columns=width, source_address=16, source_stride=stride, param_address=3, row_address=5,
            address=40, stride=words, state_address=30, scales_address=60, first=int(not start),
            **{**fields, "offset": fields.get("offset", 0) - start},
        )  # fmt: skip
        instruction.check(config)
        units.execute(instruction, state, config)
        codes = state[Memory.ACT].read(40, words, ROWS, words).reshape(2, ROWS, -1)[..., :width]
        some = values[start : start + width] / value_scale[start : start + width, None]
        scale, before = (state.row_numbers(at, ROWS)[..., None] for at in (60, 60 + ROWS))
        out, start = out * before + (codes @ some) * scale, start + width
    t = torch.from_numpy(scores * key_scale * row[:, None]) * np.log(2)
    return out, t, torch.from_numpy(values)


@pytest.mark.parametrize("widths", [[9], [4, 5], [3, 3, 3], [1] * 9])
def test_blocks_of_columns_add_up_to_one_softmax(config, make_state, fill_panel, fill_params, scores, widths):
    out, t, values = online(config, make_state, fill_panel, fill_params, scores, widths)
    np.testing.assert_allclose(out, (torch.softmax(t, -1) @ values).numpy(), atol=0.02)


@pytest.mark.parametrize(("fields", "first", "last"), [
    (dict(causal=1, offset=2), lambda m: 0, lambda m: m + 2),
    (dict(causal=1, window=3, offset=1), lambda m: m - 1, lambda m: m + 1),
    (dict(causal=1, together=1, offset=4), lambda m: 0, lambda m: 4),
    (dict(causal=1, together=1, window=2, offset=4), lambda m: 3, lambda m: 4),
])  # fmt: skip
def test_blocks_hide_what_a_row_does_not_see(config, make_state, fill_panel, fill_params, scores, fields, first, last):
    out, t, values = online(config, make_state, fill_panel, fill_params, scores, [4, 5], **fields)
    for m in range(ROWS):
        for n in range(COLUMNS):
            if not first(m) <= n <= last(m):
                t[:, m, n] = -torch.inf
    np.testing.assert_allclose(out, (torch.softmax(t, -1) @ values).numpy(), atol=0.03)


def test_a_block_of_one_element_by_hand(nano, make_state, fill_panel, fill_params):
    state = make_state(nano)
    fill_params(state, 0, [1.0], [0.5])
    state.write_row_numbers(0, np.array([[1, 7, 3, 2]], np.float32))  # scale; maximum and sum before: 3 and 2
    state.write_row_numbers(2, np.array([[3, 2]], np.float32))
    fill_panel(state, Memory.ACC, 0, np.array([[5]], np.int32))
    units.execute(OnlineSoftmax(columns=1, state_address=2, scales_address=8), state, nano)
    # t = 5, G = 5; p = 1; kept = 2·2⁻² = 0.5; L = 1.5; q = 0.5; code 127.
    assert state.row_numbers(2, 2)[0].tolist() == [5, pytest.approx(1.5, rel=2**-16)]
    np.testing.assert_allclose(state.row_numbers(8, 2)[0], [0.5 / 127 / 1.5, 0.5 / 1.5], rtol=1e-4)
    assert state[Memory.ACT].read(0, 0, 1, 1).reshape(-1).tolist() == [127, 0, 0, 0]


def test_codes_of_bf16_probabilities_are_the_probabilities(nano, make_state, fill_panel, fill_params):
    config = replace(nano, pe="bf16")
    state = make_state(config)
    fill_params(state, 0, [1, 1, 1], [1, 1, 1])
    state.write_row_numbers(0, np.ones((1, 1), np.float32))
    fill_panel(state, Memory.ACC, 0, np.array([[0, -1, -2]], np.float32))
    units.execute(Softmax(columns=3, scales_address=8), state, config)
    assert state[Memory.ACT].read(0, 0, 1, 1).reshape(-1).tolist() == [1, 0.5, 0.25, 0]
    np.testing.assert_allclose(state.row_numbers(8, 1)[0], [1 / 1.75], rtol=1e-4)


def test_a_block_takes_the_time_the_manual_says(nano, odd):
    def passes(config, rows, groups, act_groups, state):
        front = 2 + 10  # MEMORY, SCORE
        maximum = rows * groups + front + config.row_maximum_cycles + 3
        tree = {1: 0, 2: 1}[config.vector_lanes]
        sums = (rows - 1) * max(groups, 5) + groups + front + 7 + 5 + tree + 8 + 4 + 3 + 3
        codes = rows * act_groups + front + 7 + 3 + config.quantise_cycles
        return state + maximum + sums + codes

    first = OnlineSoftmax(rows=3, columns=5, first=1)
    assert units.cycles(first, nano) == passes(nano, 3, 3, 4, 0)
    assert units.cycles(replace(first, first=0), odd) == passes(odd, 3, 5, 6, 2 * 3 + 2 + 1 + 3 + 7 + 1 + 3)


def test_a_row_is_scaled_by_its_greatest_probability_not_its_largest(nano, make_state, fill_panel, fill_params):
    state = make_state(nano)
    fill_params(state, 0, [1, 1], [-2, -1])
    units.execute(Softmax(columns=2, scales_address=8), state, nano)
    # p = 1, 1; q = -2, -1; a = 2⁻⁶⁰: the codes saturate.
    assert state[Memory.ACT].read(0, 0, 1, 1).reshape(-1).tolist() == [-127, -127, 0, 0]
    np.testing.assert_allclose(state.row_numbers(8, 1)[0], [2**-60 / 127 / 2], rtol=1e-4)

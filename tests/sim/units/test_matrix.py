"""MATRIX: exact int32 sums of tiles, and the duration of a panel."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.config import Memory
from heddle.arch.isa import Matmul
from heddle.arch.numerics import matmul_bf16, to_bf16, to_bits
from heddle.sim import units
from heddle.sim.units import matrix


def fill_weights(state, put, address, weight):
    """(K, N) codes → tiles of rows × columns: block n of columns, then k."""
    depth, width = weight.shape
    columns = state.config.columns
    put(
        state,
        Memory.WEIGHT,
        address,
        weight.reshape(depth, width // columns, columns).transpose(1, 0, 2).reshape(-1, columns),
    )


@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize("batch", [1, 3])
def test_matmul_sums_over_tiles_as_torch_does(config, make_state, put, fill_panel, accumulate, batch):
    rng = np.random.default_rng(batch)
    k_tiles, n_tiles, rows = 3, 2, 5
    depth, width = k_tiles * config.rows, n_tiles * config.columns
    act = rng.integers(-128, 128, (batch, rows, depth)).astype(np.int8)
    weight = rng.integers(-128, 128, (depth, width)).astype(np.int8)
    before = rng.integers(-1000, 1000, (rows, width)).astype(np.int32)
    state = make_state(config, batch)
    assert fill_panel(state, Memory.ACT, 11, act) == k_tiles
    fill_weights(state, put, 8, weight)
    fill_panel(state, Memory.ACC, 20, before)
    instruction = Matmul(rows=rows, k_tiles=k_tiles, n_tiles=n_tiles, act_address=11, act_stride=k_tiles,
                         weight_address=8, weight_stride=depth, acc_address=20, acc_stride=n_tiles,
                         accumulate=accumulate)  # fmt: skip
    units.execute(instruction, state, config)
    product = torch.from_numpy(act).int() @ torch.from_numpy(weight).int()
    expected = product.numpy() + accumulate * before
    assert np.array_equal(np.broadcast_to(state.panel(Memory.ACC, 20, n_tiles, rows, width), expected.shape), expected)


def test_operands_that_differ_on_both_sides_are_multiplied_input_by_input(nano, make_state, put):
    state = make_state(nano, 2)
    act = np.array([[[1, 2, 3, 4]], [[5, 6, 7, 8]]], np.int8)
    weight = np.stack([np.eye(4, dtype=np.int8), 2 * np.eye(4, dtype=np.int8)])
    put(state, Memory.ACT, 0, act)
    put(state, Memory.WEIGHT, 0, weight)
    units.execute(Matmul(), state, nano)
    assert state.panel(Memory.ACC, 0, 1, 1, 4).tolist() == [[[1, 2, 3, 4]], [[10, 12, 14, 16]]]


def test_sums_of_the_most_negative_codes_are_exact_beyond_the_precision_of_float32(nano, make_state, put):
    state = make_state(nano)
    tiles = 512  # K = 2,048: 2^25 in all, and one more
    act = np.full((1, tiles * 4), -128, np.int8)
    act[0, -1] = -127
    put(state, Memory.ACT, 0, act.reshape(-1, 4))
    put(state, Memory.WEIGHT, 0, np.full((tiles * 4, 4), -128, np.int8))
    units.execute(Matmul(k_tiles=tiles), state, nano)
    assert state.panel(Memory.ACC, 0, 1, 1, 4).tolist() == [[[2048 * 16384 - 128] * 4]]


def test_accumulators_wrap_around(nano, make_state, put):
    state = make_state(nano)
    put(state, Memory.ACC, 0, np.array([[2**31 - 1, -(2**31), 0, 5]], np.int32))
    put(state, Memory.ACT, 0, np.array([[1, -1, 0, 0]], np.int8))
    put(state, Memory.WEIGHT, 0, np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0] * 4, [0] * 4], np.int8))
    units.execute(Matmul(accumulate=1), state, nano)
    assert state.panel(Memory.ACC, 0, 1, 1, 4).tolist() == [[[-(2**31), 2**31 - 1, 0, 5]]]


def test_one_tile_takes_weights_rows_and_drain(nano, odd):
    assert units.cycles(Matmul(), nano) == 4 + 1 + 1 + nano.matrix_drain_cycles
    assert units.cycles(Matmul(rows=9), odd) == 3 + 1 + 9 + odd.matrix_drain_cycles


def test_a_further_tile_costs_its_rows_but_no_less_than_the_turnaround(nano):
    tall = [units.cycles(Matmul(rows=17, k_tiles=tiles), nano) for tiles in (1, 2, 6)]
    assert [tall[1] - tall[0], tall[2] - tall[0]] == [17, 5 * 17]
    flat = replace(nano, rows=8)
    short = [units.cycles(Matmul(rows=1, k_tiles=k, n_tiles=n), flat) for k, n in ((1, 1), (2, 3))]
    assert short[1] - short[0] == 5 * flat.tile_turnaround_cycles >= 5 * 8


def test_the_next_one_starts_after_the_periods_of_all_tiles(nano, odd):
    assert matrix.occupied(Matmul(rows=17, k_tiles=3, n_tiles=2), nano) == 17 * 6
    assert matrix.occupied(Matmul(rows=2), odd) == 5, "read in two cycles, hold, add, write"
    assert matrix.occupied(Matmul(rows=2), replace(nano, rows=8)) == 8
    assert matrix.occupied(Matmul(rows=2, k_tiles=2), replace(nano, pe="bf16")) == 2 * 8


def test_one_that_adds_to_sums_leaves_time_for_them(nano):
    assert [matrix.headway(Matmul(accumulate=each), nano) for each in (0, 1)] == [0, 4]
    assert [matrix.headway(Matmul(accumulate=each), replace(nano, pe="bf16")) for each in (0, 1)] == [0, 7]


def bf16_codes(rng, shape, spread):
    numbers = rng.normal(size=shape).astype(np.float32) * np.float32(2) ** rng.uniform(-spread, spread, shape)
    return to_bf16(np.where(rng.random(shape) < 0.1, np.float32(0), numbers))


@pytest.mark.parametrize(("spread", "special"), [(3, []), (40, []), (70, [np.inf, -np.inf, np.nan, -0.0, 1e-40])])
@pytest.mark.parametrize("accumulate", [0, 1])
def test_sums_of_bf16_products_are_those_of_the_oracle(
    nano, odd, make_state, put, fill_panel, spread, special, accumulate
):
    for config in (replace(nano, pe="bf16"), replace(odd, pe="bf16")):
        rng = np.random.default_rng(spread)
        k_tiles, n_tiles, rows = 5, 2, 6
        depth, width = k_tiles * config.rows, n_tiles * config.columns
        act, weight = bf16_codes(rng, (2, rows, depth), spread), bf16_codes(rng, (depth, width), spread)
        before = rng.normal(size=(rows, width)).astype(np.float32)
        for number, place in zip(special, range(3, 100, 7), strict=False):
            act[0].reshape(-1)[place] = weight.reshape(-1)[place + 1] = before.reshape(-1)[place] = number
        act, weight = to_bf16(act), to_bf16(weight)
        state = make_state(config, 2)
        fill_panel(state, Memory.ACT, 11, act)
        fill_weights(state, put, 8, weight)
        fill_panel(state, Memory.ACC, 20, before)
        units.execute(
            Matmul(rows=rows, k_tiles=k_tiles, n_tiles=n_tiles, act_address=11, act_stride=k_tiles, weight_address=8,
                   weight_stride=depth, acc_address=20, acc_stride=n_tiles, accumulate=accumulate), state, config,
        )  # fmt: skip
        expected = matmul_bf16(act, weight, config.rows, before if accumulate else None)
        found = np.broadcast_to(state.panel(Memory.ACC, 20, n_tiles, rows, width), expected.shape)
        assert np.array_equal(to_bits(np.ascontiguousarray(found)), to_bits(expected))


def test_tiles_side_by_side_are_the_same_as_one_by_one(nano, monkeypatch):
    rng = np.random.default_rng(1)
    act, weight = bf16_codes(rng, (3, 4, 24), 3), bf16_codes(rng, (1, 24, 8), 3)
    expected = [matmul_bf16(act[..., k : k + 4], weight[:, k : k + 4], 4) for k in range(0, 24, 4)]
    for at_once in (1, 96, 5 * 96, 1 << 18):  # sums: one tile has 3·4·8
        monkeypatch.setattr(matrix, "SUMS_AT_ONCE", at_once)
        found = list(matrix.tile_sums(act, weight, 4))
        assert np.array_equal(to_bits(np.stack(found)), to_bits(np.stack(expected)))


def test_with_bf16_a_tile_takes_the_latencies_of_floating_point(nano):
    config = replace(nano, pe="bf16")
    assert config.tile_turnaround_cycles == 8
    assert units.cycles(Matmul(k_tiles=3), config) == 4 + 1 + 2 * 8 + 1 + (2 + (1 + 3 + 4 * 4 + 3) + 4)

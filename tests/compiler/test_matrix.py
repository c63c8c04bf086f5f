"""Weights as codes, and their layout in WEIGHT and PARAM."""

import numpy as np
import torch
from heddle.compiler.matrix import Matrix, joined, pairs_of_columns, quantise_matrix


def matrix(outputs, depth, seed=0):
    random = np.random.RandomState(seed)
    codes = random.randint(-127, 128, (outputs, depth)).astype(np.int8)
    return Matrix(codes, random.rand(outputs).astype(np.float32), random.rand(outputs).astype(np.float32))


def test_each_channel_has_its_own_scale():
    weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [1e-3, 5e-4, -1e-3]])
    found = quantise_matrix(weight, torch.tensor([0.25, 0.5, -1.0]))
    assert found.codes.tolist() == [[64, -127, 32], [0, 0, 0], [127, 64, -127]]
    np.testing.assert_allclose(found.scale, [2 / 127, 2.0**-60 / 127, 1e-3 / 127], rtol=1e-6)
    np.testing.assert_array_equal(found.offset, np.float32([0.25, 0.5, -1.0]))


def test_codes_times_scale_are_within_half_a_step():
    weight = torch.randn(17, 29)
    found = quantise_matrix(weight, None)
    error = np.abs(found.codes * found.scale[:, None] - weight.numpy())
    assert (error <= found.scale[:, None] * 0.5001).all()
    assert not found.offset.any()


def test_a_factor_scales_output_and_bias_but_not_codes():
    weight, bias = torch.randn(3, 4), torch.randn(3)
    one, half = quantise_matrix(weight, bias), quantise_matrix(weight, bias, 0.5)
    np.testing.assert_array_equal(one.codes, half.codes)
    np.testing.assert_array_equal(one.scale, half.scale * 2)
    np.testing.assert_array_equal(one.offset, half.offset * 2)


def test_words_hold_columns_of_outputs_for_each_k(odd):
    found = matrix(7, 4).words(odd)  # 3 rows and 5 columns: K padded to 6, N to 10
    assert found.shape == (2, 6, 5)
    codes = matrix(7, 4).codes
    np.testing.assert_array_equal(found[0, :4], codes[:5].T)
    np.testing.assert_array_equal(found[1, :4, :2], codes[5:].T)
    assert not found[:, 4:].any() and not found[1, :, 2:].any()


def test_pairs_are_scale_and_offset_of_each_column(odd):
    found = pairs_of_columns([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], odd)
    assert found.shape == (2, 5, 2) and found.dtype == np.float32
    assert found[1, 0].tolist() == [6, 12] and found[0, 4].tolist() == [5, 11] and not found[1, 1:].any()


def test_spread_puts_zeros_between_segments_that_do_not_fill_words():
    found = matrix(3, 8).spread(4, 5)
    assert found.codes.shape == (3, 10) and not found.codes[:, [4, 9]].any()
    np.testing.assert_array_equal(found.codes[:, [0, 1, 2, 3, 5, 6, 7, 8]], matrix(3, 8).codes)
    whole = matrix(3, 8)
    assert whole.spread(4, 2) is whole and whole.spread(0, 5) is whole


def test_joined_matrices_start_at_whole_words(nano):
    found = joined([matrix(3, 5), matrix(6, 5, seed=1)], nano)
    assert found.outputs == 12
    np.testing.assert_array_equal(found.codes[4:10, :5], matrix(6, 5, seed=1).codes)
    assert not found.scale[[3, 10, 11]].any()
    assert str(found) == "int8[12×8]"

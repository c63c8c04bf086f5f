"""Masks as numbers that are added to scores; what cannot be added is refused."""

import math

import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.compiler.graph import Node, constant
from heddle.compiler.masks import added_to_scores, rows_that_see_nothing

HIDDEN = -math.inf


def added(value, heads=1, causal=False):
    node = Node("a", "aten.scaled_dot_product_attention", [], (1, heads, 3, 4))
    return added_to_scores(node, constant("m", value, ["mask"]), 3, causal)


def test_a_row_is_shifted_by_its_greatest_number():
    mask = torch.tensor([[1.0, 2, 3], [100, 101, 102.5], [HIDDEN, -7, -9]])
    assert added(mask).tolist() == [[[-2, -1, 0], [-2.5, -1.5, 0], [HIDDEN, 0, -2]]]
    assert torch.equal(added(mask), added(mask + 1000))


def test_false_hides_and_a_row_that_sees_nothing_stays_hidden():
    found = added(torch.tensor([[True, False, True], [False] * 3, [True] * 3]))
    assert found.tolist() == [[[0, HIDDEN, 0], [HIDDEN] * 3, [0, 0, 0]]]
    assert rows_that_see_nothing(found) == [[0, 1]]


def test_numbers_far_below_hide_and_a_row_of_them_alone_drowns_its_scores():
    lowest = torch.finfo(torch.float32).min
    found = added(torch.tensor([[0.0, lowest, -1e9], [lowest] * 3, [-1e9, lowest, -1e9]]))[0]
    assert found[0].tolist() == [0, HIDDEN, HIDDEN]
    scores = torch.tensor([1.0, -2, 3])
    assert torch.softmax(scores + found[1], -1).tolist() == pytest.approx([1 / 3] * 3)  # as PyTorch has it
    assert torch.softmax(scores + found[2], -1).tolist() == [0.5, 0, 0.5]


def test_being_causal_hides_too():
    assert added(torch.zeros(3, 3), causal=True).tolist() == [[[0, HIDDEN, HIDDEN], [0, 0, HIDDEN], [0, 0, 0]]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_make_nan_are_refused(value):
    mask = torch.zeros(3, 3)
    mask[2, 1] = value
    with pytest.raises(HeddleError, match=rf"its mask mask must hold numbers .* but is {value} at \[2, 1\]"):
        added(mask)


def test_a_mask_for_another_number_of_heads_is_refused():
    assert len(added(torch.ones(2, 1, 3), heads=2)) == 2
    with pytest.raises(HeddleError, match="must be one for all heads, or one for each of 2"):
        added(torch.ones(3, 1, 3), heads=2)

"""Layouts against tables of element numbers."""

import random

import pytest
import torch
from heddle.compiler.layout import Layout, strides_of


def viewed(shape, *views):
    """The layout of a chain of views, and the same views of a table."""
    layout, table = Layout.of(shape), torch.arange(torch.Size(shape).numel()).reshape(shape)
    for view in views:
        layout = layout.viewed(view(torch.empty(layout.shape, device="meta")))
        table = view(table.contiguous())
        if layout is None:
            break
    return layout, table


def test_a_tensor_is_its_own_elements():
    layout = Layout.of((2, 3))
    assert layout.shape == (2, 3) and str(layout) == "[2×3]"
    assert layout.numbers().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert Layout.of(()).numbers().tolist() == 0 and Layout.of((1, 1)).numbers().tolist() == [[0]]


def test_merged_heads_take_two_digits():
    layout, table = viewed((1, 4, 5, 3), lambda x: x.transpose(1, 2), lambda x: x.reshape(1, 5, 12))
    assert layout.dims == ((), ((5, 3),), ((4, 15), (3, 1)))
    assert torch.equal(layout.numbers(), table)


def test_what_is_split_and_merged_again_is_the_whole():
    layout, _ = viewed(
        (1, 5, 12),
        lambda x: x.view(1, 5, 4, 3),
        lambda x: x.transpose(1, 2),
        lambda x: x.transpose(1, 2),
        lambda x: x.reshape(1, 5, 12),
    )
    assert layout == Layout.of((1, 5, 12))
    assert layout.same_order(Layout.of((60,))) and not layout.same_order(Layout.of((5, 12)).transposed(0, 1))


def test_a_part_and_a_repetition():
    layout, table = viewed((3, 4), lambda x: x[1:, 1::2], lambda x: x[:, None].expand(2, 3, 2))
    assert layout.offset == 5 and torch.equal(layout.numbers(), table)


def test_places_that_carry_are_no_layout():
    columns = (lambda x: x.t(), lambda x: x.reshape(15))  # of 3 elements each
    assert viewed((3, 5), *columns, lambda x: x[4:9])[0] is None
    assert viewed((3, 5), *columns, lambda x: x[::2])[0] is None
    assert viewed((3, 5), *columns, lambda x: x[3:9])[0] is not None


def test_halves_side_by_side_are_the_whole():
    whole = Layout.of((1, 3, 8))
    low, high = (whole.viewed(half) for half in torch.empty(1, 3, 8, device="meta").chunk(2, -1))
    assert low.beside(high) == whole
    swapped = high.beside(low)
    assert swapped.numbers()[0, 0].tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    assert low.beside(whole) is None


def test_dimensions_are_dropped_and_merged():
    layout = Layout.of((2, 3, 4))
    assert torch.equal(layout.without(1).numbers(), layout.numbers()[:, 0])
    assert torch.equal(layout.without(-1).numbers(), layout.numbers()[..., 0])
    assert layout.merged(1) == Layout.of((6, 4)) and layout.merged(3).shape == (1, 2, 3, 4)


def random_view(choose: random.Random, shape: tuple[int, ...]):
    dim, count = choose.randrange(len(shape)), len(shape)
    first = choose.randrange(shape[dim])
    last, step = choose.randint(first + 1, shape[dim]), choose.choice([1, 1, 2])
    order = choose.sample(range(count), count)
    sizes, rest = [], torch.Size(shape).numel()
    while rest > 1:
        sizes.append(choose.choice([size for size in range(2, rest + 1) if rest % size == 0]))
        rest //= sizes[-1]
    return choose.choice([
        lambda x: x.permute(order),
        lambda x: x.reshape(sizes or [1]),
        lambda x: x.narrow(dim, first, last - first)[(slice(None),) * dim + (slice(None, None, step),)],
        lambda x: x.unsqueeze(dim).expand(*x.shape[:dim], 2, *x.shape[dim:]),
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(300))
def test_random_chains_are_those_of_tables(seed):
    choose = random.Random(seed)
    shape = tuple(choose.choice([1, 2, 3, 4, 6]) for _ in range(choose.randint(1, 4)))
    layout, table = viewed(shape)
    for _ in range(5):
        view = random_view(choose, layout.shape)
        layout, table = layout.viewed(view(torch.empty(layout.shape, device="meta"))), view(table.contiguous())
        if layout is None:
            return
        assert layout.shape == table.shape and torch.equal(layout.numbers(), table)
        in_order = torch.equal(table.flatten(), torch.arange(table.numel()))
        assert layout.same_order(Layout.of(table.shape)) == in_order


def test_strides_are_found_in_a_table():
    windows = torch.arange(60).reshape(3, 20).unfold(1, 4, 2)  # overlapping
    merged = torch.arange(24).reshape(2, 3, 4).transpose(0, 1).reshape(3, 8)
    whole = torch.arange(6).expand(2, 6) + 5
    for table in (windows, merged, merged[:, 1:7], whole, torch.tensor(7), torch.zeros(1, 1).long()):
        found = strides_of(table)
        assert found.shape == table.shape and torch.equal(found.numbers().reshape(table.shape), table)
    for irregular in (merged[:, 1:6].tolist(), [0, 2, 1], [3, 2, 1], [[0, 1], [2, 4]], [0, 1, 2, 4, 5]):
        assert strides_of(torch.tensor(irregular)) is None

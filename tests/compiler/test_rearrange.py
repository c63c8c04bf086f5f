"""Following views by layouts."""

import torch
from heddle.compiler.capture import capture
from heddle.compiler.fold import fold_constants
from heddle.compiler.layout import Layout
from heddle.compiler.rearrange import drop_views, follow_views, origin, split_heads
from torch import nn


def element_numbers(shape):
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


def followed(function, shape):
    class Model(nn.Module):
        def forward(self, x):
            return function(x)

    return follow_views(fold_constants(capture(Model(), [torch.zeros(shape)])))


def test_a_chain_of_views_is_one_layout():
    def heads(x):
        q, k, v = x.view(1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return k.transpose(-2, -1).contiguous()

    graph = followed(heads, (1, 5, 24))
    assert [node.op for node in graph] == ["input", "rearrange"]
    x = torch.arange(120).reshape(1, 5, 24)
    assert torch.equal(graph.output.layout.numbers(), heads(x))
    source, layout = origin(graph.output)
    assert source.name == "x" and layout is graph.output.layout


def test_a_view_of_a_permuted_tensor_does_not_care_about_strides():
    graph = followed(lambda x: x.transpose(1, 2).reshape(1, 3, 10), (1, 5, 6))
    assert torch.equal(graph.output.layout.numbers(), element_numbers((1, 5, 6)).transpose(1, 2).reshape(1, 3, 10))


def test_views_that_keep_the_rows_disappear():
    graph = drop_views(followed(lambda x: torch.sin(x.transpose(0, 1).reshape(5, 6).unsqueeze(0)), (1, 5, 6)))
    assert [node.op for node in graph] == ["input", "aten.sin"]


def test_a_view_of_nothing_is_its_own_origin():
    graph = followed(torch.sin, (1, 2))
    source, layout = origin(graph.output)
    assert source is graph.output and torch.equal(layout.numbers(), torch.tensor([[0, 1]]))


def test_selecting_a_row_keeps_its_numbers():
    graph = followed(lambda x: x[:, 2], (1, 5, 6))
    assert graph.output.layout.numbers().tolist() == [[12, 13, 14, 15, 16, 17]]


def test_a_split_gives_each_part_its_own_layout():
    graph = followed(lambda x: torch.sin(x.split([1, 3, 2], dim=-1)[1]), (1, 5, 6))
    (view,) = (node for node in graph if node.op == "rearrange")
    assert torch.equal(view.layout.numbers(), element_numbers((1, 5, 6))[..., 1:4])


def test_a_view_that_is_no_layout_of_the_source_is_one_of_the_view_before():
    graph = followed(lambda x: x.transpose(1, 2).reshape(1, 15)[:, 4:9], (1, 3, 5))  # starts inside a column
    first, second = (node for node in graph if node.op == "rearrange")
    assert second.inputs == [first] and second.layout.numbers().tolist() == [[4, 5, 6, 7, 8]]


def test_dropout_in_evaluation_mode_is_a_view():
    graph = drop_views(followed(lambda x: torch.sin(torch.dropout(x, 0.5, False)), (1, 2)))
    assert [node.op for node in graph] == ["input", "aten.sin"]
    graph = followed(lambda x: torch.dropout(x, 0.5, True), (1, 2))
    assert graph.output.op == "aten.dropout"


def test_heads_are_features_of_every_token():
    whole = Layout.of((1, 5, 6)).viewed(torch.empty(1, 5, 2, 3, device="meta").transpose(1, 2))
    assert split_heads(whole, 5, 6).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert split_heads(whole, 7, 6) is None  # of the first rows only
    assert split_heads(Layout.of((1, 2, 5, 3)), 5, 6) is None  # of several tokens
    assert split_heads(Layout.of((1, 2, 1, 3)), 1, 6).tolist() == [[0, 1, 2], [3, 4, 5]]  # of the only token

"""Following views by element numbers."""

import torch
from heddle.compiler.capture import capture
from heddle.compiler.fold import fold_constants
from heddle.compiler.rearrange import element_numbers, follow_views, origin
from torch import nn


def followed(function, shape):
    class Model(nn.Module):
        def forward(self, x):
            return function(x)

    return follow_views(fold_constants(capture(Model(), [torch.zeros(shape)])))


def test_a_chain_of_views_is_one_table():
    def split_heads(x):
        q, k, v = x.view(1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        return k.transpose(-2, -1).contiguous()

    graph = followed(split_heads, (1, 5, 24))
    assert [node.op for node in graph] == ["input", "rearrange"]
    x = torch.arange(120).reshape(1, 5, 24)
    assert torch.equal(graph.output.index, split_heads(x))
    source, numbers = origin(graph.output)
    assert source.name == "x" and numbers is graph.output.index


def test_a_view_of_a_permuted_tensor_does_not_care_about_strides():
    graph = followed(lambda x: x.transpose(1, 2).reshape(1, 3, 10), (1, 5, 6))
    assert torch.equal(graph.output.index, element_numbers((1, 5, 6)).transpose(1, 2).reshape(1, 3, 10))


def test_views_that_keep_the_rows_disappear():
    graph = followed(lambda x: torch.sin(x.transpose(0, 1).reshape(5, 6).unsqueeze(0)), (1, 5, 6))
    assert [node.op for node in graph] == ["input", "aten.sin"]


def test_a_view_of_nothing_is_its_own_origin():
    graph = followed(torch.sin, (1, 2))
    source, numbers = origin(graph.output)
    assert source is graph.output and torch.equal(numbers, torch.tensor([[0, 1]]))


def test_selecting_a_row_keeps_its_numbers():
    graph = followed(lambda x: x[:, 2], (1, 5, 6))
    assert graph.output.index.tolist() == [[12, 13, 14, 15, 16, 17]]

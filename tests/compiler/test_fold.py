"""Constant folding."""

import torch
from heddle.compiler.capture import capture
from heddle.compiler.fold import fold_constants
from torch import nn


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(8, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x):
        rows = self.table(torch.arange(3)) * 2
        left, right = self.cls.expand(1, 2, -1).split(1, dim=1)
        return x + rows + left + right


def test_what_depends_on_constants_alone_is_computed():
    model = Positions()
    graph = fold_constants(capture(model, [torch.zeros(1, 3, 4)]))
    assert {node.op for node in graph} == {"input", "constant", "aten.add.Tensor"}
    first_sum = next(node for node in graph if node.op == "aten.add.Tensor")
    rows = next(node for node in first_sum.inputs if node.op == "constant")
    assert torch.equal(rows.value, model.table.weight[:3] * 2)


def test_parts_of_a_split_constant_are_constants():
    graph = fold_constants(capture(Positions(), [torch.zeros(1, 3, 4)]))
    assert not [node for node in graph if "split" in node.op or node.op == "getitem"]

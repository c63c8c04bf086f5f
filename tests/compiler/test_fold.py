"""Constant folding."""

import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.compiler.capture import capture
from heddle.compiler.fold import fold_constants
from heddle.compiler.ir import interpret
from heddle.compiler.pipeline import closed_graph
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


@pytest.mark.parametrize(
    ("model", "shape", "named"),
    [
        (lambda: nn.Linear(0, 8), (1, 3, 0), r"input input of shape \(1, 3, 0\)"),
        (lambda: nn.Linear(8, 0), (1, 3, 8), r"aten.linear of shape \(1, 3, 0\)"),
        (lambda: nn.Linear(8, 8), (1, 0, 8), r"input input of shape \(1, 0, 8\)"),
        (lambda: nn.LayerNorm(0), (1, 3, 0), r"input input of shape \(1, 3, 0\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_size_of_0_is_refused(model, shape, named):
    with pytest.raises(HeddleError, match=f"{named}: a dimension has size 0"):
        fold_constants(capture(model(), [torch.zeros(shape)])).require_possible()


def test_random_numbers_are_refused():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand(4)

    with pytest.raises(HeddleError, match=r"aten.rand of shape \(4,\) .*: it makes random numbers"):
        fold_constants(capture(Noisy(), [torch.zeros(1, 3, 4)])).require_possible()


class TooLong(nn.Module):
    def __init__(self):
        super().__init__()
        self.positions = nn.Embedding(3, 4)

    def forward(self, x):
        return x + self.positions(torch.arange(5))[:3]


def test_what_pytorch_cannot_compute_is_refused():
    with pytest.raises(HeddleError, match="aten.embedding .*: PyTorch cannot compute it: index out of range"):
        fold_constants(capture(TooLong(), [torch.zeros(1, 3, 4)])).require_possible()


class HugeMask(nn.Module):
    def forward(self, x):
        places = torch.arange(40_000)
        return x + (places[:, None] <= places)[:3, :4].float()


def test_a_table_for_each_pair_of_many_tokens_is_refused_before_it_is_made():
    with pytest.raises(HeddleError, match="makes a table of 6,400,000,000 bytes of constants.*shorter context"):
        fold_constants(capture(HugeMask(), [torch.zeros(1, 3, 4)])).require_possible()


class Chosen(nn.Module):
    """Adds the numbers of a row that are among its greatest six, of six."""

    def forward(self, x):
        hidden = torch.ones_like(x, dtype=torch.bool).scatter(-1, x.topk(6, dim=-1).indices, False)
        return x.masked_fill(hidden, -1.0) * 2


def test_a_choice_of_all_is_known():
    """Sparse attention of as many keys as there are is attention of all: nothing is sorted."""
    model, x = Chosen().eval(), torch.randn(1, 3, 6)
    graph = closed_graph(model, (x,), lambda name, result: None)
    assert not any(node.op == "ir.topk_places" for node in graph)
    (found,) = interpret(graph, {"x": x})
    torch.testing.assert_close(found, model(x))

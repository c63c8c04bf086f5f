"""Functions of single ids become tables, so that a decoder has nothing for the host to do."""

import torch
from heddle.compiler.ir import interpret
from heddle.compiler.pipeline import closed_graph
from torch import nn


class Replaced(nn.Module):
    """Ids of an image, 7, look up row 0; those of padding, 2, count for nothing; whole hundreds have a table too."""

    def __init__(self):
        super().__init__()
        self.embedding, self.classes = nn.Embedding(19, 8), nn.Embedding(4, 8)

    def forward(self, ids):
        own = self.embedding(ids.masked_fill(ids == 7, 0)) + self.classes(ids // 5)
        return own * (ids != 2).unsqueeze(-1) + self.embedding(ids)


class Shifted(nn.Module):
    """Each token reads the one before it, which is no function of its own id."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(19, 8)

    def forward(self, ids):
        return self.embedding(ids) + self.embedding(ids.roll(1, 1) * 1)


def graph_of(model, ids):
    return closed_graph(model, (torch.zeros_like(ids),), lambda name, result: None, ids="ids")


def test_functions_of_ids_are_tables():
    model, ids = Replaced().eval(), torch.arange(19)[None]
    graph = graph_of(model, ids)
    assert not graph.host
    (found,) = interpret(graph, {"ids": ids})
    torch.testing.assert_close(found, model(ids))


def test_what_reads_other_ids_stays_for_the_host():
    graph = graph_of(Shifted().eval(), torch.arange(19)[None])
    assert graph.host


def test_ids_that_choose_no_row_are_none():
    class Next(Replaced):
        def forward(self, ids):
            return self.embedding(ids + 4)

    graph = graph_of(Next().eval(), torch.zeros(1, 6, dtype=torch.int64))
    (table,) = (node.inputs[0] for node in graph if node.op == "ir.gather")
    assert table.shape == (15, 8)  # a program says that ids must be below

"""Outlier channels at 16 bits: the same function, nearer to PyTorch, for few passes more."""

import heddle
import numpy as np
import pytest
import torch
from heddle.compiler import ir
from heddle.compiler.cache import CachePlan
from heddle.compiler.decoder import compile_decoder
from heddle.compiler.outliers import OUTLIERS, split_outliers
from heddle.compiler.pipeline import closed_graph
from heddle.compiler.precision import Precision, PrecisionRule
from heddle.models.gpt2 import Gpt2, Gpt2Config
from torch import nn


class Mlp(nn.Module):
    """Two channels between the layers are 100 times the others."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.up, self.down = nn.Linear(24, 48), nn.Linear(48, 24)
        with torch.no_grad():
            self.up.weight[[7, 30]] *= 100
            self.down.weight[:, [7, 30]] /= 100

    def forward(self, x):
        return self.down(torch.relu(self.up(x))) + x


X = torch.randn(1, 12, 24, generator=torch.Generator().manual_seed(5))
RULE = PrecisionRule({"down": "w8a8+outliers"})


@pytest.fixture(scope="module")
def ranges():
    return heddle.calibrate(Mlp(), [(X,)])


def test_it_is_the_same_function(ranges):
    graph = closed_graph(Mlp().eval(), (X,), lambda name, result: None)
    (before,) = ir.interpret(graph, {"x": X})
    graph = split_outliers(graph, RULE, ranges)
    ir.verify(graph, "split_outliers")
    (after,) = ir.interpret(graph, {"x": X})
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    chosen = next(node for node in graph if node.name.endswith("_chosen"))
    assert chosen.shape == (1, 12, OUTLIERS) and chosen.layer == "down.outliers"
    assert {7, 30} <= set(chosen.inputs[1].value.nonzero()[:, 1].tolist())
    assert RULE.of("down.outliers") is Precision.W16A16 and RULE.of("down") is Precision.W8A8
    assert str(RULE) == "down=w8a8+outliers" and PrecisionRule(RULE).splits("down")


def test_it_is_nearer_to_pytorch(ranges):
    model, found = Mlp().eval(), {}
    golden = model(X)[0].detach().numpy().astype(np.float64)
    for precision in ("w8a8", {"down": "w8a8+outliers"}):
        program = heddle.compile(model, (X,), "small", precision=precision, ranges=ranges)
        output = heddle.simulate(program, {"x": X[0].numpy()}).outputs["output"]
        found[str(precision)] = 10 * np.log10((golden**2).sum() / ((golden - output) ** 2).sum())
    plain, split = found.values()
    assert split > plain + 6, found
    assert "w16a16 of 2 operators (down.outliers)" in str([each.chosen for each in program.choices])


def test_a_decoder_has_it_too(nano):
    torch.manual_seed(1)
    model = Gpt2(Gpt2Config(vocabulary=17, context=16, width=16, depth=1, heads=2)).eval()
    ranges = heddle.calibrate(model, [(torch.arange(16)[None],)])
    program = compile_decoder(model, nano, CachePlan(16), precision={"*.down": "w8a8+outliers"}, ranges=ranges)
    assert "layers.0.mlp.down.outliers" in next(each.chosen for each in program.choices if each.what == "precision")


@pytest.mark.parametrize(
    ("precision", "given", "message"),
    [
        ("w8a8+outliers", False, r"w8a8\+outliers needs ranges, those of heddle.calibrate"),
        ({"up": "w8a8+outliers"}, True, "no layer of up can have w8a8.outliers: it must be a linear layer"),
        ({"down": "w8a8+outlier"}, True, r"unknown precision 'w8a8\+outlier' \(did you mean w8a8\+outliers\?\)"),
    ],
)
def test_what_cannot_be_split_is_refused(ranges, precision, given, message):
    with pytest.raises(heddle.HeddleError, match=message):
        heddle.compile(Mlp().eval(), (X,), "small", precision=precision, ranges=ranges if given else None)

"""Which precision a layer gets, and what passes it takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.compiler.pipeline import compile
from heddle.compiler.precision import Precision, PrecisionRule
from heddle.sim.machine import simulate
from torch import nn
from torch.nn import functional


def test_passes_add_up_powers_of_256():
    assert Precision.W8A8.passes == [(0, 0, 0)]
    assert Precision.W8A16.passes == [(0, 0, 0), (1, 1, 0)]
    assert Precision.W16A16.passes == [(0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)]
    assert [each.planes for each in Precision] == [0, 1, 2, 0]


def test_the_first_pattern_that_fits_counts(nano):
    rule = PrecisionRule({"layers.0.*": "w16a16", "layers.*": "w8a16"}, nano)
    assert rule.of("layers.0.mlp") is Precision.W16A16
    assert rule.of("layers.1.mlp") is Precision.W8A16
    assert rule.of("head") is Precision.W8A8
    assert PrecisionRule(None, replace(nano, pe="bf16")).of("head") is Precision.BF16


def test_a_pattern_reaches_all_that_is_in_a_module(nano):
    rule = PrecisionRule({"*.mlp": "w16a16", "head": "w8a16"}, nano)
    assert [rule.of(layer) for layer in ("layers.3.mlp.up", "layers.3.mlp", "layers.3.mlps")] == [
        Precision.W16A16, Precision.W16A16, Precision.W8A8,
    ]  # fmt: skip
    assert str(rule) == "*.mlp=w16a16, head=w8a16" and str(PrecisionRule("w8a16", nano)) == "w8a16"
    assert rule.least is Precision.W8A8 and PrecisionRule({"*": "w8a16"}, nano).least is Precision.W8A16
    assert PrecisionRule(rule, nano).patterns == rule.patterns
    assert str(rule.within(["layers.0.mlp.up"])) == "*.mlp=w16a16"


class Attention(nn.Module):
    """One head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        return functional.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention()

    def forward(self, x):
        return self.attention(x) + x


@pytest.mark.parametrize(("pattern", "layers"), [
    ("*.value", ["attention.value"]), ("attention.[qk]*", ["attention.query", "attention.key"]),
])  # fmt: skip
def test_a_projection_has_the_precision_of_its_own_name(pattern, layers):
    """An attention takes in projections: none of another precision than its own."""
    x = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(2))
    model = Attends().eval()
    program = compile(model, (x,), "small", precision={pattern: "w16a16"})
    chosen = next(each.chosen for each in program.choices if each.what == "precision")
    assert chosen.endswith(f"w16a16 of {len(layers)} operators ({', '.join(layers)})") and chosen.startswith("w8a8 of")
    golden = model(x)[0].detach().numpy()
    found = simulate(program, {"x": x[0].numpy()}).outputs["output"]
    assert 10 * np.log10((golden**2).sum() / ((golden - found) ** 2).sum()) > 38


def test_a_pattern_without_a_layer_is_refused_with_those_there_are():
    with pytest.raises(HeddleError, match=r"unknown layer '\*.valeu'; layers with a precision are attention.query, "):
        compile(Attends(), (torch.zeros(1, 8, 16),), "small", precision={"*.valeu": "w16a16"})


def test_the_pes_must_be_able_to(nano):
    with pytest.raises(HeddleError, match="the int8 PEs of nano compute in w8a8, w8a16 or w16a16, not bf16"):
        PrecisionRule("bf16", nano)
    with pytest.raises(HeddleError, match=r"the bf16 PEs of nano \(changed\) compute in bf16, not w8a16"):
        PrecisionRule("w8a16", replace(nano, pe="bf16"))

"""What is fused, and what is refused with the line of the model."""

import copy
import re

import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.arch.isa import Combine
from heddle.compiler.pipeline import front_end
from heddle.models import encoder, vit
from torch import nn
from torch.nn import functional


def fused(model, *inputs):
    graphs = {}
    front_end(model.eval(), inputs, lambda name, graph: graphs.update({name: str(graph)}))
    return graphs


def operators(text):
    return [line.split(" = ")[1].split("(")[0] for line in text.splitlines() if " = " in line]


class Function(nn.Module):
    """forward is any function of the module and its inputs."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, *inputs):
        return self.function(self, *inputs)


X = torch.zeros(1, 3, 6)


def test_an_encoder_layer_is_seven_operators():
    model = encoder.seeded(encoder.PreNormLayer, encoder.EncoderConfig(width=8, heads=2, hidden=12))
    graphs = fused(model, torch.zeros(1, 5, 8))
    assert operators(graphs["fuse"]) == ["input", "norm", "attention", "linear", "norm", "linear", "linear"]
    assert operators(graphs["quantise"]) == [
        "input", "norm", "quantise", "attention", "quantise", "linear", "norm", "quantise", "linear", "linear",
    ]  # fmt: skip


def test_a_vision_transformer_starts_with_one_patch_embedding():
    model = vit.Vit(vit.VitConfig(image_size=4, width=8, depth=1, heads=2, mlp_ratio=2))
    assert operators(fused(model, torch.zeros(1, 1, 4, 4))["fuse"]) == [
        "input", "patch_embedding", "norm", "attention", "linear", "norm", "linear", "linear", "rearrange",
        "norm", "linear",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "name", "combine"),
    [
        (lambda m, x: m.a(x), "", Combine.NONE),
        (lambda m, x: torch.relu(m.a(x)), "relu", Combine.NONE),
        (lambda m, x: functional.gelu(m.a(x)), "gelu", Combine.NONE),
        (lambda m, x: functional.gelu(m.a(x), approximate="tanh"), "gelu_tanh", Combine.NONE),
        (lambda m, x: torch.tanh(m.a(x)), "tanh", Combine.NONE),
        (lambda m, x: torch.sigmoid(m.a(x)) * m.b.bias.expand(1, 3, 4), "sigmoid", Combine.MULTIPLY),
        (lambda m, x: m.a(x) + m.b.bias.expand(1, 3, 4), "", Combine.ADD),
    ],
)  # fmt: skip
def test_a_linear_layer_takes_what_follows(function, name, combine):
    text = fused(Function(function), X)["fuse"]
    assert operators(text) == ["input", "linear"]
    assert f"function={name}, combine={combine.name}" in text


def test_a_gate_is_multiplied_in_by_the_later_linear_layer():
    text = fused(Function(lambda m, x: functional.silu(m.a(x)) * m.b(x)), X)["fuse"]
    assert operators(text) == ["input", "linear", "linear"]
    assert "function=silu, combine=NONE" in text and "function=, combine=MULTIPLY" in text


def test_a_scale_goes_into_the_weights_of_a_linear_layer():
    model = Function(lambda m, x: torch.relu(m.a(x) * 3 + 1))
    text = fused(model, X)["fuse"]
    assert operators(text) == ["input", "linear"] and "function=relu" in text


def test_a_function_takes_a_scale_with_it():
    text = fused(Function(lambda m, x: torch.tanh(x * 2 - 1)), X)["fuse"]
    assert operators(text) == ["input", "elementwise"]
    assert "function=tanh subtract multiply x 2.0 1.0" in text or "function=tanh add multiply x 2.0 -1.0" in text


def test_nothing_is_fused_where_that_is_asked_for():
    model = encoder.seeded(encoder.PreNormLayer, encoder.EncoderConfig(width=8, heads=2, hidden=12)).eval()
    graphs = {}
    front_end(model, [torch.zeros(1, 5, 8)], lambda name, graph: graphs.update({name: str(graph)}), fused=False)
    found = operators(graphs["fuse"])
    assert "attention" not in found and found.count("matmul") == 2 and found.count("linear") == 6


def test_a_sum_that_two_operators_read_is_not_taken_in():
    text = fused(Function(lambda m, x: (lambda y: torch.relu(y) + y)(m.a(x))), X)["fuse"]
    assert operators(text) == ["input", "linear", "elementwise"]
    assert "function=relu, combine=ADD" in text


def test_codes_are_taken_from_a_linear_layer_that_only_a_matrix_reads():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 5))
    text = fused(model, X)["quantise"]
    assert operators(text) == ["input", "quantise", "linear", "linear"]
    assert "codes=1" in text


REFUSED = {
    "tangent": (lambda m, x: torch.special.i0e(m.a(x)), r"aten.special_i0e of shape \(1, 3, 4\) at test_fuse.py:\d+: "),
    "power with many words": (lambda m, x: x**-1.5, r"aten.pow.* of shape .*: x\^-1.5 needs 780 words of a table"),
    "bits as other numbers": (lambda m, x: x.view(torch.int32), "aten.view.dtype of shape .* there is no rule for it"),
    "infinite factor": (lambda m, x: x * float("inf"), "its operand must be a finite number of float32, not inf"),
    "too many of a row": (lambda m, x: x.repeat(1, 1, 11).topk(65, -1)[0], "finds at most 64"),
    "division by 0": (lambda m, x: x / 0.0, "it divides by 0"),
    "random rows": (lambda m, x: x[:, (m.a(x).sum(-1) > 0).long()[0]], "numbers cannot be made torch.int64"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_lowered_is_refused(name):
    function, message = REFUSED[name]
    with pytest.raises(HeddleError, match=message):
        fused(Function(function), X)


def test_an_input_that_nothing_reads_is_refused():
    for function in (lambda m, x, mask: m.a(x), lambda m, x, mask: (m.b(mask), m.a(x))[1]):
        with pytest.raises(HeddleError, match="input inputs_1 of shape .* must depend on each .* not on inputs_1: l"):
            fused(Function(function), X, X)


def test_integers_can_only_choose_rows():
    with pytest.raises(HeddleError, match="aten.mul.Tensor .* has whole numbers, which can only choose rows"):
        fused(Function(lambda m, x: x.argmax(-1) * 2), X)


@pytest.mark.parametrize(
    ("model", "shape", "name", "place"),
    [
        (nn.Linear(6, 4), (1, 3, 6), "weight", [2, 1]),
        (nn.Linear(6, 4), (1, 3, 6), "bias", [3]),
        (nn.LayerNorm(6), (1, 3, 6), "weight", [5]),
        (nn.LayerNorm(6), (1, 3, 6), "bias", [0]),
        (nn.Embedding(5, 4), (1, 3), "weight", [4, 2]),
    ],
)
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_parameter_that_is_not_finite_is_named(model, shape, name, place, value):
    model = nn.Sequential(copy.deepcopy(model)).requires_grad_(False)
    getattr(model[0], name)[tuple(place)] = value
    x = torch.zeros(shape, dtype=torch.int64 if isinstance(model[0], nn.Embedding) else torch.float32)
    with pytest.raises(HeddleError, match=re.escape(f"0.{name} must be finite, but is {value} at {place}")):
        fused(model, x)


def test_what_an_infinite_constant_is_made_of_is_named():
    def shifted(m, x):
        return m.a(x) + m.b.bias * float("inf")

    with pytest.raises(HeddleError, match=r"(mul \(made of b.bias\)|b.bias) must be finite"):
        fused(Function(shifted), X)

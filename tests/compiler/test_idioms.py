"""Written-out norms and functions are found, and compute what the model does."""

import math

import pytest
import torch
from heddle.compiler.functions import named, of_name, simplest_name
from heddle.compiler.idioms import find_idioms
from heddle.compiler.ir import interpret, verify
from heddle.compiler.pipeline import closed_graph
from torch import nn
from torch.nn import functional

WIDTH = 12


class Written(nn.Module):
    """Some function of x and a gain and a shift."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.gain, self.shift = nn.Parameter(torch.randn(WIDTH)), nn.Parameter(torch.randn(WIDTH))

    def forward(self, x):
        return self.function(x, self.gain, self.shift)


def rms(x, gain, shift):
    return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def rms_by_division(x, gain, shift):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * (1 + gain)


def layer(x, gain, shift):
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() * gain + shift


def layer_by_variance(x, gain, shift):
    variance = x.var(-1, keepdim=True, unbiased=False)
    return gain * ((x - x.mean(-1, keepdim=True)) / torch.sqrt(variance + 1e-5)) + shift


def gelu_new(x, gain, shift):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def quick_gelu(x, gain, shift):
    return x * torch.sigmoid(1.702 * x)


def swish(x, gain, shift):
    return x / (1 + torch.exp(-x))


def softcap(x, gain, shift):
    return 30 * torch.tanh(x / 30)


FOUND = {
    rms: ["ir.norm"], rms_by_division: ["ir.norm"], layer: ["ir.norm"], layer_by_variance: ["ir.norm"],
    gelu_new: ["ir.function"], quick_gelu: ["ir.function"], swish: ["ir.function"], softcap: ["ir.function"],
}  # fmt: skip


def found_in(model, *inputs):
    """(the graph with its idioms, the names of its operators without views)."""
    graph = find_idioms(closed_graph(model, inputs, lambda name, result: None))
    verify(graph, "find_idioms")
    return graph, [node.op for node in graph if node.op not in ("input", "constant", "rearrange")]


@pytest.mark.parametrize("function", FOUND, ids=lambda each: each.__name__)
def test_what_is_written_out_is_one_operator_and_gives_the_same(function):
    torch.manual_seed(0)
    model, x = Written(function), 3 * torch.randn(1, 5, WIDTH)
    graph, operators = found_in(model, x)
    assert operators == FOUND[function]
    (result,) = interpret(graph, {graph.inputs[0]: x})
    torch.testing.assert_close(result, model(x), rtol=1e-4, atol=1e-5)


NO_NORMS = {
    "another mean": lambda x, g, s: x * torch.rsqrt(x.pow(2).mean(-2, keepdim=True) + 1e-5),
    "of others": lambda x, g, s: x * torch.rsqrt((x + 1).pow(2).mean(-1, keepdim=True) + 1e-5),
    "centred by others": lambda x, g, s: (x - (2 * x).mean(-1, keepdim=True))
    * ((x - (2 * x).mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt(),
    "unbiased": lambda x, g, s: (x - x.mean(-1, keepdim=True)) * (x.var(-1, keepdim=True) + 1e-5).rsqrt(),
    "of half": lambda x, g, s: x * torch.rsqrt(x[..., :6].pow(2).mean(-1, keepdim=True) + 1e-5),
}


@pytest.mark.parametrize("name", NO_NORMS)
def test_what_is_near_a_norm_gives_the_same(name):
    """They may have norms in them, but compute what they say."""
    torch.manual_seed(0)
    model, x = Written(NO_NORMS[name]), 3 * torch.randn(1, 5, WIDTH)
    graph, _ = found_in(model, x)
    (result,) = interpret(graph, {graph.inputs[0]: x})
    torch.testing.assert_close(result, model(x), rtol=1e-4, atol=1e-5)


def test_a_gain_that_others_read_without_it_stays_apart():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.randn(WIDTH))

        def forward(self, x):
            normal = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
            return normal * self.gain, normal

    torch.manual_seed(0)
    model, x = Twice(), torch.randn(1, 5, WIDTH)
    graph, operators = found_in(model, x)
    assert sorted(operators) == ["ir.combine", "ir.norm"]
    for result, golden in zip(interpret(graph, {graph.inputs[0]: x}), model(x), strict=True):
        torch.testing.assert_close(result, golden, rtol=1e-4, atol=1e-5)


def test_functions_that_no_table_holds_stay_as_they_are():
    model = Written(lambda x, gain, shift: torch.sin(x * x) + x)
    x = torch.randn(1, 5, WIDTH)
    graph, operators = found_in(model, x)
    assert operators.count("ir.function") == 1 and "ir.combine" in operators
    (result,) = interpret(graph, {graph.inputs[0]: x})
    torch.testing.assert_close(result, model(x))


def test_what_is_exact_without_a_table_gets_none():
    _, operators = found_in(Written(lambda x, gain, shift: torch.relu(x) + 2 * x), torch.randn(1, 5, WIDTH))
    assert operators.count("ir.function") == 1 and operators.count("ir.combine") == 2


def test_names_of_compositions():
    x = torch.linspace(-8, 8, 33, dtype=torch.float64)
    name = "multiply x sigmoid multiply 1.702 x"
    torch.testing.assert_close(of_name(name)(x), x * torch.sigmoid(1.702 * x))
    torch.testing.assert_close(of_name("subtract 1.0 x^2 x")(x), 1 - x**2)
    assert simplest_name("multiply x sigmoid x") == "silu"
    assert simplest_name(name) == name and named(name) is named(name)
    assert simplest_name("sin multiply x x") is None
    golden = functional.gelu(x, approximate="tanh")
    tanh = "tanh multiply 0.7978845608028654 add x multiply 0.044715 multiply multiply x x x"
    torch.testing.assert_close(of_name(f"multiply multiply 0.5 x add 1.0 {tanh}")(x), golden)
    assert simplest_name(f"multiply multiply 0.5 x add 1.0 {tanh}") == "gelu_tanh"
